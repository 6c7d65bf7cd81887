//! Why a person does not get what it asked for: who, why, and what to do next.

use crate::control::Control;
use crate::instance::Rejected;
use crate::scales;
use paracloud_core::ids::NodeId;
use paracloud_core::migration::coordinator::Refused as Machine;
use paracloud_substrate::names::InstanceName;
use paracloud_substrate::person::{Refused, Unanswered};

/// So many instances are named where one is not known; of more only how many there are is said.
const NAMED_MAX: usize = 32;

/// Why a command was not taken, as people read it.
pub(crate) fn rejection(control: &Control, instance: &str, rejected: Rejected) -> Refused {
    let machine = match rejected {
        Rejected::Unknown => return unknown_instance(control, instance),
        Rejected::Over => {
            let message = format!("{instance}: that operation is not open any more");
            return refused("nothing_open", message, "look at `paracloud ps`, `paracloud events`");
        }
        Rejected::Fewest(least) => {
            let message =
                format!("{instance} stays: its app has {least} at least, and no more than that now");
            return refused(
                "out_of_bounds",
                message,
                "change scale in its manifest, or start another one first",
            );
        }
        Rejected::Full(full) => {
            let app = instance.parse::<InstanceName>().map(|name| name.app().to_owned());
            return scales::not_added(control, app.as_deref().unwrap_or(instance), full);
        }
        Rejected::Ending => {
            let message = format!("the controller lost its register before it could answer for {instance}");
            return refused("controller_restarts", message, "ask again, and look at `paracloud events`");
        }
        Rejected::Undecided(why) => {
            let message = format!("{instance} is unknown: {why}");
            let next = "bring the nodes back or declare them lost; end a process too many, then reconsider";
            return refused("unknown", message, next);
        }
        Rejected::NoSpace(full) => {
            let message = format!("nothing was begun for {instance}: {full}");
            return refused("no_space", message, full.hint().unwrap_or("free some space on that disk"));
        }
        Rejected::Overtaken => {
            let message = format!("{instance} changed while the command was taken: another swap came first");
            return refused("overtaken", message, "look at `paracloud ps` and ask again");
        }
        Rejected::Refused(machine) => machine,
    };
    let (code, next) = match machine {
        Machine::Unready => ("unknown", "wait until its nodes are connected"),
        Machine::Busy => {
            let next = format!("wait for the open operation, or cancel it: `paracloud cancel {instance}`");
            return refused("busy", format!("{instance}: {machine}"), next);
        }
        Machine::NotServing => {
            let record = control.views.of(instance).and_then(|view| view.record);
            let unready = record.and_then(|record| control.why_unready(instance, &record));
            let why = unready.map_or_else(String::new, |unready| {
                format!(": not ready yet: {}: {}", unready.asked, unready.answered)
            });
            let next = format!("wait until it serves: `paracloud ps`, `paracloud logs {instance}`");
            return refused("not_serving", format!("{instance}: {machine}{why}"), next);
        }
        Machine::SameNode => ("same_node", "name another node with --to"),
        Machine::UnknownNode => ("unknown_node", "`paracloud ps` lists the nodes"),
        Machine::NothingOpen => ("nothing_open", "nothing needs to be done"),
        Machine::Committed => ("committed", "wait for it to end; then move the instance back"),
        Machine::Departed => ("departed", "wait until it is gone; then start another one"),
        Machine::Returned => ("returned", "nothing needs to be done"),
        Machine::Gone => ("gone", "start it anew, or name another instance: `paracloud ps`"),
        Machine::NotGone => ("not_gone", "nothing needs to be done"),
        Machine::LostNode => ("lost_node", "name another node, or bring that one back"),
        Machine::SameSize => ("same_size", "nothing needs to be done"),
        Machine::RolledBack => ("rolled_back", "wait for it to end: `paracloud ps`, `paracloud events`"),
    };
    let is_decided = matches!(machine, Machine::Committed | Machine::RolledBack);
    match control.what_is_unanswered(instance).filter(|_| is_decided) {
        Some(Unanswered { call, answered, .. }) => {
            let told = answered.map_or_else(
                || format!("does not answer {call}"),
                |answered| format!("answers {call} with {answered}"),
            );
            let message = format!(
                "{instance}: {machine}, but its owner {told}: it stays open until the owner does what it is told"
            );
            let next = format!(
                "`paracloud logs {instance}` shows why; if it stays so, end its process, and the state in it goes with it"
            );
            refused(code, message, next)
        }
        None => refused(code, format!("{instance}: {machine}"), next),
    }
}

/// Why a request was refused, in three parts.
pub(crate) fn refused(code: &str, message: impl Into<String>, next: impl Into<String>) -> Refused {
    Refused { code: code.to_owned(), message: message.into(), next: next.into() }
}

/// There is nothing of it: it has left.
pub(crate) fn has_left(control: &Control, instance: &str) -> Refused {
    rejection(control, instance, Rejected::Refused(Machine::Gone))
}

/// There is no such instance, or it is not in the configuration any more.
pub(crate) fn unknown_instance(control: &Control, instance: &str) -> Refused {
    let shown: String = instance.chars().take(64).collect();
    if control.views.of(instance).is_some() {
        let message = format!("{shown} is not in the configuration any more: nobody drives it");
        return refused("not_configured", message, "put the app back into the manifest");
    }
    let names = control.fleet.there();
    if control.cloud().app(instance).is_some() {
        let own = names.iter().filter(|name| name.split_once('.').is_some_and(|(app, _)| app == instance));
        let own: Vec<_> = own.map(String::as_str).collect();
        let message = format!("{shown} is an app with numbered instances");
        let next = match own.as_slice() {
            [] => "none of them was started yet: look at `paracloud ps`".to_owned(),
            some => format!("name one of them: {}", some.join(", ")),
        };
        return refused("several_instances", message, next);
    }
    let next = match names.as_slice() {
        [] => "no app is configured".to_owned(),
        all if all.len() <= NAMED_MAX => format!("there are: {}", all.join(", ")),
        many => format!("there are {} (`paracloud ps` lists them)", many.len()),
    };
    refused("unknown_instance", format!("there is no instance {shown:?}"), next)
}

/// There is no such node.
pub(crate) fn unknown_node(control: &Control, node: NodeId) -> Refused {
    let cloud = control.cloud();
    let names: Vec<_> = cloud.nodes.iter().map(|node| node.name.as_str()).collect();
    refused("unknown_node", format!("there is no node {node}"), format!("there are: {}", names.join(", ")))
}
