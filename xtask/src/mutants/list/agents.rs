//! What agents and shims do to processes.

use super::super::Mutant;
use super::{model, seeds, unit};

const AGENT: &str = "crates/paracloud-core/src/migration/agent.rs";
const RESTARTS: &str = "crates/paracloud-core/src/migration/agent/restarts.rs";
const DUTY: &str = "crates/paracloud-core/src/migration/duty.rs";
const SHIM: &str = "crates/paracloud-core/src/migration/shim.rs";

pub(super) const LIST: &[Mutant] = &[
    Mutant {
        name: "an agent restarts without swap",
        file: RESTARTS,
        find: r"
        effects.push(Effect::Coordinator(FromAgent::Propose { expected, fresh }));
        self.restart_armed = true;",
        replace: r"
        self.record = Some(Record { owner: crate::ids::Placement { start: fresh, ..expected.owner }, ..expected });
        self.spawn(fresh, effects);
        self.restart_armed = true;",
        catch: seeds(&["I1", "I2", "I5"]),
    },
    Mutant {
        name: "start id not compared",
        file: DUTY,
        find: r"
    if record.is_owned_by(start) {
        return Standing::Owner;",
        replace: r"
    if record.names(start) {
        return Standing::Owner;",
        catch: seeds(&["I1"]),
    },
    Mutant {
        name: "a call is made to any process of the move",
        file: DUTY,
        find: r"MoveStep::Switch if start == record.owner.start => {",
        replace: r"MoveStep::Switch if record.names(start) => {",
        catch: seeds(&["I1", "I2", "I3", "I5"]),
    },
    Mutant {
        name: "the source is sealed before the intent is persisted",
        file: DUTY,
        find: r"MoveStep::Sealing if start == operation.source.start => Call::Seal,",
        replace: r"MoveStep::Open | MoveStep::Sealing if start == operation.source.start => Call::Seal,",
        catch: seeds(&["I1", "I3", "I5"]),
    },
    Mutant {
        name: "a rolled back source is told to abort",
        file: DUTY,
        find: r"if record.incarnation == operation.base {",
        replace: r"if record.incarnation >= operation.base {",
        catch: model("crash-handoff", "I5"),
    },
    Mutant {
        name: "a late end is not refused",
        file: AGENT,
        find: r"if owns_by_a_newer_record {",
        replace: r"if false && owns_by_a_newer_record {",
        catch: unit(
            "paracloud-core",
            "migration::agent::tests::a_late_end_of_a_process_that_owns_is_refused",
        ),
    },
    Mutant {
        name: "a late prepare is not refused",
        file: AGENT,
        find: r"
        if late {
            return;",
        replace: r"
        if false && late {
            return;",
        catch: unit("paracloud-core", "migration::agent::tests::a_late_prepare_starts_nothing"),
    },
    Mutant {
        name: "an older record is believed",
        file: AGENT,
        find: r"if record.order() < known.order() {",
        replace: r"if false && record.order() < known.order() {",
        catch: unit("paracloud-core", "migration::agent::tests::an_older_record_is_not_believed"),
    },
    Mutant {
        name: "marker ignored",
        file: SHIM,
        find: r"(true, false) => Life::Dead,",
        replace: r"(true, false) => Life::Unstarted,",
        catch: unit("paracloud-core", "migration::shim::tests::a_marked_start_id_is_never_started_again"),
    },
    Mutant {
        name: "a program is started before its marker",
        file: SHIM,
        find: r"
                self.life = Life::Marking(true);
                effects.push(Effect::Mark);",
        replace: r"
                self.life = Life::Running;
                effects.push(Effect::Mark);
                effects.push(Effect::Exec);
                effects.push(Effect::Report(Status::Running));",
        catch: seeds(&["I1", "I5", "P"]),
    },
    Mutant {
        name: "a shim obeys an older generation",
        file: SHIM,
        find: r"Input::Ordered(generation, _) if generation < self.generation => {",
        replace: r"Input::Ordered(generation, _) if false && generation < self.generation => {",
        catch: unit("paracloud-core", "migration::shim::tests::an_order_of_an_older_agent_is_refused"),
    },
    Mutant {
        name: "an ended process is started after all",
        file: SHIM,
        find: r"(Order::End, Life::Marking(_)) => self.life = Life::Marking(false),",
        replace: r"(Order::End, Life::Marking(_)) => {}",
        catch: unit(
            "paracloud-core",
            "migration::shim::tests::who_is_ended_before_its_start_is_never_started",
        ),
    },
];
