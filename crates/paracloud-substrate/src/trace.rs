//! The log of one machine: its setting, then each input with the time and the effects it had. Fed to the core again,
//! the inputs must have the same effects, byte for byte; the times are for people, who lay the logs of all machines of
//! a move beside each other.
//!
//! It is written before the effects are carried out, through a buffer: a shell that is killed loses the end of its
//! log, never the middle, and a log replays as far as it goes. One that cannot be written is given up, and its name says
//! so: it never passes for one that goes to its end.

mod log;
mod replay;

pub use replay::{MACHINES, ReplayError, Replayed, replay};

use log::Log;
use paracloud_core::ids::StartId;
use paracloud_core::machine::Machine;
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// The variable that switches logs on: `1`.
pub const SWITCH: &str = "PARACLOUD_TRACE";

/// A machine with its setting, and its log if that is switched on.
#[derive(Debug)]
pub struct Traced<M: Machine> {
    machine: M,
    setting: M::Setting,
    log: Option<Log>,
}

impl<M: Machine> Traced<M> {
    /// A machine at its beginning. `name` tells its log from others in `directory`.
    ///
    /// A log that cannot be written is said to be given up, and the machine goes on without.
    pub fn new(setting: M::Setting, directory: &Path, name: &str) -> Self {
        let wanted = std::env::var_os(SWITCH).is_some_and(|value| value == "1");
        let log = wanted.then(|| Log::begin::<M>(&setting, directory, name)).flatten();
        Self::with(log, setting)
    }

    fn with(log: Option<Log>, setting: M::Setting) -> Self {
        Self { machine: M::default(), setting, log }
    }

    /// The machine.
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// What it is set to.
    pub fn setting(&self) -> &M::Setting {
        &self.setting
    }

    /// Takes one input in and says what is to be done, in this order.
    pub fn take(&mut self, input: M::Input, fresh: StartId) -> Vec<M::Effect> {
        let mut effects = Vec::new();
        let Some(log) = &mut self.log else {
            self.machine.take(&self.setting, input, fresh, &mut effects);
            return effects;
        };
        let unix_us = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
        let heard = serde_json::to_string(&input);
        self.machine.take(&self.setting, input, fresh, &mut effects);
        let written = heard.map_err(io::Error::from).and_then(|heard| {
            let done = serde_json::to_string(&effects)?;
            log.write(format_args!(
                "{{\"unix_us\":{unix_us},\"input\":{heard},\"fresh\":\"{fresh}\",\"effects\":{done}}}"
            ))
        });
        self.goes_on(written);
        effects
    }

    /// Hands what is buffered to the file.
    pub fn flush(&mut self) {
        if let Some(log) = &mut self.log {
            let flushed = log.flush();
            self.goes_on(flushed);
        }
    }

    /// The log goes on after this, or is given up.
    fn goes_on(&mut self, written: io::Result<()>) {
        if let Err(error) = written
            && let Some(log) = self.log.take()
        {
            log.give_up(&error);
        }
    }
}

impl<M: Machine> Drop for Traced<M> {
    fn drop(&mut self) {
        self.flush();
    }
}
