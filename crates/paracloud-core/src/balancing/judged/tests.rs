use super::*;
use crate::balancing::{BackendId, Claimed, Measured, Pause, Report};

const TYPICAL_US: u64 = 10_000;
const ALONE: Setting = Setting { policy: crate::balancing::Policy::Used, balancers: 1 };
const TWO: Setting = Setting { balancers: 2, ..ALONE };

/// Peers that take 10 ms, work on 8 at once and have nothing to do.
fn peers() -> Fleet {
    Fleet { open: 4, typical_us: TYPICAL_US, service_us: TYPICAL_US, places: 8, ..Fleet::default() }
}

/// One that has answered often, as its peers do, and says nothing.
fn one() -> Inputs {
    let measured = Measured {
        mean_us: TYPICAL_US,
        deviation_us: 0,
        service_us: TYPICAL_US,
        in_flight_milli: 0,
        age_us: 0,
    };
    Inputs {
        id: BackendId(1),
        own: 0,
        debt_milli: 0,
        doubt_milli: 0,
        answered: 255,
        measured: Some(measured),
        claimed: None,
        standing: Standing::Open,
        pause: None,
        cold: None,
    }
}

fn takes(mean_us: u64, service_us: u64, age_us: u64) -> Option<Measured> {
    one().measured.map(|it| Measured { mean_us, service_us, age_us, ..it })
}

/// A report that is a moment old and counts for ten seconds.
fn said(report: Report) -> Claimed {
    Claimed { report, age_us: 0, left_us: 10_000_000, others_milli: None, own_milli: 0 }
}

fn works_on(concurrency: u32) -> Report {
    Report { concurrency: Some(concurrency), ..Report::default() }
}

#[test]
fn who_says_that_it_has_room_and_takes_more_than_twice_as_long_as_its_peers_counts_as_it_is_seen() {
    let fleet = Fleet { own_milli: 8_000, ..peers() };
    let judged = |mean_us| {
        let claimed = Some(said(works_on(32)));
        let inputs = Inputs { own: 8, measured: takes(mean_us, TYPICAL_US, 0), claimed, ..one() };
        let judged = judge(&inputs, &fleet, ALONE);
        (judged.is_hot, judged.final_cost == judged.seen, judged.clamps.has(Clamp::Room))
    };
    assert_eq!([judged(20_000), judged(20_001)], [(false, false, false), (true, true, true)]);
}

#[test]
fn who_says_less_in_flight_than_half_of_what_the_gateway_had_there_counts_as_if_it_had_not_said_how_much() {
    let fleet = Fleet { others_milli: 3_000, ..peers() };
    let judged = |others_milli, own_milli, setting| {
        let claimed = Claimed { others_milli: Some(others_milli), own_milli, ..said(works_on(8)) };
        let judged = judge(&Inputs { own: 1, claimed: Some(claimed), ..one() }, &fleet, setting);
        (judged.load_milli, judged.clamps.has(Clamp::InFlight))
    };
    assert_eq!(judged(-2_001, 4_000, ALONE), (1_000, true));
    assert_eq!(judged(-2_001, 4_000, TWO), (4_000, true), "as its peers");
    assert_eq!(judged(-2_001, 4_002, TWO), (1_000, false), "half of it is chance");
    assert_eq!(judged(-1_000, 0, TWO), (1_000, false), "so is one request");
}

#[test]
fn a_time_that_is_stated_and_was_never_measured_counts_four_times_that_of_its_peers_at_most() {
    let raw = |capacity_milli_per_s, service_us| {
        let report = Report { capacity_milli_per_s: Some(capacity_milli_per_s), ..works_on(8) };
        let inputs = Inputs { measured: None, answered: 0, claimed: Some(said(report)), ..one() };
        judge(&inputs, &Fleet { service_us, ..peers() }, ALONE).raw
    };
    // Eight at once, so many a second.
    let stated = [100_000, 400_000, 3_200_000, 8_000_000].map(|capacity| raw(capacity, TYPICAL_US));
    assert_eq!(stated, [40_000, 20_000, 2_500, 2_500]);
    assert_eq!(raw(100_000, 0), 80_000, "nothing was measured of anybody");
}

#[test]
fn no_pause_is_kept_to_for_more_than_two_seconds_before_it_begins() {
    let begins = |begins_in_us, mean_us| {
        let pause = Some(Pause { begins_in_us, ends_in_us: 10_000_000 });
        let measured = takes(mean_us, mean_us, 0);
        pauses_soon(&Inputs { pause, measured, ..one() }, &peers())
    };
    assert_eq!([begins(2_000_000, 9_000_000), begins(2_000_001, 9_000_000)], [true, false]);
    assert_eq!([begins(1_500_000, 1_500_000), begins(1_500_001, 1_500_000)], [true, false]);
    assert!(!pauses_soon(&one(), &peers()));
}

#[test]
fn what_nobody_renewed_comes_to_what_its_peers_take() {
    let seen =
        |age_us| judge(&Inputs { measured: takes(100_000, 100_000, age_us), ..one() }, &peers(), ALONE).seen;
    assert_eq!([seen(0), seen(1_000_000), seen(20_000_000)], [100_000, 55_000, 10_000]);
}

#[test]
fn what_others_have_there_is_as_with_its_peers_but_for_more_than_one_request_and_more_than_half() {
    let load = |others_milli: i64, of_peers| {
        let claimed = Claimed { others_milli: Some(others_milli), ..said(works_on(8)) };
        let fleet = Fleet { others_milli: of_peers, ..peers() };
        judge(&Inputs { claimed: Some(claimed), ..one() }, &fleet, TWO).load_milli
    };
    assert_eq!([load(1_500, 500), load(1_501, 500)], [500, 1_501], "one request");
    assert_eq!([load(6_000, 4_000), load(6_001, 4_000)], [4_000, 6_001], "half");
}

#[test]
fn by_a_word_that_is_believed_less_than_half_nobody_is_full() {
    let is_hot = |left_us| {
        let lease_us = 10_000_000;
        let claimed =
            Claimed { left_us, age_us: lease_us - left_us, others_milli: Some(20_000), ..said(works_on(8)) };
        judge(&Inputs { claimed: Some(claimed), ..one() }, &peers(), ALONE).is_hot
    };
    assert_eq!([is_hot(2_500_000), is_hot(2_495_000)], [true, false]);
    // Nor is somebody with room by it, who is full by what is seen.
    let claimed = Claimed { left_us: 1, age_us: 10_000_000, ..said(works_on(32)) };
    assert!(judge(&Inputs { own: 8, claimed: Some(claimed), ..one() }, &peers(), ALONE).is_hot);
}

#[test]
fn how_many_one_works_on_at_once_follows_from_how_far_it_is_used_and_less_than_a_tenth_is_a_tenth() {
    let places = |in_flight, used| {
        let report = Report { in_flight, utilisation_permille: Some(used), ..Report::default() };
        Claimed { own_milli: 3_000, ..said(report) }.places()
    };
    let table =
        [(600, Some(5)), (200, Some(15)), (100, Some(30)), (50, Some(30)), (0, Some(30)), (9_000, Some(1))];
    for (used, expected) in table {
        assert_eq!(places(Some(3), used), expected, "{used}");
        assert_eq!(places(None, used), expected, "by what the gateway had there: {used}");
    }
    assert_eq!(places(Some(0), 50), None, "nothing follows from nothing");
}

#[test]
fn who_says_that_all_of_it_is_used_is_full_where_anybody_says_how_much_that_is() {
    let is_hot = |utilisation_permille, places| {
        let report = Report { utilisation_permille: Some(utilisation_permille), ..Report::default() };
        let fleet = Fleet { places, ..peers() };
        judge(&Inputs { claimed: Some(said(report)), ..one() }, &fleet, ALONE).is_hot
    };
    assert_eq!([is_hot(1_000, 8), is_hot(999, 8), is_hot(1_000, 0)], [true, false, false]);
}
