//! Questions to applications that nothing is done because of, under the number that their next operation will have.

use crate::control::Control;
use crate::journal;
use crate::moves::unreachable;
use crate::peers::{Out, Peer};
use crate::person::{has_left, refused, unknown_instance};
use paci::answer::Answer;
use paci::upcall::Reason;
use paracloud_core::migration::message::ToAgent;
use paracloud_substrate::figures::millis;
use paracloud_substrate::message::{Question, Terms, ToAgentLine, Unasked};
use paracloud_substrate::person::Refused;
use std::time::Duration;

/// What an answer may take beyond the time that the application has for it, in milliseconds.
const ANSWER_MARGIN_MS: u64 = 1_000;

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum NotAsked {
    /// It was not put to its agent, or nothing came back.
    Here(Refused),
    /// Its agent says so.
    Agent(Unasked),
}

impl From<Refused> for NotAsked {
    fn from(refused: Refused) -> Self {
        Self::Here(refused)
    }
}

/// Asks the owner of an instance, and says for people why there is no answer.
///
/// # Errors
/// As [`put`].
pub(crate) async fn ask(
    control: &Control,
    instance: &str,
    call: Question,
    reason: Reason,
    budget_ms: u32,
) -> Result<Answer, Refused> {
    put(control, instance, call, reason, budget_ms).await.map_err(|not_asked| match not_asked {
        NotAsked::Here(refused) => refused,
        NotAsked::Agent(unasked) => self::not_asked(instance, unasked),
    })
}

/// Asks the owner of an instance, through the agent of its node, and waits for its answer at most as long as it is told.
///
/// # Errors
/// It is not known, runs nowhere, cannot be asked, or did not answer in time.
pub(crate) async fn put(
    control: &Control,
    instance: &str,
    call: Question,
    reason: Reason,
    budget_ms: u32,
) -> Result<Answer, NotAsked> {
    control.shown(std::iter::once(instance)).await;
    let Some(view) = control.views.of(instance).filter(|_| control.fleet.has(instance)) else {
        return Err(unknown_instance(control, instance).into());
    };
    let Some(record) = view.record else {
        let message = format!("it is not known yet where {instance} runs");
        return Err(refused("unknown", message, "wait until its nodes are connected").into());
    };
    if record.gone {
        return Err(has_left(control, instance).into());
    }
    let node = record.owner.node;
    if !control.peers.is_there(Peer::Agent(node)) {
        return Err(unreachable(control, node).into());
    }
    let Some((question, answer)) = control.asked.ask(node) else {
        let message = "too many questions to applications are open at once";
        return Err(refused("busy", message, "ask again in a moment").into());
    };
    // It asks under the number after the one that its record says; it may not have heard of the last outcome.
    let (name, operation) = (instance.to_owned(), record.operation.clone());
    let (size, terms) = (record.size, Terms::default());
    let message = ToAgent::Own(record);
    let own =
        ToAgentLine::Machine { instance: name, message, operation, terms, reason: Reason::Unspecified, size };
    control.peers.say(Peer::Agent(node), Out::ToAgent(own));
    let line = ToAgentLine::Question { instance: instance.to_owned(), question, call, reason, budget_ms };
    control.peers.say(Peer::Agent(node), Out::ToAgent(line));
    let bound_ms = u64::from(budget_ms) + ANSWER_MARGIN_MS;
    match tokio::time::timeout(Duration::from_millis(bound_ms), answer).await {
        Ok(Ok(Ok(answer))) => Ok(answer),
        Ok(Ok(Err(unasked))) => Err(NotAsked::Agent(unasked)),
        Ok(Err(_)) => Err(unreachable(control, node).into()),
        Err(_) => {
            let message = format!("{instance} did not answer within {}", millis(bound_ms));
            Err(refused("not_answered", message, "look at `paracloud logs`, ask again").into())
        }
    }
}

/// Why the application could not be asked, and whether that passes.
fn not_asked(instance: &str, unasked: Unasked) -> Refused {
    let could_not = format!("{instance} could not be asked: {}", journal::cut(unasked.to_string()));
    match unasked {
        Unasked::Busy => {
            let message =
                format!("{instance} is being asked something already, or an operation of it is open");
            refused("busy", message, "ask again in a moment; `paracloud ps` shows what is open")
        }
        Unasked::Soon(_) => {
            refused("not_answered", could_not, "it passes within seconds: ask again in a moment")
        }
        Unasked::Ended(_) => {
            let next = format!("it is started anew: `paracloud events`, `paracloud logs {instance}`");
            refused("not_answered", could_not, next)
        }
        Unasked::Lacks(capability) => {
            let next = format!(
                "what the platform itself knows of it: `paracloud explain {instance}`; to be asked it has to claim \
                 {capability} in Hello: docs/reference/paci-v1.md"
            );
            refused("unable", could_not, next)
        }
        Unasked::Unaware => {
            let next = format!(
                "what the platform itself knows of it: `paracloud explain {instance}`, `paracloud ps`; to be asked it \
                 has to speak PaCI: docs/reference/paci-v1.md"
            );
            refused("unaware", could_not, next)
        }
        Unasked::Never(_) => {
            let next = format!("look at `paracloud logs {instance}` and ask again");
            refused("not_answered", could_not, next)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_who_does_not_speak_it_is_said_who_that_is_why_and_what_else_there_is() {
        let unaware = not_asked("web", Unasked::Unaware);
        assert_eq!(unaware.message, "web could not be asked: it does not speak PaCI");
        assert!(unaware.next.contains("paracloud explain web") && !unaware.next.contains("ask again"));
        let lacks = not_asked("web", Unasked::Lacks("scale.quote".to_owned()));
        assert_eq!(lacks.message, "web could not be asked: it does not claim the capability scale.quote");
        assert!(lacks.next.contains("claim scale.quote in Hello") && !lacks.next.contains("ask again"));
        assert_eq!((unaware.code.as_str(), lacks.code.as_str()), ("unaware", "unable"));
    }
}
