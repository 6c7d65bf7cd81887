//! How many instances there are, and how large they are.

use super::super::Mutant;
use super::unit;

const CORE: &str = "paracloud-core";
const DECIDE: &str = "crates/paracloud-core/src/scaling/decide.rs";
const VICTIMS: &str = "crates/paracloud-core/src/scaling/victims.rs";
const LIMITS: &str = "crates/paracloud-core/src/scaling/limits.rs";
const VERTICAL: &str = "crates/paracloud-core/src/scaling/vertical.rs";
const UNDERSTAND: &str = "crates/paracloud-core/src/scaling/understand.rs";

pub(super) const LIST: &[Mutant] = &[
    Mutant {
        name: "fewer instances than there must be",
        file: DECIDE,
        find: r"if bounded < policy.min {",
        replace: r"if false && bounded < policy.min {",
        catch: unit(
            CORE,
            "scaling::tests::moves::however_little_there_is_to_do_the_least_that_there_must_be_stay",
        ),
    },
    Mutant {
        name: "what one once did holds however long requests take by now",
        file: UNDERSTAND,
        find: r"if full().count() * 2 <= observation.ready().count() {",
        replace: r"if true || full().count() * 2 <= observation.ready().count() {",
        catch: unit(
            CORE,
            "scaling::tests::slower::an_app_whose_requests_take_longer_than_before_gets_as_many_as_that_takes",
        ),
    },
    Mutant {
        name: "who is worth less than the usual one counts as much",
        file: DECIDE,
        find: r"let enough = self.of_these(need.least_milli()).min(count);",
        replace: r"let enough = staffing::instances(need.least_milli(), unit).min(count);",
        catch: unit(
            CORE,
            "scaling::tests::slower::where_some_of_them_do_a_quarter_of_the_others_as_many_stay_as_those_are_worth",
        ),
    },
    Mutant {
        name: "who does not say what it works on has nothing to do",
        file: DECIDE,
        find: r"self.reasons.silent.filter(|_| bounded < count && !self.view.is_blind)",
        replace: r"self.reasons.silent.filter(|_| false && bounded < count && !self.view.is_blind)",
        catch: unit(
            CORE,
            "scaling::tests::silence::while_one_of_them_says_nothing_of_a_queue_nobody_leaves_and_once_nobody_says_anything_nothing_is_known",
        ),
    },
    Mutant {
        name: "who works on something is idle if nothing comes",
        file: DECIDE,
        find: r"&& !self.observation.instances.values().any(works)",
        replace: r"&& (true || !self.observation.instances.values().any(works))",
        catch: unit(
            CORE,
            "scaling::tests::moves::what_is_worked_on_or_waits_in_a_queue_that_nobody_tells_of_keeps_those_that_were_never_seen_at_work",
        ),
    },
    Mutant {
        name: "a capacity that nobody has tested hides what waits",
        file: "crates/paracloud-core/src/scaling/trust.rs",
        find: r".filter(|_| measured.is_none()).unwrap_or(u64::MAX);",
        replace: r".filter(|_| false).unwrap_or(u64::MAX);",
        catch: unit(
            CORE,
            "scaling::tests::liars::a_capacity_a_hundred_times_too_large_hides_no_queue_that_gateways_see",
        ),
    },
    Mutant {
        name: "requests that wait are worked on",
        file: "crates/paracloud-core/src/scaling/trust.rs",
        find: r"if at_milli > told * 1_000 {",
        replace: r"if at_milli > u64::MAX / 2 {",
        catch: unit(
            CORE,
            "scaling::trust::tests::slots_that_are_stated_are_the_most_where_at_best_more_requests_were_there_than_those",
        ),
    },
    Mutant {
        name: "what is announced of requests is the load of a queue",
        file: "crates/paracloud-core/src/scaling/announcements.rs",
        find: r"Work::Queue => Some(Bound::NoLoad),",
        replace: r"Work::Queue if false => Some(Bound::NoLoad),
                Work::Queue => None,",
        catch: unit(
            CORE,
            "scaling::announcements::tests::what_is_known_too_early_is_told_with_when_it_begins_and_counts_for_nothing",
        ),
    },
    Mutant {
        name: "a price is a consent to losing what is held",
        file: VICTIMS,
        find: r"if !may_lose && fewer::may_hold_state(state_kib) {",
        replace: r"if !may_lose && state_kib > Some(u32::MAX) {",
        catch: unit(
            CORE,
            "scaling::victims::tests::who_holds_state_or_does_not_say_that_it_holds_none_goes_only_with_a_consent",
        ),
    },
    Mutant {
        name: "what is not measured is nothing",
        file: VICTIMS,
        find: r"return Price::Costs(in_flight(instance).map(cost_ms));",
        replace: r"return Price::Costs(in_flight(instance).or(Some(0)).map(cost_ms));",
        catch: unit(
            CORE,
            "scaling::victims::tests::who_is_known_to_have_least_in_hand_goes_and_by_itself_nobody_of_whom_that_is_not_known",
        ),
    },
    Mutant {
        name: "an announcement of which nothing was measured was false",
        file: "crates/paracloud-core/src/scaling/announcements.rs",
        find: r"if let Some(seen_milli) = open.seen_milli {",
        replace: r"if let Some(seen_milli) = open.seen_milli.or(Some(0)) {",
        catch: unit(
            CORE,
            "scaling::announcements::tests::what_nobody_measured_while_it_lasted_is_graded_by_nothing",
        ),
    },
    Mutant {
        name: "one that leaves has no place among those that there may be",
        file: DECIDE,
        find: r"let there = u32::try_from(self.observation.instances.len()).unwrap_or(u32::MAX);",
        replace: r"let there = self.live();",
        catch: unit(
            CORE,
            "scaling::tests::moves::a_leaving_instance_is_not_called_back_and_takes_its_place_in_the_most_there_may_be",
        ),
    },
    Mutant {
        name: "the number of starts in a time has no bound",
        file: LIMITS,
        find: r"flap.actions.saturating_sub(self.spent())",
        replace: r"flap.actions",
        catch: unit(CORE, "scaling::tests::moves::starts_stop_at_the_budget_and_the_record_says_so"),
    },
    Mutant {
        name: "stops use up what is kept for starts",
        file: LIMITS,
        find: r"flap.actions.div_ceil(2).saturating_sub(self.spent())",
        replace: r"flap.actions.saturating_sub(self.spent())",
        catch: unit(CORE, "scaling::limits::tests::stops_leave_half_of_the_budget_to_starts"),
    },
    Mutant {
        name: "who knows nothing lets instances go",
        file: DECIDE,
        find: r"if self.view.is_blind && bounded <= count {",
        replace: r"if false && self.view.is_blind && bounded <= count {",
        catch: unit(CORE, "scaling::tests::moves::while_nothing_is_told_or_measured_nothing_leaves"),
    },
    Mutant {
        name: "less load lets instances go at once",
        file: DECIDE,
        find: r"if raw < count && peak.need > raw {",
        replace: r"if false && raw < count && peak.need > raw {",
        catch: unit(
            CORE,
            "scaling::tests::moves::less_load_lets_nobody_go_before_the_hold_is_over_and_then_the_cheapest_of_those_asked",
        ),
    },
    Mutant {
        name: "one that drains is not called back",
        file: DECIDE,
        find: r"if left > 0 && instance.phase == Phase::Draining && instance.leaves_by_plan {",
        replace: r"if false && left > 0 && instance.phase == Phase::Draining {",
        catch: unit(
            CORE,
            "scaling::tests::moves::load_that_comes_back_calls_a_draining_one_back_before_another_is_started",
        ),
    },
    Mutant {
        name: "scaling calls back who leaves by a person's word",
        file: DECIDE,
        find: r"if left > 0 && instance.phase == Phase::Draining && instance.leaves_by_plan {",
        replace: r"if left > 0 && instance.phase == Phase::Draining {",
        catch: unit(
            CORE,
            "scaling::tests::moves::who_leaves_by_somebody_elses_word_is_not_called_back_and_others_are_started",
        ),
    },
    Mutant {
        name: "who holds its end off is not seen",
        file: "crates/paracloud-controller/src/scaling/observe.rs",
        find: r"let left_ms = held.entry(hold.instance).or_default();",
        replace: r"let left_ms = &mut 0; let _ = (&mut held, hold.instance);",
        catch: unit(
            "paracloud-controller",
            "scaling::observe::tests::who_holds_its_end_off_is_left_alone_for_the_longest_that_it_said_and_a_hold_of_moves_is_none",
        ),
    },
    Mutant {
        name: "no operation is seen",
        file: "crates/paracloud-controller/src/scaling/observe.rs",
        find: r"is_operated && !matches!(phase,",
        replace: r"false && is_operated && !matches!(phase,",
        catch: unit(
            "paracloud-controller",
            "scaling::observe::tests::whatever_operation_is_open_is_one_except_the_way_out",
        ),
    },
    Mutant {
        name: "sessions that nobody knows of are none",
        file: "crates/paracloud-controller/src/scaling/observe.rs",
        find: r"reported.or_else(|| answered.filter(|_| state == config::State::Session))",
        replace: r"reported.or(answered).or(Some(0))",
        catch: unit(
            "paracloud-controller",
            "scaling::observe::tests::sessions_are_by_a_good_report_or_else_by_the_answer_and_are_unknown_without_either",
        ),
    },
    Mutant {
        name: "a call back gives up whatever is open",
        file: "crates/paracloud-controller/src/orders.rs",
        find: r"Order { only: Some(operation), ..self.orders(Command::Cancel) }",
        replace: r"Order { only: Some(operation).filter(|_| false), ..self.orders(Command::Cancel) }",
        catch: unit(
            "paracloud-controller",
            "orders::tests::a_call_back_is_about_the_operation_that_it_names_and_consents_to_nothing",
        ),
    },
    Mutant {
        name: "scaling consents to a loss",
        file: "crates/paracloud-controller/src/scaling/acts.rs",
        find: r"const LEAVES: Terms = Terms { budget_ms: None, loss_accepted: false };",
        replace: r"const LEAVES: Terms = Terms { budget_ms: None, loss_accepted: true };",
        catch: unit(
            "paracloud-controller",
            "scaling::acts::tests::what_is_decided_by_itself_consents_to_no_loss",
        ),
    },
    Mutant {
        name: "an announcement is graded by what it was lowered to",
        file: "crates/paracloud-core/src/scaling/announcements.rs",
        find: r"open.rate_milli.max(rate_milli.into())",
        replace: r"rate_milli.into()",
        catch: unit(
            CORE,
            "scaling::announcements::tests::who_lowers_an_announcement_or_takes_it_back_once_it_is_provided_for_is_graded_by_what_it_said",
        ),
    },
    Mutant {
        name: "who leaves spends no budget",
        file: DECIDE,
        find: r"self.memory.flaps.spend(self.time.now_ms, leaving);",
        replace: r"self.memory.flaps.spend(self.time.now_ms, 0 * leaving);",
        catch: unit(CORE, "scaling::tests::moves::stops_spend_the_budget_and_use_half_of_it_at_most"),
    },
    Mutant {
        name: "a hold starts who was taken away",
        file: DECIDE,
        find: r"peak.need.min(count).max(first.min(policy.start))",
        replace: r"peak.need.max(first.min(policy.start))",
        catch: unit(
            CORE,
            "scaling::tests::holds::a_hold_keeps_who_is_there_and_starts_nobody_for_who_was_taken_away",
        ),
    },
    Mutant {
        name: "another one goes for who asks to go and may not be touched",
        file: DECIDE,
        find: r"(bounded, only_retiring) = (count - 1, true);",
        replace: r"(bounded, only_retiring) = (count - 1, false);",
        catch: unit(
            CORE,
            "scaling::tests::kept::who_asks_to_go_and_may_not_be_touched_makes_nobody_else_go_before_the_hold_is_over",
        ),
    },
    Mutant {
        name: "each that goes is held against those that served before the others went",
        file: DECIDE,
        find: r"serving_milli -= worth_milli;",
        replace: r"serving_milli -= 0;",
        catch: unit(
            CORE,
            "scaling::tests::kept::of_two_that_are_over_only_one_goes_where_those_that_serve_do_without_one_and_not_without_both",
        ),
    },
    Mutant {
        name: "half of all instances drain at a time",
        file: DECIDE,
        find: r"const DRAINS_ONE_OF: u32 = 4;",
        replace: r"const DRAINS_ONE_OF: u32 = 2;",
        catch: unit(CORE, "scaling::tests::moves::nobody_else_goes_while_a_quarter_is_leaving"),
    },
    Mutant {
        name: "one that asks to be left alone is ended",
        file: VICTIMS,
        find: r"if let Some(left_ms) = instance.held_ms {",
        replace: r"if let Some(left_ms) = instance.held_ms.filter(|_| false) {",
        catch: unit(CORE, "scaling::tests::moves::one_that_holds_among_eight_is_never_the_victim"),
    },
    Mutant {
        name: "silence is taken for a yes",
        file: VICTIMS,
        find: r"(State::Stateful, _) if !instance.quotes && !policy.accepts_loss => Some(Standing::Unasked),",
        replace: r"(State::Stateful, _) if false && !instance.quotes => Some(Standing::Unasked),",
        catch: unit(CORE, "scaling::victims::tests::silence_of_who_holds_something_is_never_a_yes"),
    },
    Mutant {
        name: "one in which sessions live is ended",
        file: VICTIMS,
        find: r"(State::Stateful | State::None, Some(sessions)) if sessions > 0 => Some(Standing::Sessions(sessions)),",
        replace: "",
        catch: unit(
            CORE,
            "scaling::victims::tests::who_has_the_fewest_sessions_drains_where_their_end_is_waited_for_and_nobody_with_one_elsewhere",
        ),
    },
    Mutant {
        name: "an instance in another operation is to get another size",
        file: VERTICAL,
        find: r"!it.in_operation && it.held_ms.is_none()",
        replace: r"it.held_ms.is_none()",
        catch: unit(
            CORE,
            "scaling::vertical::tests::who_is_in_an_operation_or_has_no_known_size_is_left_alone",
        ),
    },
    Mutant {
        name: "some grow while others shrink",
        file: VERTICAL,
        find: r"(false, _) => grow,",
        replace: r"(false, _) => {
            grow.extend(shrink);
            grow
        }",
        catch: unit(CORE, "scaling::vertical::tests::some_never_grow_while_others_shrink"),
    },
    Mutant {
        name: "an instance gets less than it says that it can live with",
        file: VERTICAL,
        find: r".max(counter.unwrap_or(0))",
        replace: "",
        catch: unit(CORE, "scaling::vertical::tests::a_counter_offer_is_the_least_as_long_as_it_holds"),
    },
];
