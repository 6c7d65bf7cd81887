//! `paracloud ps`: what runs where.

use super::{Context, apply};
use crate::client;
use crate::failure::Failure;
use crate::figures::{age, counted};
use crate::output::{Format, columns_of_stdout, folded, say, say_object, table_within};
use crate::processes::{self, Process};
use crate::telling::{self, plain};
use paracloud_core::migration::Phase;
use paracloud_core::register::{LeaveStep, Operation, Record};
use paracloud_substrate::config::{Cloud, State};
use paracloud_substrate::names;
use paracloud_substrate::person::{HeldOff, Instance, Status};
use std::collections::BTreeMap;
use std::time::SystemTime;

/// Asks the controller and prints.
///
/// # Errors
/// There is no cloud here, or it does not answer.
pub async fn run(context: &Context) -> Result<(), Failure> {
    let mut status = client::status(&context.layout).await?;
    let mut revisions = Revisions::new();
    if let Ok(cloud) = Cloud::load(&context.layout.cloud()) {
        let started = processes::all(&context.layout);
        revisions = running(&status, &cloud, &started);
        let lives = |app: &str| started.iter().any(|process| process.instance == app && process.may_live());
        forget_the_gone(&mut status, &cloud, lives);
    }
    match context.format {
        Format::Json => {
            let mut object =
                serde_json::to_value(&status).map_err(|error| Failure::machine("status", &error))?;
            object["ok"] = true.into();
            for instance in object["instances"].as_array_mut().into_iter().flatten() {
                let runs = instance["name"].as_str().and_then(|name| revisions.get(name).copied());
                instance["revision"] = runs.into();
            }
            say_object("ps", object);
        }
        Format::Text => {
            let cloud = Cloud::load(&context.layout.cloud()).ok();
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let now_unix_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
            say(&text(&status, cloud.as_ref(), &revisions, now_unix_ms, columns_of_stdout()));
        }
    }
    Ok(())
}

/// Which revision of its app each instance runs, as far as known.
type Revisions = BTreeMap<String, u32>;

fn running(status: &Status, cloud: &Cloud, started: &[Process]) -> Revisions {
    let runs = |instance: &Instance| {
        let (app, record) = (cloud.app_of(&instance.name)?, instance.record.as_ref()?);
        Some((instance.name.clone(), apply::running(app, record, started)))
    };
    status.instances.iter().filter_map(runs).collect()
}

/// Of an app that is configured no more, and of which nothing lives, there is nothing to say.
fn forget_the_gone(status: &mut Status, cloud: &Cloud, lives: impl Fn(&str) -> bool) {
    status.instances.retain(|instance| cloud.app_of(&instance.name).is_some() || lives(&instance.name));
}

/// What people read: a line an instance, then what is missing, why something is not ready, and what is held off.
fn text(
    status: &Status,
    cloud: Option<&Cloud>,
    revisions: &Revisions,
    now_unix_ms: u64,
    columns: Option<usize>,
) -> String {
    let mut instances: Vec<_> = status.instances.iter().collect();
    instances.sort_by(|left, right| names::order(&left.name, &right.name));
    let rows: Vec<Vec<String>> =
        instances.into_iter().map(|instance| row(instance, status, cloud, revisions)).collect();
    let headings = ["APP", "NODE", "INC", "REV", "IS", "STATE", "AGE", "CLIENTS CONNECT TO"];
    let mut text = table_within(&headings, &rows, columns);
    let mut say = |line: String| text += &format!("\n{}", folded(&line, columns));
    for instance in &status.instances {
        if let Some(why) = &instance.unknown {
            say(format!("{}: unknown: {}", instance.name, plain(why)));
        }
        if let Some(unready) = &instance.unready {
            say(format!("{}: {}", instance.name, telling::unready_for(unready, now_unix_ms)));
        }
        if let Some(unanswered) = &instance.unanswered {
            say(format!("{}: {}", instance.name, telling::unanswered_for(unanswered, now_unix_ms)));
        }
    }
    for hold in &status.holds {
        say(holds(hold));
    }
    for kept in &status.scales {
        let (instances, left) =
            (counted(kept.instances.into(), "instance"), age(kept.remaining_ms.saturating_add(999)));
        say(format!("{}: a person wants {instances} of it, for {left} more", kept.app));
    }
    for app in &status.updating {
        say(format!("{app}: its instances are being updated, one after the other"));
    }
    for node in status.nodes.iter().filter(|node| node.closed) {
        let is_on_it = |it: &&Instance| it.record.as_ref().is_some_and(|record| record.owner.node == node.id);
        let how = match status.instances.iter().filter(is_on_it).count() {
            _ if node.draining => "is being drained".to_owned(),
            0 => "was drained".to_owned(),
            stays => format!(
                "was drained but for {}",
                counted(u64::try_from(stays).unwrap_or(u64::MAX), "instance")
            ),
        };
        say(format!("node {0}: {how}, and gets no new instances until: paracloud node open {0}", node.name));
    }
    for node in status.nodes.iter().filter(|node| !node.connected) {
        say(format!("node {}: its agent is not connected", node.name));
    }
    for (gateway, _) in status.gateways.iter().filter(|(_, connected)| !connected) {
        say(format!("gateway g{gateway}: is not connected"));
    }
    text
}

fn holds(hold: &HeldOff) -> String {
    // What has not passed is not said to have: the rest of a second counts as one.
    let left = age(hold.remaining_ms.saturating_add(999));
    format!("{}: holds `{}` off for {left}: {}", hold.instance, hold.op.name(), plain(&hold.reason))
}

fn row(instance: &Instance, status: &Status, cloud: Option<&Cloud>, revisions: &Revisions) -> Vec<String> {
    let dash = || "-".to_owned();
    let node = |id| {
        status
            .nodes
            .iter()
            .find(|node| node.id == id)
            .map_or_else(|| format!("{id}"), |node| node.name.clone())
    };
    let place = instance.record.as_ref().map_or_else(dash, |record| {
        let at = node(record.owner.node);
        match record.moving() {
            Some(operation) if operation.target.node != record.owner.node => {
                format!("{at} > {}", node(operation.target.node))
            }
            Some(_) | None => at,
        }
    });
    let listen =
        cloud.and_then(|cloud| cloud.app_of(&instance.name)).map(|app| match app.listen.as_slice() {
            [] => String::new(),
            [only] => only.to_string(),
            [first, rest @ ..] => format!("{first} (+{})", rest.len()),
        });
    vec![
        instance.name.clone(),
        place,
        instance.record.as_ref().map_or_else(dash, |record| record.incarnation.0.to_string()),
        revisions.get(&instance.name).map_or_else(dash, ToString::to_string),
        standing(instance),
        match instance.state {
            State::Stateful => "stateful",
            State::Session => "session",
            State::None => "none",
        }
        .to_owned(),
        instance.age_ms.map_or_else(dash, age),
        listen.unwrap_or_else(dash),
    ]
}

/// How an instance is, in a word.
pub fn standing(instance: &Instance) -> String {
    if instance.unknown.is_some() {
        return "unknown".to_owned();
    }
    match (&instance.record, instance.phase) {
        (None, _) => "unknown".to_owned(),
        (Some(Record { operation: Some(Operation::Leave(leave)), .. }), _) => match leave.step {
            LeaveStep::Leaving => "leaving".to_owned(),
            LeaveStep::Returning => "called back".to_owned(),
            _ => "draining".to_owned(),
        },
        (Some(Record { operation: Some(Operation::Resize(_)), .. }), _) => "resizing".to_owned(),
        // Gateways are still told where it is: that is no operation.
        (Some(record @ Record { operation: None, .. }), Phase::Idle | Phase::Release)
            if record.served.is_some() =>
        {
            if instance.restarts { "restarting" } else { "serving" }.to_owned()
        }
        (Some(Record { operation: None, .. }), Phase::Release) | (Some(_), Phase::Idle | Phase::Start) => {
            "starting".to_owned()
        }
        (Some(_), phase) => format!("{phase}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paracloud_core::ids::{Incarnation, NodeId, OperationNumber, Placement, StartId};
    use paracloud_core::register::{Mode, Move, MoveStep};
    use paracloud_substrate::message::{HeldOp, Unready};
    use paracloud_substrate::person::{Kept, Node, Unanswered};

    fn record(node: u32, served: bool) -> Record {
        let mut record = Record::first(Placement::new(NodeId(node), StartId(7)));
        record.incarnation = Incarnation(3);
        record.served = served.then(|| "127.0.1.1:20000".parse().unwrap());
        record
    }

    fn instance(name: &str, record: Option<Record>, phase: Phase) -> Instance {
        Instance {
            name: name.to_owned(),
            record,
            phase,
            unknown: None,
            state: State::Stateful,
            age_ms: Some(125_000),
            restarts: false,
            unready: None,
            unanswered: None,
        }
    }

    #[test]
    fn an_app_that_is_configured_no_more_is_shown_as_long_as_something_of_it_lives() {
        let manifest = "kind: App\nname: sessions\ncommand: [sh, '{port}']\nlisten: [8080]\n";
        let cloud = crate::manifest::resolve(manifest, std::path::Path::new("/"), 2).unwrap().cloud;
        let names = ["sessions", "quits", "stays"];
        let instances = names.map(|name| instance(name, Some(record(1, true)), Phase::Idle)).to_vec();
        let mut status = Status { instances, ..Status::default() };
        forget_the_gone(&mut status, &cloud, |app| app == "stays");
        let shown: Vec<_> = status.instances.iter().map(|instance| instance.name.as_str()).collect();
        assert_eq!(shown, ["sessions", "stays"]);
    }

    #[test]
    fn of_an_operation_that_is_over_nothing_is_shown_while_gateways_are_told_where_an_instance_is() {
        let is = |served, phase| standing(&instance("web", Some(record(1, served)), phase));
        assert_eq!(is(true, Phase::Release), "serving");
        assert_eq!(is(false, Phase::Start), "starting");
        assert_eq!(is(false, Phase::Release), "starting");
    }

    #[test]
    fn a_table_says_what_runs_where_and_what_is_missing() {
        let mut moving = record(1, true);
        moving.last_operation = OperationNumber(1);
        moving.operation = Some(Operation::Move(Move {
            mode: Mode::Handoff,
            step: MoveStep::Open,
            base: Incarnation(3),
            source: moving.owner,
            source_address: "127.0.1.1:20000".parse().unwrap(),
            target: Placement::new(NodeId(2), StartId(8)),
        }));
        let mut lost = instance("ledger", None, Phase::Idle);
        lost.unknown = Some("node n2 has not answered since the controller started".to_owned());
        lost.age_ms = None;
        let mut slow = instance("slow", Some(record(2, false)), Phase::Idle);
        slow.unready = Some(Unready {
            since_unix_ms: 1_000,
            asked: "GET http://127.0.1.2:20001/healthz".to_owned(),
            answered: "HTTP 500 Internal Server Error".to_owned(),
        });
        let mut silent = instance("silent", Some(record(1, true)), Phase::Undo);
        let call = "resume".to_owned();
        silent.unanswered =
            Some(Unanswered { start: StartId(7 << 56), call, answered: None, since_unix_ms: 1_000 });
        let held = |op, remaining_ms| HeldOff {
            instance: "web".to_owned(),
            op,
            remaining_ms,
            reason: "backup: until noon".to_owned(),
        };
        let node = |id, connected| Node {
            id: NodeId(id),
            name: format!("n{id}"),
            connected,
            closed: id != 1,
            draining: id == 3,
        };
        let status = Status {
            instances: vec![
                instance("sessions", Some(moving), Phase::Copy),
                instance("web", Some(record(2, true)), Phase::Idle),
                slow,
                silent,
                lost,
            ],
            nodes: vec![node(1, true), node(2, false), node(3, true), node(4, true)],
            gateways: vec![(1, true), (2, false)],
            holds: vec![held(HeldOp::Move, 11_200), held(HeldOp::Stop, 3_600_000)],
            scales: vec![Kept { app: "web".to_owned(), instances: 3, remaining_ms: 125_000 }],
            updating: vec!["web".to_owned()],
        };
        let manifest = "kind: App\nname: sessions\ncommand: [sh, '{port}']\nlisten: [8080, 8081]\n";
        let cloud = crate::manifest::resolve(manifest, std::path::Path::new("/"), 2).unwrap().cloud;
        let revisions = running(&status, &cloud, &[]);
        let whole = text(&status, Some(&cloud), &revisions, 13_500, None);
        assert!(
            whole.contains("\nslow: not ready for 12 s: GET http://127.0.1.2:20001/healthz: HTTP 500 "),
            "{whole}"
        );
        let text = text(&status, Some(&cloud), &revisions, 13_500, Some(80));
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        insta::assert_snapshot!(text);
    }
}
