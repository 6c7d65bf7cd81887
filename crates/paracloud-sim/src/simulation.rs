//! The simulation: the world under virtual time, dice and faults, from one seed.
//!
//! A run has a time of faults, in which an operator moves the instance back and forth, clients write all the time
//! and everything that can go wrong does; and a quiet time, in which everybody comes back and all must come to rest
//! within a bound, a move without faults must commit, and each gateway must take a write. Nothing in a run depends
//! on anything but its seed: time is a number, every queue is ordered, and the dice are a generator of a fixed kind.
//!
//! - [`coverage`]: what was tried on whom and when;
//! - `aim`: how faults get to where they are rare;
//! - `faults`: what each fault does;
//! - `clients`: who writes, and who asks for moves;
//! - `disk`: what a controller finds when it starts;
//! - `rest`: what must come about when the faults are over;
//! - `bounds`: nobody waits at a gateway for ever;
//! - `trace`: one line a transition;
//! - [`sabotage`]: worlds that are broken on purpose, for the checkers to find.

mod aim;
mod bounds;
mod clients;
pub mod coverage;
mod disk;
mod faults;
mod rest;
pub mod sabotage;
mod setting;
mod trace;

use crate::world::{Action, Envelope, Message, Party, Setting, Timer, Violation, World};
use coverage::{Coverage, Fault, Who};
use disk::Disk;
use paracloud_core::ids::{GatewayId, StartId};
use paracloud_core::migration::cause::Cause;
use paracloud_core::migration::coordinator::Command;
use paracloud_core::migration::{Phase, gateway};
use paracloud_core::register::{Change, Mode};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use sabotage::Sabotage;
use setting::{Rates, setting};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Virtual microseconds.
type Micros = u64;

const MS: Micros = 1_000;

/// How long things may go wrong, in virtual microseconds.
const FAULTS_END: Micros = 30_000 * MS;

/// Steps of one run; a run that needs more goes round in circles.
const STEPS_MAX: usize = 40_000;

/// What one run showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its seed.
    pub seed: u64,
    /// Rules that were broken.
    pub violations: Vec<Violation>,
    /// What did not come to rest after the faults.
    pub unconverged: Option<String>,
    /// What was tried.
    pub coverage: Coverage,
    /// Acknowledged writes that died with their owner.
    pub lost_by_crash: usize,
    /// Acknowledged writes that a move by restart left behind, as agreed.
    pub left_behind: usize,
    /// Damaged disks that were refused.
    pub damaged_refused: u32,
    /// Copies that did not reach their target as they were sent.
    pub spoilt: u32,
    /// Moves that were given up because the digests differed.
    pub mismatches: u32,
    /// Moves whose source ended its stream before it was asked to seal.
    pub ended_early: u32,
    /// Nodes that were gone, and that a person gave up.
    pub given_up: u32,
    /// Sources that died with their shim while their target stood still.
    pub unseen: u32,
    /// Moves that their application did not agree to.
    pub declined: u32,
    /// Client writes.
    pub writes: usize,
    /// Moves that were committed.
    pub commits: u32,
    /// Transitions.
    pub steps: usize,
    /// One line a transition, if asked for.
    pub trace: Vec<String>,
}

impl Run {
    /// Whether nothing is wrong with it.
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty() && self.unconverged.is_none()
    }
}

/// Runs one seed; with `traced`, writes down every transition.
pub fn run(seed: u64, traced: bool) -> Run {
    Simulation::new(seed, None, traced).run()
}

/// Runs one seed in a world that is broken on purpose: somebody must notice.
pub fn run_sabotaged(seed: u64, sabotage: Sabotage) -> Run {
    Simulation::new(seed, Some(sabotage), false).run()
}

/// What is due at some time.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Event {
    Deliver(Envelope),
    /// The pending swap, by number: another one may have taken its place.
    Persist(u64),
    Mark(StartId),
    Fire(Party, Timer),
    Restart(Party),
    Wake(Party),
    /// The controller and this party reach each other again.
    Mend(Party),
    Unhog(StartId),
    /// The connection that carries the state breaks.
    CutChannel,
    Restore,
    Write,
    Retry,
    Operate,
    Cancel,
    Chaos,
    /// The source dies, and nobody sees it.
    Unseen,
    /// The aimed fault of this number.
    Aim(usize),
    /// The phase is to last longer.
    Stretch,
    /// Something is broken on purpose.
    Sabotage,
}

struct Simulation {
    seed: u64,
    dice: Xoshiro256PlusPlus,
    setting: Setting,
    world: World,
    disk: Disk,
    now: Micros,
    sequence: u64,
    queue: BTreeMap<(Micros, u64), Event>,
    timers: BTreeMap<(Party, Timer), (Micros, u64)>,
    /// What has reached a party that is stopped.
    held: BTreeMap<Party, Vec<Event>>,
    /// Who cannot reach the controller, and it not them.
    cut: BTreeSet<Party>,
    /// The swap that waits for the disk, by number.
    swap: Option<u64>,
    marking: BTreeSet<StartId>,
    phase: Phase,
    quiet: bool,
    rates: Rates,
    aims: aim::Aims,
    /// What becomes of the next message of a party.
    fates: Vec<(Who, Fault)>,
    /// What becomes of the next write of a party.
    write_fates: Vec<(Who, Fault)>,
    next_request: u16,
    retried: BTreeSet<crate::ledger::RequestId>,
    coverage: Coverage,
    damaged_refused: u32,
    spoilt: u32,
    mismatches: u32,
    ended_early: u32,
    given_up: u32,
    unseen: u32,
    declined: u32,
    commits: u32,
    /// Whose wait at a gateway has had its bound.
    bounded: BTreeSet<(GatewayId, gateway::Ticket)>,
    steps: usize,
    violations: Vec<Violation>,
    sabotage: Option<Sabotage>,
    trace: Option<Vec<String>>,
}

impl Simulation {
    fn new(seed: u64, sabotage: Option<Sabotage>, traced: bool) -> Self {
        let mut dice = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut aims = aim::Aims::of(seed);
        // One run in four moves a program that carries nothing over.
        let by_restart = dice.random_bool(0.25) || aims.need_restart();
        let mode = if by_restart { Mode::Restart } else { Mode::Handoff };
        aims.keep_reachable(mode);
        let setting = setting(mode);
        let world = World::new(&setting, 0).with_a_past();
        let rates = Rates::of(dice.random_range(0..4_u32));
        let disk = Disk::new(&world.disk);
        let mut simulation = Self {
            seed,
            dice,
            setting,
            world,
            disk,
            now: 0,
            sequence: 0,
            queue: BTreeMap::new(),
            timers: BTreeMap::new(),
            held: BTreeMap::new(),
            cut: BTreeSet::new(),
            swap: None,
            marking: BTreeSet::new(),
            phase: Phase::Idle,
            quiet: false,
            rates,
            aims,
            fates: Vec::new(),
            write_fates: Vec::new(),
            next_request: 1_000,
            retried: BTreeSet::new(),
            coverage: Coverage::default(),
            damaged_refused: 0,
            spoilt: 0,
            mismatches: 0,
            ended_early: 0,
            given_up: 0,
            unseen: 0,
            declined: 0,
            commits: 0,
            bounded: BTreeSet::new(),
            steps: 0,
            violations: Vec::new(),
            sabotage,
            trace: traced.then(Vec::new),
        };
        if sabotage.is_some() {
            simulation.after(MS..FAULTS_END / 2, Event::Sabotage);
        }
        simulation.after(0..5 * MS, Event::Write);
        simulation.after(0..50 * MS, Event::Retry);
        simulation.after(0..50 * MS, Event::Operate);
        if rates.chaos_ms < u64::MAX {
            simulation.after(0..rates.chaos_ms * MS, Event::Chaos);
        }
        simulation
    }

    fn run(mut self) -> Run {
        while self.now < FAULTS_END && self.violations.is_empty() && self.steps < STEPS_MAX {
            if !self.next() {
                break;
            }
        }
        let unconverged = if self.violations.is_empty() { self.come_to_rest().err() } else { None };
        Run {
            seed: self.seed,
            violations: self.violations,
            unconverged,
            coverage: self.coverage,
            lost_by_crash: self.world.ledger.lost_by_crash(),
            left_behind: self.world.ledger.left_behind(),
            damaged_refused: self.damaged_refused,
            spoilt: self.spoilt,
            mismatches: self.mismatches,
            ended_early: self.ended_early,
            given_up: self.given_up,
            unseen: self.unseen,
            declined: self.declined,
            writes: self.world.ledger.len(),
            commits: self.commits,
            steps: self.steps,
            trace: self.trace.unwrap_or_default(),
        }
    }

    /// Handles what is due next; false if nothing is.
    fn next(&mut self) -> bool {
        let Some(((at, sequence), event)) = self.queue.pop_first() else { return false };
        self.now = self.now.max(at);
        if let Some(party) = Self::handler(&event).filter(|party| self.world.is_stalled(*party)) {
            self.held.entry(party).or_default().push(event);
            return true;
        }
        if let Event::Fire(party, timer) = &event {
            let armed = self.timers.get(&(*party, *timer)).is_some_and(|(_, of)| *of == sequence);
            if !armed {
                return true;
            }
        }
        self.handle(event);
        true
    }

    /// Who handles an event, and so does not while stopped.
    fn handler(event: &Event) -> Option<Party> {
        match event {
            Event::Deliver(envelope) => Some(envelope.to),
            Event::Persist(_) => Some(Party::Controller),
            Event::Mark(start) => Some(Party::Shim(*start)),
            Event::Fire(party, _) => Some(*party),
            Event::Unhog(start) => Some(Party::App(*start)),
            Event::Cancel | Event::Operate => Some(Party::Controller),
            Event::Restart(_) | Event::Wake(_) | Event::Mend(_) | Event::Restore => None,
            Event::Write
            | Event::Retry
            | Event::Chaos
            | Event::Unseen
            | Event::Aim(_)
            | Event::Stretch
            | Event::Sabotage
            | Event::CutChannel => None,
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Deliver(envelope) => self.deliver(envelope),
            Event::Persist(number) => self.persist(number),
            Event::Mark(start) => self.mark(start),
            Event::Fire(party, timer) => {
                self.timers.remove(&(party, timer));
                self.apply(Action::Fire(party, timer));
            }
            Event::Restart(party) => self.restart(party),
            Event::Wake(party) => {
                self.world.wake(&self.setting, party);
                self.took(party, "wakes");
            }
            Event::Mend(party) => {
                self.cut.remove(&party);
                self.note_of(party, "is reached again");
            }
            Event::Unhog(start) => {
                self.world.unhog(&self.setting, start);
                self.took(Party::App(start), "a request ends");
            }
            Event::Restore => {
                self.disk.restore();
                self.note_of(Party::Controller, "a whole copy of its disk is put back");
            }
            Event::Write => self.write(),
            Event::Retry => self.retry(),
            Event::Operate => self.operate(),
            Event::Cancel => self.apply(Action::Command(Command::Cancel)),
            Event::Chaos => self.chaos(),
            Event::Unseen => self.die_unseen(),
            Event::Aim(number) => self.strike(number),
            Event::Stretch => self.stretch(),
            Event::Sabotage => self.sabotage(),
            Event::CutChannel => {
                self.world.cut_channel(&self.setting);
                self.took(Party::Controller, "the state channel breaks");
            }
        }
    }

    fn deliver(&mut self, envelope: Envelope) {
        let ends = [envelope.from, envelope.to];
        if ends.contains(&Party::Controller) && ends.iter().any(|party| self.cut.contains(party)) {
            return self
                .note_of(envelope.to, &format!("is cut off from {}", trace::message(&envelope.message)));
        }
        if self.world.is_current(&envelope) {
            self.apply(Action::Deliver(envelope));
        }
    }

    fn persist(&mut self, number: u64) {
        if self.swap != Some(number) {
            return;
        }
        // The next swap may be asked for in the same step.
        self.swap = None;
        match self.write_fate(Party::Controller) {
            Some(Fault::LostWrite) => self.crash(Party::Controller),
            Some(_) => self.crash_with(Action::PersistAndCrash, Party::Controller, faults::DOWN),
            None => self.apply(Action::Persist),
        }
    }

    fn mark(&mut self, start: StartId) {
        if !self.marking.remove(&start) {
            return;
        }
        match self.write_fate(Party::Shim(start)) {
            Some(Fault::LostWrite) => self.crash(Party::Shim(start)),
            Some(_) => self.crash_with(Action::MarkAndCrash(start), Party::Shim(start), faults::DOWN),
            None => self.apply(Action::Mark(start)),
        }
    }

    fn apply(&mut self, action: Action) {
        let (party, what) = trace::action(&self.world, &action);
        let change = matches!(action, Action::Persist | Action::PersistAndCrash)
            .then(|| self.world.pending_change().cloned())
            .flatten();
        let before = self.world.disk.order();
        self.world.apply(&self.setting, action);
        if self.world.disk.order() != before {
            self.disk.write(&self.world.disk);
            match change {
                Some(Change::Commit) => self.commits += 1,
                Some(Change::RollBack(Cause::DigestMismatch)) => self.mismatches += 1,
                Some(Change::RollBack(Cause::EndedEarly)) => self.ended_early += 1,
                Some(Change::RollBack(Cause::Refused | Cause::Held)) => self.declined += 1,
                Some(_) | None => {}
            }
        }
        self.took(party, &what);
    }

    /// After every transition: what came of it gets its time.
    fn took(&mut self, party: Party, what: &str) {
        self.steps += 1;
        // Aims are set first, so that what a phase says on entry is not out of their reach.
        let entered = std::mem::take(&mut self.world.entered);
        for phase in &entered {
            self.phase = *phase;
            self.aim_at(*phase);
            self.may_die_unseen(*phase);
        }
        if let Some(coordinator) = self.world.coordinator()
            && (coordinator.phase() != Phase::Idle
                || coordinator.record().is_some_and(|it| it.operation.is_none()))
            && !self.world.is_swapping()
        {
            self.phase = coordinator.phase();
        }
        self.note_of(party, what);
        for (party, timer, ms) in std::mem::take(&mut self.world.timers) {
            if ms.is_some() {
                self.check_bounded_once(party, timer);
            }
            if let Some(key) = self.timers.remove(&(party, timer)) {
                self.queue.remove(&key);
            }
            if let Some(ms) = ms.filter(|_| !self.is_forgotten(party, timer)) {
                // A clock is never early; how late it is nobody knows.
                let late = self.dice.random_range(0..MS);
                let key = self.at(Micros::from(ms) * MS + late, Event::Fire(party, timer));
                self.timers.insert((party, timer), key);
            }
        }
        for envelope in std::mem::take(&mut self.world.sent) {
            self.send(envelope);
        }
        self.schedule_writes();
        self.release_held();
        self.check_bounds();
        self.violations.append(&mut self.world.violations);
    }

    fn schedule_writes(&mut self) {
        if !self.world.is_swapping() {
            self.swap = None;
        } else if self.swap.is_none() {
            self.swap = Some(self.sequence);
            self.after(MS / 2..4 * MS, Event::Persist(self.sequence));
        }
        let marking: Vec<_> = self.world.markings().collect();
        self.marking.retain(|start| marking.contains(start));
        for start in marking {
            if self.marking.insert(start) {
                self.after(MS / 2..3 * MS, Event::Mark(start));
            }
        }
    }

    /// A party that is no longer stopped (it woke, or died) handles what has reached it, late.
    fn release_held(&mut self) {
        let awake: Vec<_> =
            self.held.keys().copied().filter(|party| !self.world.is_stalled(*party)).collect();
        for party in awake {
            for event in self.held.remove(&party).unwrap_or_default() {
                let timer =
                    if let Event::Fire(party, timer) = &event { Some((*party, *timer)) } else { None };
                let key = self.at(0, event);
                if let Some(timer) = timer
                    && let Some(armed) = self.timers.get_mut(&timer)
                {
                    *armed = key;
                }
            }
        }
    }

    fn at(&mut self, wait: Micros, event: Event) -> (Micros, u64) {
        self.sequence += 1;
        let key = (self.now + wait, self.sequence);
        self.queue.insert(key, event);
        key
    }

    fn after(&mut self, wait: Range<Micros>, event: Event) {
        let wait = self.dice.random_range(wait);
        self.at(wait, event);
    }

    /// One chance in a thousand, `of` times.
    fn rolls(&mut self, of: u32) -> bool {
        of > 0 && self.dice.random_range(0..1_000) < of
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        if from.is_empty() {
            return None;
        }
        let at = self.dice.random_range(0..from.len());
        from.get(at).cloned()
    }

    fn note_of(&mut self, party: Party, what: &str) {
        if self.trace.is_some() {
            let name = trace::party(&self.world, party);
            self.note(&name, what);
        }
    }

    fn note(&mut self, who: &str, what: &str) {
        let line = trace::line(self.now, who, what, self.phase, &self.world.disk);
        if let Some(trace) = &mut self.trace {
            trace.push(line);
        }
    }
}

/// A message between the controller and somebody, which the network may lose, double or bring late.
fn is_control(message: &Message) -> bool {
    match message {
        Message::ToAgent(_) | Message::FromAgent(_) | Message::ToGateway(_) | Message::FromGateway(_) => true,
        Message::Request(..) | Message::Reply(..) | Message::EndOfState(..) => false,
    }
}
