//! How a move is chosen before it is opened: where to, and in which mode. The application is asked first; it is never
//! moved in a weaker mode than was agreed.

use crate::control::Control;
use crate::journal::now_unix_ms;
use crate::orders::{By, Order};
use crate::peers::{Out, Peer};
use crate::person::{check, has_left, refused, rejection, unknown_instance, unknown_node};
use paci::upcall::Reason;
use paracloud_core::ids::{NodeId, OperationNumber, Placement, Revision};
use paracloud_core::migration::coordinator::Command;
use paracloud_core::migration::message::{Offer, ToAgent};
use paracloud_core::register::{Mode, Record};
use paracloud_substrate::config::App;
use paracloud_substrate::figures::millis;
use paracloud_substrate::link::{BEAT_MS, SILENT_MS};
use paracloud_substrate::message::{Preview, Terms, ToAgentLine, Unasked};
use paracloud_substrate::person::{Refusal, Refused, Reply};
use std::time::Duration;

/// What an answer to a question may take beyond the time that the application has for it, in milliseconds.
const ANSWER_MARGIN_MS: u64 = 1000;

/// An agent that goes on has been heard in the last so many milliseconds.
pub(crate) const LATE_MS: u64 = 5 * BEAT_MS;

/// A move that somebody wants.
pub(crate) struct Wanted {
    pub(crate) instance: String,
    pub(crate) to: To,
    pub(crate) accept_loss: bool,
}

/// Where an instance is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    /// To this node.
    Node(NodeId),
    /// To any other.
    Anywhere,
    /// Nowhere: to a process of what its app is by now, on its node.
    Current,
}

impl To {
    /// To that node, if one is named.
    pub(crate) fn node(node: Option<NodeId>) -> Self {
        node.map_or(Self::Anywhere, Self::Node)
    }

    fn named(self) -> Option<NodeId> {
        if let Self::Node(node) = self { Some(node) } else { None }
    }

    /// What that is, in a word.
    fn what(self) -> &'static str {
        match self {
            Self::Node(_) | Self::Anywhere => "a move",
            Self::Current => "an update",
        }
    }
}

/// How far a move got that was not begun.
#[derive(Debug, Default)]
struct Got {
    asked: Option<Placement>,
    /// The answer was a hold: how long it stands, in milliseconds, and why.
    held: Option<(u32, String)>,
}

/// Opens a move. That it was not opened is kept in the journal, with the reason.
pub(crate) async fn begin(control: &Control, wanted: &Wanted) -> Result<OperationNumber, Refused> {
    let mut got = Got::default();
    let begun = Box::pin(try_begin(control, wanted, &mut got, None)).await;
    if let Err(refused) = &begun
        && control.fleet.has(&wanted.instance)
    {
        control.keep_refusal(&wanted.instance, &refusal(wanted, refused, got)).await;
    }
    begun
}

/// Opens a move that the application asked for: by handing over, or where there is nothing to lose by a restart. Nobody's consent
/// counts for it, also not the manifest's.
pub(crate) async fn asked(control: &Control, instance: &str, by: &By) -> Result<OperationNumber, Refused> {
    let wanted = Wanted { instance: instance.to_owned(), to: To::Anywhere, accept_loss: false };
    Box::pin(try_begin(control, &wanted, &mut Got::default(), Some(by))).await
}

fn refusal(wanted: &Wanted, refused: &Refused, got: Got) -> Refusal {
    let Got { asked, held } = got;
    let (held_until_unix_ms, message) = match held {
        Some((remaining_ms, reason)) => (Some(now_unix_ms() + u64::from(remaining_ms)), reason),
        None => (None, refused.message.clone()),
    };
    let (code, message) = (refused.code.clone(), crate::journal::cut(message));
    let Wanted { to, accept_loss, .. } = *wanted;
    let to = to.named().or_else(|| asked.filter(|_| to == To::Current).map(|owner| owner.node));
    Refusal { to, accept_loss, asked, code, message, held_until_unix_ms, unkept: 0 }
}

/// `by`: who wants it, if no person does.
async fn try_begin(
    control: &Control,
    wanted: &Wanted,
    got: &mut Got,
    by: Option<&By>,
) -> Result<OperationNumber, Refused> {
    let Asked { app, record, from, to, revision } =
        Box::pin(place(control, &wanted.instance, wanted.to)).await?;
    if !control.peers.is_there(Peer::Agent(to)) {
        return Err(unreachable(control, to));
    }
    got.asked = Some(record.owner);
    let name = &wanted.instance;
    let reason = by.map_or(Reason::Person, |by| by.reason);
    let preview = ask(control, name, &app, record, (from, reason)).await?;
    if let Some(Offer::Hold { remaining_ms }) = preview.offer {
        got.held = Some((remaining_ms, said(&preview.reason).to_owned()));
    }
    // What a manifest consents to once and for all is meant for what people ask for.
    let app = if by.is_some() { App { accept_loss: false, ..app } } else { app };
    let mode = choose(name, &app, &preview, wanted.accept_loss, wanted.to.what())?;
    let own = Order::of_person(Command::Move { to, mode, revision });
    let order = match by {
        Some(By { reason, why }) => Order { reason: *reason, why: Some(why.clone()), ..own },
        None => Order { loss_accepted: wanted.accept_loss, ..own },
    };
    control.order(name, order).await.map_err(|rejected| rejection(control, name, rejected))
}

/// Says what a move would be.
pub(crate) async fn preview(control: &Control, instance: &str, wanted: To) -> Result<Reply, Refused> {
    let Asked { app, record, from, to, .. } = Box::pin(place(control, instance, wanted)).await?;
    let preview = ask(control, instance, &app, record, (from, Reason::Person)).await?;
    let (mode, mut obstacle) = match choose(instance, &app, &preview, false, wanted.what()) {
        Ok(mode) => (Some(mode), None),
        Err(refused) => (None, Some(refused)),
    };
    if obstacle.is_none() && !control.peers.is_there(Peer::Agent(to)) {
        obstacle = Some(unreachable(control, to));
    }
    Ok(Reply::Previewed { mode, to, preview, obstacle })
}

struct Asked {
    app: App,
    record: Record,
    from: NodeId,
    to: NodeId,
    /// What it is to be started from; `None`: what it was.
    revision: Option<Revision>,
}

/// Where it is and where it is to go, if it can go at all.
async fn place(control: &Control, instance: &str, wanted: To) -> Result<Asked, Refused> {
    let cloud = control.cloud();
    let Some(app) = cloud.app_of(instance).filter(|_| control.fleet.has(instance)) else {
        return Err(unknown_instance(control, instance));
    };
    if let To::Node(node) = wanted
        && cloud.node(node).is_none()
    {
        return Err(unknown_node(control, node));
    }
    control.shown(std::iter::once(instance)).await;
    let record = control.views.of(instance).and_then(|view| view.record);
    if record.as_ref().is_some_and(|record| record.gone) {
        return Err(has_left(control, instance));
    }
    let from = record.as_ref().map(|record| record.owner.node);
    let others = || cloud.nodes.iter().map(|node| node.id).filter(|node| Some(*node) != from);
    let elsewhere = || {
        let open = || others().filter(|node| !control.closed.has(*node));
        open().find(|node| control.peers.is_there(Peer::Agent(*node))).or_else(|| open().next())
    };
    let to = match wanted {
        To::Node(node) => Some(node),
        // Where it is not known where it is, what stands in the way says so.
        To::Current => from.or_else(|| cloud.nodes.first().map(|node| node.id)),
        To::Anywhere => elsewhere(),
    };
    let revision = (wanted == To::Current).then_some(Revision(app.revision));
    let Some(to) = to else {
        if others().next().is_some() {
            let closed: Vec<_> = others().map(|node| control.node_name(node)).collect();
            let message = format!("{instance} has nowhere to go: {} get nothing new", closed.join(", "));
            let next = "name one with --to, or open it again: paracloud node open NODE";
            return Err(refused("no_other_node", message, next));
        }
        let message = format!("there is no other node that {instance} could be moved to");
        return Err(refused("no_other_node", message, "add a node to the configuration"));
    };
    // In whichever mode: what stands in the way does not depend on it.
    // What it is to be started from may not be named yet.
    let other = record.as_ref().filter(|_| revision.is_some()).map(|record| record.owner.revision.next());
    check(control, instance, Command::Move { to, mode: Mode::Handoff, revision: other.or(revision) }).await?;
    let (Some(record), Some(from)) = (record, from) else {
        let message = format!("it is not known yet where {instance} runs");
        return Err(refused("unknown", message, "wait until its nodes are connected"));
    };
    Ok(Asked { app: app.clone(), record, from, to, revision })
}

/// Asks the application, through the agent of its node.
async fn ask(
    control: &Control,
    name: &str,
    app: &App,
    record: Record,
    (from, why): (NodeId, Reason),
) -> Result<Preview, Refused> {
    if !control.peers.is_there(Peer::Agent(from)) {
        return Err(unreachable(control, from));
    }
    let Some((question, answer)) = control.questions.ask(from) else {
        let message = "too many questions to applications are open at once";
        return Err(refused("busy", message, "ask again in a moment"));
    };
    // It asks under the number after the one that its record says; it may not have heard of the last outcome.
    let (instance, operation) = (name.to_owned(), record.operation.clone());
    let (size, terms, reason) = (record.size, Terms::default(), Reason::Unspecified);
    let message = ToAgent::Own(record);
    let own = ToAgentLine::Machine { instance, message, operation, terms, reason, size };
    control.peers.say(Peer::Agent(from), Out::ToAgent(own));
    let line = ToAgentLine::Preview { instance: name.to_owned(), question, reason: why };
    control.peers.say(Peer::Agent(from), Out::ToAgent(line));
    let bound_ms = u64::from(app.budgets.prepare_ms) + ANSWER_MARGIN_MS;
    match tokio::time::timeout(Duration::from_millis(bound_ms), answer).await {
        Ok(Ok(Ok(preview))) => Ok(preview),
        Ok(Ok(Err(unasked))) => Err(not_asked(name, app, unasked)),
        Ok(Err(_)) => Err(unreachable(control, from)),
        // It is the agent that is silent, and may not have asked.
        Err(_) if control.peers.silent_ms(Peer::Agent(from)) >= LATE_MS.min(bound_ms) => {
            Err(unreachable(control, from))
        }
        Err(_) => {
            let message = format!("{name} did not answer within {}", millis(bound_ms));
            Err(refused(
                "not_answered",
                message,
                "silence is no consent: look at `paracloud logs`, ask again",
            ))
        }
    }
}

/// Why the application could not be asked, and whether that passes.
fn not_asked(name: &str, app: &App, unasked: Unasked) -> Refused {
    let could_not = format!("{name} could not be asked: {}", crate::journal::cut(unasked.to_string()));
    match unasked {
        Unasked::Busy => {
            let message = format!("{name}: another move of it is being asked for");
            let next = format!("wait for it, or cancel it once it has begun: `paracloud cancel {name}`");
            refused("busy", message, next)
        }
        Unasked::Soon(_) => {
            refused("not_answered", could_not, "it passes within seconds: ask again in a moment")
        }
        Unasked::Ended(_) => {
            let lost = if app.is_stateless() { "" } else { "; the state that only it held is lost" };
            let message = could_not + lost;
            let next = format!("it is started anew: `paracloud events`, `paracloud logs {name}`");
            refused("not_answered", message, next)
        }
        Unasked::Unaware | Unasked::Lacks(_) | Unasked::Never(_) => {
            refused("not_answered", could_not, format!("look at `paracloud logs {name}` and ask again"))
        }
    }
}

pub(crate) fn unreachable(control: &Control, node: NodeId) -> Refused {
    let name = control.node_name(node);
    let peer = Peer::Agent(node);
    let silent = millis(control.peers.silent_ms(peer));
    let message = if control.peers.is_there(peer) {
        format!(
            "the agent of {name} has said nothing for {silent}: the app could not be asked; the node counts as away after {}",
            millis(SILENT_MS)
        )
    } else {
        format!("the agent of {name} is not connected, and was not heard for {silent}")
    };
    refused(
        "node_unreachable",
        message,
        format!(
            "look at log/agent-{name}.log; it dials by itself when it runs; one that hangs is started again when it is killed; if {name} will not come back: paracloud node lost {name}"
        ),
    )
}

/// The mode: by the application's own hand if it offers that; a restart only if there is nothing to lose, or with
/// consent to losing it. What the manifest consents to once and for all is meant for programs that cannot hand over: of
/// one that can, and does not want to now, a person decides with this very command.
fn choose(name: &str, app: &App, preview: &Preview, accept_loss: bool, what: &str) -> Result<Mode, Refused> {
    let standing = app.accept_loss || app.is_stateless();
    let consent = accept_loss || (standing && !preview.hands_over);
    let reason = crate::journal::cut(preview.reason.clone());
    match preview.offer {
        Some(Offer::Accept) => Ok(Mode::Handoff),
        Some(Offer::Hold { remaining_ms }) => {
            let left = millis(remaining_ms.into());
            let message = format!("{name} holds on to its place for {left}: {}", said(&reason));
            Err(refused("held", message, "ask again when the hold has expired"))
        }
        Some(Offer::Refuse) | None if consent => Ok(Mode::Restart),
        Some(Offer::Refuse) => {
            let message = format!("{name} refuses to be handed over: {}", said(&reason));
            let next = "ask again later; --accept-loss restarts it and loses its state";
            Err(refused("refused", message, next))
        }
        None => {
            let reason = if reason.is_empty() { "it cannot be handed over" } else { &reason };
            let message =
                format!("{name}: {reason}, and it holds state: {what} restarts it and loses the state");
            let next = if preview.hands_over {
                "consent to that with --accept-loss"
            } else {
                "consent with --accept-loss, or say `state: none` in the manifest if it has none"
            };
            Err(refused("consent_needed", message, next))
        }
    }
}

fn said(reason: &str) -> &str {
    if reason.is_empty() { "it gave no reason" } else { reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paracloud_substrate::config::State;

    fn app(state: State, accept_loss: bool) -> App {
        App { state, accept_loss, ..App::new("web", vec!["web".to_owned()]) }
    }

    fn offers(offer: Option<Offer>) -> Preview {
        Preview { hands_over: false, offer, estimate: None, reason: "backup until noon".to_owned() }
    }

    #[test]
    fn an_application_that_offers_a_handoff_is_handed_over_whatever_was_consented_to() {
        let stateful = app(State::Stateful, true);
        assert_eq!(choose("web", &stateful, &offers(Some(Offer::Accept)), true, "a move"), Ok(Mode::Handoff));
    }

    #[test]
    fn state_is_lost_only_with_consent() {
        let code = |state, manifest, person| {
            choose("web", &app(state, manifest), &offers(None), person, "a move")
                .map_err(|refused| refused.code)
        };
        assert_eq!(code(State::Stateful, false, false), Err("consent_needed".to_owned()));
        assert_eq!(code(State::Stateful, true, false), Ok(Mode::Restart));
        assert_eq!(code(State::Stateful, false, true), Ok(Mode::Restart));
        assert_eq!(code(State::None, false, false), Ok(Mode::Restart));
    }

    #[test]
    fn who_can_hand_over_is_restarted_only_by_a_persons_consent_to_this_move() {
        for offer in [Some(Offer::Refuse), None] {
            let preview = Preview { hands_over: true, ..offers(offer) };
            for app in [app(State::Stateful, true), app(State::None, false), app(State::None, true)] {
                let refused = choose("web", &app, &preview, false, "a move").unwrap_err();
                assert!(refused.message.contains("backup until noon"), "{}", refused.message);
                assert!(refused.next.contains("--accept-loss") && !refused.next.contains("manifest"));
                assert_eq!(choose("web", &app, &preview, true, "a move"), Ok(Mode::Restart));
            }
        }
    }

    #[test]
    fn who_needs_a_consent_says_why_it_cannot_hand_over_in_its_own_words() {
        for why in ["it does not speak PaCI", "it does not claim the capability move.handoff"] {
            let preview = Preview { reason: why.to_owned(), ..offers(None) };
            let refused = choose("web", &app(State::Stateful, false), &preview, false, "a move").unwrap_err();
            assert!(refused.message.contains(why), "{}", refused.message);
            let others = refused.message.replace(why, "");
            assert!(!others.contains("PaCI"), "{}", refused.message);
        }
    }

    #[test]
    fn who_could_not_be_asked_is_named_once_and_what_passes_is_said_to() {
        let stateful = app(State::Stateful, false);
        let busy = not_asked("web", &stateful, Unasked::Busy);
        assert_eq!((busy.code.as_str(), busy.message.matches("web").count()), ("busy", 1), "{busy:?}");
        assert!(busy.next.contains("paracloud cancel web"), "{busy:?}");
        let soon = not_asked("web", &stateful, Unasked::Soon("it has not said Hello".to_owned()));
        assert_eq!(soon.message, "web could not be asked: it has not said Hello");
        assert_eq!(soon.next, "it passes within seconds: ask again in a moment");
        let ended = || Unasked::Ended("exited with status 3".to_owned());
        let lost = not_asked("web", &stateful, ended()).message;
        assert!(
            lost.ends_with("its process ended: exited with status 3; the state that only it held is lost")
        );
        assert!(!not_asked("web", &app(State::None, false), ended()).message.contains("lost"));
    }

    #[test]
    fn no_consent_overrules_a_hold() {
        let held = choose(
            "web",
            &app(State::None, true),
            &offers(Some(Offer::Hold { remaining_ms: 7_000 })),
            true,
            "a move",
        );
        let refused = held.unwrap_err();
        assert_eq!(refused.code, "held");
        assert!(refused.message.contains("for 7.00 s: backup until noon"), "{}", refused.message);
    }

    #[test]
    fn a_refusal_gives_its_reason_and_what_consent_would_do() {
        let refused =
            choose("web", &app(State::Stateful, false), &offers(Some(Offer::Refuse)), false, "a move")
                .unwrap_err();
        assert_eq!(refused.code, "refused");
        assert!(refused.message.contains("backup until noon") && refused.next.contains("--accept-loss"));
    }
}
