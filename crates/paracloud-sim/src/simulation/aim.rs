//! How faults get to where they are rare.
//!
//! Dice alone hit long phases and miss short ones. So each run aims at a few cells, and the seeds together at all of
//! them in turn: when the aimed phase is entered, the fault comes at once or shortly after, and the phase may be
//! stretched by cutting off whom it waits for. Some phases are entered only after something else went wrong; that is
//! arranged as well.

use super::coverage::{Cell, Fault, Who};
use super::{Event, FAULTS_END, MS, Micros, Simulation};
use crate::world::{Action, Party};
use paracloud_core::migration::Phase;
use paracloud_core::migration::coordinator::Command;
use paracloud_core::register::Step;
use rand::RngExt;
use std::ops::Range;

/// Cells a run aims at, one after the other.
const AIMS: usize = 6;
/// How often it strikes at each.
const STRIKES_MAX: u32 = 4;
/// Spreads the cells over the seeds; it has no factor in common with any number of cells under it.
const STRIDE: u64 = 7_919;

/// How long after the phase was entered.
const SHORTLY: Range<Micros> = 0..3 * MS;
const LATER: Range<Micros> = 0..40 * MS;

/// A cell that is aimed at, in its share of the run.
#[derive(Debug, Clone)]
pub(super) struct Aim {
    cell: Cell,
    during: Range<Micros>,
    strikes: u32,
}

impl Aim {
    /// Only in a move by restart is the target started after the commit.
    pub(super) fn needs_restart(&self) -> bool {
        let writes = matches!(self.cell.fault, Fault::LostWrite | Fault::KeptWrite);
        self.cell.who == Who::TargetShim && writes && matches!(self.cell.phase, Phase::Switch | Phase::Doom)
    }
}

pub(super) fn aims(seed: u64) -> Vec<Aim> {
    let cells = Cell::meant();
    let share = FAULTS_END / AIMS as u64;
    let aims = (0..AIMS as u64).filter_map(|slot| {
        let at =
            (seed.wrapping_mul(AIMS as u64).wrapping_add(slot)).wrapping_mul(STRIDE) % cells.len() as u64;
        let cell = *cells.get(usize::try_from(at).ok()?)?;
        Some(Aim { cell, during: slot * share..(slot + 1) * share, strikes: 0 })
    });
    aims.collect()
}

impl Simulation {
    /// A phase was entered. Nothing happens here; what is to happen is set down.
    pub(super) fn aim_at(&mut self, phase: Phase) {
        if self.quiet {
            return;
        }
        let now = self.now;
        let current = self.aims.iter().position(|aim| aim.during.contains(&now) && aim.strikes < STRIKES_MAX);
        let Some(number) = current else { return };
        let Some(aim) = self.aims.get_mut(number) else { return };
        let cell = aim.cell;
        if phase != cell.phase {
            return self.after(SHORTLY, Event::Aim(number));
        }
        aim.strikes += 1;
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

    /// The moment for an aimed fault; or, in another phase, for what leads to its phase.
    pub(super) fn strike(&mut self, number: usize) {
        let Some(cell) = self.aims.get(number).map(|aim| aim.cell) else { return };
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
            Some(Step::Open | Step::Sealing) => self.apply(Action::Command(Command::Cancel)),
            Some(Step::Switch | Step::Doomed | Step::Retire | Step::Undo) => {
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
        let stale = cell.who == Who::SourceApp && matches!(cell.fault, Fault::Drop | Fault::Delay);
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
            (Undo, Offer | Prepare | Copy | Drain | Park | Seal) if self.dice_are(0.3) => {
                self.apply(Action::Command(Command::Cancel));
            }
            // Requests reach a source that has sealed only from a gateway that has not heard of it.
            (Seal | Switch | Doom | Serve | Start, Copy | Drain) if stale => {
                if let Some(gateway) = self.party(Who::Gateway) {
                    self.partition(gateway);
                }
            }
            // A new owner on the target's node, or beside a source that is still there.
            (Start, Serve | Release | Retire) if late_start => self.crash(Party::App(owner.start)),
            (Start, _) if !late_start && self.dice_are(0.2) => self.crash(Party::App(owner.start)),
            _ => {}
        }
    }

    /// Cuts off whom the phase waits for, so that it lasts.
    pub(super) fn stretch(&mut self) {
        let waited_for = match self.phase {
            Phase::Idle | Phase::Start => None,
            Phase::Offer | Phase::Copy | Phase::Seal | Phase::Undo => Some(Who::SourceAgent),
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
