//! What the register lets happen.

use super::super::Mutant;
use super::{seeds, unit};

const FILE: &str = "crates/paracloud-core/src/register.rs";

pub(super) const LIST: &[Mutant] = &[
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
        file: FILE,
        find: r"
            (Change::RollBack(_), Some(Step::Sealing)) => {
                next.incarnation = self.incarnation.next();
                next.set_step(Step::Undo);",
        replace: r"
            (Change::RollBack(_), Some(Step::Sealing)) => {
                next.set_step(Step::Undo);",
        catch: seeds(&["I3", "I5"]),
    },
    Mutant {
        name: "a served target may be promoted away",
        file: FILE,
        find: r"(Change::Promote, Some(Step::Switch | Step::Doomed)) if self.served.is_none() => {",
        replace: r"(Change::Promote, Some(Step::Switch | Step::Doomed | Step::Retire)) => {",
        catch: unit("paracloud-core", "register::tests::what_has_served_is_never_promoted_away"),
    },
    Mutant {
        name: "a move is committed before it may seal",
        file: FILE,
        find: r"(Change::Commit, Some(Step::Sealing)) => {",
        replace: r"(Change::Commit, Some(Step::Sealing | Step::Open)) => {",
        catch: unit("paracloud-core", "register::tests::nothing_is_committed_before_the_intent_to_seal"),
    },
];
