//! How faults get to where they are rare.
//!
//! Dice alone hit long phases and miss short ones. So each run has a list of cells that follows from its seed, and aims
//! at one after the other, until it is hit or has had its time; the lists of all seeds together go round all cells
//! several times. When the aimed phase is entered, the fault comes at once or shortly after, and the phase may be
//! stretched by cutting off whom it waits for. Some phases are entered only after something else went wrong; that is
//! arranged as well.

use super::coverage::{Cell, Fault, Who};
use super::{Event, MS, Micros, Simulation};
use crate::world::{Action, Party};
use paracloud_core::migration::Phase;
use paracloud_core::migration::coordinator::Command;
use paracloud_core::register::{Mode, Step};
use rand::RngExt;
use std::ops::Range;

/// Cells a run may aim at, one after the other, are three times as many: one of all, one that dice hit rarely, and one
/// that they hardly ever hit.
const ROUNDS: u64 = 16;
/// After how many rounds the list of the next seed begins: fewer than a list has, so each cell is on several.
const AHEAD: u64 = 6;
/// How often it strikes at each.
const STRIKES_MAX: u32 = 32;
/// How long it aims at each, in virtual microseconds.
const TIME: Micros = 1_500 * MS;
/// Spreads the cells over the seeds; it has no factor in common with any number of cells under it.
const STRIDE: u64 = 7_919;

/// How long after the phase was entered.
const SHORTLY: Range<Micros> = 0..3 * MS;
const LATER: Range<Micros> = 0..40 * MS;
/// When a controller that died briefly has begun again.
const AGAIN: Range<Micros> = 3 * MS..12 * MS;
/// How long a gateway does not hear of a move that is to go on without it.
const LONG: Range<Micros> = 300 * MS..700 * MS;

/// What a run aims at.
#[derive(Debug, Clone)]
pub(super) struct Aims {
    cells: Vec<Cell>,
    current: usize,
    /// Since when the current one is aimed at.
    since: Micros,
    strikes: u32,
}

/// Only in a move by restart is the target started after the commit.
fn needs_restart(cell: Cell) -> bool {
    let writes = matches!(cell.fault, Fault::LostWrite | Fault::KeptWrite);
    cell.who == Who::TargetShim && writes && matches!(cell.phase, Phase::Switch | Phase::Doom)
}

/// In a move by restart no state crosses.
fn needs_handoff(cell: Cell) -> bool {
    let crosses = matches!(cell.who, Who::SourceApp | Who::TargetApp) && cell.fault == Fault::Partition;
    crosses || cell.phase == Phase::Copy
}

/// What dice hit rarely: faults that are no matter of a message, and processes that are there only for a moment.
fn is_rare(cell: &Cell) -> bool {
    let is_message = matches!(cell.fault, Fault::Drop | Fault::Duplicate | Fault::Delay);
    let is_end = matches!(cell.fault, Fault::Crash | Fault::Restart);
    let is_passing = matches!(cell.who, Who::SourceApp | Who::TargetApp | Who::TargetShim);
    cell.phase != Phase::Idle && (is_passing || !(is_message || is_end))
}

/// What they hardly ever hit: phases that are entered only after a fault, and what is on its way only then.
fn is_rarest(cell: &Cell) -> bool {
    let writes = matches!(cell.fault, Fault::LostWrite | Fault::KeptWrite);
    let is_passing = matches!(cell.who, Who::SourceApp | Who::TargetApp);
    match cell.phase {
        Phase::Doom | Phase::Start | Phase::Resize | Phase::Return => true,
        Phase::Prepare | Phase::Park => cell.who == Who::TargetApp,
        Phase::Undo => cell.who == Who::TargetApp || (cell.who == Who::TargetShim && writes),
        Phase::Release => cell.who == Who::TargetShim && writes,
        Phase::Copy => is_passing && cell.fault == Fault::Partition,
        Phase::Idle
        | Phase::Offer
        | Phase::Drain
        | Phase::Seal
        | Phase::Switch
        | Phase::Serve
        | Phase::Leave
        | Phase::Retire => false,
    }
}

impl Aims {
    /// The list of a seed.
    pub(super) fn of(seed: u64) -> Self {
        let all = Cell::meant();
        let rare: Vec<_> = all.iter().copied().filter(is_rare).collect();
        let rarest: Vec<_> = all.iter().copied().filter(is_rarest).collect();
        let pick = |from: &[Cell], place: u64| {
            from.get(usize::try_from(place.wrapping_mul(STRIDE) % from.len() as u64).ok()?).copied()
        };
        let rounds = (0..ROUNDS).map(|round| seed.wrapping_mul(AHEAD).wrapping_add(round));
        let cells = rounds.flat_map(|round| [pick(&all, round), pick(&rare, round), pick(&rarest, round)]);
        Self { cells: cells.flatten().collect(), current: 0, since: 0, strikes: 0 }
    }

    /// Whether one of the first is out of reach of a handoff.
    pub(super) fn need_restart(&self) -> bool {
        self.cells
            .iter()
            .take(3 * usize::try_from(AHEAD).unwrap_or(usize::MAX))
            .any(|cell| needs_restart(*cell))
    }

    /// Leaves out what a run of this mode cannot reach.
    pub(super) fn keep_reachable(&mut self, mode: Mode) {
        self.cells.retain(|cell| match mode {
            Mode::Restart => !needs_handoff(*cell),
            Mode::Handoff => !needs_restart(*cell),
        });
    }
}

impl Simulation {
    /// A phase was entered. Nothing happens here; what is to happen is set down.
    pub(super) fn aim_at(&mut self, phase: Phase) {
        if self.quiet {
            return;
        }
        let Some((number, cell)) = self.aim() else { return };
        if phase != cell.phase {
            let soon = if self.dice.random_bool(0.5) { 0..1 } else { SHORTLY };
            return self.after(soon, Event::Aim(number));
        }
        self.aims.strikes += 1;
        self.fates.retain(|(who, fault)| (*who, *fault) != (cell.who, cell.fault));
        self.write_fates.retain(|(who, fault)| (*who, *fault) != (cell.who, cell.fault));
        match cell.fault {
            Fault::Drop | Fault::Duplicate | Fault::Delay => self.fates.push((cell.who, cell.fault)),
            Fault::LostWrite | Fault::KeptWrite => self.write_fates.push((cell.who, cell.fault)),
            Fault::Crash | Fault::Restart | Fault::Stall | Fault::Partition | Fault::Damage | Fault::Hog => {}
        }
        if self.dice.random_bool(0.5) {
            self.at(0, Event::Stretch);
        }
        match self.dice.random_range(0..3_u32) {
            0 => {
                self.at(0, Event::Aim(number));
            }
            1 => self.after(SHORTLY, Event::Aim(number)),
            _ => self.after(LATER, Event::Aim(number)),
        }
    }

    /// What is aimed at now: the next on the list once one is hit, or has had its time.
    fn aim(&mut self) -> Option<(usize, Cell)> {
        let (coverage, now, aims) = (&self.coverage, self.now, &mut self.aims);
        let done = |aims: &Aims, cell| {
            coverage.hits(cell) > 0 || aims.strikes >= STRIKES_MAX || now - aims.since > TIME
        };
        let before = aims.current;
        while aims.cells.get(aims.current).is_some_and(|cell| done(aims, *cell)) {
            (aims.current, aims.since, aims.strikes) = (aims.current + 1, now, 0);
        }
        let (current, cell) = (aims.current, *aims.cells.get(aims.current)?);
        if current != before {
            self.note("-", &format!("aims at {cell}"));
        }
        Some((current, cell))
    }

    /// The phase of what is aimed at.
    pub(super) fn aimed_phase(&self) -> Option<Phase> {
        self.aims.cells.get(self.aims.current).map(|cell| cell.phase)
    }

    fn aims_at(&self, who: Who) -> bool {
        self.aims.cells.get(self.aims.current).is_some_and(|cell| cell.who == who)
    }

    /// The moment for an aimed fault; or, in another phase, for what leads to its phase.
    pub(super) fn strike(&mut self, number: usize) {
        let Some((_, cell)) = self.aim().filter(|(current, _)| *current == number) else { return };
        if self.phase != cell.phase {
            return self.lead_to(cell);
        }
        match cell.fault {
            Fault::Crash | Fault::Restart | Fault::Stall | Fault::Partition | Fault::Damage | Fault::Hog => {
                self.inject(cell);
            }
            Fault::Drop | Fault::Duplicate | Fault::Delay => self.make_them_talk(cell.who),
            Fault::LostWrite | Fault::KeptWrite => self.make_them_write(cell.who),
        }
        // Nobody plays that part yet, or nothing was sent: once more, while the phase lasts.
        let asks_nothing = match cell.fault {
            Fault::Crash | Fault::Restart | Fault::Stall | Fault::Partition | Fault::Damage | Fault::Hog => {
                true
            }
            Fault::Drop | Fault::Duplicate | Fault::Delay => {
                matches!(cell.who, Who::SourceApp | Who::TargetApp)
            }
            Fault::LostWrite | Fault::KeptWrite => false,
        };
        if asks_nothing && self.coverage.hits(cell) == 0 {
            self.aims.strikes += 1;
            self.after(SHORTLY, Event::Aim(number));
        }
    }

    /// The message that is to be lost must be sent first.
    fn make_them_talk(&mut self, who: Who) {
        match who {
            Who::SourceAgent | Who::TargetAgent | Who::Gateway => {
                if let Some(party) = self.party(who).filter(|_| self.dice_are(0.5)) {
                    self.crash_briefly(party);
                }
            }
            Who::SourceApp | Who::TargetApp => {
                for _ in 0..4 {
                    self.write_once();
                }
            }
            Who::Controller | Who::SourceShim | Who::TargetShim => {}
        }
    }

    /// The write that is to be lost must be made first.
    fn make_them_write(&mut self, who: Who) {
        if who != Who::Controller {
            return;
        }
        match self.world.disk.step() {
            Some(Step::Open | Step::Sealing | Step::Draining | Step::Resizing) => {
                self.apply(Action::Command(Command::Cancel));
            }
            Some(
                Step::Switch | Step::Doomed | Step::Retire | Step::Undo | Step::Leaving | Step::Returning,
            ) => {
                let owner = Party::App(self.world.disk.owner.start);
                self.crash(owner);
            }
            None => {}
        }
    }

    fn lead_to(&mut self, cell: Cell) {
        use Phase::{
            Copy, Doom, Drain, Offer, Park, Prepare, Release, Retire, Seal, Serve, Start, Switch, Undo,
        };
        let marks = cell.who == Who::TargetShim && matches!(cell.fault, Fault::LostWrite | Fault::KeptWrite);
        let on_the_way = matches!(cell.fault, Fault::Drop | Fault::Delay);
        let stale = cell.who == Who::SourceApp && on_the_way;
        let late_end = cell.who == Who::TargetApp && on_the_way;
        let late_start = stale || matches!(cell.who, Who::TargetShim | Who::TargetApp);
        let owner = self.world.disk.owner;
        match (cell.phase, self.phase) {
            (Doom, Switch) => match self.dice.random_range(0..3_u32) {
                0 if !marks => self.stall(Party::App(owner.start)),
                1 if !marks => self.stall(Party::Agent(owner.node)),
                _ => self.partition(Party::Agent(owner.node)),
            },
            // An order that an agent handles late, when the move it belongs to is given up.
            (Undo | Release, Prepare) if marks => {
                if let Some(agent) = self.party(Who::TargetAgent) {
                    self.stall_for(agent, LATER);
                }
                self.apply(Action::Command(Command::Cancel));
            }
            // The end of the state comes when the phase it belongs to is over: the move is given up, or driven by a
            // controller that begins again.
            (Undo | Park, Seal) if late_end => {
                let source = Party::App(owner.start);
                if cell.phase == Park {
                    self.stall_for(source, AGAIN);
                    self.crash_briefly(Party::Controller);
                } else {
                    self.stall_for(source, LATER);
                    self.apply(Action::Command(Command::Cancel));
                }
            }
            (Undo, Offer | Prepare | Copy | Drain | Park | Seal) if !late_end && self.dice_are(0.3) => {
                self.apply(Action::Command(Command::Cancel));
            }
            // Requests reach a source that has sealed only from a gateway that has not heard of it.
            (Seal | Switch | Doom | Serve | Start, Copy | Drain) if stale => {
                if let Some(gateway) = self.party(Who::Gateway) {
                    self.partition_for(gateway, LONG);
                }
            }
            // A new owner on the target's node, or beside another process that is still there.
            (Start, Serve | Release | Retire) if late_start && self.world.disk.operation.is_some() => {
                self.crash(Party::App(owner.start));
            }
            (Start, _) if !late_start && self.dice_are(0.2) => self.crash(Party::App(owner.start)),
            _ => {}
        }
    }

    /// Cuts off whom the phase waits for, so that it lasts.
    pub(super) fn stretch(&mut self) {
        let waited_for = match self.phase {
            Phase::Idle | Phase::Start => None,
            Phase::Offer
            | Phase::Copy
            | Phase::Seal
            | Phase::Undo
            | Phase::Leave
            | Phase::Return
            | Phase::Resize => Some(Who::SourceAgent),
            // The target has answered by then.
            Phase::Prepare if self.aims_at(Who::TargetApp) => Some(Who::SourceAgent),
            Phase::Prepare | Phase::Switch | Phase::Doom | Phase::Serve => Some(Who::TargetAgent),
            Phase::Drain | Phase::Park | Phase::Release => Some(Who::Gateway),
            Phase::Retire if self.world.disk.step() == Some(Step::Undo) => Some(Who::TargetAgent),
            Phase::Retire => Some(Who::SourceAgent),
        };
        if let Some(party) = waited_for.and_then(|who| self.party(who)) {
            self.partition(party);
        }
    }

    fn dice_are(&mut self, chance: f64) -> bool {
        self.dice.random_bool(chance)
    }
}
