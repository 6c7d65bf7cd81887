//! Larger and smaller instances: a bridge until more of them are there, or the only way where their number stays.
//!
//! An instance is asked before it becomes smaller, so what is planned here is a proposal. Never are some made larger and
//! others smaller at once, and nothing is made smaller while an instance starts or leaves.

use super::observation::{Instance, Observation};
use super::policy::SizeBounds;
use crate::ids::InstanceNumber;
use alloc::vec::Vec;

/// A size is changed only by at least so much of it, in thousandths: less is not worth the question.
const STEP_PERMILLE: u64 = 100;

/// What resizing is decided on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) bounds: SizeBounds,
    /// What each instance should have, in thousandths of a processor; unbounded.
    pub(super) wanted_cpu_m: u64,
    /// Instances may become smaller now.
    pub(super) may_shrink: bool,
}

/// The sizes to propose. Growing ones come first; if there are any, nothing shrinks.
pub(super) fn resize(observation: &Observation, terms: &Terms) -> Vec<(InstanceNumber, u32)> {
    let able = || observation.ready().filter(|(_, it)| !it.in_operation && it.held_ms.is_none());
    let sized = able().filter_map(|(number, it)| Some((number, it, it.cpu_m.filter(|cpu_m| *cpu_m > 0)?)));
    let (mut grow, mut shrink) = (Vec::new(), Vec::new());
    for (number, instance, cpu_m) in sized {
        let wanted = wanted(instance, terms);
        let difference = u64::from(wanted.abs_diff(cpu_m)) * 1_000;
        if difference < u64::from(cpu_m) * STEP_PERMILLE {
            continue;
        }
        if wanted > cpu_m { grow.push((number, wanted)) } else { shrink.push((number, wanted)) }
    }
    let mut proposed = match (grow.is_empty(), terms.may_shrink) {
        (false, _) => grow,
        (true, true) => shrink,
        (true, false) => Vec::new(),
    };
    // Who is to grow keeps the others from shrinking also while it is not asked.
    proposed.retain(|(number, _)| observation.instances.get(number).is_some_and(|it| !it.size_rests));
    proposed
}

/// Within the policy's bounds, and not below what it answered last that it can live with.
fn wanted(instance: &Instance, terms: &Terms) -> u32 {
    let bounds = &terms.bounds;
    let counter = instance.counter_cpu_m.filter(|it| it.is_good()).map(|it| it.value);
    let floor = bounds.min_cpu_m.max(counter.unwrap_or(0)).min(bounds.max_cpu_m);
    let wanted = u32::try_from(terms.wanted_cpu_m).unwrap_or(u32::MAX);
    wanted.min(bounds.max_cpu_m).max(floor)
}

#[cfg(test)]
mod tests {
    use super::super::observation::{Phase, Told};
    use super::*;

    const BOUNDS: SizeBounds = SizeBounds { base_cpu_m: 500, min_cpu_m: 250, max_cpu_m: 1_000 };

    fn sized(cpu_m: u32) -> Instance {
        Instance { phase: Phase::Ready, cpu_m: Some(cpu_m), ..Instance::default() }
    }

    fn told<T>(value: T) -> Option<Told<T>> {
        Some(Told { value, age_ms: 0, lease_ms: 1 })
    }

    fn proposed(instances: &[Instance], wanted_cpu_m: u64, may_shrink: bool) -> Vec<(u32, u32)> {
        let numbered = (1..).map(InstanceNumber).zip(instances.iter().cloned());
        let observation = Observation { instances: numbered.collect(), ..Observation::default() };
        let terms = Terms { bounds: BOUNDS, wanted_cpu_m, may_shrink };
        resize(&observation, &terms).into_iter().map(|(number, cpu_m)| (number.0, cpu_m)).collect()
    }

    #[test]
    fn a_size_stays_within_its_bounds() {
        assert_eq!(proposed(&[sized(500)], u64::MAX, true), [(1, 1_000)]);
        assert_eq!(proposed(&[sized(500)], 0, true), [(1, 250)]);
    }

    #[test]
    fn a_counter_offer_is_the_least_as_long_as_it_holds() {
        let app = Instance { counter_cpu_m: told(450), ..sized(500) };
        assert_eq!(proposed(core::slice::from_ref(&app), 250, true), [(1, 450)]);
        let over = Instance { counter_cpu_m: Some(Told { value: 450, age_ms: 1, lease_ms: 1 }), ..app };
        assert_eq!(proposed(&[over], 250, true), [(1, 250)]);
    }

    #[test]
    fn some_never_grow_while_others_shrink() {
        assert_eq!(proposed(&[sized(250), sized(1_000)], 500, true), [(1, 500)]);
        assert_eq!(proposed(&[sized(500), sized(1_000)], 500, true), [(2, 500)]);
        assert_eq!(proposed(&[sized(500), sized(1_000)], 500, false), []);
    }

    #[test]
    fn who_does_not_serve_is_left_alone() {
        use Phase::{Draining, Leaving, NotReady, Ready, Starting, Unknown};
        let all = [Starting, Ready, NotReady, Unknown, Draining, Leaving];
        let app = all.map(|phase| Instance { phase, ..sized(250) });
        assert_eq!(proposed(&app, 500, true), [(2, 500)]);
    }

    #[test]
    fn who_is_in_an_operation_or_did_not_take_one_of_late_or_has_no_known_size_is_left_alone() {
        let moving = Instance { in_operation: true, ..sized(250) };
        let rests = Instance { size_rests: true, ..sized(250) };
        let all = [moving, rests, Instance { cpu_m: None, ..sized(1) }, sized(1_000)];
        assert_eq!(proposed(&all, 500, true), [], "the second is to grow, if not now: nobody shrinks");
        assert_eq!(proposed(&all[2..], 500, true), [(2, 500)]);
    }
}
