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
//! - `trace`: one line a transition;
//! - [`sabotage`]: worlds that are broken on purpose, for the checkers to find.

mod aim;
mod clients;
pub mod coverage;
mod disk;
mod faults;
pub mod sabotage;
mod trace;

use crate::heal::heal;
use crate::world::{Action, Envelope, Message, Party, Setting, Timer, Violation, World};
use coverage::{Coverage, Fault, Who};
use disk::Disk;
use paracloud_core::ids::{GatewayId, NodeId, StartId};
use paracloud_core::migration::cause::Cause;
use paracloud_core::migration::coordinator::{self, Command};
use paracloud_core::migration::{Phase, agent, convergence, gateway};
use paracloud_core::register::{Change, Mode};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use sabotage::Sabotage;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Virtual microseconds.
type Micros = u64;

const MS: Micros = 1_000;

/// How long things may go wrong, in virtual microseconds.
const FAULTS_END: Micros = 30_000 * MS;

/// How long the world may then take to come to rest, in virtual microseconds.
const REST: Micros = 8_000 * MS;

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
    declined: u32,
    commits: u32,
    /// Whose wait at a gateway has had its bound.
    bounded: BTreeSet<(GatewayId, gateway::Ticket)>,
    steps: usize,
    violations: Vec<Violation>,
    sabotage: Option<Sabotage>,
    trace: Option<Vec<String>>,
}

/// How rough a run is.
#[derive(Debug, Clone, Copy)]
struct Rates {
    /// Chance in a thousand: of each control message to be lost, doubled, late; of each connection to break; of a
    /// client to leave when another comes.
    drop: u32,
    duplicate: u32,
    delay: u32,
    reset: u32,
    leave: u32,
    /// Chance in a thousand of each copy to be loaded as something else.
    spoil: u32,
    /// Virtual milliseconds between two faults at random.
    chaos_ms: u64,
}

fn setting(mode: Mode) -> Setting {
    Setting {
        coordinator: coordinator::Setting {
            gateways: [GatewayId(1), GatewayId(2)].into(),
            nodes: [NodeId(1), NodeId(2)].into(),
            resend_ms: 60,
            prepare_ms: 700,
            copy_ms: 700,
            drain_ms: 150,
            park_ms: 150,
            seal_ms: 300,
            stop_ms: 300,
            switch_ms: 300,
            release_ms: 200,
            pause: convergence::Budget {
                pause_ms: 5,
                pause_ms_max: 50,
                stall_reports: 3,
                stall_reports_max: 20,
            },
        },
        agent: agent::Setting { node: NodeId(0), ask_ms: 70, restart_ms: 40, restart_ms_max: 400 },
        gateway: gateway::Setting { parked_ms_max: 400, parked_max: 16, ask_ms: 90, soon_ms: 5 },
        mode,
    }
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
        let rates = match dice.random_range(0..4_u32) {
            0 => Rates { drop: 0, duplicate: 0, delay: 0, reset: 0, leave: 0, spoil: 0, chaos_ms: u64::MAX },
            1 => {
                Rates { drop: 10, duplicate: 10, delay: 10, reset: 5, leave: 20, spoil: 20, chaos_ms: 1_000 }
            }
            2 => Rates { drop: 40, duplicate: 40, delay: 60, reset: 20, leave: 50, spoil: 50, chaos_ms: 400 },
            _ => {
                Rates { drop: 20, duplicate: 20, delay: 200, reset: 10, leave: 10, spoil: 20, chaos_ms: 150 }
            }
        };
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
            declined: self.declined,
            writes: self.world.ledger.len(),
            commits: self.commits,
            steps: self.steps,
            trace: self.trace.unwrap_or_default(),
        }
    }

    /// Everybody comes back, and no further fault comes.
    fn come_to_rest(&mut self) -> Result<(), String> {
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
        // The next move meets no fault: it must commit.
        self.world.decline(None);
        let commits = self.commits;
        let target =
            self.setting.coordinator.nodes.iter().copied().find(|node| *node != self.world.disk.owner.node);
        let command = Command::Move { to: target.unwrap_or(NodeId(1)), mode: self.setting.mode };
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

    /// I4: a request that has to wait again waits on: its bound is armed once.
    fn check_bounded_once(&mut self, party: Party, timer: Timer) {
        let (Party::Gateway(id), Timer::Gateway(gateway::Timer::Bound(ticket))) = (party, timer) else {
            return;
        };
        if !self.bounded.insert((id, ticket)) {
            let what = format!("{id} armed the bound of ticket {} again", ticket.0);
            self.violations.push(Violation { rule: "I4", what });
        }
    }

    /// I4: whatever waits at a gateway has a bound that will end its wait.
    fn check_bounds(&mut self) {
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
