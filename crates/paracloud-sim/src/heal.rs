//! After the faults: everybody comes back, every message arrives, every timer fires in turn, and all must come to
//! rest. A world that does not is one in which an operation would never end.

use crate::ledger::{RequestId, Standing};
use crate::world::{Action, Envelope, Message, Party, Setting, Timer, World};
use paracloud_core::migration::coordinator;
use std::collections::{BTreeSet, VecDeque};

/// Steps within which a healed world must have come to rest. The longest seen is under 300.
pub const HEAL_STEPS_MAX: usize = 3_000;

/// Heals a world and lets it run until it rests.
///
/// # Errors
/// What has not come to rest after [`HEAL_STEPS_MAX`] steps, or a rule that was broken on the way.
pub fn heal(
    world: &mut World,
    setting: &Setting,
    in_flight: impl IntoIterator<Item = Envelope>,
    armed: BTreeSet<(Party, Timer)>,
) -> Result<(), String> {
    let mut messages: VecDeque<Envelope> = in_flight.into_iter().collect();
    // In the order in which they were armed, so that none is starved.
    let mut armed: Vec<_> = armed.into_iter().collect();
    let mut deadlines_wait = 0;
    // At the end a write through each gateway must come through, however stale its table.
    let mut probes: Vec<_> = world.gateways().zip(PROBES).collect();
    for _ in 0..HEAL_STEPS_MAX {
        if messages.is_empty() && !world.is_swapping() && world.converged().is_ok() {
            let Some((gateway, probe)) = probes.pop() else { break };
            world.apply(setting, Action::Send(RequestId(probe), gateway));
        } else {
            let action = next(world, &mut messages, &mut armed, &mut deadlines_wait);
            let Some(action) = action else { break };
            world.apply(setting, action);
        }
        if let Some(violation) = world.violations.first() {
            return Err(format!("{}: {}", violation.rule, violation.what));
        }
        messages.extend(world.sent.drain(..));
        for (party, timer, ms) in world.timers.drain(..) {
            armed.retain(|known| *known != (party, timer));
            if ms.is_some() {
                armed.push((party, timer));
            }
        }
    }
    world.converged()?;
    // Of an instance that has left, each is sent on to another one, which is not in this world.
    let standing = if world.disk.gone { Standing::Refused } else { Standing::Acknowledged };
    let acknowledged: BTreeSet<_> = world.ledger.standing(standing).collect();
    match world.gateways().zip(PROBES).find(|(_, probe)| !acknowledged.contains(&RequestId(*probe))) {
        Some((gateway, _)) => {
            Err(format!("all is at rest, but a write through {gateway} does not come through"))
        }
        None => Ok(()),
    }
}

/// The ids of the writes that are sent when all has come to rest.
const PROBES: std::ops::Range<u16> = 60_000..60_050;

/// Rounds of repeating everything before a budget is taken to have run out.
const ROUNDS_BEFORE_DEADLINES: u32 = 4;

fn next(
    world: &World,
    messages: &mut VecDeque<Envelope>,
    armed: &mut Vec<(Party, Timer)>,
    deadlines_wait: &mut u32,
) -> Option<Action> {
    if let Some(party) =
        world.parties().into_iter().find(|party| !matches!(party, Party::App(_)) && !world.is_up(*party))
    {
        return Some(Action::Restart(party));
    }
    if world.is_swapping() {
        return Some(Action::Persist);
    }
    if let Some(start) = world.marking() {
        return Some(Action::Mark(start));
    }
    while let Some(envelope) = messages.pop_front() {
        if world.is_current(&envelope) || matches!(envelope.message, Message::Request(..)) {
            return Some(Action::Deliver(envelope));
        }
    }
    let is_deadline = |timer: &Timer| matches!(timer, Timer::Coordinator(coordinator::Timer::Deadline));
    let due = armed.iter().position(|(_, timer)| !is_deadline(timer) || *deadlines_wait == 0)?;
    let (party, timer) = armed.remove(due);
    *deadlines_wait =
        if is_deadline(&timer) { ROUNDS_BEFORE_DEADLINES } else { deadlines_wait.saturating_sub(1) };
    Some(Action::Fire(party, timer))
}
