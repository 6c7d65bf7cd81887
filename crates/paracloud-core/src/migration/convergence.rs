//! When to stop copying and park: the predicted pause decides, in milliseconds, never bytes alone.
//!
//! The switch is taken when the predicted pause fits the budget; or, once the copy has stalled, at a local minimum
//! within the budget's ceiling; or, when patience is over, at whatever is within the ceiling; else the move is given up
//! with its numbers. (The idea of switching at a local minimum is KubeVirt's VEP-248; the budget in milliseconds is
//! QEMU's `downtime-limit`.)

use super::message::Progress;
use serde::{Deserialize, Serialize};

/// Bounds of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Budget {
    /// The pause aimed at, in milliseconds.
    pub pause_ms: u32,
    /// The pause tolerated once the copy has stalled, in milliseconds.
    pub pause_ms_max: u32,
    /// Reports without a new minimum after which the copy counts as stalled.
    pub stall_reports: u32,
    /// Reports without a new minimum after which patience is over.
    pub stall_reports_max: u32,
}

/// What is known of a copy that is under way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Copy {
    lowest_ms: Option<u32>,
    since_lowest: u32,
}

/// What to do with a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// Go on copying.
    Continue,
    /// Good enough: seal.
    Switch,
    /// It will not fit.
    GiveUp,
}

impl Copy {
    /// Takes one report in.
    pub fn judge(&mut self, progress: Progress, budget: &Budget) -> Verdict {
        let pause_ms = progress.predicted_pause_ms;
        if self.lowest_ms.is_none_or(|lowest| pause_ms < lowest) {
            self.lowest_ms = Some(pause_ms);
            self.since_lowest = 0;
        } else {
            self.since_lowest = self.since_lowest.saturating_add(1);
        }
        if pause_ms <= budget.pause_ms {
            return Verdict::Switch;
        }
        let near_lowest = self.lowest_ms.is_some_and(|lowest| pause_ms <= lowest.saturating_add(lowest / 20));
        let fits = pause_ms <= budget.pause_ms_max;
        let patience_is_over = self.since_lowest >= budget.stall_reports_max;
        if fits && (patience_is_over || self.since_lowest >= budget.stall_reports && near_lowest) {
            return Verdict::Switch;
        }
        if patience_is_over { Verdict::GiveUp } else { Verdict::Continue }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const BUDGET: Budget = Budget { pause_ms: 5, pause_ms_max: 50, stall_reports: 3, stall_reports_max: 8 };

    fn verdicts(pauses_ms: &[u32]) -> Vec<Verdict> {
        let mut copy = Copy::default();
        pauses_ms
            .iter()
            .map(|&predicted_pause_ms| {
                copy.judge(Progress { predicted_pause_ms, ..Progress::default() }, &BUDGET)
            })
            .collect()
    }

    #[test]
    fn a_pause_within_the_budget_switches_at_once() {
        assert_eq!(verdicts(&[900, 40, 5]), [Verdict::Continue, Verdict::Continue, Verdict::Switch]);
    }

    #[test]
    fn a_stalled_copy_switches_at_its_local_minimum_within_the_ceiling() {
        assert_eq!(verdicts(&[100, 40, 48, 45, 41]).last(), Some(&Verdict::Switch));
        assert_eq!(verdicts(&[100, 40, 48, 45, 49]).last(), Some(&Verdict::Continue));
    }

    #[test]
    fn a_steady_pause_within_the_ceiling_is_taken_however_low_it_once_was() {
        let mut pauses_ms = std::vec![6];
        pauses_ms.extend([20; 8]);
        let all = verdicts(&pauses_ms);
        assert_eq!(all[7..], [Verdict::Continue, Verdict::Switch]);
    }

    #[test]
    fn a_copy_that_never_gets_near_its_budget_is_given_up() {
        let all = verdicts(&[500; 12]);
        assert!(!all.contains(&Verdict::Switch));
        assert_eq!(all[8], Verdict::GiveUp);
    }
}
