//! Who uses the instance: clients that write all the time, and an operator who moves it back and forth.

use super::{Event, MS, Simulation};
use crate::ledger::{RequestId, Standing};
use crate::world::{Action, Party};
use paracloud_core::ids::GatewayId;
use paracloud_core::migration::Phase;
use paracloud_core::migration::coordinator::Command;
use paracloud_core::migration::message::Offer;
use paracloud_core::register::Size;
use rand::RngExt;

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

    /// What the operator wants now: mostly a move to the other node; now and then a leave (and then a start anew), another
    /// size, or another spec in place.
    fn command(&mut self) -> Option<Command> {
        let disk = &self.world.disk;
        let (owner, gone, is_served, mode) =
            (disk.owner, disk.gone, disk.served.is_some(), self.setting.mode);
        let other = self.setting.coordinator.nodes.iter().copied().find(|node| *node != owner.node)?;
        if gone {
            let to = if self.rolls(500) { other } else { owner.node };
            return Some(Command::Start { to, revision: owner.revision });
        }
        let dice = match self.aimed_phase() {
            Some(Phase::Leave | Phase::Return) if self.rolls(700) => 0,
            Some(Phase::Resize) if self.rolls(700) => 20,
            Some(_) | None => self.dice.random_range(0..100_u32),
        };
        Some(match dice {
            // Of who has not served there is nothing to be drained: it is ended at once, and has no part in what is aimed at.
            0..20 if is_served => Command::Leave,
            20..26 => {
                let memory_kib = Some(self.dice.random_range(1..1_000));
                Command::Resize(Size { memory_kib, cpu_milli: None })
            }
            26..36 => Command::Move { to: owner.node, mode, revision: Some(owner.revision.next()) },
            _ => Command::Move { to: other, mode, revision: None },
        })
    }

    /// An operation, if one is possible now; it may be cancelled at any moment.
    pub(super) fn operate(&mut self) {
        self.after(20 * MS..250 * MS, Event::Operate);
        let Some(command) = self.command() else { return };
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
            // Load comes back.
            let chance = if command == Command::Leave { 400 } else { 120 };
            if self.rolls(chance) {
                self.after(0..60 * MS, Event::Cancel);
            }
        }
    }
}
