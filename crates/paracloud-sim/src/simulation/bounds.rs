//! I4, the part of it that needs a clock: nobody waits at a gateway for ever.

use super::Simulation;
use crate::world::{Party, Timer, Violation};
use paracloud_core::migration::gateway;

impl Simulation {
    /// I4: a request that has to wait again waits on: its bound is armed once.
    pub(super) fn check_bounded_once(&mut self, party: Party, timer: Timer) {
        let (Party::Gateway(id), Timer::Gateway(gateway::Timer::Bound(ticket))) = (party, timer) else {
            return;
        };
        if !self.bounded.insert((id, ticket)) {
            let what = format!("{id} armed the bound of ticket {} again", ticket.0);
            self.violations.push(Violation { rule: "I4", what });
        }
    }

    /// I4: whatever waits at a gateway has a bound that will end its wait.
    pub(super) fn check_bounds(&mut self) {
        for id in &self.setting.coordinator.gateways {
            let bounds = self.timers.keys().filter(|(party, timer)| {
                *party == Party::Gateway(*id) && matches!(timer, Timer::Gateway(gateway::Timer::Bound(_)))
            });
            let (bounds, parked) = (bounds.count(), self.world.parked(*id));
            if parked > bounds {
                let what = format!("{id} parks {parked} requests, but only {bounds} of them have a bound");
                self.violations.push(Violation { rule: "I4", what });
            }
        }
    }
}
