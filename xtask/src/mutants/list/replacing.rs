//! One instance in the place of another, across the death of a controller.

use super::super::Mutant;
use super::test;

const REPLACING: &str = "crates/paracloud-controller/src/replacing.rs";
const ONE: &str = "crates/paracloud-controller/src/replacing/one.rs";
const UPDATING: &str = "crates/paracloud-controller/src/updating.rs";
const ORDERS: &str = "crates/paracloud-controller/src/orders.rs";

pub(super) const LIST: &[Mutant] = &[
    Mutant {
        name: "the next controller starts another one beside the one that comes",
        file: ONE,
        find: r"matches!(&step, Step::Comes(substitute) if !self.is_there(substitute))",
        replace: r"matches!(&step, Step::Comes(_))",
        catch: test(
            "paracloud",
            "cloud",
            "substitutes::a_controller_that_is_killed_while_another_one_comes_leaves_that_one_to_the_next",
        ),
    },
    Mutant {
        name: "who is to leave for another one is not known to be that once it drains",
        file: REPLACING,
        find: r"matches!(self, Self::Comes(_) | Self::Leaves { .. })",
        replace: r"matches!(self, Self::Comes(_))",
        catch: test(
            "paracloud",
            "cloud",
            "substitutes::who_was_started_for_a_drained_node_leaves_again_under_the_next_controller_too",
        ),
    },
    Mutant {
        name: "who is to leave for another one counts until it drains",
        file: ORDERS,
        find: r"self.told_to_leave.has(instance) || self.is_replaced(instance)",
        replace: r"self.told_to_leave.has(instance)",
        catch: test(
            "paracloud",
            "cloud",
            "substitutes::an_app_is_scaled_while_another_one_comes_in_the_place_of_one",
        ),
    },
    Mutant {
        name: "who was called back is replaced again by the next controller",
        file: REPLACING,
        find: r"Err(why) if why.code == CALLED_BACK => {",
        replace: r"Err(why) if why.code == CALLED_BACK && false => {",
        catch: test(
            "paracloud",
            "cloud",
            "substitutes::who_was_called_back_from_a_drain_is_not_replaced_again_by_the_next_controller_while_that_goes_on",
        ),
    },
    Mutant {
        name: "who came in the place of one that stays stays too",
        file: ONE,
        find: r"if !is_that || self.record().is_none()",
        replace: r"if true || !is_that || self.record().is_none()",
        catch: test(
            "paracloud",
            "cloud",
            "substitutes::who_was_started_for_a_drained_node_leaves_again_when_the_one_there_is_called_back",
        ),
    },
    Mutant {
        name: "one leaves before the other one serves",
        file: ONE,
        find: r"serving::wait(control, app, name).await?;",
        replace: r"",
        catch: test(
            "paracloud",
            "cloud",
            "substitutes::an_app_is_scaled_while_another_one_comes_in_the_place_of_one",
        ),
    },
    Mutant {
        name: "who is another process by now has left, though nobody told it to",
        file: ONE,
        find: r"Some(_) | None if record.last_operation <= after => Left::Untold,",
        replace: r"",
        catch: test(
            "paracloud",
            "cloud",
            "substitutes::who_was_not_told_to_leave_yet_and_is_another_process_under_the_next_controller_is_replaced_all_the_same",
        ),
    },
    Mutant {
        name: "whoever has the name of a substitute is taken away",
        file: ONE,
        find: r"self.is_there(substitute) && self.last_operation(substitute) == at;",
        replace: r"self.is_there(substitute);",
        catch: test(
            "paracloud",
            "cloud",
            "substitutes::the_next_bearer_of_the_name_of_a_substitute_is_left_alone",
        ),
    },
    Mutant {
        name: "an update passes over who is being started",
        file: UPDATING,
        find: r"if all.iter().any(|it| is_open(&it)) && began.elapsed() < bound {",
        replace: r"if false {",
        catch: test(
            "paracloud",
            "cloud",
            "updates::who_applies_is_told_that_one_that_is_being_started_is_waited_for",
        ),
    },
];
