//! The crash tests overlook something.

use super::super::Mutant;
use super::command;

const LEAVING: &str = "xtask/src/crash/leaving.rs";
const JOBS: &str = "xtask/src/crash/jobs.rs";
const UPDATING: &str = "xtask/src/crash/updating.rs";
const COURSES: &str = "xtask/src/crash/courses.rs";

pub(super) const LIST: &[Mutant] = &[
    Mutant {
        name: "a job that was taken and not done is not missed",
        file: JOBS,
        find: r"Some(_) | None => verdict.lost += 1,",
        replace: r"Some(_) | None => verdict.lost_with_owner += 1,",
        catch: command("crash::jobs::tests::what_was_taken_and_is_not_done_where_it_was_taken_is_lost"),
    },
    Mutant {
        name: "what who has left did not do is not missed",
        file: JOBS,
        find: r"Some(_) if !undone.contains(id) => {}",
        replace: r"Some(_) => {}",
        catch: command(
            "crash::jobs::tests::who_has_left_has_done_what_it_took_unless_its_log_names_it_or_it_was_struck_dead",
        ),
    },
    Mutant {
        name: "clients may be turned away whoever was struck",
        file: JOBS,
        find: r"failed.first().filter(|_| !may_fail)",
        replace: r"failed.first().filter(|_| !may_fail && failed.len() > 1)",
        catch: command(
            "crash::jobs::tests::a_job_that_two_have_done_is_one_too_many_and_nobody_is_turned_away_without_a_reason",
        ),
    },
    Mutant {
        name: "who was called back may leave",
        file: LEAVING,
        find: r"None if cell.course == Course::Revoked && !was_struck => {",
        replace: r"None if cell.course == Course::Revoked && was_struck => {",
        catch: command("crash::leaving::tests::who_was_called_back_with_work_to_do_has_not_left"),
    },
    Mutant {
        name: "who is there no longer counts as gone",
        file: LEAVING,
        find: r"None if !told.contains(&Promise::Gone) => {",
        replace: r"None if told.is_empty() => {",
        catch: command("crash::leaving::tests::who_has_left_is_gone_by_the_register_too"),
    },
    Mutant {
        name: "an update may end with any revision",
        file: UPDATING,
        find: r"(Promise::Promote, _) | (Promise::Restart,",
        replace: r"(Promise::Restart,",
        catch: command(
            "crash::updating::tests::whoever_was_committed_last_says_of_which_revision_the_instance_is",
        ),
    },
    Mutant {
        name: "nobody is struck while an instance is drained",
        file: COURSES,
        find: r"Self::Raced => matches!(promise, Promise::Drained | Promise::Emptied | Promise::Depart),",
        replace: r"Self::Raced => matches!(promise, Promise::Depart),",
        catch: command(
            "crash::cells::tests::every_party_of_a_leave_an_update_and_a_resize_is_struck_wherever_it_is_there",
        ),
    },
];
