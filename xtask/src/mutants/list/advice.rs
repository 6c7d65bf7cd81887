//! What applications say of themselves for a time, and what they are asked about their price and size.

use super::super::Mutant;
use super::{test, unit};

const LEASES: &str = "crates/paracloud-agent/src/leases.rs";

pub(super) const LIST: &[Mutant] = &[
    Mutant {
        name: "a report outlives its lease",
        file: LEASES,
        find: r"self.report.take_if(|report| report.until_ms <= now_ms);",
        replace: r"self.report.take_if(|_| false);",
        catch: unit(
            "paracloud-agent",
            "leases::tests::a_lease_that_is_over_is_said_to_be_and_nothing_of_it_is_left",
        ),
    },
    Mutant {
        name: "a pause is told with what else there is to tell",
        file: LEASES,
        find: r"return self.changed(News::Urgent);",
        replace: r"return self.changed(News::Some);",
        catch: unit(
            "paracloud-agent",
            "leases::tests::what_changes_is_told_together_and_seldom_and_a_pause_at_once",
        ),
    },
    Mutant {
        name: "who claims nothing may say everything",
        file: "crates/paracloud-agent/src/node/applications.rs",
        find: r"if !session.can(capability) {",
        replace: r"if session.greeted && false && !session.can(capability) {",
        catch: test(
            "paracloud-agent",
            "agent",
            "advice::each_call_needs_a_hello_to_this_agent_and_its_capability_and_says_which",
        ),
    },
    Mutant {
        name: "a question is waited for without end",
        file: "crates/paracloud-agent/src/node/applications.rs",
        find: r"if start.session.asked_ahead.as_ref().is_some_and(|ahead| waited(ahead.until_ms)) {",
        replace: r"if start.session.asked_ahead.as_ref().is_some_and(|ahead| waited(ahead.until_ms + 600_000)) {",
        catch: test(
            "paracloud-agent",
            "agent",
            "questions::a_question_is_waited_for_as_long_as_it_says_and_an_answer_that_is_wrong_is_why_there_was_none",
        ),
    },
    Mutant {
        name: "the last word of a program that hangs is renewed for ever",
        file: "sdk/rust/src/session/leases.rs",
        find: r"Some(now + next.max(GAP)).filter(|due| *due < at + STANDS);",
        replace: r"Some(now + next.max(GAP)).filter(|due| *due > at);",
        catch: unit(
            "paracloud-sdk",
            "session::leases::tests::a_value_that_the_program_has_not_said_for_a_minute_is_renewed_no_more",
        ),
    },
    Mutant {
        name: "a dry run of a size answers for the size itself",
        file: "sdk/rust/src/session/driver.rs",
        find: r"Some(question) if question.size == size => question.attempt = upcall.attempt,",
        replace: r"Some(question) if question.size.is_some() == size.is_some() => question.attempt = upcall.attempt,",
        catch: test(
            "paracloud-sdk",
            "session",
            "leases::a_size_is_fitted_into_or_countered_and_a_dry_run_is_no_answer_to_the_real_one",
        ),
    },
];
