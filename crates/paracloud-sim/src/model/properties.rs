//! What must always hold, and what must be possible, so that a model in which nothing happens does not pass.
//!
//! In mode `restart` an acknowledged write is one that the program answered, and it lives in the program's memory
//! alone: that a move leaves it behind was agreed before the move began. So there I2 does not say that it is in what
//! the next owner serves, but that it is there or was held by a process whose death the register has on record; that
//! no two processes apply a request without a key; and that none is called refused that was applied. I1 and I4 say
//! what they say in mode `handoff`.

use super::{Configuration, MoveModel, State};
use crate::ledger::Standing;
use crate::world::{Party, Timer, World};
use paracloud_core::ids::Revision;
use paracloud_core::migration::Phase;
use paracloud_core::migration::cause::Cause;
use paracloud_core::migration::gateway;
use paracloud_core::register::{Change, Mode, MoveStep, Step};
use stateright::Property;

/// Properties by phase. A phase that is not listed does not compile.
macro_rules! phases {
    ($($phase:ident: $reached:literal, $left:literal;)+) => {
        /// For each phase: that a move reaches it, and that it is left for another end than the commit.
        fn by_phase() -> Vec<(Phase, Property<MoveModel>, Property<MoveModel>)> {
            const fn is_listed(phase: Phase) -> bool {
                match phase {
                    $(Phase::$phase => true),+
                }
            }
            vec![$((
                Phase::$phase,
                Property::<MoveModel>::sometimes($reached, |_, state| {
                    is_listed(Phase::$phase) && state.phase() == Some(Phase::$phase)
                }),
                Property::<MoveModel>::sometimes($left, |_, state| state.gives_up(Phase::$phase)),
            )),+]
        }
    };
}

phases! {
    Idle: "no move is open", "an owner is replaced while no move is open";
    Start: "phase start is reached", "an owner is replaced in start";
    Offer: "phase offer is reached", "a move is given up in offer";
    Prepare: "phase prepare is reached", "a move is given up in prepare";
    Copy: "phase copy is reached", "a move is given up in copy";
    Drain: "phase drain is reached", "a move is given up in drain";
    Park: "phase park is reached", "a move is given up in park";
    Seal: "phase seal is reached", "a move is given up in seal";
    Switch: "phase switch is reached", "a move is given up in switch";
    Doom: "phase doom is reached", "a move is given up in doom";
    Serve: "phase serve is reached", "an owner is replaced in serve";
    Undo: "phase undo is reached", "an owner is replaced in undo";
    Release: "phase release is reached", "an owner is replaced in release";
    Retire: "phase retire is reached", "an owner is replaced in retire";
    Leave: "phase leave is reached", "a leave is called back in leave";
    Return: "phase return is reached", "an owner is replaced in return";
    Resize: "phase resize is reached", "an owner is replaced in resize";
}

/// Whether faults of a configuration let its moves reach a phase.
fn is_reached(configuration: &Configuration, phase: Phase) -> bool {
    let faults = configuration.faults;
    if configuration.leaves {
        return match phase {
            Phase::Idle | Phase::Drain | Phase::Leave | Phase::Retire | Phase::Release => true,
            Phase::Return => is_disturbed(configuration) || faults.cancels > 0,
            Phase::Start => faults.crashes > 0,
            Phase::Offer
            | Phase::Prepare
            | Phase::Copy
            | Phase::Park
            | Phase::Seal
            | Phase::Switch
            | Phase::Doom
            | Phase::Serve
            | Phase::Undo
            | Phase::Resize => false,
        };
    }
    match phase {
        Phase::Leave | Phase::Return | Phase::Resize => false,
        Phase::Idle
        | Phase::Offer
        | Phase::Prepare
        | Phase::Park
        | Phase::Seal
        | Phase::Switch
        | Phase::Serve
        | Phase::Release
        | Phase::Retire => true,
        Phase::Copy => configuration.mode == Mode::Handoff,
        Phase::Drain => configuration.drains,
        Phase::Start => faults.crashes > 0,
        Phase::Undo => is_disturbed(configuration) || faults.cancels > 0,
        Phase::Doom => is_disturbed(configuration),
    }
}

/// Whether faults of a configuration let a move be given up in a phase, or its owner be replaced.
fn is_left(configuration: &Configuration, phase: Phase) -> bool {
    let faults = configuration.faults;
    let reached = is_reached(configuration, phase);
    let restart = configuration.mode == Mode::Restart;
    if configuration.leaves {
        return reached
            && match phase {
                Phase::Drain | Phase::Leave => is_disturbed(configuration) || faults.cancels > 0,
                Phase::Idle | Phase::Return => faults.crashes > 0,
                Phase::Start
                | Phase::Retire
                | Phase::Release
                | Phase::Offer
                | Phase::Prepare
                | Phase::Copy
                | Phase::Park
                | Phase::Seal
                | Phase::Switch
                | Phase::Doom
                | Phase::Serve
                | Phase::Undo
                | Phase::Resize => false,
            };
    }
    reached
        && match phase {
            Phase::Offer | Phase::Prepare | Phase::Copy | Phase::Seal => {
                is_disturbed(configuration) || faults.cancels > 0
            }
            // Streams that do not leave are cut, and so are gateways that do not park: neither ends a handoff.
            Phase::Drain => faults.crashes + faults.cancels > 0,
            Phase::Park => faults.crashes + faults.cancels > 0 || restart && is_disturbed(configuration),
            Phase::Switch | Phase::Idle | Phase::Serve | Phase::Undo | Phase::Release => faults.crashes > 0,
            // A program that was stopped for its move is dead long before; only a new coordinator has to ask.
            Phase::Retire => faults.crashes > u8::from(restart),
            Phase::Leave | Phase::Return | Phase::Resize => false,
            Phase::Doom => true,
            Phase::Start => faults.crashes > 1,
        }
}

/// Whether anything can keep a move from its next phase.
fn is_disturbed(configuration: &Configuration) -> bool {
    let faults = configuration.faults;
    faults.crashes + faults.losses + faults.lates > 0
}

/// The properties of a configuration. What can only happen by a fault that its budget does not have is not asked for.
pub(super) fn properties(configuration: &Configuration) -> Vec<Property<MoveModel>> {
    let faults = configuration.faults;
    let handoff = configuration.mode == Mode::Handoff;
    let mut properties = vec![
        Property::<MoveModel>::always("I1: one process at most has its gate open", |_, state| {
            !state.breaks("I1")
        }),
        Property::<MoveModel>::always("I2: what was acknowledged is served on, once", |_, state| {
            !state.breaks("I2")
        }),
        Property::<MoveModel>::always(
            "I3: the source resumes before the commit and never after",
            |_, state| !state.breaks("I3"),
        ),
        Property::<MoveModel>::always(
            "I4: a gateway that parks starts nothing, and parks nobody for ever",
            |_, state| !state.breaks("I4") && state.every_wait_is_bounded(),
        ),
        Property::<MoveModel>::always("I5: a healed world comes to rest", |model, state| {
            model.comes_to_rest(state)
        }),
        Property::<MoveModel>::always("G: a gate is as its machine has it", |_, state| !state.breaks("G")),
        Property::<MoveModel>::always("I6: who leaves has nothing left to do", |_, state| {
            !state.breaks("I6")
        }),
        Property::<MoveModel>::always("R: who owns runs what was asked for", |_, state| !state.breaks("R")),
        Property::<MoveModel>::always("P: no process is started twice", |_, state| {
            let others = ["I1", "I2", "I3", "I4", "I6", "G", "R"];
            state.world.violations.iter().all(|it| others.contains(&it.rule))
        }),
    ];
    if configuration.leaves {
        properties.extend(of_leave());
    } else {
        properties.push(Property::<MoveModel>::sometimes("a move is committed", |_, state| {
            state.step() == Some(Step::Switch)
        }));
        properties.push(Property::<MoveModel>::sometimes("a committed move ends", |_, state| {
            state.step().is_none() && state.moves == 0 && state.world.disk.owner.node.0 == 2
        }));
        properties.extend(configuration.updates.then(|| {
            Property::<MoveModel>::sometimes("a committed update ends", |_, state| {
                state.step().is_none() && state.world.disk.owner.revision != Revision::first()
            })
        }));
    }
    for (phase, reached, left) in by_phase() {
        properties.extend(is_reached(configuration, phase).then_some(reached));
        properties.extend(is_left(configuration, phase).then_some(left));
    }
    if configuration.leaves {
        return properties;
    }
    if !configuration.requests.is_empty() {
        properties.push(Property::<MoveModel>::sometimes("a request waits at a gateway", |_, state| {
            state.world.gateways().any(|id| state.world.parked(id) > 0)
        }));
        properties
            .push(Property::<MoveModel>::sometimes("a write is acknowledged beside a move", |_, state| {
                state.world.ledger.standing(Standing::Acknowledged).any(|it| it != World::PAST)
            }));
    }
    if is_disturbed(configuration) {
        properties.push(Property::<MoveModel>::sometimes("a given up move ends", |_, state| {
            state.step().is_none()
                && state.moves == 0
                && state.world.disk.owner.node.0 == 1
                && state.world.disk.owner.revision == Revision::first()
                && state.world.disk.last_operation.0 == 1
        }));
        properties.extend(configuration.updates.then(|| {
            Property::<MoveModel>::sometimes("an update is given up", |_, state| {
                let moving = state.world.disk.moving().filter(|it| it.step == MoveStep::Undo);
                moving.is_some_and(|it| it.target.revision != it.source.revision)
            })
        }));
        if handoff {
            properties.push(Property::<MoveModel>::sometimes("a sealed source is promoted", |_, state| {
                state.world.coming_change() == Some(&Change::Promote)
            }));
            if faults.crashes > 0 {
                let name = "the proved target of a dead source is committed";
                properties.push(Property::<MoveModel>::sometimes(name, |_, state| {
                    let source = Party::App(state.world.disk.owner.start);
                    state.world.coming_change() == Some(&Change::Commit) && !state.world.is_up(source)
                }));
            }
        } else {
            properties.push(Property::<MoveModel>::sometimes("a write is left behind", |_, state| {
                state.world.ledger.left_behind() > 0
            }));
        }
    }
    if faults.hogs > 0 && handoff {
        properties.push(Property::<MoveModel>::sometimes("a seal is blocked", |_, state| {
            state.world.coming_change() == Some(&Change::RollBack(Cause::SealBlocked))
        }));
    }
    properties
}

fn of_leave() -> [Property<MoveModel>; 4] {
    [
        Property::<MoveModel>::sometimes("an instance is gone", |_, state| state.world.disk.gone),
        Property::<MoveModel>::sometimes("an instance leaves alive", |_, state| {
            state.world.coming_change() == Some(&Change::Depart)
                && state.world.is_up(Party::App(state.world.disk.owner.start))
        }),
        Property::<MoveModel>::sometimes("an instance is called back, and serves", |_, state| {
            state.step().is_none() && state.moves == 0 && state.world.disk.served.is_some()
        }),
        Property::<MoveModel>::sometimes("a write is acknowledged beside a leave", |_, state| {
            state.step() == Some(Step::Draining)
                && state.world.ledger.standing(Standing::Acknowledged).any(|it| it != World::PAST)
        }),
    ]
}

impl State {
    fn step(&self) -> Option<Step> {
        self.world.disk.step()
    }

    fn phase(&self) -> Option<Phase> {
        Some(self.world.coordinator()?.phase())
    }

    fn breaks(&self, rule: &str) -> bool {
        self.world.violations.iter().any(|violation| violation.rule == rule)
    }

    /// A change is coming that ends the move of this phase without its commit, or replaces its owner.
    fn gives_up(&self, phase: Phase) -> bool {
        let other_end = matches!(
            self.world.coming_change(),
            Some(
                Change::RollBack(_)
                    | Change::Return(_)
                    | Change::Restart { .. }
                    | Change::Replace(_)
                    | Change::Promote
            )
        );
        other_end && self.phase() == Some(phase)
    }

    /// Each request that waits at a gateway has its bound armed.
    fn every_wait_is_bounded(&self) -> bool {
        self.world.gateways().all(|id| {
            let bound = |(party, timer): &&(Party, Timer)| {
                *party == Party::Gateway(id) && matches!(timer, Timer::Gateway(gateway::Timer::Bound(_)))
            };
            self.world.parked(id) <= self.timers.iter().filter(bound).count()
        })
    }
}
