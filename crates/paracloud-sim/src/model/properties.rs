//! What must always hold, and what must be possible, so that a model in which nothing happens does not pass.

use super::{Configuration, MoveModel, State};
use crate::ledger::Standing;
use crate::world::World;
use paracloud_core::migration::Phase;
use paracloud_core::migration::cause::Cause;
use paracloud_core::register::{Change, Mode, Step};
use stateright::Property;

/// The properties of a configuration. What can only happen by a fault that its budget does not have is not asked for.
pub(super) fn properties(configuration: &Configuration) -> Vec<Property<MoveModel>> {
    let faults = configuration.faults;
    let handoff = configuration.mode == Mode::Handoff;
    let somebody_fails = faults.crashes + faults.losses + faults.lates > 0;
    let mut properties = vec![
        Property::<MoveModel>::always("I1 to I4 hold", |_, state| state.world.violations.is_empty()),
        Property::<MoveModel>::always("I5: a healed world comes to rest", |model, state| {
            !state.fingerprint.is_multiple_of(model.configuration.heal_every) || model.heal(state).is_ok()
        }),
        Property::<MoveModel>::sometimes("a move is committed", |_, state| {
            state.step() == Some(Step::Switch)
        }),
        Property::<MoveModel>::sometimes("a committed move ends", |_, state| {
            state.step().is_none() && state.moves == 0 && state.world.disk.owner.node.0 == 2
        }),
    ];
    if configuration.requests > 0 {
        properties.push(Property::<MoveModel>::sometimes("a request waits at a gateway", |_, state| {
            state.world.gateways().any(|id| state.world.parked(id) > 0)
        }));
        if handoff {
            properties.push(Property::<MoveModel>::sometimes(
                "a write is acknowledged beside a move",
                |_, state| state.world.ledger.standing(Standing::Acknowledged).any(|it| it != World::PAST),
            ));
        }
    }
    if somebody_fails {
        properties.extend([
            Property::<MoveModel>::sometimes("a given up move ends", |_, state| {
                state.step().is_none()
                    && state.moves == 0
                    && state.world.disk.owner.node.0 == 1
                    && state.world.disk.last_operation.0 == 1
            }),
            Property::<MoveModel>::sometimes("a target is doomed", |_, state| {
                state.step() == Some(Step::Doomed)
            }),
            Property::<MoveModel>::sometimes("a move is given up in offer", |_, s| s.gives_up(Phase::Offer)),
            Property::<MoveModel>::sometimes("a move is given up in prepare", |_, s| {
                s.gives_up(Phase::Prepare)
            }),
            Property::<MoveModel>::sometimes("a move is given up in seal", |_, s| s.gives_up(Phase::Seal)),
        ]);
        if handoff {
            properties.extend([
                Property::<MoveModel>::sometimes("a move is given up in copy", |_, s| {
                    s.gives_up(Phase::Copy)
                }),
                Property::<MoveModel>::sometimes("a sealed source is promoted", |_, state| {
                    state.world.pending_change() == Some(&Change::Promote)
                }),
            ]);
        }
    }
    if faults.crashes > 0 {
        if handoff {
            properties.push(Property::<MoveModel>::sometimes("a move is given up in park", |_, s| {
                s.gives_up(Phase::Park)
            }));
        }
        properties.push(Property::<MoveModel>::sometimes("a dead owner is replaced", |_, state| {
            matches!(state.world.pending_change(), Some(Change::Restart { .. }))
        }));
    }
    if faults.hogs > 0 && handoff {
        properties.push(Property::<MoveModel>::sometimes("a seal is blocked", |_, state| {
            state.world.pending_change() == Some(&Change::RollBack(Cause::SealBlocked))
        }));
    }
    properties
}

impl State {
    fn step(&self) -> Option<Step> {
        self.world.disk.step()
    }

    fn gives_up(&self, phase: Phase) -> bool {
        matches!(self.world.pending_change(), Some(Change::RollBack(_) | Change::Restart { .. }))
            && self.world.coordinator().is_some_and(|coordinator| coordinator.phase() == phase)
    }
}
