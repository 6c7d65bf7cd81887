//! What follows from the record and from what is known: the next swap, or what is being waited for.

use super::{Coordinator, Setting};
use crate::ids::StartId;
use crate::migration::cause::Cause;
use crate::migration::message::Offer;
use crate::migration::{Phase, Role};
use crate::register::{Change, Leave, LeaveStep, Mode, Move, MoveStep, Operation, Record};
use core::net::SocketAddr;

/// What follows from record and facts.
pub(super) enum Next {
    Swap(Change),
    Wait(Phase),
}

impl Coordinator {
    /// The next swap, or what is being waited for.
    pub(super) fn decide(&self, setting: &Setting, record: &Record, fresh: StartId) -> Next {
        if let Some(change) = self.replacement(record, fresh) {
            return Next::Swap(change);
        }
        match &record.operation {
            None if record.gone && self.gateways_settled(setting) => Next::Wait(Phase::Idle),
            None if record.gone => Next::Wait(Phase::Release),
            None if self.gateways_settled(setting) => self.start_or(record, Next::Wait(Phase::Idle)),
            None => self.start_or(record, Next::Wait(Phase::Release)),
            Some(Operation::Move(operation)) => match operation.step {
                MoveStep::Open => self.decide_open(setting, operation),
                MoveStep::Sealing => match operation.mode {
                    Mode::Handoff => self.decide_sealing(setting, operation, fresh),
                    Mode::Restart => self.decide_stopping(setting, operation),
                },
                MoveStep::Switch | MoveStep::Doomed => self.decide_switch(record, operation, fresh),
                MoveStep::Retire => {
                    let told = self.told(record, operation.target.start);
                    self.start_or(record, self.settle(setting, operation, Phase::Serve, told))
                }
                MoveStep::Undo => {
                    let told = self.told(record, operation.source.start);
                    self.start_or(record, self.settle(setting, operation, Phase::Undo, told))
                }
            },
            Some(Operation::Leave(leave)) => match leave.step {
                LeaveStep::Draining => self.decide_draining(setting, record),
                LeaveStep::Leaving if self.is_dead(record.owner.start) => Next::Swap(Change::Gone),
                LeaveStep::Leaving => Next::Wait(Phase::Retire),
                LeaveStep::Returning => self.start_or(record, self.settle_return(setting, record, leave)),
            },
            Some(Operation::Resize(_)) => self.decide_resize(record),
        }
    }

    /// Whether the victim has left, or is called back. The swap that comes first decides.
    fn decide_draining(&self, setting: &Setting, record: &Record) -> Next {
        let facts = &self.facts;
        // Nobody can be called back who is dead; who has not served has nothing.
        if self.is_dead(record.owner.start) || record.served.is_none() {
            return Next::Swap(Change::Depart);
        }
        let cause = if facts.cancelled {
            Some(Cause::Cancelled)
        } else if facts.source_failed {
            Some(Cause::Undrained)
        } else if facts.expired && matches!(self.phase, Phase::Drain | Phase::Leave) {
            Some(Cause::Late(self.phase))
        } else {
            match facts.offer {
                Some(Offer::Refuse) => Some(Cause::Unwilling),
                Some(Offer::Hold { .. }) => Some(Cause::Held),
                Some(Offer::Accept) | None => None,
            }
        };
        if let Some(cause) = cause {
            return Next::Swap(Change::Return(cause));
        }
        if facts.wanted {
            return Next::Swap(Change::DrainAgain);
        }
        // Each of them: one that does not answer may still send.
        if !setting.gateways.is_subset(&facts.drained) {
            return Next::Wait(Phase::Drain);
        }
        if facts.emptied { Next::Swap(Change::Depart) } else { Next::Wait(Phase::Leave) }
    }

    fn settle_return(&self, setting: &Setting, record: &Record, leave: &Leave) -> Next {
        if !self.told(record, leave.victim.start) {
            return Next::Wait(Phase::Return);
        }
        if self.gateways_settled(setting) { Next::Swap(Change::Close) } else { Next::Wait(Phase::Release) }
    }

    fn decide_resize(&self, record: &Record) -> Next {
        let facts = &self.facts;
        let keep = |cause| Next::Swap(Change::Keep(cause));
        if self.is_dead(record.owner.start) {
            return keep(Cause::SourceDied);
        }
        if facts.resized {
            return Next::Swap(Change::Resized);
        }
        if let Some(why) = facts.unfit {
            return keep(Cause::Unfit(why));
        }
        if facts.cancelled {
            return keep(Cause::Cancelled);
        }
        if facts.expired && self.phase == Phase::Resize {
            return keep(Cause::Late(Phase::Resize));
        }
        Next::Wait(Phase::Resize)
    }

    fn decide_open(&self, setting: &Setting, operation: &Move) -> Next {
        let facts = &self.facts;
        let give_up = |cause| Next::Swap(Change::RollBack(cause));
        if !facts.opened_here {
            return give_up(Cause::Interrupted);
        }
        if facts.cancelled {
            return give_up(Cause::Cancelled);
        }
        if self.is_dead(operation.source.start) {
            return give_up(Cause::SourceDied);
        }
        if self.is_dead(operation.target.start) {
            return give_up(Cause::TargetDied);
        }
        if facts.source_failed {
            return give_up(Cause::Failed(Role::Source));
        }
        if facts.target_failed {
            return give_up(Cause::Failed(Role::Target));
        }
        if facts.ended_early {
            return give_up(Cause::EndedEarly);
        }
        if facts.expired && self.phase != Phase::Drain {
            return give_up(Cause::Late(self.phase));
        }
        match facts.offer {
            None => return Next::Wait(Phase::Offer),
            Some(Offer::Refuse) => return give_up(Cause::Refused),
            Some(Offer::Hold { .. }) => return give_up(Cause::Held),
            Some(Offer::Accept) => {}
        }
        if !facts.target_prepared {
            return Next::Wait(Phase::Prepare);
        }
        match (operation.mode, facts.converged) {
            (Mode::Restart, _) | (Mode::Handoff, Some(true)) => {
                // Who is still streaming when the budget is used up is cut.
                let drained = setting.drain_ms == 0
                    || setting.gateways.is_subset(&facts.drained)
                    || (facts.expired && self.phase == Phase::Drain);
                if drained { Next::Swap(Change::Seal) } else { Next::Wait(Phase::Drain) }
            }
            (Mode::Handoff, Some(false)) => give_up(Cause::Diverging),
            (Mode::Handoff, None) => Next::Wait(Phase::Copy),
        }
    }

    /// Mode `handoff`: park, seal, prove.
    fn decide_sealing(&self, setting: &Setting, operation: &Move, fresh: StartId) -> Next {
        let facts = &self.facts;
        let source_dead = self.is_dead(operation.source.start);
        let target_dead = self.is_dead(operation.target.start);
        if facts.ended_early {
            // What the target has is of before the seal.
            return Next::Swap(if source_dead {
                Change::Restart { fresh }
            } else {
                Change::RollBack(Cause::EndedEarly)
            });
        }
        if let Some((held, stated)) = &facts.loaded
            && !target_dead
        {
            let proved = held.is_well_formed() && held == stated;
            let agreed = facts.sealed.as_ref().is_none_or(|sealed| sealed == stated);
            // What was loaded does not say that the source's gate is closed: who lives has to say so itself.
            let closed = source_dead || facts.sealed.is_some();
            if proved && agreed && closed {
                return Next::Swap(Change::Commit);
            }
            if !(source_dead || proved && agreed) {
                return Next::Swap(Change::RollBack(Cause::DigestMismatch));
            }
        }
        if source_dead {
            // Nothing is left of the source to roll back to. Who may have the only copy of the state is waited for.
            return if target_dead || facts.target_failed || facts.loaded.is_some() {
                Next::Swap(Change::Restart { fresh })
            } else {
                Next::Wait(Phase::Seal)
            };
        }
        // Only a source that is known to live is gone back to: what the target has, or is still getting, may be all that
        // is left.
        let late = facts.expired && self.phase == Phase::Seal && facts.source_lives;
        let cause = if facts.cancelled && facts.source_lives {
            Some(Cause::Cancelled)
        } else if facts.blocked {
            Some(Cause::SealBlocked)
        } else if target_dead {
            Some(Cause::TargetDied)
        } else if facts.source_failed {
            Some(Cause::Failed(Role::Source))
        } else if facts.target_failed {
            Some(Cause::Failed(Role::Target))
        } else if late {
            Some(Cause::Late(Phase::Seal))
        } else {
            None
        };
        match cause {
            Some(cause) => Next::Swap(Change::RollBack(cause)),
            None if self.gateways_settled(setting) => Next::Wait(Phase::Seal),
            None => Next::Wait(Phase::Park),
        }
    }

    /// Mode `restart`: park, stop the source, prove it dead.
    fn decide_stopping(&self, setting: &Setting, operation: &Move) -> Next {
        if self.is_dead(operation.source.start) {
            return Next::Swap(Change::Commit);
        }
        if self.facts.cancelled {
            return Next::Swap(Change::RollBack(Cause::Cancelled));
        }
        if self.facts.expired {
            return Next::Swap(Change::RollBack(Cause::Late(self.phase)));
        }
        if setting.gateways.is_subset(&self.facts.obeyed) {
            Next::Wait(Phase::Seal)
        } else {
            Next::Wait(Phase::Park)
        }
    }

    fn decide_switch(&self, record: &Record, operation: &Move, fresh: StartId) -> Next {
        let source_dead = self.is_dead(operation.source.start);
        if self.is_dead(operation.target.start) {
            return Next::Swap(if operation.mode == Mode::Restart || source_dead {
                Change::Restart { fresh }
            } else {
                Change::Promote
            });
        }
        if operation.step == MoveStep::Doomed {
            return Next::Wait(Phase::Doom);
        }
        if let Some(address) = self.ready(record) {
            return Next::Swap(Change::Serve(address));
        }
        // It said that it cannot, or it says nothing. One that may have the only copy of the state is waited for.
        let may_be_only_copy = operation.mode == Mode::Handoff && (source_dead || !self.facts.source_lives);
        if self.facts.target_failed || (self.facts.expired && !may_be_only_copy) {
            return Next::Swap(Change::Doom);
        }
        Next::Wait(Phase::Switch)
    }

    /// After the outcome: tell the owner, release the gateways, end the other process, close.
    fn settle(&self, setting: &Setting, operation: &Move, telling: Phase, told: bool) -> Next {
        if !told {
            return Next::Wait(telling);
        }
        if !self.gateways_settled(setting) {
            return Next::Wait(Phase::Release);
        }
        let other = if telling == Phase::Undo { operation.target.start } else { operation.source.start };
        if self.is_dead(other) { Next::Swap(Change::Close) } else { Next::Wait(Phase::Retire) }
    }

    /// An owner that has not served yet comes first.
    fn start_or(&self, record: &Record, next: Next) -> Next {
        if record.served.is_some() {
            return next;
        }
        match self.ready(record) {
            Some(address) => Next::Swap(Change::Serve(address)),
            None => Next::Wait(Phase::Start),
        }
    }

    fn ready(&self, record: &Record) -> Option<SocketAddr> {
        self.facts
            .ready
            .filter(|(start, incarnation, _)| {
                *start == record.owner.start && *incarnation == record.incarnation
            })
            .map(|(_, _, address)| address)
    }

    /// Whether the owner of a decided operation has heard that it may serve. A process that was started as owner
    /// after the decision never had to be told.
    pub(super) fn told(&self, record: &Record, survivor: StartId) -> bool {
        self.facts.serving || self.facts.undone || record.owner.start != survivor
    }

    pub(super) fn gateways_settled(&self, setting: &Setting) -> bool {
        self.facts.gateways_over || setting.gateways.is_subset(&self.facts.obeyed)
    }
}
