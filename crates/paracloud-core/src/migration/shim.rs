//! A shim's part: one process, started at most once, and the proof of its death.
//!
//! A marker is synced before the process is started, so a start id that is marked is never started again, whoever
//! dies in between; and an order from an agent that was replaced is refused by its generation.

use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Counts the agents of a node: raised under a lock in the node's directory whenever one starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Generation(pub u32);

/// What an agent orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Order {
    /// Start the process, unless it was started before.
    Spawn,
    /// End the process; if it was never started, see to it that it never is.
    End,
    /// Say how it is.
    Report,
}

/// How a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Status {
    /// It runs.
    Running,
    /// It is dead, or was never started and never will be.
    Dead,
    /// It was not started yet.
    Unstarted,
}

/// What happens to a shim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Input {
    /// It starts: whether the marker is there, and whether the marked process is alive.
    Started {
        /// The marker is on disk.
        marked: bool,
        /// The process it names lives.
        alive: bool,
    },
    /// An agent orders.
    Ordered(Generation, Order),
    /// The marker is on disk, synced.
    Marked,
    /// The process ended.
    Exited,
}

/// What a shim wants done, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Effect {
    /// Write the marker, durably; answer with [`Input::Marked`].
    Mark,
    /// Start the process.
    Exec,
    /// Kill the process (it cannot refuse).
    Kill,
    /// Tell the agent.
    Report(Status),
    /// Tell an agent that a newer one was here.
    Superseded(Generation),
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Life {
    #[default]
    Unstarted,
    /// The marker is being written; `true`: to start the process then.
    Marking(bool),
    Running,
    Ending,
    Dead,
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Shim {
    generation: Generation,
    life: Life,
}

impl Shim {
    /// How the process is.
    pub fn status(&self) -> Status {
        match self.life {
            Life::Unstarted | Life::Marking(_) => Status::Unstarted,
            Life::Running | Life::Ending => Status::Running,
            Life::Dead => Status::Dead,
        }
    }

    /// Takes one input in.
    pub fn step(&mut self, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Started { marked, alive } => {
                self.life = match (marked, alive) {
                    (false, _) => Life::Unstarted,
                    (true, true) => Life::Running,
                    (true, false) => Life::Dead,
                };
            }
            Input::Ordered(generation, _) if generation < self.generation => {
                effects.push(Effect::Superseded(self.generation));
            }
            Input::Ordered(generation, order) => {
                self.generation = generation;
                self.ordered(order, effects);
            }
            Input::Marked => {
                if let Life::Marking(start) = self.life {
                    if start {
                        self.life = Life::Running;
                        effects.push(Effect::Exec);
                    } else {
                        self.life = Life::Dead;
                    }
                    effects.push(Effect::Report(self.status()));
                }
            }
            Input::Exited => {
                self.life = Life::Dead;
                effects.push(Effect::Report(Status::Dead));
            }
        }
    }

    fn ordered(&mut self, order: Order, effects: &mut Vec<Effect>) {
        match (order, self.life) {
            (Order::Spawn, Life::Unstarted) => {
                self.life = Life::Marking(true);
                effects.push(Effect::Mark);
            }
            (Order::End, Life::Unstarted) => {
                self.life = Life::Marking(false);
                effects.push(Effect::Mark);
            }
            (Order::End, Life::Marking(_)) => self.life = Life::Marking(false),
            (Order::End, Life::Running | Life::Ending) => {
                self.life = Life::Ending;
                effects.push(Effect::Kill);
            }
            (Order::Spawn, Life::Marking(_)) => {}
            (Order::Spawn, Life::Running | Life::Ending | Life::Dead)
            | (Order::End, Life::Dead)
            | (Order::Report, _) => effects.push(Effect::Report(self.status())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    fn told(shim: &mut Shim, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        shim.step(input, &mut effects);
        effects
    }

    #[test]
    fn an_order_of_an_older_agent_is_refused() {
        let mut shim = Shim::default();
        told(&mut shim, Input::Started { marked: true, alive: true });
        let newer = Input::Ordered(Generation(2), Order::Report);
        assert_eq!(told(&mut shim, newer), vec![Effect::Report(Status::Running)]);
        let older = Input::Ordered(Generation(1), Order::End);
        assert_eq!(told(&mut shim, older), vec![Effect::Superseded(Generation(2))]);
        assert_eq!(shim.status(), Status::Running);
    }

    #[test]
    fn who_is_ended_before_its_start_is_never_started() {
        let mut shim = Shim::default();
        told(&mut shim, Input::Started { marked: false, alive: false });
        assert_eq!(told(&mut shim, Input::Ordered(Generation(1), Order::Spawn)), vec![Effect::Mark]);
        told(&mut shim, Input::Ordered(Generation(1), Order::End));
        assert_eq!(told(&mut shim, Input::Marked), vec![Effect::Report(Status::Dead)]);
    }

    #[test]
    fn a_marked_start_id_is_never_started_again() {
        let mut shim = Shim::default();
        told(&mut shim, Input::Started { marked: true, alive: false });
        let spawn = Input::Ordered(Generation(1), Order::Spawn);
        assert_eq!(told(&mut shim, spawn), vec![Effect::Report(Status::Dead)]);
    }
}
