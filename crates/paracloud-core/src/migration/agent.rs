//! An agent's part in one instance: it tells the instance's processes on its node what the register says of them.
//!
//! What a process has to be told follows from the record ([`super::duty`]); what is not in the record yet (the
//! offer, the preparation) comes as a message of its own. The agent remembers the last answer of each process and
//! repeats it; after a restart it knows nothing, asks the coordinator for the record and the processes for their
//! answers, and gets the same ones. It restarts a dead owner by swap only, and only where the record permits.

use super::duty::{Duty, duty};
use super::message::{FromAgent, ToAgent};
use super::shim::{Generation, Order, Status};
use crate::ids::{OperationNumber, StartId};
use crate::register::{Mode, MoveStep, Record, RecordOrder, Step};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::SocketAddr;
use paci::participant::{Answer, Call, Side};
use serde::{Deserialize, Serialize};

mod restarts;
mod saying;
mod words;

pub use words::{Effect, FromApp, Input, Setting, Timer, ToApp};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Life {
    Spawning,
    Running,
    Ending,
    Dead,
}

/// One process of the instance on this node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Process {
    life: Life,
    address: Option<SocketAddr>,
    /// It has a session.
    greeted: bool,
    /// Its `Hello` waits for the register's word.
    waiting: bool,
    ready: bool,
    /// Asked for outside the record.
    wish: Option<Duty>,
    /// The upcall it was told last.
    asked: Option<Duty>,
    /// What it answered to that.
    answer: Option<Answer>,
}

impl Process {
    fn new(life: Life, address: Option<SocketAddr>) -> Self {
        let (greeted, waiting, ready) = (false, false, false);
        Self { life, address, greeted, waiting, ready, wish: None, asked: None, answer: None }
    }
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Agent {
    generation: Generation,
    record: Option<Record>,
    processes: BTreeMap<StartId, Process>,
    /// The start id proposed for the restart of this record's dead owner.
    proposal: Option<StartId>,
    restarts: u32,
    /// The restart timer runs. Hearing of the death again must not put it off.
    restart_armed: bool,
}

impl Agent {
    /// The record as last told.
    pub fn record(&self) -> Option<&Record> {
        self.record.as_ref()
    }

    /// Whether a process here lives, or is being started or ended. For the model: who has none living hears records
    /// idly.
    pub fn has_living(&self) -> bool {
        self.processes.values().any(|process| process.life != Life::Dead)
    }

    /// Whether the restart timer runs and is not yet overtaken by a newer record. For the model, which drops timers
    /// that would find nothing to do.
    pub fn restart_is_armed(&self) -> bool {
        self.restart_armed
    }

    /// Whether it replaced an owner that died, and none has been sound since. For the model, as above.
    pub fn has_restarted(&self) -> bool {
        self.restarts > 0
    }

    /// The start id that it proposed for a new owner, if the register has not answered yet. For the model, which
    /// uses start ids again that nobody knows.
    pub fn proposal(&self) -> Option<StartId> {
        self.proposal
    }

    /// Forgets how often it proposed a restart, which decides only how long it waits; and with `refused` also what
    /// it proposed, if that is sure to be refused. For the model, which makes states one that no step tells apart:
    /// a shell never calls it.
    pub fn forget_proposals(&mut self, refused: bool) {
        self.restarts = 0;
        self.proposal = self.proposal.filter(|_| !refused);
    }

    /// Takes one input in. `fresh` is a start id never used before.
    pub fn step(&mut self, setting: &Setting, input: Input, fresh: StartId, effects: &mut Vec<Effect>) {
        match input {
            Input::Started { generation, found } => {
                self.generation = generation;
                for (start, status, address) in found {
                    let life = match status {
                        Status::Running => Life::Running,
                        Status::Dead => Life::Dead,
                        Status::Unstarted => continue,
                    };
                    self.processes.insert(start, Process::new(life, Some(address)));
                    effects.push(Effect::Shim(start, generation, Order::Report));
                }
                self.ask(setting, effects);
            }
            Input::Coordinator(ToAgent::Own(record)) => self.own(setting, record, effects),
            Input::Coordinator(ToAgent::Estimate { operation, start, .. }) => {
                self.wish(start, operation, Call::Estimate, effects);
            }
            Input::Coordinator(ToAgent::Prepare { operation, start, side, mode }) => {
                self.prepare(operation, start, side, mode, effects);
            }
            Input::Coordinator(ToAgent::Probe { start, order, .. }) => {
                match self.processes.get(&start).map(|process| process.life) {
                    None => self.order_end(start, effects),
                    Some(Life::Dead) => effects.push(Effect::Coordinator(FromAgent::Dead { start })),
                    Some(Life::Running) => effects.push(Effect::Look(start, order)),
                    Some(Life::Spawning | Life::Ending) => {}
                }
            }
            Input::Coordinator(ToAgent::End { start, order, .. }) => self.end(start, order, effects),
            Input::Shim(start, status, address) => self.shim(setting, start, status, address, effects),
            Input::App(start, message) => self.app(setting, start, message, effects),
            Input::Looked { start, order, lives } => {
                // That it is dead is for its shim to prove.
                if lives && self.processes.get(&start).is_some_and(|process| process.life == Life::Running) {
                    effects.push(Effect::Coordinator(FromAgent::Lives { start, order }));
                }
            }
            Input::Checked(operation, start, fits) => effects.push(Effect::Coordinator(if fits {
                FromAgent::Prepared { operation, start }
            } else {
                FromAgent::Failed { operation, start }
            })),
            Input::Resized(operation, start, unfit) => {
                effects.push(Effect::Coordinator(match unfit {
                    None => FromAgent::Resized { operation, start },
                    Some(why) => FromAgent::Unfit { operation, start, why },
                }));
            }
            Input::Timer(Timer::Ask) => {
                if self.wants_record() {
                    self.ask(setting, effects);
                }
            }
            Input::Timer(Timer::Restart) => {
                self.restart_armed = false;
                self.propose(setting, fresh, effects);
            }
            Input::Timer(Timer::Sound) => {
                let owner = self.record.as_ref().and_then(|record| self.processes.get(&record.owner.start));
                if owner.is_some_and(|process| process.life == Life::Running) {
                    self.restarts = 0;
                }
            }
        }
    }

    /// Whether it has reason to ask for the record, again and again until it comes. Public for the model, which
    /// drops timers that would find nothing to do.
    pub fn wants_record(&self) -> bool {
        self.record.is_none() || self.processes.values().any(|process| process.waiting)
    }

    #[expect(clippy::unused_self, reason = "an agent asks for itself")]
    fn ask(&self, setting: &Setting, effects: &mut Vec<Effect>) {
        effects.push(Effect::Coordinator(FromAgent::Ask));
        effects.push(Effect::SetTimer(Timer::Ask, setting.ask_ms));
    }

    fn own(&mut self, setting: &Setting, record: Record, effects: &mut Vec<Effect>) {
        if let Some(known) = &self.record {
            if record.order() < known.order() {
                return;
            }
            if record.order() > known.order() {
                // What was proposed against the older record was refused, or is what this record says.
                self.proposal = None;
                self.restart_armed = false;
                // Of those armed before, the last counts.
                if self.restarts > 0 && record.owner.node == setting.node && record.served.is_some() {
                    effects.push(Effect::SetTimer(Timer::Sound, setting.sound_ms));
                }
            }
        }
        self.record = Some(record.clone());
        if record.owner.node == setting.node && !record.gone {
            self.own_here(setting, &record, effects);
        }
        self.target_here(setting, &record, effects);
        if let Some(resize) = record.resize()
            && self.processes.get(&record.owner.start).is_some_and(|process| process.life == Life::Running)
        {
            effects.push(Effect::Resize(record.last_operation, record.owner.start, resize.to));
        }
        let starts: Vec<_> = self.processes.keys().copied().collect();
        for start in starts {
            self.welcome(start, effects);
            self.forget_what_is_over(&record, start);
            self.tell(start, effects);
        }
    }

    /// Drops what a process was asked for an operation that has gone on since.
    fn forget_what_is_over(&mut self, record: &Record, start: StartId) {
        let Some(process) = self.processes.get_mut(&start) else { return };
        let open = record.step() == Some(Step::Open);
        let over = |duty: &Duty| {
            duty.operation < record.last_operation || (duty.operation == record.last_operation && !open)
        };
        process.wish = process.wish.filter(|wish| !over(wish));
        if process.asked.is_some_and(|asked| over(&asked) && duty(record, start) != Some(asked)) {
            process.asked = None;
            process.answer = None;
        }
    }

    /// The register says that the owner is on this node.
    fn own_here(&mut self, setting: &Setting, record: &Record, effects: &mut Vec<Effect>) {
        let start = record.owner.start;
        match self.processes.get(&start).map(|process| process.life) {
            None if record.owner_is_to_be_started() => self.spawn(start, effects),
            // A staging process of which there is no trace: see to it that it stays so, and say it is dead.
            None => self.order_end(start, effects),
            Some(Life::Spawning) => effects.push(Effect::Shim(start, self.generation, Order::Spawn)),
            Some(Life::Running | Life::Ending) => {}
            Some(Life::Dead) => {
                effects.push(Effect::Coordinator(FromAgent::Dead { start }));
                self.arm_restart(setting, effects);
            }
        }
    }

    /// The register says that a source is being sealed for a target that is on this node: its death is told again,
    /// because nobody waits with a clock for who may have the only copy.
    fn target_here(&mut self, setting: &Setting, record: &Record, effects: &mut Vec<Effect>) {
        let sealing = record.moving().filter(|it| it.step == MoveStep::Sealing);
        let target = sealing.filter(|it| it.mode == Mode::Handoff).map(|it| it.target);
        let Some(start) = target.filter(|it| it.node == setting.node).map(|it| it.start) else { return };
        match self.processes.get(&start).map(|process| process.life) {
            None => self.order_end(start, effects),
            Some(Life::Dead) => effects.push(Effect::Coordinator(FromAgent::Dead { start })),
            Some(Life::Spawning | Life::Running | Life::Ending) => {}
        }
    }

    fn spawn(&mut self, start: StartId, effects: &mut Vec<Effect>) {
        self.processes.insert(start, Process::new(Life::Spawning, None));
        effects.push(Effect::Shim(start, self.generation, Order::Spawn));
    }

    fn wish(&mut self, start: StartId, operation: OperationNumber, call: Call, effects: &mut Vec<Effect>) {
        let wish = Duty { operation, call };
        match self.processes.get_mut(&start) {
            Some(process) if process.life == Life::Running => {
                if process.wish.is_none_or(|known| known.operation <= operation) {
                    process.wish = Some(wish);
                }
                self.tell(start, effects);
            }
            Some(process) if process.life == Life::Dead => {
                effects.push(Effect::Coordinator(FromAgent::Dead { start }));
            }
            Some(process) => process.wish = Some(wish),
            None => {}
        }
    }

    fn prepare(
        &mut self,
        operation: OperationNumber,
        start: StartId,
        side: Side,
        mode: Mode,
        effects: &mut Vec<Effect>,
    ) {
        let late = self.record.as_ref().is_some_and(|record| {
            record.last_operation > operation
                || (record.last_operation == operation && record.step() != Some(Step::Open))
        });
        if late {
            return;
        }
        match (side, mode) {
            (Side::Target, Mode::Restart) => effects.push(Effect::Check(operation, start)),
            (Side::Target, Mode::Handoff) => {
                match self.processes.get(&start).map(|process| process.life) {
                    None => self.spawn(start, effects),
                    Some(Life::Spawning) => effects.push(Effect::Shim(start, self.generation, Order::Spawn)),
                    Some(Life::Running | Life::Ending | Life::Dead) => {}
                }
                self.wish(start, operation, Call::Prepare(side), effects);
            }
            (Side::Source, Mode::Handoff | Mode::Restart) => {
                self.wish(start, operation, Call::Prepare(side), effects);
            }
        }
    }

    fn end(&mut self, start: StartId, order: RecordOrder, effects: &mut Vec<Effect>) {
        let owns_by_a_newer_record =
            self.record.as_ref().is_some_and(|record| record.is_owned_by(start) && record.order() > order);
        if owns_by_a_newer_record {
            return;
        }
        match self.processes.get(&start).map(|process| process.life) {
            Some(Life::Dead) => effects.push(Effect::Coordinator(FromAgent::Dead { start })),
            Some(Life::Spawning | Life::Running | Life::Ending) | None => {
                self.order_end(start, effects);
                self.welcome(start, effects);
            }
        }
    }

    fn order_end(&mut self, start: StartId, effects: &mut Vec<Effect>) {
        self.processes.entry(start).or_insert_with(|| Process::new(Life::Ending, None)).life = Life::Ending;
        effects.push(Effect::Shim(start, self.generation, Order::End));
    }

    fn shim(
        &mut self,
        setting: &Setting,
        start: StartId,
        status: Status,
        address: SocketAddr,
        effects: &mut Vec<Effect>,
    ) {
        let generation = self.generation;
        let process = match status {
            Status::Unstarted => self.processes.get_mut(&start),
            // One that an agent before this one ordered, and that was started since.
            Status::Running | Status::Dead => {
                Some(self.processes.entry(start).or_insert_with(|| Process::new(Life::Spawning, None)))
            }
        };
        let Some(process) = process else { return };
        process.address = Some(address);
        match (status, process.life) {
            (_, Life::Dead) => {}
            (Status::Running, Life::Spawning | Life::Running) => {
                process.life = Life::Running;
                self.tell(start, effects);
            }
            // The order was lost with its shim.
            (Status::Running | Status::Unstarted, Life::Ending) => {
                effects.push(Effect::Shim(start, generation, Order::End));
            }
            (Status::Unstarted, Life::Spawning) => {
                effects.push(Effect::Shim(start, generation, Order::Spawn));
            }
            (Status::Unstarted, Life::Running) => {}
            (Status::Dead, Life::Spawning | Life::Running | Life::Ending) => {
                *process = Process::new(Life::Dead, Some(address));
                effects.push(Effect::Coordinator(FromAgent::Dead { start }));
                self.arm_restart(setting, effects);
            }
        }
    }

    fn app(&mut self, setting: &Setting, start: StartId, message: FromApp, effects: &mut Vec<Effect>) {
        let Some(process) = self.processes.get_mut(&start) else { return };
        if process.life == Life::Dead {
            return;
        }
        match message {
            FromApp::Hello => {
                process.greeted = true;
                process.waiting = true;
                process.asked = None;
                process.answer = None;
                self.welcome(start, effects);
                if self.processes.get(&start).is_some_and(|process| process.waiting) {
                    self.ask(setting, effects);
                }
                self.tell(start, effects);
            }
            FromApp::Ready(ready) => {
                process.ready = ready;
                self.tell(start, effects);
            }
            FromApp::Offer(operation, offer) => {
                effects.push(Effect::Coordinator(FromAgent::Offered { operation, offer }));
            }
            FromApp::Progress(operation, progress) => {
                effects.push(Effect::Coordinator(FromAgent::Progressed { operation, progress }));
            }
            FromApp::Answer(operation, answer) => {
                if process.asked.is_some_and(|asked| asked.operation == operation) {
                    process.answer = Some(answer);
                    self.tell(start, effects);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
