//! The application in the world: the contract's own machine, and a state of counted writes.
//!
//! Payload stays outside the machines, so this state is the smallest thing that shows a loss or a double: per
//! request, how often it was applied. An application that knows nothing of the contract serves from its first
//! instant and carries nothing over.

use crate::gate::Gate;
use crate::ledger::RequestId;
use paci::participant::{Act, Participant, Sealed, Standing};
use paracloud_core::migration::gateway::Answer;
use paracloud_core::migration::message::Offer;
use paracloud_core::register::Mode;
use std::collections::BTreeMap;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Application {
    pub(crate) participant: Participant,
    pub(crate) gate: Gate,
    pub(crate) state: BTreeMap<RequestId, u8>,
    /// It has a session with its agent (or its agent probes it).
    pub(crate) connected: bool,
    pub(crate) said_ready: bool,
    /// A guard does not end.
    pub(crate) hogged: bool,
    /// It ends its stream with its copy, before anybody asks it to seal.
    pub(crate) is_hasty: bool,
    /// What it answers when it is asked for an offer next, if that is no consent.
    pub(crate) declines: Option<Offer>,
    aware: bool,
}

impl Application {
    pub(crate) fn new(mode: Mode) -> Self {
        Self {
            participant: Participant::default(),
            gate: Gate::default(),
            state: BTreeMap::new(),
            connected: false,
            said_ready: false,
            hogged: false,
            is_hasty: false,
            declines: None,
            aware: mode == Mode::Handoff,
        }
    }

    pub(crate) fn serving(mode: Mode, incarnation: u32) -> Self {
        let mut app = Self::new(mode);
        for act in app.participant.welcome(Standing::Owner, incarnation) {
            if let Act::Open(incarnation) = act {
                app.gate.open(incarnation);
            }
        }
        app
    }

    pub(crate) fn is_aware(&self) -> bool {
        self.aware
    }

    /// Whether requests touch its state. One that knows nothing of the contract has no gate.
    pub(crate) fn is_open(&self) -> bool {
        self.gate.is_open() || !self.aware
    }

    /// Whether its gate is as its machine has it: open or closed, and under which incarnation.
    pub(crate) fn has_its_gate_as_told(&self) -> bool {
        let told = self.participant.is_open().then(|| self.participant.incarnation());
        self.gate.open_under() == told
    }

    /// A request, under its guard: refused untouched, or applied (once for each id) and answered.
    pub(crate) fn request(&mut self, request: RequestId) -> Answer {
        if !self.is_open() {
            return Answer::NotApplied;
        }
        let times = self.state.entry(request).or_insert(0);
        // The reply cache: its entries are part of the state and move with it.
        if !(request.has_key() && *times > 0) {
            *times += 1;
        }
        Answer::Replied
    }

    /// A fault of the program itself: a request that it holds is applied once more.
    pub(crate) fn apply_again(&mut self) -> Option<()> {
        self.state.values_mut().next().map(|times| *times += 1)
    }

    pub(crate) fn sealed(&self) -> Sealed {
        let mut digest = vec![0_u8; 16];
        for (request, times) in &self.state {
            if let Some(byte) = digest.get_mut(usize::from(request.0) % 16) {
                *byte = u8::wrapping_add(*byte, *times);
            }
        }
        Sealed { position: self.state.len() as u64, digest }
    }

    pub(crate) fn load(
        &mut self,
        operation: u32,
        state: BTreeMap<RequestId, u8>,
        stated: &Sealed,
    ) -> Vec<Act> {
        self.state = state;
        let held = self.sealed();
        self.participant.loaded(operation, held, stated.clone())
    }
}
