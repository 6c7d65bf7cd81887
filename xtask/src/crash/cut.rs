//! The gateway that is cut off from the controller before it hears that it is to park: what it did by its old route,
//! from the log of its machine.

use super::INSTANCE;
use crate::rig::{Rig, Who};
use anyhow::{Context, Result};
use paracloud_core::ids::StartId;
use paracloud_core::migration::gateway::{Answer, Effect, Input, Ticket};
use paracloud_core::migration::message::FromGateway;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// The gateway that is cut off.
const GATEWAY: u32 = 1;

/// One step of a gateway's machine, as it is logged.
#[derive(Deserialize)]
struct Step {
    input: Input,
    effects: Vec<Effect>,
}

/// Where a gateway's log stood when its trial began.
pub(super) struct Ear {
    log: PathBuf,
    from: usize,
}

/// What a gateway did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// Requests that the source answered.
    answered: u64,
    /// Requests that the source refused untouched.
    refused: u64,
    /// Those of them that were then sent to the target.
    asked_again: u64,
    /// Requests that it answered by itself, surely not applied.
    failed: u64,
    /// It said that it parks.
    promised: bool,
}

impl Ear {
    /// Remembers where the gateway's log ends now.
    pub(super) fn begin(rig: &Rig) -> Result<Self> {
        let gateway = rig.find(Who::Gateway(GATEWAY)).context("the gateway is not there")?;
        let name = format!("gateway-g{GATEWAY}-{INSTANCE}-{}.jsonl", gateway.pid);
        let log = rig.layout().trace().join(name);
        let from = std::fs::read(&log).with_context(|| format!("{} cannot be read", log.display()))?.len();
        Ok(Self { log, from })
    }

    /// Says what is wrong with what the gateway did since, in a move from this source that left this owner. `None`:
    /// nothing.
    pub(super) fn end(&self, source: StartId, owner: StartId) -> Result<Option<String>> {
        let text = std::fs::read(&self.log)?;
        let text = String::from_utf8_lossy(text.get(self.from..).unwrap_or_default()).into_owned();
        // The first line is torn where the log was not written out, and the last one where it is not.
        let steps = text.lines().filter_map(|line| serde_json::from_str::<Step>(line).ok());
        let heard = Heard::of(steps, source, owner);
        Ok(if owner == source { heard.fault_of_none() } else { heard.fault() })
    }
}

impl Heard {
    fn of(steps: impl Iterator<Item = Step>, source: StartId, target: StartId) -> Self {
        let mut heard = Self::default();
        let mut routes = BTreeMap::<Ticket, StartId>::new();
        let mut waiting = BTreeSet::new();
        for Step { input, effects } in steps {
            match input {
                Input::Answered(ticket, Answer::Replied) if routes.get(&ticket) == Some(&source) => {
                    heard.answered += 1;
                }
                Input::Answered(ticket, Answer::NotApplied) if routes.get(&ticket) == Some(&source) => {
                    heard.refused += 1;
                    waiting.insert(ticket);
                }
                // The number may be another request's from now on.
                Input::Left(ticket) => _ = waiting.remove(&ticket),
                Input::Started
                | Input::Arrived(_)
                | Input::Belongs(_)
                | Input::Emptied(_)
                | Input::Answered(..)
                | Input::Coordinator(_)
                | Input::Drained(_)
                | Input::Timer(_) => {}
            }
            for effect in effects {
                match effect {
                    Effect::Forward(ticket, route) => {
                        routes.insert(ticket, route.start);
                        if waiting.remove(&ticket) && route.start == target {
                            heard.asked_again += 1;
                        }
                    }
                    Effect::Fail(ticket, _) => {
                        heard.failed += u64::from(waiting.remove(&ticket));
                    }
                    Effect::Coordinator(FromGateway::Obeyed { parks: true, .. }) => heard.promised = true,
                    Effect::Coordinator(_)
                    | Effect::SetTimer(..)
                    | Effect::CancelTimer(_)
                    | Effect::Leave(_)
                    | Effect::Drain(_)
                    | Effect::Elsewhere(_)
                    | Effect::Parked(_) => {}
                }
            }
        }
        heard
    }

    /// What is wrong after a move that was called off.
    fn fault_of_none(&self) -> Option<String> {
        let wrong = if self.promised {
            "it said that it parks: it was not cut off before"
        } else if self.answered == 0 {
            "the source answered none of its requests: it did not go on by its old route"
        } else if self.failed > 0 {
            "it gave up requests of a source that was never stopped"
        } else {
            return None;
        };
        Some(format!("the gateway that was cut off: {wrong}: {self:?}"))
    }

    /// What is wrong after a move that went on without it.
    fn fault(&self) -> Option<String> {
        let wrong = if self.promised {
            "it said that it parks: it was not cut off before"
        } else if self.refused == 0 {
            "the source refused none of its requests: it did not go on by its old route"
        } else if self.asked_again == 0 {
            "none of its refused requests was asked again at the target"
        } else if self.failed > 0 {
            "it gave up requests that the source had refused"
        } else {
            return None;
        };
        Some(format!("the gateway that was cut off: {wrong}: {self:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paracloud_core::ids::Incarnation;
    use paracloud_core::migration::gateway::{Failure, Route};
    use paracloud_core::register::RecordOrder;

    const SOURCE: StartId = StartId(1);
    const TARGET: StartId = StartId(2);
    const TICKET: Ticket = Ticket(1);

    fn to(start: StartId) -> Effect {
        let address = ([127, 0, 0, 1], 80).into();
        Effect::Forward(TICKET, Route { incarnation: Incarnation(1), start, address })
    }

    fn fault(steps: Vec<(Input, Vec<Effect>)>) -> Option<String> {
        let steps = steps.into_iter().map(|(input, effects)| Step { input, effects });
        Heard::of(steps, SOURCE, TARGET).fault()
    }

    #[test]
    fn a_request_that_was_refused_is_asked_again_at_the_target() {
        let arrived = (Input::Arrived(TICKET), vec![to(SOURCE)]);
        let refused = (Input::Answered(TICKET, Answer::NotApplied), vec![Effect::Parked(TICKET)]);
        let table = (Input::Started, vec![to(TARGET)]);
        assert_eq!(fault(vec![arrived.clone(), refused.clone(), table.clone()]), None);
        assert!(fault(vec![arrived.clone(), refused.clone()]).unwrap().contains("asked again"));
        assert!(fault(vec![table.clone()]).unwrap().contains("refused none"));
        let gave_up = (Input::Started, vec![Effect::Fail(TICKET, Failure::NotApplied)]);
        let again = (Input::Answered(TICKET, Answer::NotApplied), vec![Effect::Parked(TICKET)]);
        let all = vec![arrived.clone(), refused, table, arrived, again, gave_up];
        assert!(fault(all).unwrap().contains("gave up"));
    }

    #[test]
    fn a_move_that_waits_for_every_gateway_is_called_off_and_the_source_goes_on() {
        let fault = |steps: Vec<(Input, Vec<Effect>)>| {
            let steps = steps.into_iter().map(|(input, effects)| Step { input, effects });
            Heard::of(steps, SOURCE, SOURCE).fault_of_none()
        };
        let arrived = (Input::Arrived(TICKET), vec![to(SOURCE)]);
        let answered = (Input::Answered(TICKET, Answer::Replied), Vec::new());
        assert_eq!(fault(vec![arrived.clone(), answered.clone()]), None);
        assert!(fault(vec![arrived.clone()]).unwrap().contains("answered none"));
        let obeyed = FromGateway::Obeyed { order: RecordOrder::default(), parks: true };
        let promised = (Input::Started, vec![Effect::Coordinator(obeyed)]);
        assert!(fault(vec![arrived.clone(), answered.clone(), promised]).unwrap().contains("cut off before"));
        let refused = (Input::Answered(TICKET, Answer::NotApplied), vec![Effect::Parked(TICKET)]);
        let gave_up = (Input::Started, vec![Effect::Fail(TICKET, Failure::NotApplied)]);
        let all = vec![arrived.clone(), answered, arrived, refused, gave_up];
        assert!(fault(all).unwrap().contains("gave up"));
    }

    #[test]
    fn a_gateway_that_said_that_it_parks_was_not_cut_off() {
        let obeyed = FromGateway::Obeyed { order: RecordOrder::default(), parks: true };
        let steps = vec![(Input::Started, vec![Effect::Coordinator(obeyed)])];
        assert!(fault(steps).unwrap().contains("cut off before"));
    }
}
