//! Why not one fewer and not one more: the limit that keeps it from that, or the rule.

use super::decide::Decision;
use super::record::{Alternative, Cut, Rule, WhyNot};

impl Decision<'_> {
    /// Says it of what was decided.
    pub(super) fn alternatives(&mut self) {
        let planned = self.reasons.planned;
        let fewer = planned.checked_sub(1).map(|count| (count, self.why_not_fewer(count)));
        let more = planned.saturating_add(1);
        let whys = fewer.into_iter().chain([(more, self.why_not_more())]);
        let unit = self.reasons.unit;
        // One fewer are those that are there; one more is the usual one.
        let each_milli = self.view.each_milli;
        let slots_milli = |count: u32| {
            let each_milli = if count < planned { each_milli } else { unit?.slots_milli() };
            unit.map(|_| each_milli.saturating_mul(count.into()))
        };
        let alternatives =
            whys.map(|(count, why_not)| Alternative { count, slots_milli: slots_milli(count), why_not });
        self.reasons.alternatives = alternatives.collect();
    }

    /// Why not this many, which is one fewer: what keeps more than the rule takes, or the rule.
    fn why_not_fewer(&self, count: u32) -> WhyNot {
        let reasons = &*self.reasons;
        // Whatever else there is, it would not be allowed.
        if count < self.policy.min {
            return WhyNot::Cut(Cut::Min(self.policy.min));
        }
        // Who asked to go keeps only who comes instead. Without those who serve now nobody can go, whatever else there is.
        // Of the others each is narrower than the one before it.
        let keeps = |cut: &Cut| {
            cut.keeps_up()
                && !cut.is_of_rule()
                && (count >= reasons.count || !matches!(cut, Cut::Retiring(_)))
        };
        let serving = reasons.cuts.iter().find(|cut| **cut == Cut::Serving);
        let cut = serving.or_else(|| reasons.cuts.iter().rev().find(|cut| keeps(cut)));
        if let Some(cut) = cut.filter(|_| count >= reasons.raw) {
            return WhyNot::Cut(*cut);
        }
        let slots_milli = reasons.unit.map(|_| self.view.each_milli.saturating_mul(count.into()));
        match reasons.rule {
            Rule::Manual => WhyNot::Manual,
            Rule::Blind => WhyNot::Cut(Cut::Blind),
            Rule::Idle => WhyNot::Cut(Cut::Min(self.policy.min)),
            Rule::Unusable | Rule::Unknown => WhyNot::Unknown,
            Rule::Unsaturated | Rule::Load | Rule::Queue | Rule::Announced
                if slots_milli.is_some_and(|slots| slots < reasons.need.total_milli()) =>
            {
                WhyNot::TooFew
            }
            Rule::Waiting
            | Rule::Fixed
            | Rule::Asked
            | Rule::Unsaturated
            | Rule::Load
            | Rule::Queue
            | Rule::Announced => {
                let untested = reasons.cuts.iter().find(|cut| cut.keeps_up() && cut.is_of_rule());
                untested.map_or(WhyNot::Rule, |cut| WhyNot::Cut(*cut))
            }
        }
    }

    /// Why not one more: what keeps those from coming that are wanted, or the rule.
    fn why_not_more(&self) -> WhyNot {
        let reasons = &*self.reasons;
        // Whatever else there is, it would not be allowed.
        if reasons.planned >= self.policy.max {
            let of_max = reasons.cuts.iter().rev().find(|cut| matches!(cut, Cut::Max { .. }));
            return WhyNot::Cut(of_max.copied().unwrap_or(Cut::Max { max: self.policy.max, leaving: 0 }));
        }
        let mut limits = reasons.cuts.iter().rev().filter(|cut| !cut.keeps_up());
        let cut = limits.clone().find(|cut| !cut.is_of_rule());
        if let Some(cut) = cut.filter(|_| reasons.planned < reasons.raw.max(reasons.bounded)) {
            return WhyNot::Cut(*cut);
        }
        let of_rule = limits.find(|cut| cut.is_of_rule());
        if let Some(cut) = of_rule.filter(|_| reasons.planned == reasons.raw) {
            return WhyNot::Cut(*cut);
        }
        let does = reasons
            .there_milli()
            .is_some_and(|there| !reasons.need.misses(reasons.need.total_milli().saturating_sub(there)));
        match reasons.rule {
            Rule::Manual => WhyNot::Manual,
            Rule::Unusable | Rule::Blind | Rule::Unknown => WhyNot::Unknown,
            Rule::Unsaturated | Rule::Load | Rule::Queue | Rule::Announced if does => WhyNot::NotNeeded,
            Rule::Waiting
            | Rule::Idle
            | Rule::Fixed
            | Rule::Asked
            | Rule::Unsaturated
            | Rule::Load
            | Rule::Queue
            | Rule::Announced => WhyNot::Rule,
        }
    }
}
