//! What may be the only copy of a state is ended, or gone back from.

use super::super::Mutant;
use super::{seeds, test, unit};

const DECIDE: &str = "crates/paracloud-core/src/migration/coordinator/decide.rs";
const AGENT: &str = "crates/paracloud-core/src/migration/agent.rs";

pub(super) const LIST: &[Mutant] = &[
    Mutant {
        name: "a target is ended though nobody says that its source lives",
        file: DECIDE,
        find: r"(source_dead || !self.facts.source_lives)",
        replace: r"source_dead",
        catch: unit(
            "paracloud-core",
            "migration::coordinator::lost::tests::what_comes_back_with_a_node_dooms_no_target_that_may_have_the_only_copy",
        ),
    },
    Mutant {
        name: "a proved copy is rolled back from because its source is silent",
        file: DECIDE,
        find: r"self.phase == Phase::Seal && facts.source_lives;",
        replace: r"self.phase == Phase::Seal;",
        catch: unit(
            "paracloud-core",
            "migration::coordinator::lost::tests::a_proved_copy_is_not_rolled_back_from_because_the_node_of_its_source_is_silent",
        ),
    },
    Mutant {
        name: "a cancel goes back to a source that nobody has seen alive",
        file: DECIDE,
        find: r"facts.cancelled && facts.source_lives",
        replace: r"facts.cancelled",
        catch: unit(
            "paracloud-core",
            "migration::coordinator::lost::tests::nothing_that_was_sealed_is_gone_back_to_until_the_source_is_said_to_live",
        ),
    },
    Mutant {
        name: "a copy is gone back from before anybody has seen the source alive",
        file: DECIDE,
        find: r"self.phase == Phase::Seal && facts.source_lives",
        replace: r"self.phase == Phase::Seal && (facts.source_lives || facts.expired)",
        catch: seeds(&["I2"]),
    },
    Mutant {
        name: "a target that holds everything is given up because its source is dead",
        file: DECIDE,
        find: r"return if target_dead || facts.target_failed || facts.loaded.is_some() {",
        replace: r"return if target_dead || facts.target_failed || facts.loaded.is_some() || !facts.opened_here {",
        catch: seeds(&["I2"]),
    },
    Mutant {
        name: "a word of before the commit that the source lives counts",
        file: "crates/paracloud-core/src/migration/coordinator.rs",
        find: r"order == record.order() && self.is_asking",
        replace: r"self.is_asking",
        catch: unit(
            "paracloud-core",
            "migration::coordinator::lost::tests::what_comes_back_with_a_node_dooms_no_target_that_may_have_the_only_copy",
        ),
    },
    Mutant {
        name: "what was loaded while the seal was being swapped is taken for what was sealed",
        file: DECIDE,
        find: r"if facts.ended_early {
            // What",
        replace: r"if false {
            // What",
        catch: unit(
            "paracloud-core",
            "migration::coordinator::tests::what_was_loaded_while_the_seal_was_being_swapped_proves_nothing",
        ),
    },
    Mutant {
        name: "a process is said to live by what was last reported of it",
        file: AGENT,
        find: r"Some(Life::Running) => effects.push(Effect::Look(start, order)),",
        replace: r"Some(Life::Running) => {
                        effects.push(Effect::Coordinator(FromAgent::Lives { start, order }));
                    }",
        catch: unit(
            "paracloud-core",
            "migration::agent::tests::a_process_is_said_to_live_only_after_a_look_at_it",
        ),
    },
    Mutant {
        name: "a process that is seen dead is said to live",
        file: AGENT,
        find: r"if lives && self",
        replace: r"if self",
        catch: seeds(&["I2"]),
    },
    Mutant {
        name: "whatever is asked about is seen alive",
        file: "crates/paracloud-agent/src/node/mod.rs",
        find: r"|identity| identity.is_alive()",
        replace: r"|_| Ok(true)",
        catch: test(
            "paracloud-agent",
            "agent",
            "processes::a_process_that_died_with_its_agent_and_its_shim_is_not_said_to_live",
        ),
    },
    Mutant {
        name: "an owner that left no trace is waited for",
        file: AGENT,
        find: r"            // A staging process of which there is no trace: see to it that it stays so, and say it is dead.
            None => self.order_end(start, effects),",
        replace: r"            None => {}",
        catch: unit(
            "paracloud-core",
            "migration::agent::tests::an_owner_that_left_no_trace_and_is_not_to_be_started_is_ended_and_so_proved_dead",
        ),
    },
];
