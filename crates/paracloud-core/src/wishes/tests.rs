//! What becomes of asks, one rule each.

use super::*;
use std::string::ToString;
use std::vec;

const NOW_MS: u64 = 1_000_000;

fn policy() -> Policy {
    let size = |memory_kib, cpu_milli| Size { memory_kib: Some(memory_kib), cpu_milli: Some(cpu_milli) };
    Policy {
        is_scaled: false,
        counts_reports: true,
        cpu_follows_load: false,
        least: size(1_024, 100),
        most: size(8_192, 2_000),
        acts: 2,
        per_ms: 600_000,
        refused_ms: 60_000,
        again_ms: 1_000,
    }
}

fn asks(wish: Wish) -> Sight {
    Sight {
        now_ms: NOW_MS,
        wish,
        reason: "the disk is slow".to_string(),
        start: StartId(7),
        left_ms: 60_000,
        phase: Phase::Serves,
        elsewhere: 1,
        size: Size { memory_kib: Some(2_048), cpu_milli: Some(500) },
        came: None,
    }
}

fn memory_kib(kib: u32) -> Wish {
    Wish::Size(Size { memory_kib: Some(kib), cpu_milli: None })
}

fn cpu(milli: u32) -> Wish {
    Wish::Size(Size { memory_kib: None, cpu_milli: Some(milli) })
}

fn verdict(policy: &Policy, sight: &Sight, memory: &Memory) -> (Verdict, u32, Memory) {
    let record = decide("web", policy, sight, memory);
    assert_eq!(record.replay(), record, "it is made again from its record");
    let text = serde_json::to_string(&record).unwrap();
    assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
    assert!(!explain(&record).is_empty());
    (record.verdict, record.again_ms, record.next)
}

fn of(sight: &Sight) -> Verdict {
    verdict(&policy(), sight, &Memory::default()).0
}

#[test]
fn what_nothing_stands_in_the_way_of_is_granted_and_then_open_and_done() {
    for wish in [Wish::Move, memory_kib(4_096), cpu(1_000)] {
        let (granted, again_ms, memory) = verdict(&policy(), &asks(wish), &Memory::default());
        assert_eq!((granted, again_ms), (Verdict::Grant, 1_000));
        let open = Sight { came: Some(Came::Open), phase: Phase::InOperation, ..asks(wish) };
        assert_eq!(verdict(&policy(), &open, &memory).0, Verdict::Underway);
        let done = Sight { came: Some(Came::Done), ..asks(wish) };
        assert_eq!(verdict(&policy(), &done, &memory).0, Verdict::Done);
    }
    assert_eq!(of(&asks(memory_kib(2_048))), Verdict::Done, "it has that size");
}

#[test]
fn a_move_waits_for_a_node_that_takes_it_and_a_size_does_not() {
    let nowhere = |wish| Sight { elsewhere: 0, ..asks(wish) };
    assert_eq!(of(&nowhere(Wish::Move)), Verdict::Waits(Wait::NoNode));
    assert_eq!(of(&nowhere(cpu(1_000))), Verdict::Grant);
}

#[test]
fn what_passes_by_itself_is_waited_for() {
    for (phase, wait) in [
        (Phase::Starts, Wait::Starts),
        (Phase::InOperation, Wait::InOperation),
        (Phase::Unknown, Wait::Unknown),
    ] {
        assert_eq!(of(&Sight { phase, ..asks(Wish::Move) }), Verdict::Waits(wait));
    }
}

#[test]
fn a_size_beyond_the_manifest_is_refused_with_the_bound() {
    let refused = |wish| {
        let Verdict::Refused(refusal) = of(&asks(wish)) else { panic!("{wish:?}") };
        refusal
    };
    assert_eq!(refused(memory_kib(1_023)), Refusal::TooSmall(Resource::Memory, 1_024));
    assert_eq!(refused(memory_kib(8_193)), Refusal::TooLarge(Resource::Memory, 8_192));
    assert_eq!(refused(cpu(99)), Refusal::TooSmall(Resource::Cpu, 100));
    assert_eq!(refused(cpu(2_001)), Refusal::TooLarge(Resource::Cpu, 2_000));
    assert_eq!(of(&asks(cpu(100))), Verdict::Grant);
    assert_eq!(of(&asks(cpu(2_000))), Verdict::Grant);
    // Nor is it granted because another one is open.
    let (_, _, memory) = verdict(&policy(), &asks(memory_kib(4_096)), &Memory::default());
    let open = |wish| Sight { came: Some(Came::Open), phase: Phase::InOperation, ..asks(wish) };
    let more = verdict(&policy(), &open(memory_kib(8_193)), &memory).0;
    assert_eq!(more, Verdict::Refused(Refusal::TooLarge(Resource::Memory, 8_192)));
    assert_eq!(verdict(&policy(), &open(memory_kib(8_192)), &memory).0, Verdict::Underway);
    let unlimited = Policy { least: Size { memory_kib: None, ..policy().least }, ..policy() };
    let (got, again_ms, _) = verdict(&unlimited, &asks(memory_kib(4_096)), &Memory::default());
    assert_eq!(got, Verdict::Refused(Refusal::Unlimited(Resource::Memory)));
    assert_eq!(again_ms, 60_000);
}

#[test]
fn what_the_manifest_decides_otherwise_is_refused_and_a_move_is_not() {
    let by_load = Policy { cpu_follows_load: true, ..policy() };
    let of = |policy: &Policy, wish| verdict(policy, &asks(wish), &Memory::default()).0;
    assert_eq!(of(&by_load, cpu(1_000)), Verdict::Refused(Refusal::FollowsLoad));
    assert_eq!(of(&by_load, memory_kib(4_096)), Verdict::Grant, "memory does not follow it");
    let ignored = Policy { counts_reports: false, is_scaled: true, ..policy() };
    for wish in [cpu(1_000), Wish::Replicas(2), Wish::Retire] {
        assert_eq!(of(&ignored, wish), Verdict::Refused(Refusal::NotCounted));
    }
    assert_eq!(of(&ignored, Wish::Move), Verdict::Grant);
    let scaled = Policy { is_scaled: true, ..policy() };
    for wish in [Wish::Replicas(2), Wish::Retire] {
        assert_eq!(of(&policy(), wish), Verdict::Refused(Refusal::NotScaled));
        assert_eq!(of(&scaled, wish), Verdict::Taken);
    }
}

#[test]
fn what_was_tried_in_vain_is_not_tried_again_for_a_time_and_another_wish_is() {
    let (_, _, memory) = verdict(&policy(), &asks(Wish::Move), &Memory::default());
    let failed = |now_ms| Sight { now_ms, came: Some(Came::Failed("no".to_string())), ..asks(Wish::Move) };
    let tried = Verdict::Refused(Refusal::Tried("no".to_string()));
    let (got, again_ms, memory) = verdict(&policy(), &failed(NOW_MS + 10), &memory);
    assert_eq!((got, again_ms), (tried.clone(), 60_000));
    let (got, again_ms, memory) = verdict(&policy(), &failed(NOW_MS + 60_009), &memory);
    assert_eq!((got, again_ms), (tried, 1), "since it was seen");
    assert_eq!(verdict(&policy(), &failed(NOW_MS + 60_010), &memory).0, Verdict::Grant);
    let another = Sight { start: StartId(8), ..failed(NOW_MS + 11) };
    assert_eq!(verdict(&policy(), &another, &memory).0, Verdict::Grant, "another process");
}

#[test]
fn what_could_not_be_begun_waits_a_moment_and_uses_nothing_up() {
    let mut memory = Memory::default();
    for round in 0..5 {
        let at = NOW_MS + round * 2_000;
        let passes = Some(Came::Passes("it holds on to its place".to_string()));
        let sight =
            |now_ms| Sight { now_ms, came: passes.clone().filter(|_| now_ms > NOW_MS), ..asks(Wish::Move) };
        let (granted, _, next) = verdict(&policy(), &sight(at), &memory);
        assert_eq!(granted, Verdict::Grant, "{round}");
        let (waits, _, next) = verdict(&policy(), &sight(at + 10), &next);
        assert!(matches!(waits, Verdict::Waits(Wait::NotBegun(_))), "{waits:?}");
        memory = next;
    }
}

#[test]
fn no_more_are_carried_out_than_the_budget_has_whatever_is_asked_for_and_by_whichever_process() {
    let mut memory = Memory::default();
    let wishes = vec![Wish::Move, cpu(1_000), cpu(900), Wish::Move];
    let mut granted = 0;
    for (at, wish) in (0..).zip(wishes) {
        let sight = Sight { now_ms: NOW_MS + at, start: StartId(at), ..asks(wish) };
        let (got, again_ms, next) = verdict(&policy(), &sight, &memory);
        granted += u32::from(got == Verdict::Grant);
        if granted == 2 && got != Verdict::Grant {
            let left_ms = 600_000 - u32::try_from(at).unwrap();
            assert_eq!((got, again_ms), (Verdict::Waits(Wait::Budget(left_ms)), left_ms));
        }
        memory = next;
    }
    assert_eq!(granted, 2);
    let later = Sight { now_ms: NOW_MS + 600_000, ..asks(Wish::Move) };
    assert_eq!(verdict(&policy(), &later, &memory).0, Verdict::Grant, "the oldest counts no more");
    let none = Policy { acts: 0, ..policy() };
    assert_eq!(
        verdict(&none, &asks(Wish::Move), &Memory::default()).0,
        Verdict::Waits(Wait::Budget(600_000))
    );
}
