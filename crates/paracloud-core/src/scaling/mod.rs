//! How many instances an app needs, and how large they are.
//!
//! [`plan`] decides: from what is allowed, what is known and what earlier decisions left, to what is to be done, what is
//! left to the next decision, and the record of why. It is a function: no clock, no randomness, no fractions. Who calls
//! it carries the plan out and keeps the memory.
//!
//! ```text
//!  reports ──▶ trust ────┐                    ┌─▶ more: call back who drains, then start
//!  gateways ─▶ measured ─┼─▶ staffing ─▶ raw ─┤
//!  announcements ────────┘     need           └─▶ fewer: ask what losing one costs, the cheapest goes
//!                              have                │
//!                                    hold · bounds · budget of starts and stops · what a person set
//! ```
//!
//! | | |
//! |---|---|
//! | [`policy`] | what a person allows |
//! | [`observation`] | what is known, with ages; absent is unknown |
//! | [`memory`] | what a decision leaves to the next one |
//! | [`load`] | requests that come |
//! | `measured` | what the gateways' figures say of an instance's capacity |
//! | [`trust`] | how far a claim is believed |
//! | `unseen` | work that no gateway sees, and what the silent are taken for |
//! | `announcements` | coming demand, and how true the last one was |
//! | [`staffing`] | how many slots it takes, and how many there are |
//! | [`limits`] | the greatest need of late, the budget of starts and stops |
//! | [`victims`] | who may go |
//! | [`fewer`] | who of them goes first, also by a person's word |
//! | `vertical` | larger and smaller instances |
//! | `alternatives` | why not one fewer, and not one more |
//! | [`record`], [`explain`](mod@explain) | why; for machines and for people |
//!
//! What is true of every decision, whatever was told:
//! - There are never more than `max` instances by it, and never fewer than `min` by it.
//! - Within any window, starts and stops are at most what the budget has.
//! - Nothing is taken for zero that nobody said; while nothing is known, nothing leaves.
//! - The same three arguments make the same decision, and the record holds all three.

mod alternatives;
mod announcements;
mod decide;
pub mod explain;
pub mod fewer;
pub mod limits;
pub mod load;
mod measured;
pub mod memory;
pub mod observation;
pub mod policy;
pub mod record;
mod sizing;
mod staffing;
#[cfg(test)]
mod tests;
pub mod trust;
mod understand;
mod unseen;
mod vertical;
pub mod victims;

pub use memory::Memory;
pub use observation::Observation;
pub use policy::Policy;
pub use record::{Action, Plan, Record};

use decide::Decision;
use record::Reasons;

/// Decides. With a policy that cannot be used, nothing is done.
#[must_use]
pub fn plan(policy: &Policy, observation: &Observation, memory: &Memory) -> (Plan, Memory, Record) {
    let mut next = memory.clone();
    let mut reasons = Reasons::default();
    let mut plan = Plan::default();
    if policy.check().is_ok() {
        let time = next.time(observation);
        next.meet(observation);
        next.learn_starts(observation);
        let view = understand::understand(policy, observation, &mut next, time, &mut reasons);
        let decision =
            Decision { policy, observation, memory: &mut next, view, time, reasons: &mut reasons, counts: 0 };
        plan = decision.make();
    }
    let record = Record {
        policy: policy.clone(),
        observation: observation.clone(),
        memory: memory.clone(),
        reasons,
        plan: plan.clone(),
        next: next.clone(),
    };
    (plan, next, record)
}
