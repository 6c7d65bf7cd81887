//! Worlds that are broken on purpose: a checker that has never found anything proves nothing.

use super::{Event, MS, Simulation};
use crate::application::Application;
use crate::world::{Envelope, Message, Party, Timer};
use paracloud_core::migration::gateway;
use paracloud_core::register::{Mode, MoveStep, Step};

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// The target of a move opens its gate while the source serves.
    SecondGate,
    /// The gate of a sealed source opens, though its machine did not ask for it.
    OwnGate,
    /// The owner forgets a write that was acknowledged.
    LostWrite,
    /// The owner applies a write once more.
    DoubledWrite,
    /// Gateways hold requests without an end.
    ForgottenBound,
    /// Agents never hear the coordinator again.
    DeafAgents,
    /// A controller takes a damaged disk for a whole one.
    BlindDisk,
    /// The owner is of another revision than the register says.
    OtherRevision,
}

impl Simulation {
    /// Breaks the world now; or later, if there is nothing to break yet.
    pub(super) fn sabotage(&mut self) {
        let owner = self.world.disk.owner.start;
        let incarnation = self.world.disk.incarnation.0;
        let mode = self.setting.mode;
        let done = match self.sabotage {
            Some(Sabotage::SecondGate) => {
                let other =
                    self.world.processes.iter_mut().find(|(start, it)| **start != owner && it.app.is_some());
                let serves = matches!(self.world.disk.step(), Some(Step::Open));
                match other.filter(|_| serves) {
                    Some((_, process)) => {
                        process.app = Some(Application::serving(mode, incarnation));
                        true
                    }
                    None => false,
                }
            }
            Some(Sabotage::OwnGate) => {
                let open = self.world.disk.moving();
                let source = open.filter(|it| it.mode == Mode::Handoff && it.step == MoveStep::Switch);
                let process = source.and_then(|it| self.world.processes.get_mut(&it.source.start));
                process.and_then(|it| it.app.as_mut()).is_some_and(|app| app.gate.open(incarnation))
            }
            Some(Sabotage::LostWrite | Sabotage::DoubledWrite) => {
                let loses = self.sabotage == Some(Sabotage::LostWrite);
                let app = self.world.processes.get_mut(&owner).and_then(|it| it.app.as_mut());
                app.is_some_and(|app| {
                    if loses { app.state.pop_first().is_some() } else { app.apply_again().is_some() }
                })
            }
            Some(Sabotage::OtherRevision) => {
                let owner = self.world.processes.get_mut(&owner).filter(|it| it.app.is_some());
                let revision = owner.and_then(|it| it.revision.as_mut());
                revision.map(|it| *it = it.next()).is_some()
            }
            Some(Sabotage::ForgottenBound | Sabotage::DeafAgents | Sabotage::BlindDisk) | None => true,
        };
        if !done {
            self.after(MS..5 * MS, Event::Sabotage);
        }
    }

    /// Whether this never arrives.
    pub(super) fn is_unheard(&self, envelope: &Envelope) -> bool {
        self.sabotage == Some(Sabotage::DeafAgents)
            && self.now > super::FAULTS_END / 2
            && matches!(envelope.message, Message::ToAgent(_))
    }

    /// Whether this timer never fires.
    pub(super) fn is_forgotten(&self, party: Party, timer: Timer) -> bool {
        self.sabotage == Some(Sabotage::ForgottenBound)
            && matches!((party, timer), (Party::Gateway(_), Timer::Gateway(gateway::Timer::Bound(_))))
    }
}
