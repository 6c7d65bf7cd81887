//! Who leaves when fewer are wanted, how its node and its gateways take that, and what is applied while the cloud runs.

use super::super::Mutant;
use super::{test, unit};

const FEWER: &str = "crates/paracloud-controller/src/fewer.rs";
const APPLYING: &str = "crates/paracloud-controller/src/applying.rs";
const APPLICATIONS: &str = "crates/paracloud-agent/src/node/applications.rs";
const LEAVING: &str = "crates/paracloud-gateway/src/control/leaving.rs";

pub(super) const LIST: &[Mutant] = &[
    Mutant {
        name: "who would rather stay leaves first",
        file: FEWER,
        find: r"Preference::Avoid => 2,",
        replace: r"Preference::Avoid => 0,",
        catch: unit(
            "paracloud-controller",
            "fewer::tests::who_would_rather_go_goes_first_and_who_has_sessions_or_would_rather_stay_later",
        ),
    },
    Mutant {
        name: "who has sessions leaves before who has none",
        file: FEWER,
        find: r"(false, preference, sessions > 0, sessions, cost,",
        replace: r"(false, preference, false, 0 * sessions, cost,",
        catch: unit(
            "paracloud-controller",
            "fewer::tests::who_would_rather_go_goes_first_and_who_has_sessions_or_would_rather_stay_later",
        ),
    },
    Mutant {
        name: "what a loss costs is nothing where nobody says it",
        file: FEWER,
        find: r"(quote.cost_ms.is_none(), quote.cost_ms.unwrap_or_default())",
        replace: r"(false, quote.cost_ms.unwrap_or_default())",
        catch: unit(
            "paracloud-controller",
            "fewer::tests::the_cheapest_leave_and_what_is_not_said_is_dearer_than_what_is",
        ),
    },
    Mutant {
        name: "one more leaves than are too many",
        file: FEWER,
        find: r"Some(_) if left == 0 => (Standing::Stays,",
        replace: r"Some(_) if left == 0 && may_lose => (Standing::Stays,",
        catch: unit(
            "paracloud-controller",
            "fewer::tests::the_cheapest_leave_and_what_is_not_said_is_dearer_than_what_is",
        ),
    },
    Mutant {
        name: "who holds state and says nothing leaves without a consent",
        file: FEWER,
        find: r"None if !may_lose => (",
        replace: r"None if !may_lose && left == 0 => (",
        catch: unit(
            "paracloud-controller",
            "fewer::tests::who_says_nothing_goes_when_nobody_else_is_there_and_of_what_holds_state_never_without_a_consent",
        ),
    },
    Mutant {
        name: "of equals all leave from one node",
        file: FEWER,
        find: r"there.into_iter().for_each(|there| *there -= 1);",
        replace: r"there.into_iter().for_each(|there| *there += 1);",
        catch: unit(
            "paracloud-controller",
            "fewer::tests::of_those_that_cost_the_same_those_leave_from_the_fullest_node_in_turn",
        ),
    },
    Mutant {
        name: "who cannot be called back is not drained",
        file: APPLICATIONS,
        find: r"participant::Answer::Drained));",
        replace: r"participant::Answer::Failed));",
        catch: test(
            "paracloud-agent",
            "agent",
            "draining::who_cannot_be_called_back_is_asked_nothing_and_who_speaks_no_paci_neither",
        ),
    },
    Mutant {
        name: "a hold does not keep an instance in its place",
        file: APPLICATIONS,
        find: r#"start.session.holds.against("drain", now_unix_ms())"#,
        replace: r#"start.session.holds.against("move", now_unix_ms())"#,
        catch: test(
            "paracloud-agent",
            "agent",
            "draining::who_holds_or_refuses_or_cannot_be_drained_is_said_to_with_its_words",
        ),
    },
    Mutant {
        name: "who is drained has no longer for it than for a call of a move",
        file: APPLICATIONS,
        find: r"if call == Call::Drain {",
        replace: r"if call == Call::Seal {",
        catch: test(
            "paracloud-agent",
            "agent",
            "draining::an_owner_that_leaves_is_drained_and_may_be_called_back",
        ),
    },
    Mutant {
        name: "who is called back is told so though it was told nothing before",
        file: APPLICATIONS,
        find: r"Call::Abort if leaves && !start.session.can(names::DRAIN_REVERSIBLE) => {",
        replace: r"Call::Abort if !leaves && !start.session.can(names::DRAIN_REVERSIBLE) => {",
        catch: test(
            "paracloud-agent",
            "agent",
            "draining::who_cannot_be_called_back_is_asked_nothing_and_who_speaks_no_paci_neither",
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
        name: "a session that its application ends goes on",
        file: LEAVING,
        find: r"Given::End => session,",
        replace: r"Given::End => None,",
        catch: test(
            "paracloud-gateway",
            "gateway",
            "leaving::a_session_goes_on_at_an_instance_that_leaves_which_is_drained_when_its_application_ends_it",
        ),
    },
    Mutant {
        name: "what was overtaken is applied",
        file: APPLYING,
        find: r"if !same(from, &named) && !same(to, &named) {",
        replace: r"if !same(from, &named) && !same(to, &named) && named.is_empty() {",
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
];
