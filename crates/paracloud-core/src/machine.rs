//! The one shape of every machine, so that its drivers (a shell, the simulation, the model, a replay) drive it alike.

use crate::ids::StartId;
use crate::migration::{agent, coordinator, gateway, shim};
use alloc::vec::Vec;
use serde::Serialize;
use serde::de::DeserializeOwned;

mod sealed {
    /// Nobody else can write a machine.
    pub trait Sealed {}

    impl Sealed for super::coordinator::Coordinator {}
    impl Sealed for super::agent::Agent {}
    impl Sealed for super::gateway::Gateway {}
    impl Sealed for super::shim::Shim {}
}

/// A machine: a plain value that takes inputs in and says what it wants done. There are these four and no others, so
/// that whoever drives a `Machine` drives what was simulated and searched.
pub trait Machine: Default + sealed::Sealed {
    /// What it is called in logs.
    const NAME: &'static str;
    /// What it is set to.
    type Setting: Serialize + DeserializeOwned;
    /// What happens to it.
    type Input: Serialize + DeserializeOwned;
    /// What it wants done.
    type Effect: Serialize + DeserializeOwned;

    /// Takes one input in. `fresh` is a start id never used before; a machine that names no process ignores it.
    fn take(
        &mut self,
        setting: &Self::Setting,
        input: Self::Input,
        fresh: StartId,
        effects: &mut Vec<Self::Effect>,
    );
}

impl Machine for coordinator::Coordinator {
    const NAME: &'static str = "coordinator";
    type Setting = coordinator::Setting;
    type Input = coordinator::Input;
    type Effect = coordinator::Effect;

    fn take(
        &mut self,
        setting: &Self::Setting,
        input: Self::Input,
        fresh: StartId,
        effects: &mut Vec<Self::Effect>,
    ) {
        self.step(setting, input, fresh, effects);
    }
}

impl Machine for agent::Agent {
    const NAME: &'static str = "agent";
    type Setting = agent::Setting;
    type Input = agent::Input;
    type Effect = agent::Effect;

    fn take(
        &mut self,
        setting: &Self::Setting,
        input: Self::Input,
        fresh: StartId,
        effects: &mut Vec<Self::Effect>,
    ) {
        self.step(setting, input, fresh, effects);
    }
}

impl Machine for gateway::Gateway {
    const NAME: &'static str = "gateway";
    type Setting = gateway::Setting;
    type Input = gateway::Input;
    type Effect = gateway::Effect;

    fn take(
        &mut self,
        setting: &Self::Setting,
        input: Self::Input,
        _: StartId,
        effects: &mut Vec<Self::Effect>,
    ) {
        self.step(setting, input, effects);
    }
}

impl Machine for shim::Shim {
    const NAME: &'static str = "shim";
    type Setting = ();
    type Input = shim::Input;
    type Effect = shim::Effect;

    fn take(&mut self, (): &(), input: Self::Input, _: StartId, effects: &mut Vec<Self::Effect>) {
        self.step(input, effects);
    }
}
