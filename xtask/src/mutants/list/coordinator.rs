//! What the coordinator decides and says.

use super::super::Mutant;
use super::{model, seeds, unit};

const FILE: &str = "crates/paracloud-core/src/migration/coordinator.rs";
const DECIDE: &str = "crates/paracloud-core/src/migration/coordinator/decide.rs";
const TELL: &str = "crates/paracloud-core/src/migration/coordinator/tell.rs";

/// Where every swap of a coordinator starts.
const SWAP: &str = r"
        self.swapping = Some(change.clone());
        effects.push(Effect::Swap { expected, change, proposer: Proposer::Coordinator });";

pub(super) const LIST: &[Mutant] = &[
    Mutant {
        name: "abort without swap",
        file: FILE,
        find: r"
                Next::Swap(change) => {",
        replace: r"
                Next::Swap(change) if matches!(change, Change::RollBack(_)) && record.step() == Some(Step::Sealing) => {
                    if let Ok(next) = record.apply(&change, Proposer::Coordinator) {
                        effects.push(Effect::Agent(next.owner.node, ToAgent::Own(next)));
                    }
                    // The next message is awaited in the phase as it was.
                    return effects.push(Effect::SetTimer(Timer::Resend, setting.resend_ms));
                }
                Next::Swap(change) => {",
        catch: seeds(&["I1", "I3", "I5"]),
    },
    Mutant {
        name: "send before persist: the seal",
        file: FILE,
        find: SWAP,
        replace: r"
        self.swapping = Some(change.clone());
        if change == Change::Seal && let Ok(next) = expected.apply(&change, Proposer::Coordinator) {
            effects.push(Effect::Agent(expected.owner.node, ToAgent::Own(next)));
        }
        effects.push(Effect::Swap { expected, change, proposer: Proposer::Coordinator });",
        catch: seeds(&["I1", "I3", "I5"]),
    },
    Mutant {
        name: "send before persist: served",
        file: FILE,
        find: SWAP,
        replace: r"
        self.swapping = Some(change.clone());
        if matches!(change, Change::Serve(_)) && let Ok(next) = expected.apply(&change, Proposer::Coordinator) {
            effects.push(Effect::Agent(expected.owner.node, ToAgent::Own(next)));
        }
        effects.push(Effect::Swap { expected, change, proposer: Proposer::Coordinator });",
        catch: model("crash-handoff", "I3"),
    },
    Mutant {
        name: "send before persist: the abort",
        file: FILE,
        find: SWAP,
        replace: r"
        self.swapping = Some(change.clone());
        if matches!(change, Change::RollBack(_)) && let Ok(next) = expected.apply(&change, Proposer::Coordinator) {
            effects.push(Effect::Agent(expected.owner.node, ToAgent::Own(next)));
        }
        effects.push(Effect::Swap { expected, change, proposer: Proposer::Coordinator });",
        catch: seeds(&["I3"]),
    },
    Mutant {
        name: "digest not compared at the commit",
        file: DECIDE,
        find: r"held.is_well_formed() && held == stated;",
        replace: r"held.is_well_formed();",
        catch: seeds(&["I2"]),
    },
    Mutant {
        name: "an empty digest proves something",
        file: DECIDE,
        find: r"held.is_well_formed() && held == stated;",
        replace: r"held == stated;",
        catch: unit("paracloud-core", "migration::coordinator::tests::digests_that_differ_end_the_move"),
    },
    Mutant {
        name: "what the source sealed is not compared",
        file: DECIDE,
        find: r"let agreed = facts.sealed.as_ref().is_none_or(|sealed| sealed == stated);",
        replace: r"let agreed = true;",
        catch: unit("paracloud-core", "migration::coordinator::tests::digests_that_differ_end_the_move"),
    },
    Mutant {
        name: "commit on the seal alone",
        file: DECIDE,
        find: r"let late = facts.expired && self.phase == Phase::Seal && facts.source_lives;",
        replace: r"let late = facts.expired && self.phase == Phase::Seal && facts.source_lives;
        if facts.sealed.is_some() {
            return Next::Swap(Change::Commit);
        }",
        catch: model("crash-handoff", "I2"),
    },
    Mutant {
        name: "what was loaded is taken for the word of a source that lives",
        file: DECIDE,
        find: r"let closed = source_dead || facts.sealed.is_some();",
        replace: r"let closed = true;",
        catch: unit(
            "paracloud-core",
            "migration::coordinator::tests::a_source_that_lives_has_to_say_itself_that_it_is_sealed",
        ),
    },
    Mutant {
        name: "what was loaded before the seal is taken for what was sealed",
        file: "crates/paracloud-core/src/migration/coordinator.rs",
        find: r"if record.step() == Some(Step::Open) {
                    self.facts.ended_early = true;",
        replace: r"if false {
                    self.facts.ended_early = true;",
        catch: unit(
            "paracloud-core",
            "migration::coordinator::tests::a_source_that_ends_its_stream_before_it_is_asked_to_seal_ends_the_move",
        ),
    },
    Mutant {
        name: "the only copy of the state is ended before the commit because it is slow",
        file: DECIDE,
        find: r"return if target_dead || facts.target_failed || facts.loaded.is_some() {",
        replace: r"return if target_dead || facts.target_failed || facts.loaded.is_some() || facts.expired {",
        catch: unit(
            "paracloud-core",
            "migration::coordinator::tests::a_slow_target_that_may_have_the_only_copy_is_not_ended_before_the_commit_either",
        ),
    },
    Mutant {
        name: "an abort revives an empty source",
        file: DECIDE,
        find: r"
            && !target_dead
        {",
        replace: r"
            && !target_dead
            && !source_dead
        {",
        catch: unit(
            "paracloud-core",
            "migration::coordinator::tests::with_a_proved_target_and_a_dead_source_only_a_commit_follows",
        ),
    },
    Mutant {
        name: "the only copy of the state is ended because it is slow",
        file: DECIDE,
        find: r"(self.facts.expired && !may_be_only_copy)",
        replace: r"(self.facts.expired && (true || !may_be_only_copy))",
        catch: unit(
            "paracloud-core",
            "migration::coordinator::tests::a_target_that_takes_too_long_is_doomed_unless_it_has_the_only_copy",
        ),
    },
    Mutant {
        name: "who parked for a roll-back is taken for released",
        file: "crates/paracloud-core/src/migration/coordinator.rs",
        find: r"
                    self.facts.obeyed.clear();
                    self.facts.gateways_over = false;",
        replace: r"",
        catch: unit(
            "paracloud-core",
            "migration::coordinator::tests::a_gateway_that_parks_while_a_move_is_undone_is_released_once_the_source_answers",
        ),
    },
    Mutant {
        name: "promote without doom",
        file: DECIDE,
        find: r"return Next::Swap(Change::Doom);",
        replace: r"return Next::Swap(Change::Promote);",
        catch: seeds(&["I1", "I2", "I3"]),
    },
    Mutant {
        name: "a restart is committed before the source is dead",
        file: DECIDE,
        find: r"
        if self.is_dead(operation.source.start) {
            return Next::Swap(Change::Commit);",
        replace: r"
        if setting.gateways.is_subset(&self.facts.obeyed) {
            return Next::Swap(Change::Commit);",
        catch: model("crash-restart", "I1"),
    },
    Mutant {
        name: "a move goes on that another coordinator opened",
        file: DECIDE,
        find: r"if !facts.opened_here {",
        replace: r"if false && !facts.opened_here {",
        catch: unit(
            "paracloud-core",
            "migration::coordinator::tests::a_move_that_was_open_when_the_controller_died_is_off",
        ),
    },
    Mutant {
        name: "an update starts the old version",
        file: FILE,
        find: r"let revision = revision.unwrap_or(owner.revision);",
        replace: r"let revision = revision.map_or(owner.revision, |_| owner.revision);",
        catch: seeds(&["R"]),
    },
    Mutant {
        name: "an update opens a move to the old version",
        file: FILE,
        find: r"let revision = revision.unwrap_or(owner.revision);",
        replace: r"let revision = revision.map_or(owner.revision, |_| owner.revision);",
        catch: unit(
            "paracloud-core",
            "migration::coordinator::tests::an_update_opens_a_move_to_the_revision_that_is_asked_for_and_any_other_move_keeps_the_owners",
        ),
    },
    Mutant {
        name: "what has left is started anew as an app's first version",
        file: FILE,
        find: r"self.swap(Change::Start(Placement { node: to, start: fresh, revision }), effects);",
        replace: r"let _ = revision;
                    self.swap(Change::Start(Placement::new(to, fresh)), effects);",
        catch: seeds(&["R"]),
    },
    Mutant {
        name: "the source of an unfinished move is ended",
        file: TELL,
        find: r"Phase::Retire if operation.step == MoveStep::Undo => effects.push(end(operation.target)),",
        replace: r"Phase::Retire if operation.step == MoveStep::Undo => effects.push(end(operation.source)),",
        catch: seeds(&["I2", "I5"]),
    },
];
