//! What becomes of what an application asks for itself: to be moved to another node, another size.
//!
//! An ask is no right. It is refused where the manifest does not allow it; it waits for what passes by itself; it is granted
//! when nothing stands in its way, and as often as a budget has. Pure, as every decision: [`decide`] is told what is known
//! and what the last decision left, and its [`Record`] is all that it needs to be made again.
//!
//! ```text
//!   asked ──▶ refused: not by this manifest ──────────────▶ not looked at again for a time
//!     │
//!     ├─────▶ waits: an operation is open, no node, budget ─▶ looked at again
//!     │
//!     └─────▶ granted ──▶ open ──▶ done
//!                │          └────▶ failed: as refused
//!                └─▶ could not be begun: waits, or refused
//! ```

mod texts;

pub use texts::explain;

use crate::ids::StartId;
use crate::register::Size;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// What an application wants done with itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// To be moved to another node.
    Move,
    /// Another size. What is `None` stays as it is.
    Size(Size),
    /// So many instances of its app.
    Replicas(u32),
    /// To be drained and ended.
    Retire,
}

impl Wish {
    /// Its kind, of which one stands at a time: the number of the field in an ask.
    pub const fn kind(self) -> u8 {
        match self {
            Self::Move => 10,
            Self::Replicas(_) => 11,
            Self::Size(_) => 12,
            Self::Retire => 13,
        }
    }
}

/// What the manifest allows, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Its app may have more instances than one.
    pub is_scaled: bool,
    /// What instances say counts when their number and size are decided.
    pub counts_reports: bool,
    /// The share of processors follows the load: nobody else sets it.
    pub cpu_follows_load: bool,
    /// It is never made smaller. `None`: of that there is no limit, and none is set.
    pub least: Size,
    /// It is never made larger.
    pub most: Size,
    /// So many asks of one instance are carried out …
    pub acts: u32,
    /// … in any time of this length, in milliseconds.
    pub per_ms: u32,
    /// What was refused is not looked at again for so long, in milliseconds.
    pub refused_ms: u32,
    /// What waits is looked at again by the next time; an application may ask what became of it after so long, in milliseconds.
    pub again_ms: u32,
}

/// How far the instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It serves, and no operation of it is open.
    Serves,
    /// It does not serve yet.
    Starts,
    /// An operation of it is open.
    InOperation,
    /// Nothing can be decided about it.
    Unknown,
}

/// What came of the last ask of this kind that was granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Came {
    /// It is being begun, or its operation is open.
    Open,
    /// It could not be begun, and that passes by itself.
    Passes(String),
    /// It was not begun, or ended otherwise than it was to.
    Failed(String),
    /// It is done.
    Done,
}

/// What is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sight {
    /// Now, in milliseconds on any clock that does not go back.
    pub now_ms: u64,
    /// What is asked for.
    pub wish: Wish,
    /// Why, in the application's words.
    pub reason: String,
    /// By which process.
    pub start: StartId,
    /// For how long it still stands, in milliseconds.
    pub left_ms: u32,
    /// How far its instance is.
    pub phase: Phase,
    /// Other nodes that take it.
    pub elsewhere: u32,
    /// The size that it has.
    pub size: Size,
    /// What came of the last one that was granted, if it is known.
    pub came: Option<Came>,
}

/// What the decisions about an instance leave to the next one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// When asks of it were granted, in milliseconds, the oldest first: as far back as the budget counts.
    acts: Vec<u64>,
    /// The last one that was granted, of each kind.
    tried: Vec<Tried>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Tried {
    wish: Wish,
    start: StartId,
    at_ms: u64,
    /// When it was seen what came of it, in milliseconds.
    came_ms: Option<u64>,
}

/// What becomes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is begun now.
    Grant,
    /// It is being carried out.
    Underway,
    /// It is so.
    Done,
    /// It counts when the number of instances is decided next.
    Taken,
    /// Not now.
    Waits(Wait),
    /// Not this, or not again so soon.
    Refused(Refusal),
}

/// What it waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wait {
    /// It does not serve yet.
    Starts,
    /// An operation of it is open.
    InOperation,
    /// Nothing can be decided about it yet.
    Unknown,
    /// There is no other node that takes it.
    NoNode,
    /// Its budget is spent, for so many milliseconds.
    Budget(u32),
    /// It could not be begun.
    NotBegun(String),
}

/// Why it is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// Its app has one instance.
    NotScaled,
    /// What it says does not count, by its manifest.
    NotCounted,
    /// The share of processors follows the load, by its manifest.
    FollowsLoad,
    /// Its manifest sets no limit on it, so there is no size to change.
    Unlimited(Resource),
    /// Less than the manifest allows: this.
    TooSmall(Resource, u32),
    /// More than the manifest allows: this.
    TooLarge(Resource, u32),
    /// It was tried.
    Tried(String),
}

/// What a size is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// Memory, in KiB.
    Memory,
    /// Processors, in thousandths.
    Cpu,
}

/// What is done for an ask that is granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// The instance goes to another node.
    Move,
    /// It gets this size, whole.
    Resize(Size),
}

/// A decision, with all that it was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The instance, for whoever reads the log.
    pub instance: String,
    /// What the manifest allows.
    pub policy: Policy,
    /// What was known.
    pub sight: Sight,
    /// What the last decision left.
    pub memory: Memory,
    /// What becomes of it.
    pub verdict: Verdict,
    /// When it is of use to ask again, in milliseconds; 0: there is nothing more to hear.
    pub again_ms: u32,
    /// What is left to the next one.
    pub next: Memory,
}

impl Record {
    /// The same decision, made again.
    #[must_use]
    pub fn replay(&self) -> Self {
        decide(&self.instance, &self.policy, &self.sight, &self.memory)
    }

    /// What is to be begun now, if it is granted.
    #[must_use]
    pub fn act(&self) -> Option<Act> {
        match (&self.verdict, self.sight.wish) {
            (Verdict::Grant, Wish::Move) => Some(Act::Move),
            (Verdict::Grant, Wish::Size(to)) => Some(Act::Resize(whole(to, self.sight.size))),
            // The number of instances is decided by `scaling`.
            (Verdict::Grant, Wish::Replicas(_) | Wish::Retire)
            | (
                Verdict::Underway | Verdict::Done | Verdict::Taken | Verdict::Waits(_) | Verdict::Refused(_),
                _,
            ) => None,
        }
    }
}

/// What becomes of an ask.
#[must_use]
pub fn decide(instance: &str, policy: &Policy, sight: &Sight, memory: &Memory) -> Record {
    let mut next = memory.clone();
    next.look(policy, sight);
    let verdict = next.verdict(policy, sight);
    if verdict == Verdict::Grant {
        next.grant(sight);
    }
    let again_ms = match &verdict {
        Verdict::Grant | Verdict::Underway | Verdict::Waits(_) => policy.again_ms,
        Verdict::Done | Verdict::Taken => 0,
        Verdict::Refused(Refusal::Tried(_)) => next.rest_ms(policy, sight).unwrap_or(policy.refused_ms),
        Verdict::Refused(
            Refusal::NotScaled
            | Refusal::NotCounted
            | Refusal::FollowsLoad
            | Refusal::Unlimited(_)
            | Refusal::TooSmall(..)
            | Refusal::TooLarge(..),
        ) => policy.refused_ms,
    };
    let again_ms = if let Verdict::Waits(Wait::Budget(left_ms)) = verdict { left_ms } else { again_ms };
    Record {
        instance: instance.into(),
        policy: *policy,
        sight: sight.clone(),
        memory: memory.clone(),
        verdict,
        again_ms,
        next,
    }
}

impl Memory {
    /// Forgets what counts no more, and takes in what came of the last one.
    fn look(&mut self, policy: &Policy, sight: &Sight) {
        let now_ms = sight.now_ms;
        self.acts.retain(|at_ms| now_ms.saturating_sub(*at_ms) < u64::from(policy.per_ms));
        let Some(came) = &sight.came else { return };
        let Some(tried) = self.tried.iter_mut().find(|tried| tried.wish.kind() == sight.wish.kind()) else {
            return;
        };
        match came {
            Came::Open => {}
            // Nothing was done.
            Came::Passes(_) => {
                let at_ms = tried.at_ms;
                tried.came_ms.get_or_insert(now_ms);
                self.acts.retain(|act_ms| *act_ms != at_ms);
            }
            Came::Failed(_) | Came::Done => drop(tried.came_ms.get_or_insert(now_ms)),
        }
    }

    fn verdict(&self, policy: &Policy, sight: &Sight) -> Verdict {
        match sight.wish {
            Wish::Replicas(_) | Wish::Retire => {
                return match () {
                    () if !policy.is_scaled => Verdict::Refused(Refusal::NotScaled),
                    () if !policy.counts_reports => Verdict::Refused(Refusal::NotCounted),
                    () => Verdict::Taken,
                };
            }
            Wish::Move | Wish::Size(_) => {}
        }
        let size = if let Wish::Size(to) = sight.wish { Some(to) } else { None };
        // Also while another size is open: what it asks for now it will not get.
        if let Some(refusal) = size.and_then(|to| beyond(policy, to)) {
            return Verdict::Refused(refusal);
        }
        if sight.came == Some(Came::Open) {
            return Verdict::Underway;
        }
        if size.is_some_and(|to| whole(to, sight.size) == sight.size) {
            return Verdict::Done;
        }
        match (&sight.came, self.rest_ms(policy, sight)) {
            (Some(Came::Failed(why)), Some(_)) => return Verdict::Refused(Refusal::Tried(why.clone())),
            // A process that was moved asks no more; one that asks again after its move is another one.
            (Some(Came::Done), Some(_)) => return Verdict::Done,
            (Some(Came::Passes(why)), Some(_)) => return Verdict::Waits(Wait::NotBegun(why.clone())),
            (Some(_), None) | (None, _) | (Some(Came::Open), Some(_)) => {}
        }
        let wait = match sight.phase {
            Phase::Starts => Some(Wait::Starts),
            Phase::InOperation => Some(Wait::InOperation),
            Phase::Unknown => Some(Wait::Unknown),
            Phase::Serves => None,
        };
        let wait =
            wait.or_else(|| (sight.wish == Wish::Move && sight.elsewhere == 0).then_some(Wait::NoNode));
        let wait = wait.or_else(|| self.spent_ms(policy, sight.now_ms).map(Wait::Budget));
        wait.map_or(Verdict::Grant, Verdict::Waits)
    }

    /// For how long the same is not tried again, in milliseconds, if it was tried.
    fn rest_ms(&self, policy: &Policy, sight: &Sight) -> Option<u32> {
        let tried = self.tried.iter().find(|tried| tried.wish == sight.wish && tried.start == sight.start)?;
        let rests_ms = match sight.came {
            Some(Came::Passes(_)) => policy.again_ms,
            Some(Came::Open | Came::Failed(_) | Came::Done) | None => policy.refused_ms,
        };
        let passed_ms = sight.now_ms.saturating_sub(tried.came_ms?);
        u32::try_from(u64::from(rests_ms).checked_sub(passed_ms)?).ok().filter(|left_ms| *left_ms > 0)
    }

    /// For how long the budget is spent, in milliseconds.
    fn spent_ms(&self, policy: &Policy, now_ms: u64) -> Option<u32> {
        let acts = usize::try_from(policy.acts).unwrap_or(usize::MAX);
        let oldest = self.acts.len().checked_sub(acts)?;
        let Some(at_ms) = self.acts.get(oldest) else { return Some(policy.per_ms) };
        let passed_ms = now_ms.saturating_sub(*at_ms);
        u32::try_from(u64::from(policy.per_ms).saturating_sub(passed_ms)).ok().filter(|left_ms| *left_ms > 0)
    }

    fn grant(&mut self, sight: &Sight) {
        let Sight { now_ms, wish, start, .. } = *sight;
        self.acts.push(now_ms);
        self.tried.retain(|tried| tried.wish.kind() != wish.kind());
        self.tried.push(Tried { wish, start, at_ms: now_ms, came_ms: None });
    }
}

/// Why a size is not to be had, if the manifest says so.
fn beyond(policy: &Policy, to: Size) -> Option<Refusal> {
    if !policy.counts_reports {
        return Some(Refusal::NotCounted);
    }
    if policy.cpu_follows_load && to.cpu_milli.is_some() {
        return Some(Refusal::FollowsLoad);
    }
    let of = |resource, to: Option<u32>, least: Option<u32>, most: Option<u32>| {
        let to = to?;
        match (least, most) {
            (None, _) | (_, None) => Some(Refusal::Unlimited(resource)),
            (Some(least), Some(_)) if to < least => Some(Refusal::TooSmall(resource, least)),
            (Some(_), Some(most)) if to > most => Some(Refusal::TooLarge(resource, most)),
            (Some(_), Some(_)) => None,
        }
    };
    of(Resource::Memory, to.memory_kib, policy.least.memory_kib, policy.most.memory_kib)
        .or_else(|| of(Resource::Cpu, to.cpu_milli, policy.least.cpu_milli, policy.most.cpu_milli))
}

fn whole(to: Size, now: Size) -> Size {
    Size { memory_kib: to.memory_kib.or(now.memory_kib), cpu_milli: to.cpu_milli.or(now.cpu_milli) }
}

#[cfg(test)]
mod tests;
