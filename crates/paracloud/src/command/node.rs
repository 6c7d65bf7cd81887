//! `paracloud node lost NODE`: a person's word that a node will not come back, after saying what it costs; and `node open`.

use super::Context;
use crate::client::{self, ANSWER_MS_MAX};
use crate::failure::{Exit, Failure};
use crate::output::{Format, say_object, say_words, tell};
use paracloud_core::ids::NodeId;
use paracloud_core::register::{Record, Step};
use paracloud_substrate::config::{Cloud, State};
use paracloud_substrate::person::{Instance, Reply, Request, Status};
use serde_json::json;
use std::io::{IsTerminal, Write};

/// When the word is over: it is kept nowhere, so that one that has become wrong meanwhile does not outlive a restart.
const UNTIL: &str = "its agent connects or the controller is started again";

/// How often it is asked whether a node that comes and goes is there.
const ASKED_MAX: u32 = 3;

/// What the word does to one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stake {
    instance: String,
    /// It may hold state that is lost.
    loses: bool,
    /// What becomes of it, in a sentence that goes on after its name.
    what: String,
}

/// Tells the controller; with `yes` without asking.
///
/// # Errors
/// There is no such node, the person does not consent, or the cloud does not answer.
pub async fn lost(context: &Context, name: &str, yes: bool) -> Result<(), Failure> {
    let node = named(context, name)?;
    let mut asked = 0;
    let stakes = loop {
        asked += 1;
        match ask(context, node, name, yes).await {
            // It went away after it was looked at: what that costs is said first.
            Err(failure) if failure.code == "node_away" && asked < ASKED_MAX => {}
            told => break told?,
        }
    };
    match context.format {
        Format::Json => {
            let names = |loses| {
                let of = stakes.iter().filter(|stake| stake.loses == loses);
                of.map(|stake| stake.instance.as_str()).collect::<Vec<_>>()
            };
            let (lost, kept) = (names(true), names(false));
            let object = json!({ "ok": true, "node": name, "until": UNTIL, "lost": lost, "stateless": kept });
            say_object("node", object)
        }
        Format::Text => {
            if yes {
                stakes.iter().for_each(|stake| tell(&format!("{}: {}", stake.instance, stake.what)));
            }
            say_words(&format!(
                "{name}: counts as lost, and what ran there as dead, until {UNTIL}; if an app waits for it then, say it again"
            ))
        }
    };
    Ok(())
}

/// A node that was drained gets new instances again.
///
/// # Errors
/// There is no such node, or the cloud does not answer.
pub async fn open(context: &Context, name: &str) -> Result<(), Failure> {
    let node = named(context, name)?;
    let known = client::status(&context.layout).await?.nodes.into_iter().find(|known| known.id == node);
    let was_open = known.is_some_and(|known| !known.closed && !known.draining);
    let request = Request::OpenNode { node };
    let reply = client::ask(&context.layout, name, &request, ANSWER_MS_MAX).await?;
    if reply != Reply::Done {
        return Err(client::unexpected(&context.layout, &reply));
    }
    match context.format {
        Format::Json => {
            say_object("node", json!({ "ok": true, "node": name, "takes": true, "was_open": was_open }))
        }
        Format::Text if was_open => say_words(&format!("{name}: was open already, and gets new instances")),
        Format::Text => say_words(&format!("{name}: gets new instances again")),
    };
    Ok(())
}

/// Tells the controller, once who loses state was told and consented to. Says what the word does.
async fn ask(context: &Context, node: NodeId, name: &str, yes: bool) -> Result<Vec<Stake>, Failure> {
    let status = client::status(&context.layout).await?;
    // One that is connected is refused by the controller, whatever anybody consents to: nothing was agreed on.
    let agreed = !status.nodes.iter().any(|known| known.id == node && known.connected);
    let stakes = if agreed { stakes(&status, node) } else { Vec::new() };
    consent(context, name, &stakes, yes)?;
    let request = Request::NodeLost { node, agreed };
    let reply = client::ask(&context.layout, name, &request, ANSWER_MS_MAX).await?;
    if reply == Reply::Done { Ok(stakes) } else { Err(client::unexpected(&context.layout, &reply)) }
}

/// What the word does: to whom the node owns, and to whom nothing is decided about.
fn stakes(status: &Status, node: NodeId) -> Vec<Stake> {
    let is_other = |known: &&paracloud_substrate::person::Node| known.connected && known.id != node;
    let place = if status.nodes.iter().any(|known| is_other(&known)) {
        "on another node"
    } else {
        "on another node, as soon as one is connected"
    };
    status.instances.iter().filter_map(|instance| stake(instance, node, place)).collect()
}

fn stake(instance: &Instance, node: NodeId, place: &str) -> Option<Stake> {
    let what = match (&instance.unknown, &instance.record) {
        (Some(why), _) if instance.state != State::None => {
            format!("what it holds is not known ({why}); what only this node has of it is lost")
        }
        (Some(_), _) | (None, None) => {
            format!("it goes on without this node, started anew {place} if it ran here")
        }
        (None, Some(record)) if !depends_on(record, node) => return None,
        (None, Some(record)) if record.operation.is_some() => format!(
            "its move ends without this node; what only this node has of its state is lost, and without any it is started anew {place}"
        ),
        (None, Some(_)) if instance.state == State::None => {
            format!("it is started anew {place}; it has no state")
        }
        (None, Some(_)) => format!("it is started anew {place}, without its state: what it holds is lost"),
    };
    Some(Stake { instance: instance.name.clone(), loses: instance.state != State::None, what })
}

/// Whether what the node has of an instance may be all there is.
fn depends_on(record: &Record, node: NodeId) -> bool {
    let source = record.moving().map(|operation| operation.source.node);
    // Once a target has served, what the source holds is of the past.
    record.owner.node == node || (source == Some(node) && record.step() != Some(Step::Retire))
}

/// Asks, if state would be lost.
fn consent(context: &Context, node: &str, stakes: &[Stake], yes: bool) -> Result<(), Failure> {
    let losing: Vec<_> = stakes.iter().filter(|stake| stake.loses).collect();
    if yes || losing.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = losing.iter().map(|stake| stake.instance.as_str()).collect();
    let refused = |why: String| {
        let next = format!("paracloud node lost {node} --yes{}", context.hint());
        let failure = Failure::new(Exit::Consent, "consent_needed", names.join(", "), why, next);
        Err(Failure { found: Some(Box::new(("lost", json!(names)))), ..failure })
    };
    if context.format == Format::Json || !std::io::stdin().is_terminal() {
        let said = match &losing[..] {
            [only] => only.what.clone(),
            several => {
                let each = several.iter().map(|stake| format!("{}: {}", stake.instance, stake.what));
                each.collect::<Vec<_>>().join("; ")
            }
        };
        return refused(format!("{said}; to give {node} up needs a consent"));
    }
    stakes.iter().for_each(|stake| tell(&format!("{}: {}", stake.instance, stake.what)));
    tell(&format!("{node} must not be running: a program that still runs there accepts beside the new one"));
    let mut out = std::io::stderr().lock();
    let _ = write!(out, "give {node} up, and lose it? [y/N] ").and_then(|()| out.flush());
    let mut answer = String::new();
    match std::io::stdin().read_line(&mut answer) {
        Ok(_) if matches!(answer.trim(), "y" | "Y" | "yes") => Ok(()),
        Ok(_) | Err(_) => refused(format!("{node} is not given up: you did not say yes")),
    }
}

/// What a node is called.
pub fn shown(cloud: &Cloud, node: NodeId) -> String {
    cloud.node(node).map_or_else(|| node.to_string(), |node| node.name.clone())
}

/// The node of this name in the cloud of the directory.
///
/// # Errors
/// There is no cloud here, or no such node in it.
pub fn named(context: &Context, name: &str) -> Result<NodeId, Failure> {
    let cloud = context.cloud()?;
    cloud.node_named(name).map(|node| node.id).ok_or_else(|| {
        let names: Vec<_> = cloud.nodes.iter().map(|node| node.name.as_str()).collect();
        let next = format!("the nodes are {}", names.join(", "));
        Failure::new(Exit::Usage, "unknown_node", name, "there is no such node", next)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use paracloud_core::ids::{Placement, StartId};
    use paracloud_core::migration::Phase;
    use paracloud_core::register::{Change, Mode, Proposer};
    use paracloud_substrate::person::Node;

    const LOST: NodeId = NodeId(1);

    fn after(changes: &[Change]) -> Record {
        let served = Record::first(Placement::new(LOST, StartId(1)));
        let serve = Change::Serve("127.0.1.1:20000".parse().unwrap());
        let apply = |record: Record, change| record.apply(change, Proposer::Coordinator).unwrap();
        [serve].iter().chain(changes).fold(served, apply)
    }

    fn told(record: Option<Record>, unknown: Option<&str>, state: State, connected: bool) -> Option<Stake> {
        let (name, phase) = ("web".to_owned(), Phase::Idle);
        let unknown = unknown.map(str::to_owned);
        let instance = Instance {
            name,
            record,
            phase,
            unknown,
            state,
            age_ms: None,
            restarts: false,
            unready: None,
            unanswered: None,
        };
        let node = |id, connected| Node {
            id: NodeId(id),
            name: format!("n{id}"),
            connected,
            closed: false,
            draining: false,
        };
        let nodes = vec![node(1, false), node(2, connected)];
        let status = Status { instances: vec![instance], nodes, ..Status::default() };
        stakes(&status, LOST).pop()
    }

    #[test]
    fn whoever_runs_on_a_node_is_named_with_what_giving_it_up_costs() {
        let target = Placement::new(NodeId(2), StartId(2));
        let open = [Change::Open { mode: Mode::Handoff, target }, Change::Seal, Change::Commit];
        let serve = Change::Serve("127.0.1.2:20000".parse().unwrap());
        let said = |stake: Option<Stake>| stake.map(|stake| (stake.loses, stake.what));
        let rests = "it is started anew on another node, without its state: what it holds is lost";
        assert_eq!(said(told(Some(after(&[])), None, State::Stateful, true)), Some((true, rests.to_owned())));
        let none = "it is started anew on another node, as soon as one is connected; it has no state";
        assert_eq!(said(told(Some(after(&[])), None, State::None, false)), Some((false, none.to_owned())));
        let moving = said(told(Some(after(&open)), None, State::Stateful, true)).unwrap();
        assert!(moving.0 && moving.1.starts_with("its move ends without this node"), "{moving:?}");
        let moved = open.iter().cloned().chain([serve]).collect::<Vec<_>>();
        assert_eq!(told(Some(after(&moved)), None, State::Stateful, true), None, "it serves elsewhere");
        let unknown = said(told(None, Some("waiting for n1"), State::Stateful, true)).unwrap();
        assert!(unknown.0 && unknown.1.contains("(waiting for n1)"), "{unknown:?}");
    }
}
