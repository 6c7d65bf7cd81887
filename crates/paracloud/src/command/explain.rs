//! `paracloud explain`: why an app has so many instances, why an instance is there and what it gets, what was behind an
//! operation.

mod asked;
mod choice;
mod ordered;
mod said;

use super::Context;
use crate::client::{self, ANSWER_MS_MAX};
use crate::failure::{Exit, Failure};
use crate::figures::{age, millis, time_of_day};
use crate::moving::history::History;
use crate::output::{self, Format, folded, say, say_object};
use crate::telling::{self, plain};
use paracloud_core::ids::OperationNumber;
use paracloud_core::scaling::Action;
use paracloud_core::scaling::explain::explain;
use paracloud_substrate::decision::Done;
use paracloud_substrate::explained::{Decided, Explained, Role};
use paracloud_substrate::message::Usage;
use paracloud_substrate::person::{Kind, Reply, Request};
use std::collections::BTreeSet;

/// Columns of a line, at most, as far as a word does not take more.
const COLUMNS: usize = 80;
/// Bytes of a mebibyte, in kibibytes.
const KIB_OF_MIB: u64 = 1_024;

/// Reads the number of an operation: `op-3`, or `3`.
///
/// # Errors
/// It is none.
pub fn operation(text: &str) -> Result<OperationNumber, String> {
    let number = text.strip_prefix("op-").unwrap_or(text).parse().ok().filter(|number| *number > 0);
    number.map(OperationNumber).ok_or_else(|| "want the number of an operation, such as op-3".to_owned())
}

/// Asks the controller and prints.
///
/// # Errors
/// There is no cloud here, it does not answer, or there is no such app, instance or operation.
pub async fn run(context: &Context, name: &str, operation: Option<OperationNumber>) -> Result<(), Failure> {
    let request = Request::Explain { name: name.to_owned(), operation };
    let reply = client::ask(&context.layout, name, &request, ANSWER_MS_MAX).await?;
    let Reply::Explained(explained) = reply else { return Err(client::unexpected(&context.layout, &reply)) };
    if is_empty(&explained) {
        let next = "it is decided once a period: ask again in a moment";
        return Err(Failure::new(Exit::Failed, "nothing_decided", name, "nothing was decided yet", next));
    }
    match context.format {
        Format::Json => {
            let mut object =
                serde_json::to_value(&*explained).map_err(|error| Failure::machine("explain", &error))?;
            object["ok"] = true.into();
            say_object("explain", object)
        }
        Format::Text => say(&text(&explained)),
    };
    Ok(())
}

/// Whether there is nothing to be told.
fn is_empty(explained: &Explained) -> bool {
    let Explained { decisions, orders, choices, events, wishes, says, unready, usage, .. } = explained;
    let is_decided = !(decisions.is_empty()
        && orders.is_empty()
        && choices.is_empty()
        && events.is_empty()
        && wishes.is_empty());
    !is_decided && says.is_none() && unready.is_none() && usage.is_none()
}

fn text(explained: &Explained) -> String {
    let mut parts = Vec::new();
    let mut told: Vec<u64> = Vec::new();
    // Of an instance or an operation the decisions behind it come first, and the present one last.
    let is_app = explained.name == explained.app && explained.operation.is_none();
    let (present, behind): (Vec<_>, Vec<_>) =
        explained.decisions.iter().partition(|decided| decided.role == Role::Present);
    let orders: Vec<_> = explained.orders.iter().map(|it| ordered::text(it, explained)).collect();
    let order: Vec<&Decided> = if is_app {
        present.into_iter().chain(behind).collect()
    } else {
        parts.extend(operated(explained));
        parts.extend(asked::text(explained));
        parts.extend(orders.iter().cloned());
        behind.into_iter().chain(present).collect()
    };
    for decided in order {
        let decided_ms = decided.record.observation.now_ms;
        if told.contains(&decided_ms) {
            parts.push(format!("{}: the same decision as above", role(decided.role, explained)));
            continue;
        }
        told.push(decided_ms);
        parts.push(decision(decided, explained));
    }
    let is_acted = |decided: &Decided| decided.role == Role::Acted;
    if is_app && orders.is_empty() && !explained.decisions.iter().any(is_acted) {
        parts.push(format!("{}: nothing was done to it by any decision that is kept", explained.app));
    }
    if is_app {
        parts.extend(orders);
    }
    // The newest of each gateway: people see how it chooses, and JSON has the rest.
    let mut gateways = BTreeSet::new();
    let newest = explained.choices.iter().filter(|choice| gateways.insert(choice.gateway));
    parts.extend(newest.map(|choice| choice::text(choice, explained)));
    parts.extend(said::text(explained));
    parts.extend(explained.usage.iter().map(|(usage, age_ms)| used(usage, *age_ms)));
    parts.extend(explained.gaps.iter().map(|gap| format!("not whole: {}", plain(gap))));
    folded(&parts.join("\n\n"), Some(COLUMNS)).into_owned()
}

fn role(role: Role, explained: &Explained) -> String {
    let Explained { name, app, operation, .. } = explained;
    let operation = operation.map_or_else(String::new, |operation| operation.to_string());
    match role {
        Role::Present => format!("The last decision about {app}"),
        Role::Acted => "The last one by which something was done".to_owned(),
        Role::Started => format!("{name} was started by this one"),
        Role::Changed => format!("{name} was last changed by this one"),
        Role::Looked => format!("{name} was looked at by this one"),
        Role::Opened => format!("{operation} of {name} was opened by this one"),
        Role::GaveUp => format!("{operation} of {name} was given up by this one"),
    }
}

fn decision(decided: &Decided, explained: &Explained) -> String {
    let ago = age(explained.now_unix_ms.saturating_sub(decided.unix_ms));
    let what = role(decided.role, explained);
    let head = format!("{what}, {} ({ago} ago)", time_of_day(decided.unix_ms));
    let manual = decided.record.observation.manual;
    let until = manual.map(|manual| time_of_day(decided.unix_ms.saturating_add(manual.left_ms.into())));
    let words = explain(&decided.record, &explained.app, until.as_deref());
    let mut lines = vec![head, words.trim_end().to_owned()];
    lines.extend(decided.done.iter().map(done));
    lines.join("\n")
}

/// What became of an action.
fn done(done: &Done) -> String {
    let Done { action, instance, operation, refused, .. } = done;
    let what = match action {
        Action::Start(_) => "started",
        Action::Leave(_) => "leaves",
        Action::Revoke(_) => "called back",
        Action::Resize { .. } => "gets another size",
        Action::AskQuotes(_) => "asked",
    };
    let operation = operation.map_or_else(String::new, |operation| format!(" ({operation})"));
    let line = match (instance, refused) {
        (_, Some(why)) => format!("  not done  {what}: {}", plain(why)),
        (Some(instance), None) => format!("  done      {instance}: {what}{operation}"),
        (None, None) => format!("  done      {what}{operation}"),
    };
    broken(&line, 12)
}

/// What the journal has of an operation, and whether a decision was behind it.
fn operated(explained: &Explained) -> Option<String> {
    let operation = explained.operation?;
    let roles = explained.decisions.iter().map(|it| it.role);
    let is_decided = roles.chain(explained.orders.iter().map(|it| it.role)).any(|role| role == Role::Opened);
    let by = match &explained.asked {
        Some(_) => "opened because the application asked for it, below",
        None if is_decided => "opened by a decision, below",
        None => "no decision behind it is kept: a person ordered it, or its entries say why",
    };
    let head = format!("{} {operation}: {by}; {}", explained.name, ended(explained));
    let head = broken(&head, 2);
    let entries = explained.events.iter().map(|event| broken(&telling::line(event), 4));
    Some(std::iter::once(head).chain(entries).collect::<Vec<_>>().join("\n"))
}

/// How the operation ended, by what the journal has of it.
fn ended(explained: &Explained) -> String {
    let mut history = History::new(&explained.name, explained.operation);
    for event in &explained.events {
        history.take(event);
    }
    let Some(outcome) = history.outcome() else { return "it is not over".to_owned() };
    let (node, took) = (outcome.node, millis(outcome.total_ms));
    match outcome.kind {
        _ if !outcome.committed => telling::why(&outcome).unwrap_or_else(|| "it was not done".to_owned()),
        Kind::Move => format!("it was done in {took}: on {node} since"),
        Kind::Leave => {
            let died = outcome.died().map_or_else(String::new, |how| format!("; {}", telling::died(how)));
            format!("it was done in {took}: it has left {node}{died}")
        }
        Kind::Resize => format!("it was done in {took}: it has its new size"),
    }
}

/// What an instance's process uses.
fn used(usage: &Usage, age_ms: u32) -> String {
    let mib = |kib: u64| format!("{} MiB", kib / KIB_OF_MIB);
    let cpu = |milli: u32| format!("{}.{:03} processors", milli / 1_000, milli % 1_000);
    let of = |used: Option<String>, limit: Option<String>| {
        let used = used.unwrap_or_else(|| "not known".to_owned());
        match limit {
            Some(limit) => format!("{used} of {limit}"),
            None => used,
        }
    };
    let memory = of(usage.memory_kib.map(mib), usage.memory_limit_kib.map(mib));
    let cpu = of(usage.cpu_milli.map(cpu), usage.cpu_limit_milli.map(cpu));
    format!("It uses, by its agent's measure {} ago: memory {memory}, {cpu}", millis(age_ms.into()))
}

/// A line broken at words, with the rest under this column.
fn broken(line: &str, under: usize) -> String {
    output::broken(line, under, COLUMNS)
}

#[cfg(test)]
mod tests {
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
        let report = Report {
            capacity_milli: Some(40_000),
            slots: Some(4),
            backlog_ms: Some(900),
            ..Report::default()
        };
        let one = |number| {
            let instance = Instance {
                phase: Phase::Ready,
                phase_ms: 60_000,
                report: Some(Told { value: report, age_ms: 120, lease_ms: 3_000 }),
                measured: Some(Measured {
                    over_ms: 1_000,
                    completions: 40,
                    in_flight: 9,
                    ..Measured::default()
                }),
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
        Explained {
            name: name.to_owned(),
            app: "worker".to_owned(),
            operation: None,
            now_unix_ms: NOW,
            decisions,
            orders: Vec::new(),
            asked: None,
            choices: Vec::new(),
            events: Vec::new(),
            wishes: Vec::new(),
            says: None,
            unready: None,
            usage: None,
            gaps: Vec::new(),
        }
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
    fn an_operation_is_named_as_events_name_it() {
        assert_eq!(operation("op-3"), Ok(OperationNumber(3)));
        assert_eq!(operation("3"), Ok(OperationNumber(3)));
        for wrong in ["", "op-", "0", "op-0", "-1", "99999999999"] {
            assert!(operation(wrong).is_err(), "{wrong}");
        }
    }
}
