//! What a process is told by the record, and what is passed on of its answers.

use super::{Agent, Effect, Life, ToApp};
use crate::ids::{Incarnation, StartId};
use crate::migration::duty::{Duty, duty, standing};
use crate::migration::message::FromAgent;
use crate::register::{Mode, MoveStep, Record};
use alloc::vec::Vec;
use core::net::SocketAddr;
use paci::participant::{Answer, Call, Outcome, Side, Standing};

impl Agent {
    /// Answers a waiting `Hello`, once the register's word about the process is known.
    pub(super) fn welcome(&mut self, start: StartId, effects: &mut Vec<Effect>) {
        let Some(process) = self.processes.get_mut(&start) else { return };
        if !process.waiting {
            return;
        }
        let staged = process.wish.is_some_and(|wish| wish.call == Call::Prepare(Side::Target));
        let (standing, incarnation) = match &self.record {
            Some(record) if record.names(start) => (standing(record, start), record.incarnation),
            // The operation that prepares it is newer than the record.
            Some(_) | None if staged => (Standing::Staging, Incarnation(0)),
            // It is ended because no record names it: until it is dead, its gate is to be closed.
            known if process.life == Life::Ending => {
                let incarnation = known.as_ref().map_or(Incarnation(0), |record| record.incarnation);
                (Standing::Outdated, incarnation)
            }
            // The record is asked for again and again, as the timer says.
            Some(_) | None => return,
        };
        process.waiting = false;
        effects.push(Effect::App(start, ToApp::Welcome(standing, incarnation)));
    }

    /// Tells a process what it has to be told, or passes on what it answered to that.
    pub(super) fn tell(&mut self, start: StartId, effects: &mut Vec<Effect>) {
        let Some(process) = self.processes.get_mut(&start) else { return };
        if process.life != Life::Running {
            return;
        }
        let record = self.record.as_ref();
        let by_record = record.and_then(|record| duty(record, start));
        // A wish that is still there is newer than the record.
        // What a program that cannot be drained says is known where its capabilities are.
        let leaves = record.is_some_and(|record| record.leave().is_some());
        // Whether a program that has no session agrees to a move is known where its holds and its past are.
        match process.wish.or(by_record) {
            Some(duty) => {
                if process.asked == Some(duty) {
                    if let Some(answer) = process.answer.clone() {
                        self.pass_on(start, duty, answer, effects);
                    }
                } else if process.greeted || duty.call == Call::Estimate || leaves {
                    process.asked = Some(duty);
                    process.answer = None;
                    effects.push(Effect::App(start, ToApp::Call(duty.operation, duty.call)));
                }
            }
            None => {
                if let (Some(record), true, Some(address)) = (record, process.ready, process.address)
                    && record.is_owned_by(start)
                {
                    effects.push(Effect::Coordinator(Self::runs(record, address)));
                }
            }
        }
    }

    /// What is said of an owner that has not to be told anything: it is ready. Of a program that knows nothing of
    /// moves this is also all there is to say once the outcome is known *here*; only then may the operation be closed,
    /// because an agent that still believes the move to be open would not replace an owner that dies.
    fn runs(record: &Record, address: SocketAddr) -> FromAgent {
        let start = record.owner.start;
        let operation = record.last_operation;
        match record.moving().filter(|it| it.mode == Mode::Restart).map(|it| it.step) {
            Some(MoveStep::Retire) if record.served.is_some() => FromAgent::Serving { operation, start },
            Some(MoveStep::Undo) if record.served.is_some() => FromAgent::Undone { operation, start },
            Some(
                MoveStep::Open
                | MoveStep::Sealing
                | MoveStep::Switch
                | MoveStep::Doomed
                | MoveStep::Retire
                | MoveStep::Undo,
            )
            | None => FromAgent::Ready { start, incarnation: record.incarnation, address },
        }
    }

    fn pass_on(&self, start: StartId, duty: Duty, answer: Answer, effects: &mut Vec<Effect>) {
        let operation = duty.operation;
        let message = match (answer, duty.call) {
            (Answer::Prepared, _) => FromAgent::Prepared { operation, start },
            (Answer::Sealed(sealed), _) => FromAgent::Sealed { operation, sealed },
            (Answer::Blocked, _) => FromAgent::Blocked { operation },
            (Answer::Loaded { held, stated }, _) => FromAgent::Loaded { operation, held, stated },
            (Answer::Resumed, Call::Resume { incarnation, outcome: Outcome::Committed }) => {
                let Some(address) = self.processes.get(&start).and_then(|process| process.address) else {
                    return;
                };
                FromAgent::Ready { start, incarnation: Incarnation(incarnation), address }
            }
            (Answer::Resumed | Answer::Aborted, _) => FromAgent::Undone { operation, start },
            (Answer::Serving, _) => FromAgent::Serving { operation, start },
            (Answer::Drained, _) => FromAgent::Drained { operation, start },
            // The offer itself comes in a message of its own.
            (Answer::Estimated, _) => return,
            (Answer::OperationClosed | Answer::Failed, _) => FromAgent::Failed { operation, start },
        };
        effects.push(Effect::Coordinator(message));
    }
}
