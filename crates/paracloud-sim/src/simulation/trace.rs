//! One line a transition: time, party, what happened, phase, and the register's record as it then stands.

use super::Micros;
use crate::world::{Action, Message, Party, Timer, World};
use paracloud_core::migration::Phase;
use paracloud_core::migration::agent;
use paracloud_core::migration::coordinator::{self, Command};
use paracloud_core::migration::gateway;
use paracloud_core::migration::message::{FromAgent, FromGateway, ToAgent, ToGateway};
use paracloud_core::migration::promises::Promise;
use paracloud_core::register::{Record, Step};

pub(super) fn line(now: Micros, who: &str, what: &str, phase: Phase, disk: &Record) -> String {
    let (ms, us) = (now / super::MS, now % super::MS);
    format!("{ms:>6}.{us:03} {who:<14} {what:<58} {:<8} {}", phase.to_string(), record(disk))
}

fn record(record: &Record) -> String {
    let step = match record.step() {
        None if record.gone => "gone",
        None => "-",
        Some(Step::Open) => "open",
        Some(Step::Sealing) => "sealing",
        Some(Step::Switch) => "switch",
        Some(Step::Doomed) => "doomed",
        Some(Step::Retire) => "retire",
        Some(Step::Undo) => "undo",
        Some(Step::Draining) => "draining",
        Some(Step::Leaving) => "leaving",
        Some(Step::Returning) => "returning",
        Some(Step::Resizing) => "resizing",
    };
    let served = if record.served.is_some() { "served" } else { "unserved" };
    format!("{}{}/{step}/{served}", record.last_operation, record.incarnation)
}

pub(super) fn party(world: &World, party: Party) -> String {
    let on = |name: &str, start| match world.node_of(start) {
        Some(node) => format!("{name}-{:x}@{node}", start.0),
        None => format!("{name}-{:x}", start.0),
    };
    match party {
        Party::Controller => "controller".to_owned(),
        Party::Agent(node) => format!("agent-{node}"),
        Party::Gateway(id) => format!("gateway-{id}"),
        Party::Shim(start) => on("shim", start),
        Party::App(start) => on("app", start),
    }
}

/// Who handles an action, and what it is.
pub(super) fn action(world: &World, action: &Action) -> (Party, String) {
    let pending = || {
        world.pending_change().map_or_else(|| "nothing".to_owned(), |it| Promise::of_change(it).to_string())
    };
    match action {
        Action::Deliver(envelope) => {
            (envelope.to, format!("{} from {}", message(&envelope.message), party(world, envelope.from)))
        }
        Action::Persist => (Party::Controller, format!("{} is on disk", pending())),
        Action::PersistAndCrash => {
            (Party::Controller, format!("{} is on disk, and it dies unaware", pending()))
        }
        Action::Mark(start) => (Party::Shim(*start), "the marker is on disk".to_owned()),
        Action::MarkAndCrash(start) => {
            (Party::Shim(*start), "the marker is on disk, and it dies unaware".to_owned())
        }
        Action::Crash(party) => (*party, "dies".to_owned()),
        Action::Restart(party) => (*party, "starts again".to_owned()),
        Action::Fire(party, timer) => (*party, format!("timer {}", self::timer(*timer))),
        Action::Command(Command::Move { to, .. }) => {
            (Party::Controller, format!("is asked to move the instance to {to}"))
        }
        Action::Command(Command::Leave) => {
            (Party::Controller, "is asked to let the instance leave".to_owned())
        }
        Action::Command(Command::Start { to, .. }) => {
            (Party::Controller, format!("is asked to start the instance on {to}"))
        }
        Action::Command(Command::Resize(_)) => (Party::Controller, "is asked for another size".to_owned()),
        Action::Command(Command::Cancel) => (Party::Controller, "is asked to cancel".to_owned()),
        Action::GiveUp(node) => (Party::Controller, format!("is told that {node} is lost")),
        Action::Send(request, gateway) => {
            (Party::Gateway(*gateway), format!("a client sends request {}", request.0))
        }
        Action::Hog(start) => (Party::App(*start), "a request does not end".to_owned()),
    }
}

fn timer(timer: Timer) -> String {
    match timer {
        Timer::Coordinator(coordinator::Timer::Resend) => "resend".to_owned(),
        Timer::Coordinator(coordinator::Timer::Deadline) => "deadline".to_owned(),
        Timer::Agent(agent::Timer::Ask) | Timer::Gateway(gateway::Timer::Ask) => "ask".to_owned(),
        Timer::Agent(agent::Timer::Restart) => "restart".to_owned(),
        Timer::Agent(agent::Timer::Sound) => "sound".to_owned(),
        Timer::Gateway(gateway::Timer::Bound(ticket)) => format!("bound of ticket {}", ticket.0),
    }
}

pub(super) fn message(message: &Message) -> String {
    match message {
        Message::ToAgent(message) => match message {
            ToAgent::Own(it) => format!("own {}", record(it)),
            ToAgent::Estimate { operation, .. } => format!("estimate {operation}"),
            ToAgent::Prepare { operation, side, .. } => format!("prepare {operation} as {side:?}"),
            ToAgent::Probe { start, .. } => format!("does {:x} live", start.0),
            ToAgent::End { operation, start, .. } => format!("end {:x} of {operation}", start.0),
        },
        Message::FromAgent(message) => match message {
            FromAgent::Ask => "ask".to_owned(),
            FromAgent::Offered { operation, offer } => format!("offered {operation} {offer:?}"),
            FromAgent::Prepared { operation, start } => format!("prepared {operation} {:x}", start.0),
            FromAgent::Progressed { operation, .. } => format!("progressed {operation}"),
            FromAgent::Sealed { operation, sealed } => format!("sealed {operation} at {}", sealed.position),
            FromAgent::Blocked { operation } => format!("blocked {operation}"),
            FromAgent::Loaded { operation, held, stated } => {
                format!("loaded {operation} {} of {}", held.position, stated.position)
            }
            FromAgent::Failed { operation, start } => format!("failed {operation} {:x}", start.0),
            FromAgent::Ready { start, incarnation, .. } => format!("ready {:x}{incarnation}", start.0),
            FromAgent::Serving { operation, start } => format!("serving {operation} {:x}", start.0),
            FromAgent::Undone { operation, start } => format!("undone {operation} {:x}", start.0),
            FromAgent::Drained { operation, start } => format!("drained {operation} {:x}", start.0),
            FromAgent::Resized { operation, start } => format!("resized {operation} {:x}", start.0),
            FromAgent::Unfit { operation, start, .. } => format!("unfit {operation} {:x}", start.0),
            FromAgent::Lives { start, .. } => format!("lives {:x}", start.0),
            FromAgent::Dead { start } => format!("dead {:x}", start.0),
            FromAgent::Propose { fresh, .. } => format!("propose {:x}", fresh.0),
        },
        Message::ToGateway(ToGateway::Table(table)) if table.drains => "table: drain".to_owned(),
        Message::ToGateway(ToGateway::Table(table)) => match (table.parks, table.route) {
            (true, _) => "table: park".to_owned(),
            (false, Some(route)) => format!("table: to {:x}{}", route.start.0, route.incarnation),
            (false, None) => "table: nowhere".to_owned(),
        },
        Message::ToGateway(ToGateway::Leave { .. }) => "leave".to_owned(),
        Message::FromGateway(FromGateway::Ask) => "ask".to_owned(),
        Message::FromGateway(FromGateway::Obeyed { parks, .. }) => {
            if *parks { "obeyed: parked" } else { "obeyed: released" }.to_owned()
        }
        Message::FromGateway(FromGateway::Drained { .. }) => "drained".to_owned(),
        Message::FromGateway(FromGateway::Wanted { .. }) => "wanted".to_owned(),
        Message::Request(ticket, request, _) => format!("request {} as ticket {}", request.0, ticket.0),
        Message::Reply(ticket, request, answer) => {
            format!("{answer:?} to request {} as ticket {}", request.0, ticket.0)
        }
        Message::EndOfState(operation, state, _) => {
            format!("end of state op-{operation}, {} writes", state.len())
        }
    }
}
