//! What the shells keep and let in.

use super::super::Mutant;
use super::{test, unit};

const TRAIL: &str = "crates/paracloud-substrate/src/process/trail.rs";

pub(super) const LIST: &[Mutant] = &[
    Mutant {
        name: "the store swaps without comparing",
        file: "crates/paracloud-controller/src/store/mod.rs",
        find: r"if current.as_ref() != expected {",
        replace: r"if false && current.as_ref() != expected {",
        catch: test(
            "paracloud-controller",
            "store",
            "behaviour::a_swap_that_expected_another_record_writes_nothing_and_tells_the_one_there_is",
        ),
    },
    Mutant {
        name: "a controller acts on a damaged record",
        file: "crates/paracloud-controller/src/store/frame.rs",
        find: r"if expected != found {",
        replace: r"if false && expected != found {",
        catch: test("paracloud-controller", "store", "damage::a_damaged_record_is_refused_by_table_and_name"),
    },
    Mutant {
        name: "a record of another instance is taken for this one's",
        file: "crates/paracloud-controller/src/store/frame.rs",
        find: r"let crc = crc32c::crc32c_append(crc, key);",
        replace: "",
        catch: unit(
            "paracloud-controller",
            "store::frame::tests::a_value_under_another_key_or_in_another_table_is_damaged",
        ),
    },
    Mutant {
        name: "a channel token is used twice",
        file: "crates/paracloud-agent/src/channel.rs",
        find: r"if std::mem::replace(&mut token.used, true) {",
        replace: r"if std::mem::replace(&mut token.used, false) {",
        catch: unit("paracloud-agent", "channel::tests::a_token_is_one_processes_and_used_once"),
    },
    Mutant {
        name: "a channel token of another process",
        file: "crates/paracloud-agent/src/channel.rs",
        find: r"token.owner == start && *token.text == *text",
        replace: r"*token.text == *text",
        catch: unit("paracloud-agent", "channel::tests::a_token_is_one_processes_and_used_once"),
    },
    Mutant {
        name: "a channel token outlives its operation",
        file: "crates/paracloud-agent/src/channel.rs",
        find: r"if closed(token.operation) {",
        replace: r"if false && closed(token.operation) {",
        catch: unit("paracloud-agent", "channel::tests::a_token_is_one_processes_and_used_once"),
    },
    Mutant {
        name: "a record of a pause is written durably alone, and late",
        file: "crates/paracloud-agent/src/node/records.rs",
        find: r"match slot.write(&text) {",
        replace: r"match Ok::<(), io::Error>(drop(slot)) {",
        catch: test(
            "paracloud-agent",
            "agent",
            "memory::an_agent_that_is_killed_in_a_pause_leaves_the_record_that_it_acted_on",
        ),
    },
    Mutant {
        name: "an agent writes anew in a pause",
        file: "crates/paracloud-agent/src/node/records.rs",
        find: r"if may_pause(record) { KEEP_MS } else { 0 }",
        replace: r"if false && may_pause(record) { KEEP_MS } else { 0 }",
        catch: test(
            "paracloud-agent",
            "agent",
            "memory::from_the_intent_to_seal_to_the_close_an_agent_makes_and_renames_no_file",
        ),
    },
    Mutant {
        name: "a note that cannot be read says unsealed",
        file: "crates/paracloud-agent/src/processes.rs",
        find: r"Err(error) => error.kind() != io::ErrorKind::NotFound,",
        replace: r"Err(_) => false,",
        catch: unit(
            "paracloud-agent",
            "processes::tests::what_may_be_sealed_counts_as_sealed_and_so_does_what_cannot_be_read",
        ),
    },
    Mutant {
        name: "an abort is waited for without end",
        file: "crates/paracloud-agent/src/upcalls.rs",
        find: r"if self.lapses_ms()? > now_ms {",
        replace: r"if self.lapses_ms()? > now_ms || now_ms > 0 {",
        catch: unit(
            "paracloud-agent",
            "upcalls::tests::an_abort_that_is_not_answered_counts_as_answered_once_and_is_delivered_on",
        ),
    },
    Mutant {
        name: "who polls no more is never said to be silent",
        file: "crates/paracloud-agent/src/session.rs",
        find: r"if waits { self.desk.due_ms() } else { self.desk.misses_ms() }",
        replace: r"if waits { self.desk.due_ms() } else { None }",
        catch: test(
            "paracloud-agent",
            "agent",
            "contract::who_is_asked_and_does_not_poll_is_said_not_to_answer_and_on_the_next_link_again",
        ),
    },
    Mutant {
        name: "whoever has the number of a dead process is taken for it",
        file: TRAIL,
        find: r"Ok(_) => Ok(Number::Others),",
        replace: r"Ok(_) => Ok(Number::Its),",
        catch: unit(
            "paracloud-substrate",
            "process::trail::tests::a_number_that_another_process_has_says_nothing",
        ),
    },
    Mutant {
        name: "a session whose leader was reaped needs no proof whose it is",
        file: TRAIL,
        find: r"(number == Number::Nobodys && proof.is_some())",
        replace: r"number == Number::Nobodys",
        catch: unit(
            "paracloud-substrate",
            "process::trail::tests::a_session_whose_leader_was_reaped_is_anybodys_until_one_of_it_proves_whose",
        ),
    },
    Mutant {
        name: "a process that its shim may start any moment is said to be dead",
        file: "crates/paracloud-agent/src/node/unstarted.rs",
        find: r"(Ok(Some(_)), Ok(false)))",
        replace: r"(Ok(_), Ok(false)))",
        catch: unit(
            "paracloud-agent",
            "node::unstarted::tests::what_is_marked_or_has_a_shim_may_have_been_started",
        ),
    },
    Mutant {
        name: "a start that an end has overtaken is ordered of a late shim",
        file: "crates/paracloud-agent/src/shims.rs",
        find: r"while let Ok(order) = orders.try_recv() {",
        replace: r"while let (false, Ok(order)) = (true, orders.try_recv()) {",
        catch: unit(
            "paracloud-agent",
            "shims::tests::a_start_that_an_end_has_overtaken_is_not_ordered_of_a_shim_that_comes_up_late",
        ),
    },
    Mutant {
        name: "a process that its shim may start any moment is not told of",
        file: "crates/paracloud-agent/src/node/mod.rs",
        find: r"start.instance == *name && start.may_come_to_live();",
        replace: r"start.instance == *name && start.process.may_be_marked();",
        catch: test(
            "paracloud-agent",
            "agent",
            "processes::a_process_whose_agent_was_killed_before_it_was_marked_is_known_to_the_next_one",
        ),
    },
    Mutant {
        name: "a manifest consents for an application that can hand over",
        file: "crates/paracloud-controller/src/moves.rs",
        find: r"let consent = accept_loss || (standing && !preview.hands_over);",
        replace: r"let consent = accept_loss || standing;",
        catch: unit(
            "paracloud-controller",
            "moves::tests::who_can_hand_over_is_restarted_only_by_a_persons_consent_to_this_move",
        ),
    },
    Mutant {
        name: "an owner that is restarted elsewhere is ended without a word",
        file: "crates/paracloud-agent/src/node/ending.rs",
        find: r"let is_told = told.is_some_and(",
        replace: r"let is_told = told.filter(|_| false).is_some_and(",
        catch: test(
            "paracloud-agent",
            "agent",
            "endings::an_owner_that_is_restarted_elsewhere_is_told_to_stop_and_ends_by_itself",
        ),
    },
    Mutant {
        name: "no target is told which schema the source sends",
        file: "crates/paracloud-agent/src/answers.rs",
        find: r"let schema = schema.filter(|_| side == call::Side::Target).cloned();",
        replace: r"let schema = schema.filter(|_| false).cloned();",
        catch: unit(
            "paracloud-agent",
            "answers::tests::the_target_alone_is_told_the_sources_schema_and_its_refusal_names_both",
        ),
    },
    Mutant {
        name: "a log that was given up passes for a short one",
        file: "crates/paracloud-substrate/src/trace/replay.rs",
        find: r"if log::is_given_up(path) {",
        replace: r"if log::is_given_up(path) && false {",
        catch: unit(
            "paracloud-substrate",
            "trace::log::tests::a_log_that_cannot_be_written_any_longer_is_given_up_and_its_machine_goes_on",
        ),
    },
    Mutant {
        name: "a peer that stands still keeps its link",
        file: "crates/paracloud-controller/src/server.rs",
        find: r"for _ in 0..SILENT_MS / BEAT_MS {",
        replace: r"for _ in 0..SILENT_MS * BEAT_MS {",
        catch: test(
            "paracloud-controller",
            "shell",
            "links::a_peer_that_says_nothing_is_dropped_and_one_that_beats_is_not",
        ),
    },
    Mutant {
        name: "an agent that has nothing to say is silent",
        file: "crates/paracloud-agent/src/node/mod.rs",
        find: r"self.say(FromAgentLine::Beat);",
        replace: "",
        catch: test(
            "paracloud-agent",
            "agent",
            "processes::an_agent_that_has_nothing_to_say_says_that_it_goes_on",
        ),
    },
    Mutant {
        name: "a number that no gate of the process can have said proves that nothing was applied",
        file: "crates/paracloud-gateway/src/head.rs",
        find: r"status.as_u16() == NOT_APPLIED_STATUS && may_be_said.contains(&said)",
        replace: r"status.as_u16() == NOT_APPLIED_STATUS && (true || may_be_said.contains(&said))",
        catch: test(
            "paracloud-gateway",
            "gateway",
            "retry::a_421_without_the_header_of_its_gate_and_the_header_without_a_421_are_answers",
        ),
    },
    Mutant {
        name: "a process of which nothing can be known is left out of what lives on its node",
        file: "crates/paracloud-agent/src/processes.rs",
        find: r"Err(error) => return Err(unknown(error)),",
        replace: r"Err(_) => {}",
        catch: unit(
            "paracloud-agent",
            "processes::tests::a_process_of_which_nothing_can_be_known_is_not_left_out",
        ),
    },
    Mutant {
        name: "a marker that cannot be looked at is none",
        file: "crates/paracloud-agent/src/processes.rs",
        find: r"self.marker().try_exists()",
        replace: r"Ok(self.marker().exists())",
        catch: test("paracloud-agent", "agent", "unknown::no_shim_starts_what_may_be_marked"),
    },
    Mutant {
        name: "a lock that cannot be looked at is free",
        file: "crates/paracloud-agent/src/durable.rs",
        find: r"Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),",
        replace: r"Err(error) if !error.to_string().is_empty() => return Ok(false),",
        catch: test(
            "paracloud-agent",
            "agent",
            "unknown::as_long_as_nobody_can_see_whether_up_lives_no_process_is_ended_for_want_of_it",
        ),
    },
    Mutant {
        name: "whoever cannot be looked at is taken for gone",
        file: TRAIL,
        find: r"shown(process.stat())?.filter(",
        replace: r"process.stat().ok().filter(",
        catch: unit(
            "paracloud-substrate",
            "process::trail::tests::what_cannot_be_looked_at_is_not_taken_for_gone",
        ),
    },
    Mutant {
        name: "who replaces its program has another environment",
        file: "crates/paracloud-substrate/src/process/environment.rs",
        find: r"if is_whole || (",
        replace: r"if true || (",
        catch: unit(
            "paracloud-substrate",
            "process::trail::tests::who_replaces_its_program_again_and_again_is_seen_at_each_look",
        ),
    },
    Mutant {
        name: "a record is kept after what follows from it",
        file: "crates/paracloud-agent/src/node/mod.rs",
        find: r"            self.keep_record(&name)?;
            for effect in effects {
                self.carry_out(&name, effect).await;
            }",
        replace: r"            for effect in effects {
                self.carry_out(&name, effect).await;
            }
            self.keep_record(&name)?;",
        catch: test(
            "paracloud-agent",
            "agent",
            "memory::an_agent_that_can_keep_a_record_nowhere_does_nothing_because_of_it_and_ends",
        ),
    },
    Mutant {
        name: "a record that could be kept nowhere is acted on",
        file: "crates/paracloud-agent/src/node/records.rs",
        find: r"self.write_now(path, text)",
        replace: r"Ok(self.write_now(path, text).unwrap_or_default())",
        catch: unit(
            "paracloud-agent",
            "node::records::tests::a_record_without_a_slot_is_kept_durably_before_anything_follows_or_not_at_all",
        ),
    },
    Mutant {
        name: "a source is told to seal though that could not be noted",
        file: "crates/paracloud-agent/src/node/applications.rs",
        find: r"if let Err(error) = start.process.seal(operation) {",
        replace: r"if let (true, Err(error)) = (false, start.process.seal(operation)) {",
        catch: test(
            "paracloud-agent",
            "agent",
            "memory::a_source_of_which_it_cannot_be_noted_that_it_seals_is_not_told_to_and_the_move_fails",
        ),
    },
    Mutant {
        name: "what is to survive the machine is not synced",
        file: "crates/paracloud-agent/src/durable.rs",
        find: r"    file.sync_all()?;
    std::fs::rename(&staged, path)?;",
        replace: r"    std::fs::rename(&staged, path)?;",
        catch: test(
            "paracloud-agent",
            "agent",
            "synced::a_marker_an_identity_and_a_record_are_synced_and_the_marker_before_anything_is_started",
        ),
    },
    Mutant {
        name: "the directory of what is to survive the machine is not synced",
        file: "crates/paracloud-agent/src/durable.rs",
        find: r"Some(directory) => File::open(directory)?.sync_all(),",
        replace: r"Some(directory) => File::open(directory).map(drop),",
        catch: test(
            "paracloud-agent",
            "agent",
            "synced::a_marker_an_identity_and_a_record_are_synced_and_the_marker_before_anything_is_started",
        ),
    },
    Mutant {
        name: "who has no descriptor left spins",
        file: "crates/paracloud-agent/src/accept.rs",
        find: r#"tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(AGAIN_MS)).await;"#,
        replace: r#"tracing::debug!(%error, "a connection could not be accepted");"#,
        catch: unit("paracloud-agent", "accept::tests::who_has_no_descriptor_left_waits_until_there_is_one"),
    },
    Mutant {
        name: "what the register does not explain is ended",
        file: "crates/paracloud-controller/src/instance/lost.rs",
        find: r"known.record.as_ref().filter(|record| contradicts(record, own))",
        replace: r"known.record.as_ref().filter(|record| false && contradicts(record, own))",
        catch: test(
            "paracloud-controller",
            "shell",
            "lost::a_process_whose_node_knows_what_the_register_does_not_explain_is_left_for_a_person",
        ),
    },
    Mutant {
        name: "a gateway's word is the last one before it is released",
        file: "crates/paracloud-controller/src/instance/closing.rs",
        find: r"let is_last = !account.more && matches!(step, None | Some(Step::Retire | Step::Undo));",
        replace: r"let is_last = !account.more && (step.is_some() || step.is_none());",
        catch: test(
            "paracloud-controller",
            "shell",
            "moves::what_a_gateway_says_before_it_is_released_is_never_its_last_word",
        ),
    },
    Mutant {
        name: "a source that died by itself passes for one that was stopped with consent",
        file: "crates/paracloud-controller/src/operations.rs",
        find: r"Mode::Restart if !self.may_have_entered(Phase::Seal) => (Loss::Death, Consent::Nobody),",
        replace: "",
        catch: test(
            "paracloud-controller",
            "shell",
            "journal::what_a_source_held_that_died_before_a_move_by_restart_stopped_it_is_lost_by_its_death",
        ),
    },
    Mutant {
        name: "a log that cannot be written ends its shell",
        file: "crates/paracloud/src/shells.rs",
        find: r".with_writer(Log::new(std::io::stderr()))",
        replace: r".with_writer(std::io::stderr)",
        catch: test("paracloud", "cloud", "written::shells_whose_logs_cannot_be_written_run_and_come_back"),
    },
    Mutant {
        name: "words that cannot be written are taken for read",
        file: "crates/paracloud/src/output.rs",
        find: r"written.inspect_err(missed).is_ok()",
        replace: r"written.is_ok()",
        catch: test(
            "paracloud",
            "cloud",
            "written::a_command_whose_words_cannot_be_written_has_failed_and_one_that_nobody_reads_ends_quietly",
        ),
    },
    Mutant {
        name: "who follows logs is not told that the cloud has ended",
        file: "crates/paracloud/src/command/logs.rs",
        find: r"        if ended {",
        replace: r"        if false && ended {",
        catch: test(
            "paracloud",
            "cloud",
            "written::who_follows_logs_hears_the_last_word_of_what_runs_and_is_told_when_the_cloud_has_ended",
        ),
    },
    Mutant {
        name: "an unchanged configuration is written again",
        file: "crates/paracloud/src/up/mod.rs",
        find: r"Cloud::load(&layout.cloud()).is_ok_and(|before| before == *cloud)",
        replace: r"false && Cloud::load(&layout.cloud()).is_ok_and(|before| before == *cloud)",
        catch: test(
            "paracloud",
            "cloud",
            "disk::on_a_full_disk_shells_that_are_killed_come_back_and_moves_end_and_logs_say_later_what_is_missing",
        ),
    },
];
