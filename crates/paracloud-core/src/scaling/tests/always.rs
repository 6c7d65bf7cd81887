//! What is true of every decision, whatever was told.

use super::super::explain::explain;
use super::super::fewer::Preference;
use super::super::observation::{Announcement, Cold, Manual};
use super::super::policy::{Flap, Shape, SizeBounds, Work};
use super::super::record::{Alternative, WhyNot};
use super::*;
use crate::ids::NodeId;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::string::ToString;

/// Figures as somebody may say them: usual ones, none, and the ends of what there is.
fn figure() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 0..500_u32, 2 => 0..100_000_u32, 1 => Just(u32::MAX), 1 => any::<u32>()]
}

fn told<T: std::fmt::Debug>(value: impl Strategy<Value = T>) -> impl Strategy<Value = Option<Told<T>>> {
    let told =
        (value, figure(), figure()).prop_map(|(value, age_ms, lease_ms)| Told { value, age_ms, lease_ms });
    prop::option::of(told)
}

fn report() -> impl Strategy<Value = Report> {
    (prop::array::uniform6(prop::option::of(figure())), any::<bool>()).prop_map(|(it, is_unseen)| Report {
        capacity_milli: it[0],
        slots: it[1],
        backlog_ms: it[2],
        warm_ms: it[3],
        cold_permille: it[4],
        in_flight: it[5],
        is_unseen,
    })
}

fn instance() -> impl Strategy<Value = Instance> {
    use Phase::{Draining, Leaving, NotReady, Ready, Starting, Unknown};
    let phase = prop::sample::select(Vec::from([
        Ready, Ready, Ready, Starting, NotReady, Unknown, Draining, Leaving,
    ]));
    let quote = (figure(), 0..3_usize).prop_map(|(cost_ms, at)| {
        let preference = [Preference::Prefer, Preference::Unspecified, Preference::Avoid][at];
        Quote { cost_ms, preference, state_kib: [Some(0), None, Some(9)][at] }
    });
    let node = prop::option::of((1..4_u32).prop_map(NodeId));
    let measured = (figure(), figure(), figure(), any::<u64>(), figure()).prop_map(|it| Measured {
        age_ms: it.0,
        over_ms: it.1,
        completions: it.2,
        service_us_sum: it.3,
        in_flight: it.4,
    });
    let says = (told(report()), prop::option::of(measured), told(quote), told(figure()));
    let is = (
        any::<[bool; 5]>(),
        prop::option::of(figure()),
        prop::option::of(figure()),
        prop::option::of(figure()),
    );
    (phase, figure(), node, says, is).prop_map(|(phase, phase_ms, node, says, is)| Instance {
        phase,
        phase_ms,
        start_ms: is.3.filter(|it| it % 2 == 0),
        node,
        cold: is.1.map(|left_ms| Cold { left_ms, permille: is.2 }),
        report: says.0,
        measured: says.1,
        quote: says.2,
        counter_cpu_m: says.3,
        size_rests: is.0[0],
        retires: is.0[1] && is.0[2],
        in_operation: is.0[2] && is.0[3],
        leaves_by_plan: is.0[4],
        quotes: is.0[3],
        held_ms: is.1.filter(|it| it % 3 == 0),
        sessions: is.2.map(|it| it % 2),
        cpu_m: is.3,
        memory_kib: is.1,
        cpu_used_m: is.1,
    })
}

/// What somebody sees in one second: nothing of it need fit what was seen before, except who is there.
#[derive(Debug, Clone)]
struct Seen {
    after_ms: u32,
    instances: Vec<Instance>,
    traffic: Option<Traffic>,
    announcements: Vec<Announcement>,
    manual: Option<Manual>,
    asked: Option<Told<u32>>,
}

fn seen() -> impl Strategy<Value = Seen> {
    let traffic = (figure(), figure(), figure(), figure()).prop_map(|it| Traffic {
        age_ms: it.0,
        over_ms: it.1,
        arrivals: it.2,
        waiting: it.3,
    });
    let announcement =
        ("[a-c]", figure(), figure(), figure(), prop::option::of(figure())).prop_map(|it| Announcement {
            id: it.0,
            start_ms: it.1.into(),
            end_ms: it.2.into(),
            rate_milli: it.3,
            confidence_permille: it.4,
        });
    let manual = (0..20_u32, 0..2_u32).prop_map(|(count, left_ms)| Manual { count, left_ms });
    let after_ms = prop_oneof![8 => 100..3_000_u32, 1 => Just(0), 1 => 0..700_000_u32];
    let app = (prop::option::of(traffic), prop::collection::vec(announcement, 0..3));
    let person = (prop::option::weighted(0.2, manual), told(figure()));
    (after_ms, prop::collection::vec(instance(), 12), app, person).prop_map(
        |(after_ms, instances, app, person)| Seen {
            after_ms,
            instances,
            traffic: app.0,
            announcements: app.1,
            manual: person.0,
            asked: person.1,
        },
    )
}

fn policy() -> impl Strategy<Value = Policy> {
    let shape = prop::sample::select(Vec::from([Shape::Out, Shape::Both, Shape::Up]));
    let state = prop::sample::select(Vec::from([State::None, State::Session, State::Stateful]));
    let work = prop::sample::select(Vec::from([Work::Requests, Work::Queue]));
    (1..4_u32, 0..8_u32, 1..20_u32, 1..600_u32, shape, state, work).prop_map(|it| {
        let (min, max) = (it.0, it.0 + it.1);
        Policy {
            flap: Flap { actions: it.2, per_ms: it.3 * 1_000 },
            shape: it.4,
            size: Some(SizeBounds { base_cpu_m: 500, min_cpu_m: 100, max_cpu_m: 2_000 }),
            state: it.5,
            work: it.6,
            start: max,
            ..Policy::between(min, max)
        }
    })
}

/// Whatever is given as a reason for a number that was not taken is one that keeps it from being that.
fn says_why(alternative: &Alternative, record: &Record) {
    let Record { policy, reasons, .. } = record;
    let Alternative { count, slots_milli, why_not } = *alternative;
    let (is_fewer, need_milli) = (count < reasons.planned, reasons.need.total_milli());
    let is_so = match why_not {
        WhyNot::TooFew => {
            is_fewer && count < reasons.raw && slots_milli.is_some_and(|slots| slots < need_milli)
        }
        WhyNot::NotNeeded => !is_fewer && reasons.planned >= reasons.raw,
        WhyNot::Manual => reasons.rule == Rule::Manual && count != reasons.raw,
        WhyNot::Cut(Cut::Min(min)) => is_fewer && count < min && min == policy.min,
        WhyNot::Cut(Cut::Max { max, leaving: 0 }) => !is_fewer && count > max && max == policy.max,
        WhyNot::Cut(Cut::Blind) => is_fewer && reasons.rule == Rule::Blind,
        WhyNot::Cut(cut) => reasons.cuts.contains(&cut) && cut.keeps_up() == is_fewer,
        WhyNot::Rule => count != reasons.raw,
        WhyNot::Unknown => matches!(reasons.rule, Rule::Blind | Rule::Unknown),
    };
    assert!(is_so, "{alternative:?}: {reasons:?}");
}

/// What keeps the rule from as many as it takes is in the record.
fn says_what_limits(record: &Record) {
    let reasons = &record.reasons;
    let slots = |count: u32| reasons.unit.map(|unit| unit.slots_milli().saturating_mul(count.into()));
    let ordered = reasons.raw.checked_sub(reasons.count).and_then(slots);
    let there = slots(reasons.raw).max(ordered.map(|ordered| ordered.saturating_add(reasons.coming_milli)));
    let Some(there_milli) = there else { return };
    let missing_milli = reasons.need.total_milli().saturating_sub(there_milli);
    // A number beyond all bounds is none that anything was kept from.
    let is_by_need = reasons.raw < u32::MAX
        && matches!(reasons.rule, Rule::Unsaturated | Rule::Load | Rule::Queue | Rule::Announced);
    if is_by_need && reasons.need.misses(missing_milli) {
        let limits = |cut: &Cut| cut.is_of_rule() && !cut.keeps_up();
        assert!(reasons.cuts.iter().any(limits), "{reasons:?}");
    }
}

/// Whatever is told of them each second, those that were started are there and those that left are not.
fn holds_whatever_is_told(policy: &Policy, seconds: Vec<Seen>) {
    let mut memory = Memory::default();
    let mut there: BTreeMap<InstanceNumber, Instance> = BTreeMap::new();
    let (mut now_ms, mut acted) = (5_000_u64, Vec::<(u64, u32)>::new());
    for seen in seconds {
        now_ms += u64::from(seen.after_ms);
        let told = there.keys().copied().zip(seen.instances).collect();
        let observation = Observation {
            now_ms,
            instances: told,
            traffic: seen.traffic,
            announcements: seen.announcements,
            manual: seen.manual,
            asked: seen.asked,
        };
        there.clone_from(&observation.instances);
        let (plan, next, record) = plan(policy, &observation, &memory);
        let text = serde_json::to_string(&record).unwrap();
        let read: Record = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&read.replay()).unwrap(), text);
        for it in &record.reasons.alternatives {
            says_why(it, &record);
        }
        says_what_limits(&record);
        for line in explain(&record, "an-app-with-a-very-long-name-that-is-still-allowed", None).lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        assert!(text.len() < 200_000, "{}", text.len());
        let live = |there: &BTreeMap<InstanceNumber, Instance>| {
            u32::try_from(there.values().filter(|it| it.phase.counts()).count()).unwrap()
        };
        let started = starts(&plan.actions);
        let left = leaves(&plan.actions);
        if started > 0 {
            assert!(u32::try_from(there.len()).unwrap() + started <= policy.max);
            assert!(left.is_empty(), "both at once: {:?}", plan.actions);
        }
        assert!(left.is_empty() || live(&there) - u32::try_from(left.len()).unwrap() >= policy.min);
        for number in &left {
            let instance = &there[&InstanceNumber(*number)];
            let may = instance.held_ms.is_none() && !instance.in_operation;
            let has_sessions = instance.sessions.is_some_and(|it| it > 0);
            assert!(may && (policy.state == State::Session || !has_sessions), "{instance:?}");
        }
        acted.push((now_ms, started + u32::try_from(left.len()).unwrap()));
        let per_ms = u64::from(policy.flap.per_ms);
        let spent: u32 =
            acted.iter().filter(|(at_ms, _)| at_ms + per_ms > now_ms).map(|(_, count)| count).sum();
        assert!(spent <= policy.flap.actions, "{spent} of {:?}", policy.flap);
        for action in &plan.actions {
            match action {
                Action::Leave(number) => drop(there.remove(number)),
                Action::Start(count) => {
                    for _ in 0..*count {
                        let free = (1..).map(InstanceNumber).find(|number| !there.contains_key(number));
                        there.insert(free.unwrap(), Instance::default());
                    }
                }
                Action::Resize { cpu_m, .. } => assert!((100..=2_000).contains(cpu_m)),
                Action::Revoke(number) => {
                    let instance = &there[number];
                    assert!(instance.phase == Phase::Draining && instance.leaves_by_plan, "{instance:?}");
                }
                Action::AskQuotes(_) => {}
            }
        }
        memory = next;
    }
    assert!(serde_json::to_string(&memory).unwrap().to_string().len() < 40_000);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bounds_budget_and_replay_hold_whatever_is_told(
        policy in policy(),
        seconds in prop::collection::vec(seen(), 1..40),
    ) {
        holds_whatever_is_told(&policy, seconds);
    }
}
