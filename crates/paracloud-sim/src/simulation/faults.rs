//! What each fault does, and the faults that come at random.

use super::coverage::{Cell, Fault, Who};
use super::disk::{Damage, Unreadable};
use super::sabotage::Sabotage;
use super::{Event, MS, Micros, Simulation, is_control, trace};
use crate::world::{Action, Envelope, Message, Party};
use paracloud_core::ids::NodeId;
use paracloud_core::migration::Phase;
use paracloud_core::migration::gateway::Answer;
use paracloud_core::register::Record;
use rand::RngExt;
use std::collections::BTreeSet;
use std::ops::Range;

/// How long a message takes.
const TRAVEL: Range<Micros> = 200..3 * MS;
/// How much longer one takes that is late.
const LATE: Range<Micros> = 20 * MS..400 * MS;
/// How long a party is stopped.
const STALL: Range<Micros> = 10 * MS..700 * MS;
/// How long a party is cut off.
const CUT: Range<Micros> = 10 * MS..700 * MS;
/// How long until a dead party is started again by whoever supervises it.
pub(super) const DOWN: Range<Micros> = 5 * MS..300 * MS;
/// The same, when it is to come back within the phase.
const DOWN_BRIEFLY: Range<Micros> = MS / 2..4 * MS;
/// How long everything on a node is gone.
const AWAY: Range<Micros> = 100 * MS..900 * MS;
/// Chance in a thousand that a fault is the loss of a node.
const GIVEN_UP: u32 = 60;
/// Chance in a thousand that a source that was sealed dies unseen.
const UNSEEN: u32 = 40;
/// How long its target stands still then.
const STILL: Range<Micros> = 200 * MS..2_000 * MS;
/// How long a person needs to put a copy of a disk back.
const RESTORE: Range<Micros> = 20 * MS..200 * MS;
/// How long a request holds its guard.
const HOG: Range<Micros> = 20 * MS..900 * MS;

impl Simulation {
    /// The node of the source, and of the target, of the open move; with none open the owner's, and the other.
    fn nodes(&self) -> (NodeId, NodeId) {
        let disk = &self.world.disk;
        let source = disk.moving().map_or(disk.owner.node, |operation| operation.source.node);
        let other = self.setting.coordinator.nodes.iter().copied().find(|node| *node != source);
        (source, other.unwrap_or(source))
    }

    /// The part a party plays.
    pub(super) fn who(&self, party: Party) -> Who {
        let (source, _) = self.nodes();
        // An update in place has both on one node.
        let in_place = self.world.disk.moving().filter(|it| it.source.node == it.target.node);
        let at_source = |start| match in_place {
            Some(moving) => start == moving.source.start,
            None => self.world.node_of(start).is_none_or(|node| node == source),
        };
        match party {
            Party::Controller => Who::Controller,
            Party::Agent(node) if node == source => Who::SourceAgent,
            Party::Agent(_) => Who::TargetAgent,
            Party::Gateway(_) => Who::Gateway,
            Party::Shim(start) if at_source(start) => Who::SourceShim,
            Party::Shim(_) => Who::TargetShim,
            Party::App(start) if at_source(start) => Who::SourceApp,
            Party::App(_) => Who::TargetApp,
        }
    }

    /// Somebody who plays a part now.
    pub(super) fn party(&mut self, who: Who) -> Option<Party> {
        let (source, target) = self.nodes();
        let nodes = BTreeSet::from([source, target]);
        let all = nodes.into_iter().flat_map(|node| self.world.processes_on(node)).collect::<Vec<_>>();
        let all = all.into_iter();
        let starts: Vec<_> = match who {
            Who::SourceShim | Who::SourceApp => {
                all.filter(|start| self.who(Party::App(*start)) == Who::SourceApp).collect()
            }
            Who::TargetShim | Who::TargetApp => {
                all.filter(|start| self.who(Party::App(*start)) == Who::TargetApp).collect()
            }
            Who::Controller | Who::SourceAgent | Who::TargetAgent | Who::Gateway => Vec::new(),
        };
        let gateways: Vec<_> = self.world.gateways().collect();
        match who {
            Who::Controller => Some(Party::Controller),
            Who::SourceAgent => Some(Party::Agent(source)),
            Who::TargetAgent => Some(Party::Agent(target)),
            Who::Gateway => self.pick(&gateways).map(Party::Gateway),
            Who::SourceShim | Who::TargetShim => self.pick(&starts).map(Party::Shim),
            Who::SourceApp | Who::TargetApp => self.pick(&starts).map(Party::App),
        }
    }

    /// Counts a fault of a message at one of its ends, if that lives: a dead one says and hears nothing.
    fn hit_end(&mut self, party: Party, fault: Fault) {
        if self.world.is_up(party) {
            let who = self.who(party);
            self.hit(who, fault);
        }
    }

    pub(super) fn hit(&mut self, who: Who, fault: Fault) {
        if !self.quiet {
            self.coverage.hit(Cell { who, phase: self.phase, fault });
        }
    }

    /// What a target loads is not what its source sent: a record is missing, or is there twice.
    fn spoil(&mut self, envelope: &mut Envelope) {
        let Message::EndOfState(_, state, _) = &mut envelope.message else { return };
        if self.quiet || !self.rolls(self.rates.spoil) {
            return;
        }
        let spoilt = if self.dice.random_bool(0.5) {
            state.pop_first().is_some()
        } else {
            state.values_mut().next().map(|times| *times += 1).is_some()
        };
        if spoilt {
            self.spoilt += 1;
            self.note_of(envelope.to, "will load something else than was sent");
        }
    }

    /// A message sets out, and meets its fate.
    pub(super) fn send(&mut self, mut envelope: Envelope) {
        if self.is_unheard(&envelope) {
            return;
        }
        self.spoil(&mut envelope);
        let (from, to) = (self.who(envelope.from), self.who(envelope.to));
        match self.fate(from, to, &envelope.message) {
            Some(Fault::Drop) => {
                self.hit_end(envelope.from, Fault::Drop);
                self.hit_end(envelope.to, Fault::Drop);
                self.lose(envelope);
            }
            Some(Fault::Duplicate) => {
                self.hit_end(envelope.from, Fault::Duplicate);
                self.hit_end(envelope.to, Fault::Duplicate);
                self.note_of(envelope.to, &format!("will get {} twice", trace::message(&envelope.message)));
                self.after(TRAVEL.start..LATE.end, Event::Deliver(envelope.clone()));
                self.after(TRAVEL, Event::Deliver(envelope));
            }
            Some(Fault::Delay) => {
                self.hit_end(envelope.from, Fault::Delay);
                self.hit_end(envelope.to, Fault::Delay);
                self.note_of(envelope.to, &format!("will get {} late", trace::message(&envelope.message)));
                self.after(LATE, Event::Deliver(envelope));
            }
            Some(_) | None => self.after(TRAVEL, Event::Deliver(envelope)),
        }
    }

    fn fate(&mut self, from: Who, to: Who, message: &Message) -> Option<Fault> {
        // An end record before its time is a fault by itself.
        let copies = matches!(self.phase, Phase::Copy | Phase::Drain);
        let is_early = matches!(message, Message::EndOfState(..)) && copies;
        if self.quiet || is_early {
            return None;
        }
        let control = is_control(message);
        let suits = |fault: Fault| control || fault != Fault::Duplicate;
        let aimed = self.fates.iter().position(|(who, fault)| (*who == from || *who == to) && suits(*fault));
        if let Some(aimed) = aimed {
            return Some(self.fates.remove(aimed).1);
        }
        let rates = self.rates;
        if control {
            let dropped = self.rolls(rates.drop).then_some(Fault::Drop);
            let doubled = self.rolls(rates.duplicate).then_some(Fault::Duplicate);
            let late = self.rolls(rates.delay).then_some(Fault::Delay);
            dropped.or(doubled).or(late)
        } else {
            let dropped = self.rolls(rates.reset).then_some(Fault::Drop);
            let late = self.rolls(rates.delay).then_some(Fault::Delay);
            dropped.or(late)
        }
    }

    /// A control message is gone; what travels on a connection breaks it, and its ends see that.
    fn lose(&mut self, envelope: Envelope) {
        self.note_of(envelope.to, &format!("will not get {}", trace::message(&envelope.message)));
        match envelope.message {
            Message::Request(ticket, request, _) => {
                let message = Message::Reply(ticket, request, Answer::Lost);
                let life = self.world.life(envelope.from);
                self.after(
                    TRAVEL,
                    Event::Deliver(Envelope { from: envelope.to, to: envelope.from, life, message }),
                );
            }
            Message::Reply(ticket, request, _) => {
                let message = Message::Reply(ticket, request, Answer::Lost);
                self.after(TRAVEL, Event::Deliver(Envelope { message, ..envelope }));
            }
            Message::EndOfState(..) => {
                self.after(TRAVEL, Event::CutChannel);
            }
            Message::ToAgent(_) | Message::FromAgent(_) | Message::ToGateway(_) | Message::FromGateway(_) => {
            }
        }
    }

    /// What becomes of a write that is about to reach the disk.
    pub(super) fn write_fate(&mut self, party: Party) -> Option<Fault> {
        let who = self.who(party);
        let aimed = self.write_fates.iter().position(|(of, _)| *of == who)?;
        let (_, fault) = self.write_fates.remove(aimed);
        Some(fault)
    }

    pub(super) fn crash(&mut self, party: Party) {
        self.crash_with(Action::Crash(party), party, DOWN);
    }

    pub(super) fn crash_briefly(&mut self, party: Party) {
        self.crash_with(Action::Crash(party), party, DOWN_BRIEFLY);
    }

    pub(super) fn crash_with(&mut self, action: Action, party: Party, down: Range<Micros>) {
        if !self.world.is_up(party) {
            return;
        }
        let who = self.who(party);
        let writing = match party {
            Party::Controller => self.world.is_swapping(),
            Party::Shim(start) => self.world.markings().any(|marking| marking == start),
            Party::Agent(_) | Party::Gateway(_) | Party::App(_) => false,
        };
        if !matches!(action, Action::Crash(_)) {
            self.hit(who, Fault::KeptWrite);
        } else if writing {
            self.hit(who, Fault::LostWrite);
        }
        self.hit(who, Fault::Crash);
        // What it sent last may die with it.
        if self.dice.random_bool(0.5) {
            self.lose_what_is_from(party);
        }
        let gone: Vec<_> =
            self.timers.iter().filter(|((of, _), _)| *of == party).map(|(name, key)| (*name, *key)).collect();
        for (name, key) in gone {
            self.timers.remove(&name);
            self.queue.remove(&key);
        }
        self.apply(action);
        if !matches!(party, Party::App(_)) {
            self.after(down, Event::Restart(party));
        }
    }

    fn lose_what_is_from(&mut self, party: Party) {
        let is_theirs = |event: &Event| matches!(event, Event::Deliver(envelope) if envelope.from == party);
        let theirs = self.queue.iter().filter(|(_, event)| is_theirs(event)).map(|(key, _)| *key);
        for key in theirs.collect::<Vec<_>>() {
            if let Some(Event::Deliver(envelope)) = self.queue.remove(&key)
                && !is_control(&envelope.message)
            {
                self.lose(envelope);
            }
        }
    }

    fn read_disk(&self) -> Result<Record, Unreadable> {
        match self.sabotage {
            Some(Sabotage::BlindDisk) => Ok(self.world.disk.clone()),
            Some(_) | None => self.disk.read(),
        }
    }

    pub(super) fn restart(&mut self, party: Party) {
        if self.world.is_up(party) {
            return;
        }
        match party {
            Party::Controller => match self.read_disk() {
                Ok(record) => {
                    if self.disk.is_damaged() {
                        self.broken("P", "a damaged disk was taken for a whole one");
                    }
                    self.world.disk = record;
                }
                Err(why) => {
                    self.damaged_refused += 1;
                    self.note_of(party, &format!("does not start from its disk: {why}"));
                    self.after(RESTORE, Event::Restore);
                    return self.after(RESTORE.end..2 * RESTORE.end, Event::Restart(party));
                }
            },
            Party::Shim(start) => {
                // Its agent misses it.
                let agent = self.world.node_of(start).map(Party::Agent);
                if agent.is_some_and(|agent| self.world.is_stalled(agent)) {
                    return self.after(DOWN, Event::Restart(party));
                }
                if agent.is_none_or(|agent| !self.world.is_up(agent)) {
                    return;
                }
            }
            Party::Agent(_) | Party::Gateway(_) => {}
            Party::App(_) => return,
        }
        // The shim of a process that the register has forgotten plays no part any more.
        let plays = if let Party::Shim(start) = party { self.world.disk.names(start) } else { true };
        if plays {
            let who = self.who(party);
            self.hit(who, Fault::Restart);
        }
        self.apply(Action::Restart(party));
    }

    pub(super) fn stall(&mut self, party: Party) {
        self.stall_for(party, STALL);
    }

    pub(super) fn stall_for(&mut self, party: Party, time: Range<Micros>) {
        if !self.world.is_up(party) || self.world.is_stalled(party) {
            return;
        }
        let who = self.who(party);
        self.hit(who, Fault::Stall);
        self.world.stall(party);
        self.note_of(party, "is stopped");
        self.after(time, Event::Wake(party));
    }

    /// A party loses sight of the controller; the controller, of everybody; a process, of its state channel.
    pub(super) fn partition(&mut self, party: Party) {
        self.partition_for(party, CUT);
    }

    pub(super) fn partition_for(&mut self, party: Party, time: Range<Micros>) {
        let who = self.who(party);
        let everybody = || {
            let agents = self.setting.coordinator.nodes.iter().map(|node| Party::Agent(*node));
            agents.chain(self.world.gateways().map(Party::Gateway)).collect::<Vec<_>>()
        };
        let cut = match party {
            Party::Controller => everybody(),
            Party::Agent(_) | Party::Gateway(_) => vec![party],
            Party::App(_) if self.world.has_channel() => {
                self.hit(who, Fault::Partition);
                return self.handle(Event::CutChannel);
            }
            Party::Shim(_) | Party::App(_) => return,
        };
        self.hit(who, Fault::Partition);
        let wait = self.dice.random_range(time);
        for party in cut {
            self.cut.insert(party);
            self.note_of(party, "is cut off from the controller");
            self.at(wait, Event::Mend(party));
        }
    }

    pub(super) fn damage(&mut self) {
        if !self.world.is_up(Party::Controller) {
            return;
        }
        self.hit(Who::Controller, Fault::Damage);
        self.crash(Party::Controller);
        let at = self.dice.random_range(0..100_000);
        let damages =
            [Damage::RecordBit(at), Damage::JournalBit(at), Damage::RecordOld, Damage::JournalShort];
        if let Some(damage) = self.pick(&damages) {
            self.note_of(Party::Controller, &format!("its disk is damaged: {damage:?}"));
            self.disk.damage(damage);
        }
    }

    pub(super) fn hog(&mut self, party: Party) {
        let Party::App(start) = party else { return };
        if self.world.is_up(party) {
            self.hit(Who::SourceApp, Fault::Hog);
            self.apply(Action::Hog(start));
            self.after(HOG, Event::Unhog(start));
        }
    }

    /// Any fault, on anybody, at any moment.
    pub(super) fn chaos(&mut self) {
        let pause_ms = self.rates.chaos_ms;
        self.after(1..2 * pause_ms * MS, Event::Chaos);
        if self.rolls(GIVEN_UP) {
            return self.lose_a_node();
        }
        let cells: Vec<_> = Cell::meant().into_iter().filter(|cell| cell.phase == self.phase).collect();
        if let Some(cell) = self.pick(&cells) {
            self.inject(cell);
        }
    }

    /// Everything on a node dies, a person says so, and later it comes back with nothing alive.
    fn lose_a_node(&mut self) {
        let nodes: Vec<_> = self.setting.coordinator.nodes.iter().copied().collect();
        let Some(node) = self.pick(&nodes) else { return };
        let hears = self.world.is_up(Party::Controller) && !self.world.is_stalled(Party::Controller);
        let starts: Vec<_> = self.world.processes_on(node).collect();
        for start in starts {
            self.crash(Party::App(start));
            self.crash(Party::Shim(start));
        }
        self.crash_with(Action::Crash(Party::Agent(node)), Party::Agent(node), AWAY);
        if hears && self.world.processes_on(node).all(|start| !self.world.is_up(Party::App(start))) {
            self.given_up += 1;
            self.apply(Action::GiveUp(node));
        }
    }

    /// A phase was entered.
    pub(super) fn may_die_unseen(&mut self, phase: Phase) {
        let is_rough = self.rates.chaos_ms < u64::MAX;
        if is_rough && !self.quiet && matches!(phase, Phase::Seal | Phase::Switch) && self.rolls(UNSEEN) {
            self.after(TRAVEL, Event::Unseen);
        }
    }

    /// The source dies and its shim with it, while the target stands still: nobody knows who has the only copy.
    pub(super) fn die_unseen(&mut self) {
        let Some(operation) = self.world.disk.moving() else { return };
        let (source, target) = (operation.source.start, operation.target.start);
        if !self.world.is_up(Party::App(source)) || self.quiet {
            return;
        }
        self.unseen += 1;
        self.stall_for(Party::App(target), STILL);
        self.crash_with(Action::Crash(Party::Shim(source)), Party::Shim(source), AWAY);
        self.crash(Party::App(source));
    }

    pub(super) fn inject(&mut self, cell: Cell) {
        let Some(party) = self.party(cell.who) else { return };
        match cell.fault {
            Fault::Crash => self.crash(party),
            Fault::Restart => self.crash_briefly(party),
            Fault::Stall => self.stall(party),
            Fault::Partition => self.partition(party),
            Fault::Damage => self.damage(),
            Fault::Hog => self.hog(party),
            Fault::Drop | Fault::Duplicate | Fault::Delay => self.fates.push((cell.who, cell.fault)),
            Fault::LostWrite | Fault::KeptWrite => self.write_fates.push((cell.who, cell.fault)),
        }
    }

    fn broken(&mut self, rule: &'static str, what: &str) {
        self.violations.push(crate::world::Violation { rule, what: what.to_owned() });
    }
}
