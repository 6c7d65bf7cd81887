//! The quiet time: everybody comes back, all must come to rest within a bound, and a move without faults must commit.

use super::{Event, Micros, STEPS_MAX, Simulation};
use crate::heal::heal;
use crate::world::{Action, Party};
use paracloud_core::ids::NodeId;
use paracloud_core::migration::Phase;
use paracloud_core::migration::coordinator::Command;

/// How long the world may take to come to rest, in virtual microseconds.
const REST: Micros = 8_000 * super::MS;

impl Simulation {
    /// Everybody comes back, and no further fault comes.
    pub(super) fn come_to_rest(&mut self) -> Result<(), String> {
        self.note("-", "the faults are over");
        self.quiet = true;
        self.fates.clear();
        self.write_fates.clear();
        self.queue.retain(|_, event| {
            !matches!(
                event,
                Event::Write
                    | Event::Retry
                    | Event::Operate
                    | Event::Cancel
                    | Event::Chaos
                    | Event::Aim(_)
                    | Event::Stretch
            )
        });
        for held in self.held.values_mut() {
            held.retain(|event| !matches!(event, Event::Operate | Event::Cancel));
        }
        self.disk.restore();
        self.cut.clear();
        let stalled: Vec<_> = self.world.stalled().collect();
        stalled.into_iter().for_each(|party| self.handle(Event::Wake(party)));
        let starts: Vec<_> =
            self.setting.coordinator.nodes.iter().flat_map(|node| self.world.processes_on(*node)).collect();
        starts.into_iter().for_each(|start| self.handle(Event::Unhog(start)));
        self.rest_within("after the faults")?;
        if self.world.disk.gone {
            let to = self.world.disk.owner.node;
            let revision = self.world.disk.owner.revision;
            self.apply(Action::Command(Command::Start { to, revision }));
            self.rest_within("after a start of what had left")?;
            if self.world.disk.gone {
                return Err("all is at rest, but a start is not taken".to_owned());
            }
        }
        // The next move meets no fault: it must commit.
        self.world.decline(None);
        self.world.hasten(false);
        let commits = self.commits;
        let target =
            self.setting.coordinator.nodes.iter().copied().find(|node| *node != self.world.disk.owner.node);
        let command =
            Command::Move { to: target.unwrap_or(NodeId(1)), mode: self.setting.mode, revision: None };
        self.apply(Action::Command(command));
        if self.world.pending_change().is_none() {
            return Err("all is at rest, but a move is not taken".to_owned());
        }
        self.rest_within("after a move without faults")?;
        if self.commits == commits {
            return Err("a move without faults did not commit".to_owned());
        }
        let mut in_flight = Vec::new();
        for event in std::mem::take(&mut self.queue).into_values() {
            if let Event::Deliver(envelope) = event {
                in_flight.push(envelope);
            }
        }
        heal(&mut self.world, &self.setting, in_flight, self.timers.keys().copied().collect())
    }

    fn rest_within(&mut self, when: &str) -> Result<(), String> {
        let end = self.now + REST;
        while !self.is_at_rest() {
            if self.steps >= STEPS_MAX {
                return Err(format!("{when}: no rest after {STEPS_MAX} steps"));
            }
            if self.now > end || !self.next() {
                let why = self.world.converged().err().unwrap_or_else(|| "somebody is down".to_owned());
                return Err(format!("{when}: {why}"));
            }
            if let Some(violation) = self.violations.first() {
                return Err(format!("{when}: {}: {}", violation.rule, violation.what));
            }
        }
        Ok(())
    }

    fn is_at_rest(&self) -> bool {
        let busy = self.world.is_swapping() || self.world.marking().is_some();
        let coming = self.queue.values().any(|event| matches!(event, Event::Restart(_) | Event::Deliver(_)));
        let up = [Party::Controller]
            .into_iter()
            .chain(self.setting.coordinator.nodes.iter().map(|node| Party::Agent(*node)))
            .all(|party| self.world.is_up(party));
        up && !busy && !coming && self.phase == Phase::Idle && self.world.converged().is_ok()
    }
}
