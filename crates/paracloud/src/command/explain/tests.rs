use super::*;
use paracloud_core::balancing::{self, Balancer};
use paracloud_core::ids::{GatewayId, InstanceNumber, StartId};
use paracloud_core::register::Size;
use paracloud_core::scaling::observation::{Instance, Manual, Measured, Phase, Report, Told, Traffic};
use paracloud_core::scaling::{Memory, Observation, Policy, plan};
use paracloud_core::wishes;
use paracloud_substrate::explained::{Asked, Choice};

const NOW: u64 = 1_700_000_010_000;

fn observation(now_ms: u64) -> Observation {
    let report =
        Report { capacity_milli: Some(40_000), slots: Some(4), backlog_ms: Some(900), ..Report::default() };
    let one = |number| {
        let instance = Instance {
            phase: Phase::Ready,
            phase_ms: 60_000,
            report: Some(Told { value: report, age_ms: 120, lease_ms: 3_000 }),
            measured: Some(Measured { over_ms: 1_000, completions: 40, in_flight: 9, ..Measured::default() }),
            ..Instance::default()
        };
        (InstanceNumber(number), instance)
    };
    let traffic = Some(Traffic { age_ms: 30, over_ms: 1_000, arrivals: 120, waiting: 0 });
    Observation { now_ms, instances: [one(1), one(2)].into(), traffic, ..Observation::default() }
}

fn decided(role: Role, at_ms: u64) -> Decided {
    let (_, _, record) = plan(&Policy::between(1, 8), &observation(at_ms), &Memory::default());
    let start = |instance: Option<&str>, refused: Option<&str>| Done {
        decided_ms: at_ms,
        action: Action::Start(1),
        instance: instance.map(str::to_owned),
        operation: None,
        refused: refused.map(str::to_owned),
    };
    let done = vec![
        start(Some("worker.3"), None),
        start(None, Some("no node is connected that could take an instance of worker")),
    ];
    Decided { role, unix_ms: NOW - 10_000 + at_ms, record: Box::new(record), done }
}

fn explained(name: &str, decisions: Vec<Decided>) -> Explained {
    Explained { decisions, ..Explained::of(name, "worker", None, NOW) }
}

fn fits(text: &str) {
    let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
    assert!(widest <= COLUMNS, "{widest}: {text}");
}

#[test]
fn an_app_is_explained_by_its_last_decision_and_the_last_that_did_something() {
    let both = vec![decided(Role::Present, 9_000), decided(Role::Acted, 1_000)];
    let shown = text(&explained("worker", both));
    fits(&shown);
    insta::assert_snapshot!(shown);
    let mut set = decided(Role::Present, 9_000);
    let manual = Manual { count: 3, left_ms: 61_000 };
    let seen = Observation { manual: Some(manual), ..observation(9_000) };
    *set.record = plan(&Policy::between(1, 8), &seen, &Memory::default()).2;
    let set = text(&explained("worker", vec![set])).replace("\n            ", " ");
    let by = "set the number, until 22:14:30.000Z (in 1 m 01 s); the rule would have 4: enough for";
    assert!(set.contains(by), "{set}");
    let same = vec![decided(Role::Present, 9_000), decided(Role::Acted, 9_000)];
    assert!(text(&explained("worker", same)).contains("the same decision as above"));
}

#[test]
fn an_instance_is_explained_by_what_started_it_and_by_choices_of_gateways() {
    let mut balancer = Balancer::new(balancing::Setting::default());
    for number in [1, 2] {
        balancer.add(balancing::BackendId(number), 0);
    }
    let report =
        balancing::Report { valid_for_ms: 3_000, concurrency: Some(4), ..balancing::Report::default() };
    balancer.report(balancing::BackendId(2), report, 0);
    let record = balancer.record(None, 400_000, 7).expect("there are two");
    let choice = Choice { gateway: GatewayId(1), unix_ms: NOW - 400, record: Box::new(record) };
    let usage = Usage {
        memory_kib: Some(5 * 1_024),
        memory_limit_kib: Some(64 * 1_024),
        cpu_milli: Some(120),
        ..Usage::default()
    };
    let shown = text(&Explained {
        choices: vec![choice],
        usage: Some((usage, 800)),
        gaps: vec!["the log in /tmp/x/g1 is damaged: a part of it is left out".to_owned()],
        ..explained("worker.2", vec![decided(Role::Started, 1_000)])
    });
    fits(&shown);
    insta::assert_snapshot!(shown);
}

#[test]
fn an_operation_that_the_application_asked_for_says_so_when_why_and_how_it_ended() {
    let size = Size { memory_kib: None, cpu_milli: None };
    let policy = wishes::Policy {
        is_scaled: false,
        counts_reports: true,
        cpu_follows_load: false,
        least: size,
        most: size,
        acts: 3,
        per_ms: 600_000,
        refused_ms: 60_000,
        again_ms: 2_000,
    };
    let sight = wishes::Sight {
        now_ms: 5,
        wish: wishes::Wish::Move,
        reason: "the disk is slow\u{1b}[2J".to_owned(),
        start: StartId(7),
        left_ms: 60_000,
        phase: wishes::Phase::Serves,
        elsewhere: 1,
        size,
        came: None,
    };
    let record = Box::new(wishes::decide("pup", &policy, &sight, &wishes::Memory::default()));
    let open = Explained {
        app: "pup".to_owned(),
        operation: Some(OperationNumber(1)),
        asked: Some(Asked { unix_ms: NOW - 3_000, record }),
        ..explained("pup", Vec::new())
    };
    let shown = text(&open);
    fits(&shown);
    assert!(!shown.contains('\u{1b}'), "what an application says is plain");
    insta::assert_snapshot!(shown);
    let ordered = text(&Explained { asked: None, ..open });
    assert!(ordered.contains("no decision behind it is kept"), "{ordered}");
}

#[test]
fn what_one_more_costs_has_its_unit_requests_where_nobody_says_how_many_at_once() {
    let shown = |concurrency| {
        let mut balancer = Balancer::new(balancing::Setting::default());
        for number in [1, 2].map(balancing::BackendId) {
            balancer.add(number, 0);
            let report =
                balancing::Report { valid_for_ms: 3_000, concurrency, ..balancing::Report::default() };
            balancer.report(number, report, 0);
        }
        let record = Box::new(balancer.record(None, 400_000, 7).expect("there are two"));
        let choice = Choice { gateway: GatewayId(1), unix_ms: NOW, record };
        text(&Explained { choices: vec![choice], ..explained("worker.2", Vec::new()) })
    };
    let cells = |shown: &str| shown.matches(" ms  ").count();
    assert!(cells(&shown(Some(4))) >= 4 && !shown(Some(4)).contains(" req"), "{}", shown(Some(4)));
    assert!(shown(None).contains("1.0 req"), "{}", shown(None));
}

#[test]
fn a_choice_fits_whatever_the_instances_are_called_and_cost_and_tells_them_apart() {
    let mut balancer = Balancer::new(balancing::Setting::default());
    let numbers = [1, 999_999_998, 999_999_999].map(balancing::BackendId);
    for number in numbers {
        balancer.add(number, 0);
        let report = balancing::Report {
            valid_for_ms: 60_000,
            concurrency: Some(1_000_000),
            backlog_ms: Some(u32::MAX),
            ..balancing::Report::default()
        };
        balancer.report(number, report, 0);
    }
    balancer.drain(numbers[0], true);
    let record = Box::new(balancer.record(None, 50_000_000, 7).expect("there are three"));
    let app = "w".repeat(63);
    let choice = Choice { gateway: GatewayId(1), unix_ms: NOW, record };
    let name = format!("{app}.999999999");
    let shown = text(&Explained { app, choices: vec![choice], ..explained(&name, Vec::new()) });
    fits(&shown);
    insta::assert_snapshot!(shown);
}

#[test]
fn of_who_failed_lately_it_is_said_that_this_is_what_keeps_requests_away() {
    let mut balancer = Balancer::new(balancing::Setting::default());
    let [fails, other] = [1, 2].map(balancing::BackendId);
    [fails, other].into_iter().for_each(|number| balancer.add(number, 0));
    let sent = balancer.sent(fails, 0).expect("it is there");
    balancer.ended(sent, balancing::End::Failed, 1_000);
    assert!(balancer.sent(other, 1_000).is_some());
    let record = Box::new(balancer.record(None, 1_000, 7).expect("there are two"));
    let choice = Choice { gateway: GatewayId(1), unix_ms: NOW, record };
    let shown = text(&Explained { choices: vec![choice], ..explained("worker.1", Vec::new()) });
    assert!(shown.contains("failed lately: as 1.0 more"), "{shown}");
    assert!(!shown.contains("the least in flight"), "{shown}");
    fits(&shown);
}

#[test]
fn an_operation_is_named_as_events_name_it() {
    assert_eq!(operation("op-3"), Ok(OperationNumber(3)));
    assert_eq!(operation("3"), Ok(OperationNumber(3)));
    for wrong in ["", "op-", "0", "op-0", "-1", "99999999999"] {
        assert!(operation(wrong).is_err(), "{wrong}");
    }
}
