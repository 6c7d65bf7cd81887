use super::*;
use crate::scaling::observation::{Report, Told};

fn second(completions: u32, service_ms: u64) -> Instance {
    let service_us_sum = u64::from(completions) * service_ms * 1_000;
    let measured = Measured { age_ms: 0, over_ms: 1_000, completions, service_us_sum, in_flight: 8 };
    Instance { measured: Some(measured), ..Instance::default() }
}

#[test]
fn what_is_done_without_a_queue_is_the_least_that_can_be_done() {
    let (mut known, mut fleet) = (Known::default(), Fleet::default());
    for completions in [60, 80, 70] {
        known.learn(&second(completions, 100), false, 1_000, &mut fleet);
    }
    assert_eq!((known.capacity.exact_milli, known.capacity.least_milli), (None, 66_250));
}

#[test]
fn what_is_done_while_requests_take_twice_as_long_is_all_that_can_be_done() {
    let (mut known, mut fleet) = (Known::default(), Fleet::default());
    known.learn(&second(60, 100), false, 1_000, &mut fleet);
    known.learn(&second(90, 250), false, 1_000, &mut fleet);
    assert_eq!(known.capacity.exact_milli, None, "once may be chance");
    known.learn(&second(90, 250), false, 1_000, &mut fleet);
    assert_eq!((known.capacity.exact_milli, fleet.capacity.exact_milli), (Some(90_000), Some(90_000)));
    known.learn(&second(98, 100), false, 1_000, &mut fleet);
    assert_eq!(known.capacity.exact_milli, Some(92_000), "more was done");
}

#[test]
fn a_queue_that_ends_within_a_window_teaches_nothing() {
    let (mut known, mut fleet) = (Known::default(), Fleet::default());
    known.learn(&second(60, 100), false, 1_000, &mut fleet);
    for _ in 0..2 {
        known.learn(&second(30, 900), false, 1_000, &mut fleet);
        let mut end = second(20, 900);
        end.measured = end.measured.map(|measured| Measured { in_flight: 0, ..measured });
        known.learn(&end, false, 1_000, &mut fleet);
    }
    assert_eq!(known.capacity.exact_milli, None);
}

#[test]
fn one_that_is_slow_without_doing_much_teaches_nothing_of_its_kind() {
    let (mut known, mut fleet) = (Known::default(), Fleet::default());
    known.learn(&second(100, 100), false, 1_000, &mut fleet);
    let mut slow = Known::default();
    for _ in 0..9 {
        slow.learn(&second(55, 400), false, 1_000, &mut fleet);
    }
    assert_eq!((slow.capacity.exact_milli, fleet.capacity.exact_milli), (Some(55_000), None));
}

#[test]
fn how_long_requests_took_of_late_is_known_after_fifty_and_follows_within_thirty_periods() {
    let (mut known, mut fleet) = (Known::default(), Fleet::default());
    known.learn(&second(30, 100), false, 1_000, &mut fleet);
    assert_eq!(known.times.mean_us(), None);
    for _ in 0..100 {
        known.learn(&second(30, 100), false, 1_000, &mut fleet);
    }
    assert_eq!(known.times.mean_us().map(|us| us.abs_diff(100_000) < 200), Some(true));
    for _ in 0..30 {
        known.learn(&second(30, 50), false, 1_000, &mut fleet);
    }
    assert!(known.times.mean_us().is_some_and(|us| us < 70_000), "{:?}", known.times.mean_us());
    known.learn(&second(30, 50), true, 1_000, &mut fleet);
    assert_eq!(known.times.mean_us(), None, "a cold one is slow for another reason");
}

#[test]
fn a_time_in_which_nothing_was_there_is_no_part_of_what_was_done() {
    let (mut known, mut fleet) = (Known::default(), Fleet::default());
    let idle =
        Instance { measured: Some(Measured { over_ms: 1_000, ..Measured::default() }), ..second(0, 0) };
    (0..15).for_each(|_| known.learn(&idle, false, 1_000, &mut fleet));
    // Four are worked on at once, and a second is waited first.
    (0..5).for_each(|_| known.learn(&second(8, 1_000), false, 1_000, &mut fleet));
    assert_eq!(fleet.best().map(|best| (best.us, best.at_milli)), Some((1_000_000, 8_000)));
    assert_eq!(fleet.capacity.least_milli, 8_000);
}

#[test]
fn a_cold_instance_teaches_nothing() {
    let (mut known, mut fleet) = (Known::default(), Fleet::default());
    known.learn(&second(60, 100), false, 1_000, &mut fleet);
    known.learn(&second(60, 400), true, 1_000, &mut fleet);
    assert_eq!(known.capacity.exact_milli, None);
}

#[test]
fn what_was_seen_at_another_size_is_forgotten() {
    let sizes = [(None, None), (Some(500), None), (Some(500), Some(1_024)), (Some(500), Some(2_048))];
    for pair in sizes.windows(2) {
        let (mut known, mut fleet) = (Known::default(), Fleet::default());
        let mut learn = |(cpu_m, memory_kib), seen| {
            known.learn(&Instance { cpu_m, memory_kib, ..seen }, false, 1_000, &mut fleet);
            known.capacity.least_milli
        };
        assert_eq!([learn(pair[0], second(60, 100)), learn(pair[0], second(10, 100))], [60_000; 2]);
        assert_eq!(learn(pair[1], Instance::default()), 0, "{pair:?}");
    }
}

fn sized(slots: u32, instance: Instance) -> Instance {
    let value = Report { slots: Some(slots), ..Report::default() };
    Instance { report: Some(Told { value, age_ms: 0, lease_ms: 3_000 }), ..instance }
}

#[test]
fn a_smaller_one_that_is_saturated_is_known_for_what_it_does_then_though_a_larger_one_does_more() {
    let saturated = |slots, most_slots| {
        let (mut large, mut small, mut fleet) = (Known::default(), Known::default(), Fleet::default());
        large.learn(&sized(most_slots, second(100, 100)), false, 1_000, &mut fleet);
        (0..4).for_each(|_| small.learn(&sized(slots, second(30, 400)), false, 1_000, &mut fleet));
        assert_eq!(fleet.most_of.slots, Some(most_slots));
        small.capacity.exact_milli
    };
    assert_eq!([saturated(2, 8), saturated(8, 8), saturated(8, 2)], [Some(30_000), None, None]);
}

#[test]
fn of_what_the_one_that_did_the_most_did_a_smaller_one_is_expected_to_do_its_part() {
    let fleet = Fleet { most_of: Extent { slots: Some(8), cpu_m: Some(1_000) }, ..Fleet::default() };
    let of = |slots, cpu_m| fleet.of(12_000, Extent { slots, cpu_m });
    assert_eq!([of(Some(2), None), of(None, Some(500)), of(Some(2), Some(100))], [3_000, 6_000, 1_200]);
    assert_eq!([of(None, None), of(Some(80), Some(9_000)), of(Some(8), None)], [12_000; 3]);
}

#[test]
fn a_few_answers_are_gathered_before_they_are_judged() {
    let (mut known, mut fleet) = (Known::default(), Fleet::default());
    for _ in 0..4 {
        known.learn(&second(3, 900), false, 1_000, &mut fleet);
        assert_eq!(known.capacity.least_milli, 0);
    }
    known.learn(&second(3, 900), false, 1_000, &mut fleet);
    assert_eq!(known.capacity.least_milli, 3_000);
}
