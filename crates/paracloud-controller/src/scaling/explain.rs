//! Why an app has so many instances, why an instance is there and gets what it gets, what was behind an operation: from the
//! last decisions, as they stand in the logs.

use super::history::{began_unix_ms, events};
use super::lookup::{self, Found};
use super::{Last, Made, asked, orders};
use crate::control::Control;
use crate::journal::now_unix_ms;
use crate::person::{refused, unknown_instance};
use paracloud_core::balancing;
use paracloud_core::balancing::BackendId;
use paracloud_core::ids::{GatewayId, InstanceNumber, OperationNumber};
use paracloud_core::register;
use paracloud_core::scaling::{Action, Record};
use paracloud_core::wishes;
use paracloud_substrate::config::{App, Cloud};
use paracloud_substrate::decision::Done;
use paracloud_substrate::explained::{CHOICES_MAX, Choice, Decided, Explained, Role};
use paracloud_substrate::layout::Layout;
use paracloud_substrate::link::LINE_BYTES_MAX;
use paracloud_substrate::names::InstanceName;
use paracloud_substrate::person::Refused;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;

/// So much of each log is looked through, in bytes.
pub(super) const LOOK_BYTES_MAX: u64 = 16 << 20;

/// The longest answer: it is part of a line.
const BYTES_MAX: usize = LINE_BYTES_MAX / 2;

/// What is asked after.
#[derive(Debug, Clone)]
pub(super) enum About {
    App,
    Instance(InstanceName),
    Operation(InstanceName, OperationNumber),
}

/// Puts together what is known.
///
/// # Errors
/// There is no such app, instance or operation, or it is more than fits into an answer.
pub(crate) async fn explain(
    control: &Control,
    name: &str,
    operation: Option<OperationNumber>,
) -> Result<Explained, Refused> {
    let cloud = control.cloud();
    let (app, about) = about(control, &cloud, name, operation)?;
    let mut explained = Explained::of(name, &app.name, operation, now_unix_ms());
    if let Some(last) = control.scaling.last(&app.name) {
        explained.decisions = about.of_its_app(last);
    }
    let began_unix_ms = match &about {
        About::App | About::Operation(..) => 0,
        About::Instance(instance) => began_unix_ms(control, &instance.to_string()).await?,
    };
    if let Some(record) = control.views.of(name).and_then(|view| view.record)
        && about.is_now(&record)
    {
        let owner = record.owner.start;
        explained.usage = control.scaling.usages.of(name, owner);
        explained.says = control.advised.of(name, owner).map(|(advice, _)| advice);
        explained.unready = control.why_unready(name, &record);
        let wished = control.wishes.of(name).into_iter().filter(|it| it.unix_ms >= began_unix_ms);
        explained.wishes =
            wished.map(|it| (it.unix_ms, Box::new(wishes::Record::clone(&it.record)))).collect();
    }
    if let About::Operation(instance, operation) = &about {
        explained.events = events(control, &instance.to_string(), *operation).await?;
        if explained.events.is_empty() {
            let message = format!("{instance} has no {operation} that the journal knows of");
            let next = format!("`paracloud events {instance}` lists its operations");
            return Err(refused("unknown_operation", message, next));
        }
    }
    let (layout, app, gateways) = (control.layout.clone(), app.name.clone(), cloud.gateways.clone());
    let looked = tokio::task::spawn_blocking(move || {
        let directory = layout.decisions();
        let scaled = Scaled { app: &app, about: &about, directory: &directory, began_unix_ms };
        look_up(&layout, &scaled, &gateways, &mut explained);
        explained
    });
    let mut explained = looked.await.map_err(|error| refused("failed", error.to_string(), "ask again"))?;
    let bytes = made_to_fit(&mut explained, BYTES_MAX);
    if bytes > BYTES_MAX {
        let message = format!("what is known of {name} takes {bytes} bytes, more than fits into an answer");
        let next = format!("read it in {}", control.layout.decisions().display());
        return Err(refused("too_large", message, next));
    }
    Ok(explained)
}

/// Leaves out the oldest choices of gateways, which are samples, until the rest fits into so many bytes. How many it takes then.
fn made_to_fit(explained: &mut Explained, bytes_max: usize) -> usize {
    let bytes = |explained: &Explained| serde_json::to_vec(explained).map_or(usize::MAX, |text| text.len());
    let all = explained.choices.len();
    while bytes(explained) > bytes_max {
        let oldest = explained.choices.iter().enumerate().min_by_key(|(_, choice)| choice.unix_ms);
        let Some((place, _)) = oldest else { break };
        explained.choices.remove(place);
        let without = all - explained.choices.len();
        let gap =
            format!("{without} of {all} choices of gateways are left out: more does not fit into an answer");
        match explained.gaps.last_mut().filter(|_| without > 1) {
            Some(last) => *last = gap,
            None => explained.gaps.push(gap),
        }
    }
    bytes(explained)
}

fn told(role: Role, made: Made) -> Decided {
    let Made { unix_ms, record, done } = made;
    Decided { role, unix_ms, record: Box::new(Record::clone(&record)), done }
}

fn about<'a>(
    control: &Control,
    cloud: &'a Cloud,
    name: &str,
    operation: Option<OperationNumber>,
) -> Result<(&'a App, About), Refused> {
    if let Some(app) = cloud.app(name)
        && app.scale.is_some()
    {
        if operation.is_some() {
            return Err(unknown_instance(control, name));
        }
        return Ok((app, About::App));
    }
    let found = cloud.app_of(name).zip(name.parse::<InstanceName>().ok());
    let Some((app, instance)) = found.filter(|_| control.fleet.has(name)) else {
        return Err(unknown_instance(control, name));
    };
    match operation {
        None => Ok((app, About::Instance(instance))),
        Some(operation) => Ok((app, About::Operation(instance, operation))),
    }
}

impl About {
    /// What of the last decisions about its app is told. What is decided of it now has nothing to do with an operation.
    fn of_its_app(&self, last: Last) -> Vec<Decided> {
        let Last { present, acted } = last;
        let present = || told(Role::Present, present);
        match self {
            Self::App => {
                std::iter::once(present()).chain(acted.map(|made| told(Role::Acted, made))).collect()
            }
            Self::Instance(_) => vec![present()],
            Self::Operation(..) => Vec::new(),
        }
    }

    /// Whether what is so now is of what is asked after: nothing is any more of an operation that is over.
    fn is_now(&self, record: &register::Record) -> bool {
        match self {
            Self::App => false,
            Self::Instance(_) => true,
            Self::Operation(_, operation) => {
                record.operation.is_some() && record.last_operation == *operation
            }
        }
    }
}

/// Reads the logs.
fn look_up(layout: &Layout, scaled: &Scaled<'_>, gateways: &[GatewayId], explained: &mut Explained) {
    let read = scaled.read(&mut explained.decisions);
    note_gap(scaled.directory, read, &mut explained.gaps);
    note_gap(scaled.directory, orders::read(scaled, &mut explained.orders), &mut explained.gaps);
    note_gap(scaled.directory, asked::read(scaled, &mut explained.asked), &mut explained.gaps);
    // It is one log.
    explained.gaps.dedup();
    explained.decisions.sort_by_key(|decided| decided.role);
    explained.orders.sort_by_key(|ordered| ordered.role);
    let About::Instance(instance) = scaled.about else { return };
    let Some(number) = instance.number() else { return };
    for gateway in gateways {
        let directory = layout.gateway(*gateway);
        let of = (scaled.app, number, scaled.began_unix_ms);
        let read = choices(&directory, *gateway, of, &mut explained.choices);
        note_gap(&directory, read, &mut explained.gaps);
    }
}

fn note_gap(directory: &Path, read: io::Result<bool>, gaps: &mut Vec<String>) {
    let log = directory.display();
    match read {
        Ok(true) => {}
        Ok(false) => gaps.push(format!("the log in {log} is damaged: a part of it is left out")),
        Err(error) => gaps.push(format!("the log in {log} cannot be read: {error}")),
    }
}

/// Decisions about the number of instances of an app, in the log.
pub(super) struct Scaled<'a> {
    pub(super) app: &'a str,
    pub(super) about: &'a About,
    pub(super) directory: &'a Path,
    /// What was decided of an instance before this was about another one of its name, in milliseconds since 1970.
    pub(super) began_unix_ms: u64,
}

impl Scaled<'_> {
    /// Adds those that are asked after. Whether every line could be read.
    fn read(&self, decisions: &mut Vec<Decided>) -> io::Result<bool> {
        let mut wanted = self.wanted();
        wanted.retain(|role| decisions.iter().all(|known| known.role != *role));
        if wanted.is_empty() {
            return Ok(true);
        }
        lookup::decisions(self, |found: Found<Record>| {
            let is = |role: &Role| {
                (found.is_of_this_one || *role != Role::Changed)
                    && self.is(*role, &found.record, &found.followed)
            };
            if let Some(at) = wanted.iter().position(is) {
                let (role, record) = (wanted.swap_remove(at), Box::new(found.record));
                decisions.push(Decided { role, unix_ms: found.unix_ms, record, done: found.followed });
            }
            if wanted.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
    }

    fn wanted(&self) -> Vec<Role> {
        match self.about {
            About::App => vec![Role::Acted],
            About::Instance(_) => vec![Role::Changed, Role::Started],
            About::Operation(..) => vec![Role::GaveUp, Role::Opened],
        }
    }

    /// Whether a decision is this to what is asked after.
    fn is(&self, role: Role, record: &Record, done: &[Done]) -> bool {
        let to = |instance: &InstanceName| {
            let name = instance.to_string();
            done.iter().filter(move |one| one.instance.as_deref() == Some(name.as_str()))
        };
        match (role, self.about) {
            (Role::Acted, _) => {
                record.plan.actions.iter().any(|action| !matches!(action, Action::AskQuotes(_)))
            }
            (Role::Started, About::Instance(instance)) => {
                let was_started = |one: &Done| matches!(one.action, Action::Start(_));
                to(instance).any(was_started)
            }
            (Role::Changed, About::Instance(instance)) => {
                let number = instance.number().map(InstanceNumber);
                record.plan.actions.iter().any(|action| number.is_some() && of(action) == number)
            }
            (Role::Opened, About::Operation(instance, operation)) => to(instance)
                .any(|one| one.operation == Some(*operation) && !matches!(one.action, Action::Revoke(_))),
            (Role::GaveUp, About::Operation(instance, operation)) => to(instance)
                .any(|one| one.operation == Some(*operation) && matches!(one.action, Action::Revoke(_))),
            _ => false,
        }
    }
}

/// Whom an action is done to, if it is one that is there.
fn of(action: &Action) -> Option<InstanceNumber> {
    match action {
        Action::Revoke(number) | Action::Leave(number) => Some(*number),
        Action::Resize { instance, .. } => Some(*instance),
        Action::Start(_) | Action::AskQuotes(_) => None,
    }
}

/// Adds the newest choices of a gateway in which an instance was looked at. Whether every line could be read.
fn choices(
    directory: &Path,
    gateway: GatewayId,
    (app, number, began_unix_ms): (&str, u32, u64),
    choices: &mut Vec<Choice>,
) -> io::Result<bool> {
    let mut found = 0;
    lookup::lines(directory, |line| {
        if line.app != app || line.kind != "balancing" || line.unix_ms < began_unix_ms {
            return Some(ControlFlow::Continue(()));
        }
        let record: balancing::Record = serde_json::from_str(line.record.get()).ok()?;
        if record.inputs.iter().any(|input| input.id == BackendId(number)) {
            choices.push(Choice { gateway, unix_ms: line.unix_ms, record: Box::new(record) });
            found += 1;
        }
        Some(if found < CHOICES_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use paracloud_core::balancing::{BackendId, Balancer, Setting};
    use paracloud_core::ids::{NodeId, Placement, StartId};
    use paracloud_core::migration::cause::Cause;
    use paracloud_core::register::{Change, Proposer};
    use paracloud_core::scaling::{Memory, Observation, Policy, plan};
    use serde_json::json;
    use std::sync::Arc;

    fn instance() -> InstanceName {
        "worker.1".parse().expect("a name")
    }

    /// A log in which the first instance of `worker` is started at 1000, and is to leave by another decision at 2000.
    fn log(directory: &Path) {
        let line = |unix_ms: u64, kind: &str, record: serde_json::Value| {
            json!({ "app": "worker", "unix_ms": unix_ms, "kind": kind, "record": record }).to_string()
        };
        let decided = |now_ms, action: Action| {
            let observation = Observation { now_ms, ..Observation::default() };
            let (.., mut record) = plan(&Policy::between(1, 8), &observation, &Memory::default());
            record.plan.actions = vec![action];
            serde_json::to_value(record).expect("it is data")
        };
        let done = |decided_ms, action, operation| {
            let instance = Some(instance().to_string());
            let done = Done { decided_ms, action, instance, operation, refused: None };
            serde_json::to_value(done).expect("it is data")
        };
        let leave = Action::Leave(InstanceNumber(1));
        let lines = [
            line(1_000, "scaling", decided(1, Action::Start(1))),
            line(1_010, "done", done(1, Action::Start(1), None)),
            line(2_000, "scaling", decided(2, leave.clone())),
            line(2_010, "done", done(2, leave, Some(OperationNumber(1)))),
        ];
        std::fs::write(directory.join("decisions.jsonl"), lines.join("\n") + "\n")
            .expect("it can be written");
    }

    fn roles(about: &About, began_unix_ms: u64) -> Vec<Role> {
        let directory = tempfile::tempdir().expect("a directory");
        log(directory.path());
        let scaled = Scaled { app: "worker", about, directory: directory.path(), began_unix_ms };
        let mut decisions = Vec::new();
        assert!(scaled.read(&mut decisions).expect("it can be read"));
        decisions.into_iter().map(|decided| decided.role).collect()
    }

    #[test]
    fn what_was_decided_of_another_one_of_its_name_is_not_told_of_an_instance() {
        let about = About::Instance(instance());
        assert_eq!(roles(&about, 0), [Role::Changed, Role::Started], "it is the first of its name");
        assert_eq!(
            roles(&about, 1_005),
            [Role::Changed, Role::Started],
            "its start is noted once it has begun"
        );
        assert_eq!(roles(&about, 3_000), [], "a person started it");
        assert_eq!(roles(&About::Operation(instance(), OperationNumber(1)), 0), [Role::Opened]);
    }

    #[test]
    fn what_is_decided_of_its_app_now_is_told_of_an_instance_and_not_of_an_operation() {
        let (.., record) = plan(&Policy::between(1, 8), &Observation::default(), &Memory::default());
        let made = Made { unix_ms: 1, record: Arc::new(record), done: Vec::new() };
        let roles = |about: &About| {
            let last = Last { present: made.clone(), acted: Some(made.clone()) };
            about.of_its_app(last).into_iter().map(|decided| decided.role).collect::<Vec<_>>()
        };
        assert_eq!(roles(&About::App), [Role::Present, Role::Acted]);
        assert_eq!(roles(&About::Instance(instance())), [Role::Present]);
        assert_eq!(roles(&About::Operation(instance(), OperationNumber(1))), []);
    }

    #[test]
    fn what_is_so_now_is_told_of_an_operation_only_while_it_is_open() {
        let serve = Change::Serve("127.0.1.1:20000".parse().expect("an address"));
        let first = register::Record::first(Placement::new(NodeId(1), StartId(1)));
        let then = |record: &register::Record, change: &Change| {
            record.apply(change, Proposer::Coordinator).expect("it is legal")
        };
        let served = then(&first, &serve);
        let leaves = then(&served, &Change::Leave);
        let stays = then(&then(&leaves, &Change::Return(Cause::Cancelled)), &Change::Close);
        let is_now = |about: &About| [&served, &leaves, &stays].map(|record| about.is_now(record));
        assert_eq!(is_now(&About::Operation(instance(), OperationNumber(1))), [false, true, false]);
        assert_eq!(is_now(&About::Instance(instance())), [true; 3]);
    }

    /// What is told of an instance with choices that were made at these times.
    fn with_choices(times: &[u64]) -> Explained {
        let mut balancer = Balancer::new(Setting::default());
        balancer.add(BackendId(1), 0);
        let record = Box::new(balancer.record(None, 0, 0).expect("there is one"));
        let choice =
            |unix_ms: &u64| Choice { gateway: GatewayId(1), unix_ms: *unix_ms, record: record.clone() };
        Explained {
            choices: times.iter().map(choice).collect(),
            ..Explained::of("worker.1", "worker", None, 0)
        }
    }

    #[test]
    fn of_choices_that_do_not_fit_into_an_answer_the_oldest_are_left_out_and_it_is_said() {
        let mut explained = with_choices(&[40, 10, 30, 20]);
        let all = made_to_fit(&mut explained, usize::MAX);
        assert_eq!((explained.choices.len(), explained.gaps.len()), (4, 0));
        let bytes_max = all - 100;
        assert!(made_to_fit(&mut explained, bytes_max) <= bytes_max);
        let left: Vec<_> = explained.choices.iter().map(|choice| choice.unix_ms).collect();
        assert_eq!(left, [40, 30, 20]);
        assert_eq!(
            explained.gaps,
            ["1 of 4 choices of gateways are left out: more does not fit into an answer"]
        );
        // What is no choice stays, whether it fits or not.
        assert!(made_to_fit(&mut explained, 1) > 1 && explained.choices.is_empty());
    }
}
