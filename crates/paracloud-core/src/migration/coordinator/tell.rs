//! What is said to everybody who has not answered.

use super::{Coordinator, Effect, Setting};
use crate::ids::Placement;
use crate::migration::Phase;
use crate::migration::gateway::Table;
use crate::migration::message::{ToAgent, ToGateway};
use crate::register::{LeaveStep, Mode, MoveStep, Operation, Record};
use alloc::vec::Vec;
use paci::participant::Side;

impl Coordinator {
    /// Where requests go, as far as this coordinator knows.
    pub fn table(&self) -> Option<Table> {
        let record = self.record.as_ref()?;
        let told = match &record.operation {
            None => true,
            Some(Operation::Move(operation)) => match operation.step {
                MoveStep::Open => true,
                MoveStep::Sealing | MoveStep::Switch | MoveStep::Doomed => false,
                // `served` is on disk: whoever comes before `Serve` does waits at the target's gate, or is refused untouched.
                MoveStep::Retire => true,
                // Given up before the intent to seal was on disk: its gate was never closed.
                MoveStep::Undo if record.incarnation == operation.base => true,
                MoveStep::Undo => self.told(record, operation.source.start),
            },
            Some(Operation::Leave(leave)) => {
                leave.step != LeaveStep::Returning || self.told(record, leave.victim.start)
            }
            Some(Operation::Resize(_)) => true,
        };
        Some(Table::of(record, !told))
    }

    /// Whether it waits for a word that the source lives: nothing is gone back to without it.
    pub(super) fn is_asking(&self, record: &Record) -> bool {
        let facts = &self.facts;
        let is_late = facts.expired && matches!(self.phase, Phase::Seal | Phase::Switch);
        record.moving().is_some_and(|operation| {
            operation.mode == Mode::Handoff
                && match operation.step {
                    MoveStep::Sealing => is_late || facts.cancelled,
                    MoveStep::Switch => is_late,
                    MoveStep::Open | MoveStep::Doomed | MoveStep::Retire | MoveStep::Undo => false,
                }
        })
    }

    /// Asks the source's agent whether the source lives, if that counts.
    pub(super) fn probe(&self, effects: &mut Vec<Effect>) {
        let Some(record) = self.record.as_ref().filter(|record| self.is_asking(record)) else { return };
        let Some(operation) = record.moving() else { return };
        let (start, order) = (operation.source.start, record.order());
        let probe = ToAgent::Probe { operation: record.last_operation, start, order };
        effects.push(Effect::Agent(operation.source.node, probe));
    }

    /// Says what the phase has to say to everybody who has not answered it.
    pub(super) fn tell(&self, setting: &Setting, effects: &mut Vec<Effect>) {
        let Some(record) = &self.record else { return };
        let own = |node| Effect::Agent(node, ToAgent::Own(record.clone()));
        if matches!(self.phase, Phase::Start | Phase::Serve | Phase::Leave | Phase::Return | Phase::Resize) {
            effects.push(own(record.owner.node));
        }
        // Also without an operation: after a start, gateways wait for the route. They hear of an instance before it serves:
        // whoever did knows that nothing of a client lives there. And what was given up may run, and is to get nothing more.
        let routes = match self.phase {
            Phase::Start | Phase::Park | Phase::Serve | Phase::Release => true,
            Phase::Idle
            | Phase::Offer
            | Phase::Prepare
            | Phase::Copy
            | Phase::Drain
            | Phase::Seal
            | Phase::Switch
            | Phase::Doom
            | Phase::Undo
            | Phase::Leave
            | Phase::Return
            | Phase::Resize
            | Phase::Retire => false,
        };
        if routes && let Some(table) = self.table() {
            for gateway in setting.gateways.difference(&self.facts.obeyed) {
                effects.push(Effect::Gateway(*gateway, ToGateway::Table(table.clone())));
            }
        }
        let operation = match &record.operation {
            Some(Operation::Move(operation)) => operation,
            Some(Operation::Leave(_)) => return self.tell_of_leave(setting, record, effects),
            Some(Operation::Resize(_)) | None => return,
        };
        let number = record.last_operation;
        let end = |place: Placement| {
            let order = record.order();
            Effect::Agent(place.node, ToAgent::End { operation: number, start: place.start, order })
        };
        let prepare = |place: Placement, side| {
            let message =
                ToAgent::Prepare { operation: number, start: place.start, side, mode: operation.mode };
            Effect::Agent(place.node, message)
        };
        self.probe(effects);
        match self.phase {
            Phase::Idle
            | Phase::Start
            | Phase::Park
            | Phase::Serve
            | Phase::Release
            | Phase::Leave
            | Phase::Return
            | Phase::Resize => {}
            Phase::Offer => effects.push(Effect::Agent(
                operation.source.node,
                ToAgent::Estimate { operation: number, start: operation.source.start, mode: operation.mode },
            )),
            Phase::Prepare => effects.push(prepare(operation.target, Side::Target)),
            Phase::Copy => effects.push(prepare(operation.source, Side::Source)),
            Phase::Drain => {
                let order = record.order();
                let staying = setting.gateways.difference(&self.facts.drained);
                effects.extend(staying.map(|gateway| Effect::Gateway(*gateway, ToGateway::Leave { order })));
            }
            Phase::Seal if operation.mode == Mode::Restart => effects.push(end(operation.source)),
            Phase::Seal => {
                effects.push(own(operation.source.node));
                effects.push(own(operation.target.node));
            }
            Phase::Switch | Phase::Undo => effects.push(own(record.owner.node)),
            Phase::Doom => effects.push(end(operation.target)),
            Phase::Retire if operation.step == MoveStep::Undo => effects.push(end(operation.target)),
            Phase::Retire => effects.push(end(operation.source)),
        }
    }

    fn tell_of_leave(&self, setting: &Setting, record: &Record, effects: &mut Vec<Effect>) {
        match (self.phase, self.table()) {
            // Who has said that nothing is left has heard it; the others may not have.
            (Phase::Drain, Some(table)) => {
                for gateway in setting.gateways.difference(&self.facts.drained) {
                    effects.push(Effect::Gateway(*gateway, ToGateway::Table(table.clone())));
                }
            }
            (Phase::Retire, _) => {
                let (operation, order, start) = (record.last_operation, record.order(), record.owner.start);
                effects.push(Effect::Agent(record.owner.node, ToAgent::End { operation, start, order }));
            }
            _ => {}
        }
    }
}
