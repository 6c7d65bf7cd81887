//! Who uses the instance: clients that write all the time, and an operator who moves it back and forth.

use super::{Event, MS, Simulation};
use crate::ledger::{RequestId, Standing};
use crate::world::{Action, Party};
use paracloud_core::ids::GatewayId;
use paracloud_core::migration::Phase;
use paracloud_core::migration::coordinator::Command;
use paracloud_core::migration::message::Offer;

impl Simulation {
    /// A write through any gateway. Half of them have a key, and of those some are sent twice at once.
    pub(super) fn write(&mut self) {
        self.after(10 * MS..90 * MS, Event::Write);
        self.write_once();
        self.leave();
    }

    fn leave(&mut self) {
        let leaves = self.rolls(self.rates.leave);
        let open: Vec<_> = self
            .world
            .gateways()
            .filter(|id| !self.world.is_stalled(Party::Gateway(*id)))
            .flat_map(|id| self.world.open_tickets(id).map(move |ticket| (id, ticket)))
            .collect();
        if let Some((id, ticket)) = self.pick(&open).filter(|_| leaves) {
            self.world.leave(&self.setting, id, ticket);
            self.took(Party::Gateway(id), &format!("the client of ticket {} leaves", ticket.0));
        }
    }

    pub(super) fn write_once(&mut self) {
        let request = RequestId(self.next_request);
        self.next_request += 1;
        let gateways: Vec<GatewayId> = self.setting.coordinator.gateways.iter().copied().collect();
        if request.has_key() && self.rolls(200) {
            for gateway in gateways {
                self.apply(Action::Send(request, gateway));
            }
        } else if let Some(gateway) = self.pick(&gateways) {
            self.apply(Action::Send(request, gateway));
        }
    }

    /// What a client does not know the outcome of, it sends again if it may: through another gateway.
    pub(super) fn retry(&mut self) {
        self.after(10 * MS..120 * MS, Event::Retry);
        let unknown: Vec<_> =
            self.world.ledger.standing(Standing::Unknown).filter(|it| it.has_key()).collect();
        let up: Vec<_> = self.world.gateways().filter(|id| self.world.is_up(Party::Gateway(*id))).collect();
        if let (Some(request), Some(gateway)) = (self.pick(&unknown), self.pick(&up)) {
            self.retried.insert(request);
            self.apply(Action::Send(request, gateway));
        }
    }

    /// A move to the other node, if one is possible now; it may be cancelled at any moment.
    pub(super) fn operate(&mut self) {
        self.after(20 * MS..250 * MS, Event::Operate);
        let owner = self.world.disk.owner.node;
        let Some(to) = self.setting.coordinator.nodes.iter().copied().find(|node| *node != owner) else {
            return;
        };
        let command = Command::Move { to, mode: self.setting.mode };
        let taken = self
            .world
            .coordinator()
            .is_some_and(|coordinator| coordinator.check(&self.setting.coordinator, command).is_ok());
        if self.phase == Phase::Idle {
            self.aim_at(Phase::Idle);
        }
        // An aimed fault may have ended the controller.
        if taken && self.world.is_up(Party::Controller) && !self.world.is_stalled(Party::Controller) {
            if self.rolls(40) {
                let offers = [Offer::Refuse, Offer::Hold { remaining_ms: 1_000 }];
                let offer = self.pick(&offers);
                self.world.decline(offer);
            }
            let is_hasty = self.rolls(40);
            self.world.hasten(is_hasty);
            self.apply(Action::Command(command));
            if self.rolls(120) {
                self.after(0..60 * MS, Event::Cancel);
            }
        }
    }
}
