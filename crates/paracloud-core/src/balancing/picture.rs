//! All instances at one moment, judged: what choices are made from until something changes.
//!
//! A choice looks at a few of them; what concerns all (medians, weights that add up) is computed once a
//! [`PICTURE_US`](super::PICTURE_US) at most. Nothing is allocated once there was room for all.

use super::fleet::Fleet;
use super::inputs::Inputs;
use super::judged::{Judged, judge};
use super::policy::{Policy, Setting};
use super::standing::Standing;
use alloc::vec::Vec;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Picture {
    inputs: Vec<Inputs>,
    judged: Vec<Judged>,
    fleet: Fleet,
    /// The best that any of them stands.
    standing: Standing,
    /// Those that stand so.
    usable: Vec<u32>,
    /// The weights of those up to each, itself included.
    sums: Vec<u64>,
    scratch: Vec<u64>,
}

impl Picture {
    /// Draws it anew.
    pub(super) fn draw(&mut self, inputs: impl Iterator<Item = Inputs>, setting: Setting) {
        self.inputs.clear();
        let says = setting.policy == Policy::Used;
        self.inputs.extend(inputs.map(|inputs| if says { inputs } else { inputs.unsaid() }));
        self.fleet = Fleet::of(&self.inputs, &mut self.scratch);
        self.judged.clear();
        self.judged.extend(self.inputs.iter().map(|inputs| judge(inputs, &self.fleet, setting)));
        self.standing = self.judged.iter().map(|judged| judged.standing).min().unwrap_or_default();
        self.usable.clear();
        self.sums.clear();
        let mut sum = 0;
        for (position, judged) in (0_u32..).zip(&self.judged) {
            if judged.standing == self.standing {
                sum += judged.weight_permille;
                self.usable.push(position);
                self.sums.push(sum);
            }
        }
    }

    /// The gateway has so many in flight at one of them now.
    pub(super) fn renew(&mut self, position: usize, own: u32, setting: Setting) {
        if let (Some(inputs), Some(judged)) = (self.inputs.get_mut(position), self.judged.get_mut(position)) {
            inputs.own = own;
            *judged = Judged { standing: judged.standing, ..judge(inputs, &self.fleet, setting) };
        }
    }

    /// Leaves one of them out, if there is another: one that is ready, and does not drain.
    pub(super) fn leave_out(&mut self, position: u32) {
        let others = || (0_u32..).zip(&self.judged).filter(|(it, _)| *it != position);
        let best = others().map(|(_, judged)| judged.standing).min();
        let Some(standing) = best.filter(|best| !matches!(best, Standing::NotReady | Standing::Draining))
        else {
            return;
        };
        let mut sum = 0;
        let left: Vec<_> = others().filter(|(_, judged)| judged.standing == standing).collect();
        self.standing = standing;
        self.usable.clear();
        self.sums.clear();
        for (position, judged) in left {
            sum += judged.weight_permille;
            self.usable.push(position);
            self.sums.push(sum);
        }
    }

    pub(super) fn inputs(&self) -> &[Inputs] {
        &self.inputs
    }

    pub(super) fn all_judged(&self) -> &[Judged] {
        &self.judged
    }

    pub(super) fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    pub(super) fn standing(&self) -> Standing {
        self.standing
    }

    pub(super) fn usable(&self) -> &[u32] {
        &self.usable
    }

    pub(super) fn own(&self, position: u32) -> u32 {
        self.inputs[position as usize].own
    }

    pub(super) fn judged(&self, position: u32) -> &Judged {
        &self.judged[position as usize]
    }

    /// All their weights together.
    pub(super) fn weight(&self) -> u64 {
        self.sums.last().copied().unwrap_or(0)
    }

    /// The one whose share of all weights has this point in it.
    pub(super) fn at(&self, point: u64) -> u32 {
        let place = self.sums.partition_point(|sum| *sum <= point).min(self.usable.len() - 1);
        self.usable[place]
    }

    /// Two of them, by weight, never the same one twice. `below` gives a random number below its bound.
    pub(super) fn two(&self, mut below: impl FnMut(u64) -> u64) -> [u32; 2] {
        let first = self.sums.partition_point({
            let point = below(self.weight());
            move |sum| *sum <= point
        });
        let begin = if first == 0 { 0 } else { self.sums[first - 1] };
        let own = self.sums[first] - begin;
        let point = below(self.weight() - own);
        let second = self.at(if point < begin { point } else { point + own });
        [self.usable[first], second]
    }
}
