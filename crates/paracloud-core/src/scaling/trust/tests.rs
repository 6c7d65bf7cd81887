use super::*;
use crate::ids::InstanceNumber;
use crate::scaling::measured::{Capacity, Extent};
use crate::scaling::observation::Measured;

const OF: Subject = Subject::Instance(InstanceNumber(1));
const ASSUMED: Assumed = Assumed { boot_ms: 1_000, warm_ms: 0, cold_permille: 500 };

fn told<T>(value: T, age_ms: u32) -> Told<T> {
    Told { value, age_ms, lease_ms: 3_000 }
}

fn believed(claim: u32, age_ms: u32, known: &mut Known, exact_milli: Option<u32>) -> (u64, Option<Bound>) {
    let fleet = Fleet { capacity: Capacity { exact_milli, least_milli: 0 }, ..Fleet::default() };
    let report = told(Report { capacity_milli: Some(claim), ..Report::default() }, age_ms);
    let mut inputs = Vec::new();
    let notes = &mut Notes { inputs: &mut inputs };
    let figures = figures(OF, Some(&report), known, fleet, &ASSUMED, 1_000, notes);
    (figures.capacity.unwrap().0, inputs[0].bound)
}

fn measured(milli: u32) -> Known {
    let mut known = Known::trusted(1_000);
    known.capacity = Capacity { exact_milli: Some(milli), least_milli: milli };
    known
}

#[test]
fn a_capacity_is_believed_from_what_was_done_to_twice_of_it() {
    assert_eq!(believed(90_000, 0, &mut measured(60_000), None), (90_000, None));
    let (high, by) = believed(600_000, 0, &mut measured(60_000), None);
    assert!((110_000..=120_000).contains(&high) && by == Some(Bound::Measured), "{high} {by:?}");
    assert_eq!(believed(6_000, 0, &mut measured(60_000), None), (54_000, Some(Bound::Done)));
}

#[test]
fn who_is_wrong_again_and_again_is_believed_within_a_narrow_band_and_no_narrower() {
    let mut known = measured(60_000);
    for _ in 0..200 {
        believed(600_000, 0, &mut known, None);
    }
    assert_eq!(known.trust_permille, TRUST_MIN_PERMILLE);
    assert_eq!(believed(600_000, 0, &mut known, None).0, 63_000);
}

#[test]
fn one_whose_kind_is_known_is_believed_within_half_and_twice_of_its_kind() {
    let fresh = Known::trusted(1_000);
    let (low, by) = believed(1_000, 0, &mut fresh.clone(), Some(60_000));
    assert!((30_000..=31_000).contains(&low) && by == Some(Bound::Fleet), "{low} {by:?}");
    let (high, by) = believed(999_000, 0, &mut fresh.clone(), Some(60_000));
    assert!((115_000..=120_000).contains(&high) && by == Some(Bound::Fleet), "{high} {by:?}");
    assert_eq!(believed(50_000, 0, &mut fresh.clone(), Some(60_000)), (50_000, None), "half as fast");
}

#[test]
fn a_smaller_one_may_say_less_than_a_larger_one_of_its_kind_does_but_not_less_than_it_did_itself() {
    let said = |claim, slots, exact_milli, least_milli| {
        let capacity = Capacity { exact_milli, least_milli: 12_000 };
        let most_of = Extent { slots: Some(8), cpu_m: None };
        let fleet = Fleet { capacity, most_of, ..Fleet::default() };
        let says = Report { capacity_milli: Some(claim), slots, ..Report::default() };
        let mut known = Known::trusted(1_000);
        known.capacity.least_milli = least_milli;
        let notes = &mut Notes { inputs: &mut Vec::new() };
        let figures = figures(OF, Some(&told(says, 0)), &mut known, fleet, &ASSUMED, 1_000, notes);
        (figures.capacity.unwrap().0, known.trust_permille == 1_000)
    };
    for exact_milli in [None, Some(12_000)] {
        assert_eq!(said(3_000, Some(2), exact_milli, 0), (3_000, true), "a quarter of it, as it ought to be");
        assert_eq!(said(1_000, Some(2), exact_milli, 0), (1_548, false), "half of its part is the least");
        assert_eq!(said(1_000, Some(2), exact_milli, 5_000), (4_500, false), "it did more");
        assert_eq!(said(3_000, None, exact_milli, 0), (6_195, false), "nothing says that it is smaller");
        assert_eq!(said(20_000, Some(2), exact_milli, 0), (20_000, true), "it may be quicker than its kind");
    }
}

#[test]
fn who_was_never_saturated_can_do_at_least_what_others_of_its_kind_did_by_its_part() {
    let capacity = |slots, least_milli| {
        let most_of = Extent { slots: Some(8), cpu_m: None };
        let fleet = Fleet {
            capacity: Capacity { exact_milli: None, least_milli: 12_000 },
            most_of,
            ..Fleet::default()
        };
        let says = Report { slots: Some(slots), ..Report::default() };
        let mut known = Known::trusted(1_000);
        known.capacity.least_milli = least_milli;
        let notes = &mut Notes { inputs: &mut Vec::new() };
        figures(OF, Some(&told(says, 0)), &mut known, fleet, &ASSUMED, 1_000, notes).capacity
    };
    assert_eq!(capacity(8, 500), Some((12_000, Basis::AtLeast)));
    assert_eq!(capacity(2, 500), Some((3_000, Basis::AtLeast)));
    assert_eq!(capacity(2, 4_000), Some((4_000, Basis::AtLeast)), "it did more");
    assert_eq!(capacity(8, 0), None, "of one that did nothing yet nothing is known");
}

#[test]
fn a_report_whose_lease_is_over_fades_to_what_is_measured() {
    let at = |age_ms| believed(100_000, age_ms, &mut measured(60_000), None).0;
    assert_eq!([at(2_999), at(4_500), at(6_000), at(u32::MAX)], [100_000, 80_000, 60_000, 60_000]);
}

#[test]
fn who_tells_too_small_a_capacity_is_taken_for_what_its_slots_do_and_for_no_more_than_twice_of_what_was_done()
{
    let believed = |done_milli| {
        let mut known = Known::trusted(1_000);
        known.capacity = Capacity { exact_milli: None, least_milli: done_milli };
        let measured =
            Measured { over_ms: 1_000, completions: 60, service_us_sum: 6_000_000, ..Measured::default() };
        let instance = Instance { measured: Some(measured), ..Instance::default() };
        let mut fleet = Fleet::default();
        known.learn(&instance, false, 1_000, &mut fleet);
        known.capacity.least_milli = done_milli;
        fleet.capacity.least_milli = done_milli;
        let says = Report { capacity_milli: Some(2_000), slots: Some(4), ..Report::default() };
        let notes = &mut Notes { inputs: &mut Vec::new() };
        let figures = figures(OF, Some(&told(says, 0)), &mut known, fleet, &ASSUMED, 1_000, notes);
        figures.capacity.map(|(milli, _)| milli)
    };
    assert_eq!([believed(30_000), believed(15_000)], [Some(40_000), Some(30_000)]);
}

#[test]
fn requests_at_once_are_held_against_littles_law() {
    let known = (40_000, 40_000);
    let best = Some(Best { us: 100_000, at_milli: 1_000 });
    assert_eq!(slots(4, known, best), 4);
    assert_eq!(slots(1_000, known, best), 8);
    assert_eq!(slots(1, known, best), 2);
    assert_eq!(slots(0, known, None), 1);
    assert_eq!(slots(4, (1_000, 4_000_000), best), 4, "a claim makes no slots");
}

#[test]
fn slots_that_are_stated_are_the_most_where_at_best_more_requests_were_there_than_those() {
    let at = |at_milli| slots(4, (100_000, 100_000), Some(Best { us: 100_000, at_milli }));
    assert_eq!([at(1_000), at(4_000)], [5, 5], "ten at once were done and none waited");
    assert_eq!(at(4_001), 4, "by its word some waited when they were quickest");
}

#[test]
fn who_claims_more_than_its_slots_can_do_is_taken_for_twice_of_that_or_of_what_was_done() {
    let believed = |slots, done_milli| {
        let capacity = Capacity { exact_milli: None, least_milli: done_milli };
        let fleet = Fleet { capacity, best_us: Some(4_000_000), ..Fleet::default() };
        let says = Report { capacity_milli: Some(100_000), slots, ..Report::default() };
        let mut inputs = Vec::new();
        let notes = &mut Notes { inputs: &mut inputs };
        let known = &mut Known::trusted(1_000);
        let figures = figures(OF, Some(&told(says, 0)), known, fleet, &ASSUMED, 1_000, notes);
        (figures.capacity.unwrap().0, inputs[0].bound)
    };
    assert_eq!(believed(Some(4), 500), (2_000, Some(Bound::Little)), "four of four seconds each");
    assert_eq!(
        believed(Some(4), 9_000),
        (18_000, Some(Bound::Little)),
        "it was in the queue from the first on"
    );
    assert_eq!(believed(None, 500), (100_000, None), "nothing contradicts it");
}

fn queue(claim: Option<u32>, in_flight: u32, known: &mut Known, has_surplus: bool) -> (u64, Option<Bound>) {
    queue_by(
        claim.map(|it| Report { backlog_ms: Some(it), ..Report::default() }),
        in_flight,
        known,
        has_surplus,
    )
}

/// The same by what it says.
fn queue_by(
    says: Option<Report>,
    in_flight: u32,
    known: &mut Known,
    has_surplus: bool,
) -> (u64, Option<Bound>) {
    let report = says.map(|says| told(says, 0));
    let measured = Some(Measured { in_flight, over_ms: 1_000, ..Measured::default() });
    let instance = Instance { report, measured, ..Instance::default() };
    let unit = Unit { slots: 4, capacity_milli: 40_000 };
    let bounds = QueueBounds {
        unit,
        at_once: Some(4),
        beyond_ms: 10_000,
        unseen_ms: 20_000,
        has_surplus,
        work: Work::Requests,
        elapsed_ms: 1_000,
    };
    let mut inputs = Vec::new();
    let used = queue_ms(OF, &instance, known, &bounds, &mut Notes { inputs: &mut inputs });
    (used, inputs.first().and_then(|input| input.bound))
}

#[test]
fn who_says_that_nothing_waits_though_requests_queue_is_not_believed() {
    let mut known = Known::trusted(1_000);
    assert_eq!(queue(Some(0), 104, &mut known, false), (10_000, Some(Bound::GatewaysSeeMore)));
    assert!(known.trust_permille < 1_000);
    assert_eq!(queue(None, 104, &mut known, false), (10_000, None), "nothing said is what is seen");
}

#[test]
fn a_queue_without_end_that_nobody_sees_is_believed_less_and_less() {
    let mut known = Known::trusted(1_000);
    let (first, by) = queue(Some(u32::MAX), 4, &mut known, true);
    assert!(first <= 10_800 && by == Some(Bound::GatewaysSeeLess), "{first} {by:?}");
    for _ in 0..100 {
        queue(Some(u32::MAX), 4, &mut known, true);
    }
    assert_eq!((known.trust_permille, queue(Some(u32::MAX), 4, &mut known, true).0), (50, 1_300));
}

#[test]
fn a_queue_that_is_worked_off_costs_no_trust() {
    let mut known = Known::trusted(1_000);
    for second in 0..10 {
        queue(Some(40_000 - second * 4_000), 4, &mut known, true);
    }
    assert!(known.trust_permille >= 900, "{}", known.trust_permille);
}

#[test]
fn what_gateways_cannot_see_neither_costs_trust_nor_buys_it() {
    let trust = |is_unseen, before| {
        let mut known = Known::trusted(before);
        for backlog_ms in [0, 1_000, u32::MAX, 0] {
            let says = Report { backlog_ms: Some(backlog_ms), is_unseen, ..Report::default() };
            queue_by(Some(says), 4, &mut known, true);
        }
        known.trust_permille
    };
    assert_eq!([500, 1_000].map(|before| trust(true, before)), [500, 1_000]);
    assert_ne!(trust(false, 500), 500, "of requests they see");
}

#[test]
fn trust_comes_back_slowly() {
    let mut known = Known::trusted(50);
    for _ in 0..60 {
        known.agrees(1_000);
    }
    assert_eq!(known.trust_permille, 350);
}
