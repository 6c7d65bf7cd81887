//! What the SDK does with guards, state and results.

use super::super::Mutant;
use super::{interleavings, test, unit};

pub(super) const LIST: &[Mutant] = &[
    Mutant {
        name: "seal without waiting for guards",
        file: "sdk/rust/src/gate.rs",
        find: r"self.poll(watch, waker, |inner| !inner.open && inner.holders.len == 0)",
        replace: r"self.poll(watch, waker, |inner| !inner.open)",
        catch: interleavings("a_seal_meets_all_of_a_guarded_request_or_nothing"),
    },
    Mutant {
        name: "a guard is taken behind a closed gate",
        file: "sdk/rust/src/gate.rs",
        find: r"
        if !inner.open {
            return Err",
        replace: r"
        if !inner.open && inner.holders.len == 0 {
            return Err",
        catch: unit(
            "paracloud-sdk",
            "gate::tests::a_closed_gate_refuses_with_its_incarnation_and_keeps_the_guards_that_are_held",
        ),
    },
    Mutant {
        name: "a guard ends with the handler and not with its answer",
        file: "sdk/rust/src/http/layer.rs",
        find: r"let body = if parts.status == StatusCode::SWITCHING_PROTOCOLS {",
        replace: r"let body = if parts.status != StatusCode::IM_A_TEAPOT {",
        catch: unit("paracloud-sdk", "http::tests::a_guard_ends_when_the_answer_was_handed_over_or_dropped"),
    },
    Mutant {
        name: "the wait for guards opens the gate when it is over",
        file: "sdk/rust/src/session/driver.rs",
        find: r"
                self.blocked = Some(blocked);
                let acts",
        replace: r"
                self.blocked = Some(blocked);
                self.parts.gate.open(self.participant.incarnation());
                let acts",
        catch: test(
            "paracloud-sdk",
            "session",
            "a_guard_that_is_held_blocks_the_seal_and_is_named_and_the_gate_stays_closed",
        ),
    },
    Mutant {
        name: "a renewal that panicked is over and forgotten",
        file: "sdk/rust/src/session/driver/handlers.rs",
        find: r"Renewal::Failed(failure.clone())",
        replace: r"Renewal::Done",
        catch: test(
            "paracloud-sdk",
            "session",
            "handlers::a_target_whose_renewal_panicked_is_not_ready_and_never_serves",
        ),
    },
    Mutant {
        name: "a target loads a schema that it cannot read",
        file: "sdk/rust/src/session/driver/calls.rs",
        find: r"&& (schema.name != own.name || schema.version > own.version)",
        replace: r"&& schema.name != own.name",
        catch: test(
            "paracloud-sdk",
            "session",
            "schema::a_target_refuses_a_schema_that_it_cannot_read_before_it_joins",
        ),
    },
    Mutant {
        name: "end of stream taken for end record",
        file: "sdk/rust/src/handoff/target.rs",
        find: r#"
            decoder.finish()?;
            return Err(HandoffError::Items("the stream ended"));"#,
        replace: r"
            let stated = Sealed::new(incoming.staged.position, &incoming.staged.digest().to_be_bytes());
            return incoming.end(stated);",
        catch: unit("paracloud-sdk", "handoff::tests::a_stream_that_is_cut_anywhere_is_not_loaded"),
    },
    Mutant {
        name: "the target repeats the digest it was told",
        file: "sdk/rust/src/handoff/target.rs",
        find: r"let digest = self.staged.digest();",
        replace: r"let told = stated.parse().map(|(_, digest)| digest).unwrap_or_default();
        let digest = told.try_into().map_or(0, u128::from_be_bytes);",
        catch: unit("paracloud-sdk", "handoff::tests::a_target_computes_its_own_digest_and_position"),
    },
    Mutant {
        name: "reply cache not moved",
        file: "sdk/rust/src/program.rs",
        find: r"let replies = Arc::new(Replies::new(table, ReplyLimits::default()));",
        replace: r"let table = Arc::new(crate::state::table::Table::new(table.name()));
        let replies = Arc::new(Replies::new(table, ReplyLimits::default()));",
        catch: test(
            "paracloud-sdk",
            "session",
            "replies::a_key_that_the_source_answered_is_answered_the_same_by_the_target",
        ),
    },
    Mutant {
        name: "idempotency key without fingerprint",
        file: "sdk/rust/src/http/replies.rs",
        find: r"return if reply.fingerprint == fingerprint {",
        replace: r"return if true || reply.fingerprint == fingerprint {",
        catch: unit(
            "paracloud-sdk",
            "http::tests::keyed::a_key_is_applied_once_and_answered_the_same_however_often_it_is_sent",
        ),
    },
    Mutant {
        name: "a key in work does not count",
        file: "sdk/rust/src/http/replies.rs",
        find: r"if let Some((of, end)) = inner.working.get(key) {",
        replace: r"if let Some((of, end)) = inner.working.get(key).filter(|_| false) {",
        catch: unit("paracloud-sdk", "http::replies::tests::a_key_has_one_result_and_belongs_to_one_request"),
    },
    Mutant {
        name: "a stream with a key is waited for under its guard",
        file: "sdk/rust/src/http/keyed.rs",
        find: r"if !can_be_kept(&body) {",
        replace: r"if false && !can_be_kept(&body) {",
        catch: unit(
            "paracloud-sdk",
            "http::tests::keyed::a_stream_with_a_key_holds_up_no_seal_and_is_not_begun_again",
        ),
    },
    Mutant {
        name: "a key whose result was not kept is free",
        file: "sdk/rust/src/http/keyed.rs",
        find: r"remembered.keep(status, Said::Lost);",
        replace: r"remembered.claim = None;",
        catch: unit(
            "paracloud-sdk",
            "http::tests::keyed::a_stream_with_a_key_holds_up_no_seal_and_is_not_begun_again",
        ),
    },
    Mutant {
        name: "a long answer with a key is read to be kept",
        file: "sdk/rust/src/http/keyed.rs",
        find: r"exact.is_some_and(|bytes| bytes <= REPLY_BODY_BYTES_MAX)",
        replace: r"exact.is_some()",
        catch: unit(
            "paracloud-sdk",
            "http::tests::keyed::an_answer_that_is_too_long_to_be_kept_reaches_its_first_client_whole",
        ),
    },
    Mutant {
        name: "a handler may say not applied",
        file: "sdk/rust/src/http/layer.rs",
        find: r"
        parts.headers.remove(NOT_APPLIED_HEADER);
        let body = ",
        replace: r"
        let body = ",
        catch: unit("paracloud-sdk", "http::tests::only_the_layer_says_not_applied"),
    },
    Mutant {
        name: "what changes behind the copy is forgotten",
        file: "sdk/rust/src/state/shard.rs",
        find: r"if passed && !slot.queued {",
        replace: r"if passed && slot.queued {",
        catch: unit(
            "paracloud-sdk",
            "handoff::tests::what_is_loaded_is_what_the_source_held_when_it_was_sealed",
        ),
    },
    Mutant {
        name: "a deletion is not told",
        file: "sdk/rust/src/handoff/source.rs",
        find: r"Taken::Delete(record) => items::write_delete(number, record, items),",
        replace: r"Taken::Delete(_) => {}",
        catch: unit(
            "paracloud-sdk",
            "handoff::tests::what_is_loaded_is_what_the_source_held_when_it_was_sealed",
        ),
    },
    Mutant {
        name: "a transaction begins inside of another one",
        file: "sdk/rust/src/state/txn.rs",
        find: r"is_inside.replace(true)",
        replace: r"is_inside.replace(false)",
        catch: unit(
            "paracloud-sdk",
            "state::map::tests::a_transaction_inside_of_another_one_is_refused_at_once_on_whatever_map",
        ),
    },
    Mutant {
        name: "a visit holds the lock of what it visits",
        file: "sdk/rust/src/state/table.rs",
        find: r"
                taken.drain(..).for_each(|record| visit(&record));",
        replace: r"
                let _locked = read(shard);
                taken.drain(..).for_each(|record| visit(&record));",
        catch: interleavings("a_visit_that_reads_and_changes_its_map_ends_beside_a_writer_and_a_copy"),
    },
    Mutant {
        name: "a visit goes on for as long as records come",
        file: "sdk/rust/src/state/table.rs",
        find: r"for from in (0..end).step_by(VISITED_AT_ONCE) {",
        replace: r"for from in (0..).step_by(VISITED_AT_ONCE).take_while(|from| *from < read(shard).slots().max(end)) {
                let end = from + VISITED_AT_ONCE;",
        catch: unit("paracloud-sdk", "state::map::tests::a_visit_that_adds_records_ends"),
    },
];
