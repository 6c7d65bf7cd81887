use super::*;
use crate::orders::{By, Terms};
use crate::scaling::policy;
use crate::stage::{Stage, gone, serves, worker};
use paci::ask::{AskRequest, Replicas};
use paci::state::State;
use paci::upcall::Reason;
use paracloud_core::ids::{NodeId, Placement};
use paracloud_core::register::{Change, Proposer, Size};
use paracloud_substrate::advice::Aged;
use paracloud_substrate::config::Scale;
use paracloud_substrate::message::{Sizing, Usage};

/// What is known of the app, and nothing of what gateways measure.
fn observed(stage: &Stage) -> Observation {
    let control = &stage.control;
    let cloud = control.cloud();
    let app = cloud.app("worker").unwrap();
    let (policy, quotes, mut phases) = (policy::of(app).unwrap(), Quotes::default(), Phases::default());
    let mut sources = Sources { control, app, policy: &policy, quotes: &quotes, phases: &mut phases };
    observe(&mut sources, None, 1_000)
}

fn phases(stage: &Stage) -> Vec<Phase> {
    observed(stage).instances.into_values().map(|instance| instance.phase).collect()
}

fn three() -> App {
    worker(Scale { min: 1, max: 3, ..Scale::default() })
}

#[tokio::test(start_paused = true)]
async fn who_was_told_to_leave_counts_on_nothing_before_it_has_answered_and_is_called_back_by_nobody() {
    let mut stage = Stage::of(three(), [serves(1), serves(2)]);
    let by = By { reason: Reason::ScaleIn, why: "one fewer".to_owned() };
    assert_eq!(phases(&stage), [Phase::Ready, Phase::Ready]);
    drop(stage.control.hand_leave("worker.2", Terms::default(), &by).await.unwrap());
    assert_eq!(phases(&stage), [Phase::Ready, Phase::Draining]);
    assert!(!observed(&stage).instances[&InstanceNumber(2)].leaves_by_plan);
    drop(stage.handed("worker.2"));
    assert_eq!(phases(&stage), [Phase::Ready, Phase::Ready], "it was never answered");
}

#[tokio::test]
async fn one_that_left_and_is_being_started_anew_starts_whatever_it_was() {
    let stage = Stage::of(three(), [serves(1), gone(2)]);
    assert_eq!(phases(&stage), [Phase::Ready]);
    let (control, cloud) = (&stage.control, stage.control.cloud());
    let added = control.fleet.add(cloud.app("worker").unwrap(), &control.nodes_there(), &control.owners());
    assert_eq!(phases(&stage), [Phase::Ready, Phase::Starting]);
    assert_eq!(observed(&stage).instances[&InstanceNumber(2)].node, None, "where it was is past");
    drop(added);
    assert_eq!(phases(&stage), [Phase::Ready]);
}

#[tokio::test]
async fn of_the_wishes_for_a_number_of_instances_the_greatest_counts_whoever_says_it() {
    let stage = Stage::of(three(), [1, 2, 3].map(serves));
    assert_eq!(observed(&stage).asked, None);
    for (start, count) in [(1, 2), (2, 5), (3, 4)] {
        let wish = Some(Wish::Replicas(Replicas { count }));
        let said = AskRequest { wish, ..AskRequest::default() };
        let asks = vec![Leased { age_ms: 0, remaining_ms: 60_000, said }];
        let advice = Advice { asks, ..Advice::default() };
        stage.control.advised.hear(&format!("worker.{start}"), StartId(start), &advice);
    }
    assert_eq!(observed(&stage).asked.map(|told| told.value), Some(5));
}

#[tokio::test]
async fn what_one_uses_counts_at_the_size_that_it_has_and_what_it_cannot_do_with_less_of_is_known() {
    let cpu = |cpu_milli| Size { memory_kib: None, cpu_milli: Some(cpu_milli) };
    let sized = Record { size: Some(cpu(500)), ..serves(1) };
    let stage = Stage::of(three(), [sized]);
    let one = || observed(&stage).instances.remove(&InstanceNumber(1)).unwrap();
    let (usages, sizes) = (&stage.control.scaling.usages, &stage.control.scaling.sizes);
    let used = |limit| Usage { cpu_milli: Some(200), cpu_limit_milli: Some(limit), ..Usage::default() };
    usages.hear("worker.1", StartId(1), used(500));
    assert_eq!((one().cpu_m, one().cpu_used_m), (Some(500), Some(200)));
    usages.hear("worker.1", StartId(1), used(1_000));
    assert_eq!((one().cpu_m, one().cpu_used_m), (Some(500), None), "that was at another size");
    assert_eq!(one().counter_cpu_m, None);
    let (from, offered, why) = (cpu(500), Some(cpu(300)), String::new());
    let missed = Sizing { start: StartId(1), from, to: cpu(250), limit: from, used_kib: None, offered, why };
    sizes.hear("worker.1", &missed);
    assert_eq!((one().counter_cpu_m.map(|told| told.value), one().size_rests), (Some(300), false));
    sizes.refused("worker.1", StartId(1));
    assert_eq!((one().counter_cpu_m, one().size_rests), (None, true));
}

fn sale(id: &str, age_ms: u32, begins_in_ms: u32, unit: &str) -> Leased<AnnounceRequest> {
    let said = AnnounceRequest {
        id: id.to_owned(),
        begins_in_ms,
        lasts_ms: 500,
        demand_milli_per_s: 9_000,
        work_unit: unit.to_owned(),
        ..AnnounceRequest::default()
    };
    Leased { age_ms, remaining_ms: 1_000, said }
}

#[test]
fn an_announcement_counts_once_whoever_says_it_and_begins_when_it_was_said_to() {
    let mut announced = BTreeMap::new();
    for leased in [sale("sale", 300, 900, ""), sale("sale", 100, 1_000, ""), sale("jobs", 0, 0, "job")] {
        announce(&mut announced, &leased);
    }
    let [one] = &announcements(announced, 10_000)[..] else { panic!("another unit is no request") };
    assert_eq!((one.start_ms, one.end_ms, one.confidence_permille), (10_900, 11_400, None));
}

#[test]
fn no_more_announcements_are_looked_at_than_are_planned_with_those_that_begin_first() {
    let mut announced = BTreeMap::new();
    for number in 0..40 {
        announce(&mut announced, &sale(&format!("id-{number}"), 0, 40 - number, ""));
    }
    let all = announcements(announced, 0);
    assert_eq!((all.len(), all[0].start_ms), (ANNOUNCEMENTS_MAX, 1));
}

#[test]
fn what_is_said_of_other_work_than_requests_says_nothing_of_requests() {
    let said = Said { capacity_milli_per_s: Some(7), concurrency: Some(2), ..Said::default() };
    assert_eq!((figures(&said).capacity_milli, figures(&said).slots), (Some(7), Some(2)));
    assert!(!figures(&said).is_unseen);
    let jobs = Said { work_unit: "job".to_owned(), ..said };
    assert_eq!((figures(&jobs).capacity_milli, figures(&jobs).slots), (None, Some(2)));
    assert!(figures(&jobs).is_unseen, "and what waits is nothing that gateways see");
}

#[test]
fn who_holds_its_end_off_is_left_alone_for_the_longest_that_it_said_and_a_hold_of_moves_is_none() {
    let hold = |instance: &str, op, remaining_ms| HeldOff {
        instance: instance.to_owned(),
        op,
        remaining_ms,
        reason: String::new(),
    };
    let holds = vec![
        hold("jobs.1", HeldOp::Move, 9_000),
        hold("jobs.2", HeldOp::Drain, 3_000),
        hold("jobs.2", HeldOp::Stop, 5_000),
        hold("jobs.2", HeldOp::Move, 7_000),
        hold("jobs.3", HeldOp::Drain, u64::MAX),
    ];
    let expected = [("jobs.2".to_owned(), 5_000), ("jobs.3".to_owned(), u32::MAX)];
    assert_eq!(held(holds), BTreeMap::from(expected));
}

#[test]
fn sessions_are_by_a_good_report_or_else_by_the_answer_and_are_unknown_without_either() {
    let report =
        |sessions, age_ms| Told { value: Said { sessions, ..Said::default() }, age_ms, lease_ms: 10 };
    let (good, over, none) = (report(Some(4), 0), report(Some(4), 10), report(None, 0));
    let table = [
        (Some(&good), Some(9), Some(4)),
        (Some(&over), Some(9), Some(9)),
        (Some(&none), Some(9), Some(9)),
        (Some(&over), None, None),
        (None, Some(0), Some(0)),
        (None, None, None),
    ];
    for (report, answered, expected) in table {
        let of = |state| sessions(state, report, answered);
        assert_eq!(of(config::State::Session), expected, "{report:?} {answered:?}");
        // Who was asked is not known better than who was not, where nothing is said to live.
        assert_eq!(of(config::State::None), expected.filter(|_| expected == Some(4)));
    }
}

#[test]
fn whatever_operation_is_open_is_one_except_the_way_out() {
    let owner = Placement::new(NodeId(1), StartId(1));
    let idle = Record::first(owner)
        .apply(&Change::Serve("127.0.1.1:20000".parse().unwrap()), Proposer::Coordinator)
        .unwrap();
    let leaves = idle.apply(&Change::Leave, Proposer::Coordinator).unwrap();
    assert!(!is_in_operation(None, Phase::Starting) && !is_in_operation(Some(&idle), Phase::Ready));
    assert!(is_in_operation(Some(&leaves), Phase::Ready), "it returns");
    assert!(!is_in_operation(Some(&leaves), Phase::Draining));
    assert!(!is_in_operation(Some(&leaves), Phase::Leaving));
}

#[test]
fn where_reports_are_ignored_no_figure_counts_and_how_far_an_instance_is_does() {
    let counts = |reports| {
        let scale = Some(Scale { reports, ..Scale::default() });
        let app = App { scale, ..App::new("worker", Vec::new()) };
        let state = Some(Aged { age_ms: 0, said: State::Cold });
        let advice = Advice { announcements: vec![sale("sale", 0, 0, "")], state, ..Advice::default() };
        let report = Told { value: Said::default(), age_ms: 0, lease_ms: 1 };
        let (advice, report) = counting(&app, (advice, Some(report)));
        (advice.announcements.len(), advice.state.is_some(), report.is_some())
    };
    assert_eq!(counts(Reports::Used), (1, true, true));
    assert_eq!(counts(Reports::Ignored), (0, true, false));
}
