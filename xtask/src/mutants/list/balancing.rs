//! Which instance a request goes to.

use super::super::Mutant;
use super::{test, unit};

const CORE: &str = "paracloud-core";
const JUDGED: &str = "crates/paracloud-core/src/balancing/judged.rs";
const CLAIM: &str = "crates/paracloud-core/src/balancing/claim.rs";

pub(super) const LIST: &[Mutant] = &[
    Mutant {
        name: "a request is sent into a pause that was announced",
        file: JUDGED,
        find: r"pause.begins_in_us <= lead_us.min(PAUSE_LEAD_US_MAX)",
        replace: r"pause.begins_in_us == 0",
        catch: unit(CORE, "balancing::tests::a_pause_is_kept_to_before_it_begins_and_is_over_with_its_lease"),
    },
    Mutant {
        name: "what is new goes on to who is about to move",
        file: "crates/paracloud-gateway/src/backends.rs",
        find: r"state.balancer.moves(id, view.moves);",
        replace: r"state.balancer.moves(id, false);",
        catch: test(
            "paracloud-gateway",
            "gateway",
            "balancing::nothing_new_goes_to_an_instance_that_is_about_to_move_until_it_has_or_the_move_is_off",
        ),
    },
    Mutant {
        name: "a call that failed counts as one that was answered",
        file: "crates/paracloud-gateway/src/ticket.rs",
        find: r"if is_call && grpc::has_failed(trailers.as_deref()) {",
        replace: r"if is_call && grpc::has_failed(trailers.as_deref()) && false {",
        catch: test(
            "paracloud-gateway",
            "gateway",
            "calls::a_call_that_ends_with_an_error_of_the_server_or_not_at_all_is_a_failure_of_its_instance",
        ),
    },
    Mutant {
        name: "an application is told of time that its call has waited away",
        file: "crates/paracloud-gateway/src/proxy.rs",
        find: r"request.headers_mut().insert(grpc::TIMEOUT, grpc::left(left));",
        replace: r"let _ = grpc::left(left);",
        catch: test(
            "paracloud-gateway",
            "gateway",
            "grpc::an_application_is_not_told_of_time_that_went_by_while_it_was_dialled",
        ),
    },
    Mutant {
        name: "who has not taken another size of late is asked for one again at once",
        file: "crates/paracloud-core/src/scaling/vertical.rs",
        find: r"is_some_and(|it| !it.size_rests)",
        replace: r"is_some()",
        catch: unit(
            CORE,
            "scaling::vertical::tests::who_is_in_an_operation_or_did_not_take_one_of_late_or_has_no_known_size_is_left_alone",
        ),
    },
    Mutant {
        name: "all may pause at once",
        file: JUDGED,
        find: r"if fleet.pausing <= fleet.pausing_max {",
        replace: r"if fleet.pausing > 0 {",
        catch: unit(CORE, "balancing::tests::more_pauses_at_once_than_may_be_are_kept_to_in_proportion"),
    },
    Mutant {
        name: "a weight that is claimed has no bound",
        file: JUDGED,
        find: r"let bounded = raw.clamp(ordinary / TRUST, ordinary * TRUST);",
        replace: r"let bounded = raw.max(1);",
        catch: unit(
            CORE,
            "balancing::tests::a_weight_that_is_claimed_counts_four_times_at_most_and_a_quarter_at_least",
        ),
    },
    Mutant {
        name: "a report is believed though its lease ends",
        file: CLAIM,
        find: r"(self.left_us.saturating_mul(2_000) / lease_us).min(1_000)",
        replace: r"1_000 * u64::from(lease_us > 0)",
        catch: unit(CORE, "balancing::tests::what_one_claims_counts_four_times_what_is_measured_at_most"),
    },
    Mutant {
        name: "a claim counts as it stands beside what was measured",
        file: JUDGED,
        find: r"judged.bounded = judged.raw.clamp(judged.seen / TRUST, judged.seen * TRUST);",
        replace: r"judged.bounded = judged.raw;",
        catch: unit(CORE, "balancing::tests::what_one_claims_counts_four_times_what_is_measured_at_most"),
    },
    Mutant {
        name: "one that fails at once looks idle",
        file: JUDGED,
        find: r"load_milli: u64::from(inputs.own) * 1_000 + inputs.debt_milli + others_milli,",
        replace: r"load_milli: u64::from(inputs.own) * 1_000 + others_milli,",
        catch: unit(CORE, "balancing::tests::one_that_fails_fast_draws_no_more_than_the_others"),
    },
    Mutant {
        name: "a new instance gets as much as one that is warm",
        file: JUDGED,
        find: r"judged.is_hot |= inputs.answered < 255 && inputs.own > inputs.answered;",
        replace: "",
        catch: unit(
            CORE,
            "balancing::tests::a_new_one_that_states_nothing_gets_one_request_more_than_it_has_answered",
        ),
    },
];
