//! How large those that serve are to be, and why.
//!
//! By the load: what each has, times what it takes, by what serves. Where their number stays, also by what they use: who uses all
//! that it has is throttled, and nobody knows what it would use; who uses less is to use about seven tenths of what it has.

use super::decide::Decision;
use super::observation::{Instance, Phase};
use super::policy::{Shape, SizeBounds};
use super::record::{Action, Plan, SizeCut, Sizing};
use super::understand::Knowledge;
use super::vertical;

/// Who uses this share of its processors is throttled, in thousandths: some of each second is lost to how the kernel counts.
const THROTTLED_PERMILLE: u64 = 900;
/// What is used is to be this share of what there is, in thousandths.
const USED_PERMILLE: u64 = 700;

impl Decision<'_> {
    /// Proposes other sizes.
    pub(super) fn resize(&mut self, plan: &mut Plan) {
        let Some(bounds) = self.policy.size.filter(|_| self.policy.shape.resizes()) else { return };
        if self.view.is_blind {
            return;
        }
        let Some(mean_cpu_m) = self.mean_cpu_m(|it| it.cpu_m) else { return };
        let used_cpu_m = self.used_cpu_m();
        let by_load_m = self.by_load_m(mean_cpu_m);
        let by_use_m =
            used_cpu_m.filter(|_| self.policy.shape == Shape::Up).map(|used| by_use(mean_cpu_m, used));
        let mut sizing = Sizing { mean_cpu_m, used_cpu_m, by_load_m, by_use_m, ..Sizing::default() };
        if let Some(enough_cpu_m) = by_load_m.max(by_use_m) {
            self.propose(&bounds, enough_cpu_m, &mut sizing, plan);
        }
        self.reasons.sizing = Some(sizing);
    }

    fn propose(&mut self, bounds: &SizeBounds, enough: u64, sizing: &mut Sizing, plan: &mut Plan) {
        let is_changing = !plan.actions.is_empty()
            || self.in_phase(Phase::Starting)
                + self.in_phase(Phase::Draining)
                + self.in_phase(Phase::Leaving)
                > 0;
        let hold_ms = self.reasons.hold.map_or(0, |(hold_ms, _)| hold_ms);
        let Some(wanted_cpu_m) = self.wanted_cpu_m(bounds, enough, hold_ms, sizing) else { return };
        sizing.wanted_cpu_m = Some(wanted_cpu_m);
        let grown_ms = self.memory.grown_ms;
        let grew_of_late = grown_ms.is_some_and(|at_ms| at_ms.saturating_add(hold_ms) > self.time.now_ms);
        let is_silent = self.reasons.silent.is_some();
        let terms = vertical::Terms {
            bounds: *bounds,
            wanted_cpu_m,
            may_shrink: !is_changing && !grew_of_late && !is_silent,
        };
        let proposed = vertical::resize(self.observation, &terms);
        if proposed.is_empty() && wanted_cpu_m != sizing.mean_cpu_m {
            let shrinks = wanted_cpu_m < sizing.mean_cpu_m;
            let whys = [
                (is_changing && shrinks, SizeCut::Changing),
                (grew_of_late && shrinks, SizeCut::Grew),
                (is_silent && shrinks, SizeCut::Silent),
                (self.observation.ready().any(|(_, it)| it.size_rests), SizeCut::Rests),
            ];
            let why = whys.into_iter().find(|(is, _)| *is);
            sizing.cuts.push(why.map_or(SizeCut::Step, |(_, cut)| cut));
        }
        for (instance, cpu_m) in proposed {
            if wanted_cpu_m > sizing.mean_cpu_m {
                self.memory.grown_ms = Some(self.time.now_ms);
            }
            plan.actions.push(Action::Resize { instance, cpu_m });
        }
    }

    /// What each should have. `None`: what it has.
    fn wanted_cpu_m(
        &mut self,
        bounds: &SizeBounds,
        enough: u64,
        hold_ms: u64,
        sizing: &mut Sizing,
    ) -> Option<u64> {
        let mean = sizing.mean_cpu_m;
        if self.policy.shape == Shape::Up {
            let bounded = u32::try_from(enough).unwrap_or(u32::MAX).clamp(bounds.min_cpu_m, bounds.max_cpu_m);
            // Nothing of what is to come was seen yet: at first it keeps what it has.
            let first =
                if self.memory.sizes.is_empty() { u32::try_from(mean).unwrap_or(u32::MAX) } else { 0 };
            let peak = self.memory.sizes.add(self.time.now_ms, hold_ms, bounded.max(first));
            if enough < bounds.min_cpu_m.into() {
                sizing.cuts.push(SizeCut::Min(bounds.min_cpu_m));
            }
            if enough > bounds.max_cpu_m.into() {
                sizing.cuts.push(SizeCut::Max(bounds.max_cpu_m));
            }
            if peak.need > bounded {
                sizing.cuts.push(SizeCut::Hold(peak));
            }
            return Some(peak.need.into());
        }
        match () {
            () if enough > mean => Some(enough),
            () if enough <= bounds.base_cpu_m.into() => Some(bounds.base_cpu_m.into()),
            () => None,
        }
    }

    /// What each would have to have for the load. `None`: nobody knows what they can do.
    fn by_load_m(&self, mean_cpu_m: u64) -> Option<u64> {
        let (need_milli, serving_milli) = (self.view.need.total_milli(), self.reasons.serving_milli);
        if self.view.knowledge != Knowledge::Known {
            return None;
        }
        let enough = (u128::from(mean_cpu_m) * u128::from(need_milli)).checked_div(serving_milli.into())?;
        Some(u64::try_from(enough).unwrap_or(u64::MAX))
    }

    /// What those that serve use in the mean, if it is known of each that has a limit.
    fn used_cpu_m(&self) -> Option<u64> {
        let sized = self.observation.ready().filter(|(_, it)| it.cpu_m.is_some());
        let is_known = sized.fold(true, |all, (_, it)| all && it.cpu_used_m.is_some());
        self.mean_cpu_m(|it| it.cpu_m.and(it.cpu_used_m)).filter(|_| is_known)
    }

    fn mean_cpu_m(&self, of: impl Fn(&Instance) -> Option<u32>) -> Option<u64> {
        let figures = self.observation.ready().filter_map(|(_, it)| of(it).map(u64::from));
        let (sum, count) =
            figures.fold((0_u64, 0_u64), |(sum, count), it| (sum.saturating_add(it), count + 1));
        sum.checked_div(count)
    }
}

/// What one would have to have that has this and uses so much of it.
fn by_use(has: u64, used: u64) -> u64 {
    if used * 1_000 >= has * THROTTLED_PERMILLE { has * 3 / 2 } else { used * 1_000 / USED_PERMILLE }
}
