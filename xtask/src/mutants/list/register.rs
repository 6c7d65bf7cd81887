//! What the register lets happen.

use super::super::Mutant;
use super::{model, seeds, unit};

const FILE: &str = "crates/paracloud-core/src/register/mod.rs";
const MOVING: &str = "crates/paracloud-core/src/register/moving.rs";

pub(super) const LIST: &[Mutant] = &[
    Mutant {
        name: "an owner that dies is started anew as an app's first version",
        file: FILE,
        find: r"Change::Restart { fresh } => next.own_anew(Placement { start: *fresh, ..self.owner }),",
        replace: r"Change::Restart { fresh } => next.own_anew(Placement::new(self.owner.node, *fresh)),",
        catch: seeds(&["R"]),
    },
    Mutant {
        name: "an update that is given up is started anew as what it was to become",
        file: MOVING,
        find: r"next.own_anew(Placement { start: *fresh, ..self.source });",
        replace: r"next.own_anew(self.source.running(self.target.revision));
                next.owner.start = *fresh;",
        catch: model("crash-handoff", "R"),
    },
    Mutant {
        name: "an agent restarts a sealed source",
        file: FILE,
        find: r"
            Some(Step::Sealing | Step::Switch | Step::Doomed | Step::Draining | Step::Leaving) => false,
        }
    }

    /// Whether an owner whose node is lost",
        replace: r"
            Some(Step::Sealing) => true,
            Some(Step::Switch | Step::Doomed | Step::Draining | Step::Leaving) => false,
        }
    }

    /// Whether an owner whose node is lost",
        catch: seeds(&["I3"]),
    },
    Mutant {
        name: "an agent restarts an unserved target",
        file: FILE,
        find: r"
            Some(Step::Sealing | Step::Switch | Step::Doomed | Step::Draining | Step::Leaving) => false,
        }
    }

    /// Whether an owner whose node is lost",
        replace: r"
            Some(Step::Switch) => true,
            Some(Step::Sealing | Step::Doomed | Step::Draining | Step::Leaving) => false,
        }
    }

    /// Whether an owner whose node is lost",
        catch: unit(
            "paracloud-core",
            "register::tests::from_sealing_to_served_only_the_coordinator_restarts",
        ),
    },
    Mutant {
        name: "an agent proposes more than a restart",
        file: FILE,
        find: r"if proposer == Proposer::Agent && !(restart && self.agent_may_restart()) {",
        replace: r"if proposer == Proposer::Agent && restart && !self.agent_may_restart() {",
        catch: unit("paracloud-core", "register::tests::an_agent_may_propose_nothing_but_a_restart"),
    },
    Mutant {
        name: "swap without comparing",
        file: FILE,
        find: r"        if !same {",
        replace: r"        if false && !same {",
        catch: seeds(&["I1", "I2", "I3", "I5"]),
    },
    Mutant {
        name: "roll back without a new incarnation",
        file: MOVING,
        find: r"
            (Change::RollBack(_), MoveStep::Sealing) => {
                next.incarnation = record.incarnation.next();",
        replace: r"
            (Change::RollBack(_), MoveStep::Sealing) => {",
        catch: seeds(&["I3", "I5"]),
    },
    Mutant {
        name: "a served target may be promoted away",
        file: MOVING,
        find: r"(Change::Promote, MoveStep::Switch | MoveStep::Doomed) if record.served.is_none() => {",
        replace: r"(Change::Promote, MoveStep::Switch | MoveStep::Doomed | MoveStep::Retire) => {",
        catch: unit("paracloud-core", "register::tests::what_has_served_is_never_promoted_away"),
    },
    Mutant {
        name: "a move is committed before it may seal",
        file: MOVING,
        find: r"(Change::Commit, MoveStep::Sealing) => {",
        replace: r"(Change::Commit, MoveStep::Sealing | MoveStep::Open) => {",
        catch: unit("paracloud-core", "register::tests::nothing_is_committed_before_the_intent_to_seal"),
    },
];
