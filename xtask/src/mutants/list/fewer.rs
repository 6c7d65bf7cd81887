//! Who leaves when fewer are wanted, how its gateways take that, and what is applied while the cloud runs.

use super::super::Mutant;
use super::{test, unit};

const FEWER: &str = "crates/paracloud-core/src/scaling/fewer.rs";
const DRAINING: &str = "crates/paracloud-core/src/draining.rs";
const ORDERED: &str = "crates/paracloud-core/src/ordered/mod.rs";
const ROUNDS: &str = "crates/paracloud-core/src/ordered/fewer.rs";
const DRAINS: &str = "crates/paracloud-controller/src/draining.rs";
const ONGOING: &str = "crates/paracloud-controller/src/ongoing.rs";
const UPDATING: &str = "crates/paracloud-core/src/updating.rs";
const MEASURED: &str = "crates/paracloud-controller/src/scaling/measured.rs";
const APPLYING: &str = "crates/paracloud-controller/src/applying.rs";
const LEAVING: &str = "crates/paracloud-gateway/src/control/leaving.rs";

pub(super) const LIST: &[Mutant] = &[
    Mutant {
        name: "who would rather stay leaves first",
        file: FEWER,
        find: r"cost, self.preference,",
        replace: r"cost, Reverse(self.preference),",
        catch: unit(
            "paracloud-core",
            "scaling::fewer::tests::who_would_rather_go_goes_first_only_where_the_figures_do_not_decide_and_who_has_sessions_last",
        ),
    },
    Mutant {
        name: "who does not serve is taken for one that does not answer",
        file: ROUNDS,
        find: r".filter(|it| it.is_down).map(|_| NOTHING)",
        replace: r".filter(|it| it.is_down && false).map(|_| NOTHING)",
        catch: unit(
            "paracloud-core",
            "ordered::tests::who_does_not_serve_is_taken_first_and_is_not_said_to_have_said_so",
        ),
    },
    Mutant {
        name: "who has sessions leaves before who has none",
        file: FEWER,
        find: r"(self.sessions.unwrap_or(u32::MAX), cost,",
        replace: r"(0 * self.sessions.unwrap_or(u32::MAX), cost,",
        catch: unit(
            "paracloud-core",
            "scaling::fewer::tests::who_would_rather_go_goes_first_only_where_the_figures_do_not_decide_and_who_has_sessions_last",
        ),
    },
    Mutant {
        name: "what a loss costs is nothing where nobody says it",
        file: FEWER,
        find: r"(self.cost_ms.is_none(), self.cost_ms)",
        replace: r"(false, self.cost_ms)",
        catch: unit(
            "paracloud-core",
            "scaling::fewer::tests::the_cheapest_go_and_what_is_not_said_is_dearer_than_what_is",
        ),
    },
    Mutant {
        name: "one more leaves than are too many",
        file: FEWER,
        find: r"Some(_) if left == 0 => Chosen::Stays,",
        replace: r"Some(_) if left == 0 && may_lose => Chosen::Stays,",
        catch: unit(
            "paracloud-core",
            "scaling::fewer::tests::the_cheapest_go_and_what_is_not_said_is_dearer_than_what_is",
        ),
    },
    Mutant {
        name: "who holds state and says nothing leaves without a consent",
        file: FEWER,
        find: r"None if !may_lose => Chosen::NeedsConsent,",
        replace: r"None if !may_lose && left == 0 => Chosen::NeedsConsent,",
        catch: unit(
            "paracloud-core",
            "scaling::fewer::tests::who_says_nothing_goes_when_nobody_else_is_there_and_of_what_holds_state_never_without_a_consent",
        ),
    },
    Mutant {
        name: "of equals all leave from one node",
        file: FEWER,
        find: r"*there = there.saturating_sub(1);",
        replace: r"*there = there.saturating_add(1);",
        catch: unit(
            "paracloud-core",
            "scaling::fewer::tests::of_those_that_are_alike_those_go_from_the_fullest_node_in_turn",
        ),
    },
    Mutant {
        name: "who asks to be left alone is waited for for ever",
        file: DRAINING,
        find: r"(left_ms > 0).then(|| wait_ms.min(left_ms))",
        replace: r"Some(wait_ms + 0 * left_ms)",
        catch: unit(
            "paracloud-core",
            "draining::tests::who_asks_to_be_left_alone_is_asked_again_until_nobody_waits_any_more",
        ),
    },
    Mutant {
        name: "what a drain gives up is tried again for as long as anybody waits",
        file: DRAINING,
        find: r"Obstacle::GivenUp(tries) if tries < TRIES_MAX => AWAY_MS,",
        replace: r"Obstacle::GivenUp(_) => AWAY_MS,",
        catch: unit(
            "paracloud-core",
            "draining::tests::who_asks_to_be_left_alone_is_asked_again_until_nobody_waits_any_more",
        ),
    },
    Mutant {
        name: "one is replaced though there may be no more",
        file: DRAINING,
        find: r"u32::try_from(there).is_ok_and(|it| it < *most)",
        replace: r"u32::try_from(there).is_ok_and(|it| it <= *most)",
        catch: unit(
            "paracloud-core",
            "draining::tests::who_may_have_another_one_in_its_place_is_replaced_and_the_others_are_moved",
        ),
    },
    Mutant {
        name: "all that leave a node go to the same one",
        file: DRAINING,
        find: r"*at = to;",
        replace: r"*at = node;",
        catch: unit(
            "paracloud-core",
            "draining::tests::what_a_node_owns_goes_where_the_fewest_of_its_kind_are",
        ),
    },
    Mutant {
        name: "who does not say how much is in it is asked first",
        file: ROUNDS,
        find: r"self.in_flight.unwrap_or(u32::MAX)",
        replace: r"self.in_flight.unwrap_or(0)",
        catch: unit(
            "paracloud-core",
            "ordered::fewer::tests::who_has_least_in_it_is_asked_and_who_is_held_is_not",
        ),
    },
    Mutant {
        name: "who asks to be left alone is asked what losing it costs",
        file: ROUNDS,
        find: r"it.obstacle.is_none()",
        replace: r"it.obstacle != Some(Obstacle::Starts)",
        catch: unit(
            "paracloud-core",
            "ordered::fewer::tests::who_has_least_in_it_is_asked_and_who_is_held_is_not",
        ),
    },
    Mutant {
        name: "who says nothing leaves though others were never asked",
        file: ROUNDS,
        find: r"const ROUNDS_MAX: usize = 4;",
        replace: r"const ROUNDS_MAX: usize = 1;",
        catch: unit(
            "paracloud-core",
            "ordered::fewer::tests::others_are_asked_before_who_says_nothing_leaves",
        ),
    },
    Mutant {
        name: "who says nothing is taken for one that can go, and nobody else is asked",
        file: ROUNDS,
        find: r"said.is_some_and(|loss| fewer::can_go(&loss, self.may_lose))",
        replace: r"said.is_none_or(|loss| fewer::can_go(&loss, self.may_lose))",
        catch: unit(
            "paracloud-core",
            "ordered::fewer::tests::others_are_asked_before_who_says_nothing_leaves",
        ),
    },
    Mutant {
        name: "who leaves still is left to go while another one is started",
        file: ORDERED,
        find: r"leaving.iter().take(usize::try_from(more).unwrap_or(usize::MAX))",
        replace: r"leaving.iter().take(0)",
        catch: unit(
            "paracloud-core",
            "ordered::tests::who_leaves_still_is_called_back_before_another_one_is_started",
        ),
    },
    Mutant {
        name: "a drain takes as many at once as there are",
        file: DRAINS,
        find: r"let parallel = terms.map_or(0, |terms| usize::try_from(terms.bounded().parallel).unwrap_or(1));",
        replace: r"let parallel = terms.map_or(0, |_| 64);",
        catch: test(
            "paracloud",
            "cloud",
            "drains::of_a_node_that_is_drained_one_at_a_time_no_two_have_an_operation_open_at_once",
        ),
    },
    Mutant {
        name: "a drain takes one after the other whatever was asked for",
        file: DRAINS,
        find: r"let parallel = terms.map_or(0, |terms| usize::try_from(terms.bounded().parallel).unwrap_or(1));",
        replace: r"let parallel = terms.map_or(0, |_| 1);",
        catch: test(
            "paracloud",
            "cloud",
            "drains::of_a_node_that_is_drained_two_at_a_time_two_leave_at_once_and_the_third_after_one_of_them",
        ),
    },
    Mutant {
        name: "one is replaced by an update though there may be no more",
        file: UPDATING,
        find: r"self.count < most",
        replace: r"self.count <= most",
        catch: unit(
            "paracloud-core",
            "updating::tests::who_holds_nothing_is_replaced_where_there_may_be_one_more",
        ),
    },
    Mutant {
        name: "what is over is done again",
        file: ONGOING,
        find: r"all.remove(&taken.of);",
        replace: "",
        catch: unit(
            "paracloud-controller",
            "ongoing::tests::what_is_begun_is_kept_until_it_is_over_and_found_by_the_next_controller",
        ),
    },
    Mutant {
        name: "what goes on is forgotten with its controller",
        file: ONGOING,
        find: r"self.keep(all, &new)?;",
        replace: "",
        catch: unit(
            "paracloud-controller",
            "ongoing::tests::what_is_begun_is_kept_until_it_is_over_and_found_by_the_next_controller",
        ),
    },
    Mutant {
        name: "sessions that a gateway does not know of are none",
        file: MEASURED,
        find: r"Some(sum.saturating_add(each?))",
        replace: r"Some(sum.saturating_add(each.unwrap_or(0)))",
        catch: unit(
            "paracloud-controller",
            "scaling::measured::tests::sessions_are_known_where_every_gateway_knows_them",
        ),
    },
    Mutant {
        name: "an instance in which a session lives is drained",
        file: LEAVING,
        find: r"|| !self.streams.is_empty() || state.sessions.is_any(Instant::now()) {",
        replace: r"|| !self.streams.is_empty() {",
        catch: test(
            "paracloud-gateway",
            "gateway",
            "leaving::an_instance_with_a_session_is_not_drained_before_it_ends_and_one_without_is_at_once",
        ),
    },
    Mutant {
        name: "a gateway that was not there says that no session is",
        file: LEAVING,
        find: r"} else if !self.is_known && view.route.is_some() {",
        replace: r"} else if self.is_known && view.route.is_none() {",
        catch: test(
            "paracloud-gateway",
            "gateway",
            "leaving::a_gateway_that_began_after_an_instance_does_not_say_that_no_session_is_there",
        ),
    },
    Mutant {
        name: "what was overtaken is applied",
        file: APPLYING,
        find: r"if is_new && !same(from, &named) && !same(to, &named) {",
        replace: r"if is_new && !same(from, &named) && !same(to, &named) && named.is_empty() {",
        catch: test(
            "paracloud-controller",
            "shell",
            "applying::what_is_named_counts_for_whoever_comes_later_and_may_be_said_twice",
        ),
    },
    Mutant {
        name: "an older revision counts again",
        file: APPLYING,
        find: r"known.filter(|known| known.revision > *revision)",
        replace: r"known.filter(|known| known.revision > *revision + 1)",
        catch: test(
            "paracloud-controller",
            "shell",
            "applying::what_is_named_counts_for_whoever_comes_later_and_may_be_said_twice",
        ),
    },
    Mutant {
        name: "an app that is left out is taken out of a running cloud",
        file: APPLYING,
        find: r"apps.iter().all(|it: &App| it.name != app.name)",
        replace: r"!apps.is_empty() && apps.iter().all(|it: &App| it.name != app.name)",
        catch: test(
            "paracloud-controller",
            "shell",
            "applying::what_cannot_count_is_refused_and_nothing_is_changed",
        ),
    },
    Mutant {
        name: "what is fixed while a cloud runs is applied",
        file: APPLYING,
        find: r"if fixed.is_empty() {",
        replace: r"if fixed.is_empty() || known.is_some() {",
        catch: test(
            "paracloud-controller",
            "shell",
            "applying::what_cannot_count_is_refused_and_nothing_is_changed",
        ),
    },
    Mutant {
        name: "a session is idle from when its last request came, and not from its end",
        file: "crates/paracloud-gateway/src/sessions.rs",
        find: r"            seen.last = now;",
        replace: "",
        catch: unit(
            "paracloud-gateway",
            "sessions::tests::a_session_is_seen_for_as_long_as_anything_of_it_is_open_and_idle_only_after_that",
        ),
    },
    Mutant {
        name: "a request is kept for one that is being started, though others run",
        file: "crates/paracloud-core/src/balancing/standing.rs",
        find: r"} else if self.absent {",
        replace: r"} else if false {",
        catch: unit(
            "paracloud-core",
            "balancing::tests::who_runs_and_is_not_ready_is_asked_rather_than_one_that_does_not_run_yet",
        ),
    },
];
