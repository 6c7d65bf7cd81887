//! What holds of every choice.

mod another;

use super::*;
use std::vec::Vec;

const SECOND_US: u64 = 1_000_000;

fn id(number: u32) -> BackendId {
    BackendId(number)
}

/// So many instances that are set to this.
fn balancer(count: u32, setting: Setting) -> Balancer {
    let mut balancer = Balancer::new(setting);
    (1..=count).for_each(|number| balancer.add(id(number), 0));
    balancer
}

/// A report of an instance that has room.
fn says(concurrency: u32, in_flight: u32) -> Report {
    Report {
        valid_for_ms: 10_000,
        concurrency: Some(concurrency),
        in_flight: Some(in_flight),
        queued: Some(0),
        ..Report::default()
    }
}

/// Each answers so many requests, one after the other, each of which takes so long. Returns when that is over.
fn answers(balancer: &mut Balancer, count: u32, requests: u32, took_us: u64, mut now_us: u64) -> u64 {
    for _ in 0..requests {
        let sent: Vec<_> = (1..=count).filter_map(|number| balancer.sent(id(number), now_us)).collect();
        now_us += took_us;
        sent.into_iter().for_each(|sent| balancer.ended(sent, End::Answered { at_us: now_us }, now_us));
    }
    now_us
}

/// Who is chosen, of so many requests that come and end one after the other.
fn chosen(balancer: &mut Balancer, requests: u32, now_us: u64) -> Vec<u32> {
    (0..requests).filter_map(|random| Some(balancer.choose(None, now_us, random)?.id.0)).collect()
}

fn share(chosen: &[u32], number: u32) -> usize {
    chosen.iter().filter(|it| **it == number).count() * 1_000 / chosen.len()
}

#[test]
fn nobody_is_chosen_where_nobody_is_and_the_only_one_is_whatever_it_says() {
    let mut balancer = balancer(0, Setting::default());
    assert_eq!(balancer.choose(None, 0, 7), None);
    balancer.add(id(3), 0);
    balancer.drain(id(3), true);
    let chosen = balancer.choose(None, 0, 7).unwrap();
    assert_eq!((chosen.id, chosen.regime, chosen.rule), (id(3), Regime::LeastBad, Rule::Only));
}

#[test]
fn who_drains_is_not_ready_or_parks_gets_nothing_while_another_may_take_it() {
    for policy in [Policy::Used, Policy::Ignored, Policy::LeastInFlight, Policy::RoundRobin, Policy::Random] {
        let mut balancer = balancer(4, Setting { policy, balancers: 2 });
        balancer.drain(id(1), true);
        balancer.not_ready(id(2), Some(10 * SECOND_US));
        balancer.park(id(3), true);
        assert!(chosen(&mut balancer, 200, 0).iter().all(|it| *it == 4), "{policy:?}");
        balancer.remove(id(4));
        assert!(chosen(&mut balancer, 200, 0).iter().all(|it| *it == 3), "{policy:?}");
        let record = balancer.record(None, 0, 1).unwrap();
        assert_eq!((record.regime, record.chosen), (Regime::LeastBad, id(3)));
        balancer.remove(id(3));
        assert!(chosen(&mut balancer, 200, 0).iter().all(|it| *it == 2), "{policy:?}");
        // A word is over with its lease.
        balancer.drain(id(1), false);
        let all = chosen(&mut balancer, 200, 10 * SECOND_US);
        assert!(all.contains(&1) && all.contains(&2), "{policy:?}");
    }
}

#[test]
fn a_pause_is_kept_to_before_it_begins_and_is_over_with_its_lease() {
    let mut balancer = balancer(4, Setting::default());
    let now_us = answers(&mut balancer, 4, 20, 10_000, 0);
    (1..=4).for_each(|number| balancer.report(id(number), says(8, 0), now_us));
    let pause = Pause { begins_in_us: SECOND_US, ends_in_us: SECOND_US + 200_000 };
    balancer.pause(id(1), Some(pause), now_us);
    let gets = |balancer: &mut Balancer, in_us| chosen(balancer, 200, now_us + in_us).contains(&1);
    assert!(gets(&mut balancer, 500_000), "there is time for a request yet");
    assert!(!gets(&mut balancer, SECOND_US - 5_000), "it would not end before");
    assert!(!gets(&mut balancer, SECOND_US + 100_000));
    assert!(gets(&mut balancer, SECOND_US + 200_000));
    // One that never ends.
    balancer.pause(id(1), Some(Pause { begins_in_us: 0, ends_in_us: u64::MAX }), now_us);
    let lease_us = u64::from(PAUSE_MS_MAX) * 1_000;
    assert!(!gets(&mut balancer, lease_us - PICTURE_US));
    assert!(gets(&mut balancer, lease_us));
}

#[test]
fn more_pauses_at_once_than_may_be_are_kept_to_in_proportion() {
    let mut balancer = balancer(8, Setting { policy: Policy::Used, balancers: 8 });
    for number in 1..=6 {
        balancer.pause(id(number), Some(Pause { begins_in_us: 0, ends_in_us: SECOND_US }), 0);
    }
    let all = chosen(&mut balancer, 2_000, 0);
    assert!((1..=8).all(|number| all.contains(&number)));
    assert!(share(&all, 7) > share(&all, 1));
    let record = balancer.record(None, 0, 0).unwrap();
    assert_eq!((record.fleet.pausing, record.fleet.pausing_max), (6, 2));
    assert!(record.judged[0].clamps.has(Clamp::Pause) && record.judged[7].clamps.is_empty());
    // All of them say so: nobody is left out for it.
    for number in 7..=8 {
        balancer.pause(id(number), Some(Pause { begins_in_us: 0, ends_in_us: SECOND_US }), 0);
    }
    assert_eq!(balancer.record(None, 0, 0).unwrap().regime, Regime::Silent);
}

#[test]
fn shares_follow_weights() {
    for balancers in [1, 2, 8] {
        for reports in [false, true] {
            let mut balancer = balancer(3, Setting { policy: Policy::Used, balancers });
            let now_us = answers(&mut balancer, 3, 20, 10_000, 0);
            let of_load =
                if reports { says(8, 0) } else { Report { valid_for_ms: 500, ..Report::default() } };
            balancer.report(id(3), Report { weight_permille: Some(3_000), ..of_load }, now_us);
            if reports {
                (1..=2).for_each(|number| balancer.report(id(number), of_load, now_us));
            }
            // As many at once as make the shares visible, again and again.
            let mut got = [0_u32; 4];
            for round in 0..50 {
                let mut sent = Vec::new();
                for request in 0..20 {
                    let chosen = balancer.choose(None, now_us, round * 20 + request).unwrap();
                    got[chosen.id.0 as usize] += 1;
                    sent.extend(balancer.sent(chosen.id, now_us));
                }
                sent.into_iter().for_each(|sent| balancer.ended(sent, End::Left, now_us));
            }
            assert!((500..=700).contains(&got[3]), "{balancers} {reports} {got:?}");
            assert!(got[1].abs_diff(got[2]) < 80, "{balancers} {reports} {got:?}");
        }
    }
}

#[test]
fn a_weight_that_is_claimed_counts_four_times_at_most_and_a_quarter_at_least() {
    let mut balancer = balancer(4, Setting { policy: Policy::Used, balancers: 4 });
    balancer.report(id(1), Report { weight_permille: Some(1_000_000), ..says(8, 0) }, 0);
    balancer.report(id(2), Report { weight_permille: Some(0), ..says(8, 0) }, 0);
    balancer.report(id(3), Report { weight_permille: Some(2_000), ..says(8, 0) }, 0);
    let record = balancer.record(None, 0, 0).unwrap();
    let weights: Vec<_> = record.judged.iter().map(|judged| judged.weight_permille).collect();
    assert_eq!(weights, [4_000, 250, 2_000, 1_000]);
    let clamped: Vec<_> = record.judged.iter().map(|judged| judged.clamps.has(Clamp::Weight)).collect();
    assert_eq!(clamped, [true, true, false, false]);
}

#[test]
fn one_that_fails_fast_draws_no_more_than_the_others() {
    for reports in [false, true] {
        let mut balancer = balancer(4, Setting::default());
        let mut now_us = answers(&mut balancer, 4, 20, 10_000, 0);
        if reports {
            (1..=4).for_each(|number| balancer.report(id(number), says(8, 0), now_us));
        }
        let (mut on_their_way, mut failed) = (std::collections::VecDeque::new(), 0);
        for request in 0..2_000 {
            now_us += 1_000;
            while on_their_way.front().is_some_and(|(ends_us, _)| *ends_us <= now_us) {
                let (_, sent) = on_their_way.pop_front().unwrap();
                balancer.ended(sent, End::Answered { at_us: now_us }, now_us);
            }
            let chosen = balancer.choose(None, now_us, request).unwrap();
            let sent = balancer.sent(chosen.id, now_us).unwrap();
            if chosen.id == id(1) {
                failed += 1;
                balancer.ended(sent, End::Failed, now_us);
            } else {
                on_their_way.push_back((now_us + 10_000, sent));
            }
        }
        assert!((1..100).contains(&failed), "{failed}");
    }
}

#[test]
fn a_new_one_that_states_nothing_gets_one_request_more_than_it_has_answered() {
    let mut balancer = balancer(3, Setting::default());
    let now_us = answers(&mut balancer, 3, 20, 10_000, 0);
    (1..=3).for_each(|number| balancer.report(id(number), says(8, 0), now_us));
    balancer.add(id(4), now_us);
    let mut sent = Vec::new();
    for request in 0..12 {
        let chosen = balancer.choose(None, now_us, request).unwrap();
        sent.extend(balancer.sent(chosen.id, now_us));
    }
    assert_eq!(balancer.in_flight(id(4)), 1);
    sent.into_iter()
        .for_each(|sent| balancer.ended(sent, End::Answered { at_us: now_us + 10_000 }, now_us + 10_000));
    (0..12).for_each(|request| {
        let chosen = balancer.choose(None, now_us + 10_000, request).unwrap();
        balancer.sent(chosen.id, now_us + 10_000);
    });
    assert_eq!(balancer.in_flight(id(4)), 2);
}

#[test]
fn a_stated_warm_up_is_a_share_until_it_ends() {
    let mut balancer = balancer(2, Setting { policy: Policy::Used, balancers: 2 });
    let cold = Cold { ends_in_us: 10 * SECOND_US, capacity_permille: Some(200) };
    balancer.cold(id(1), Some(cold), 0);
    balancer.cold(id(2), Some(Cold { capacity_permille: None, ..cold }), 0);
    let mut weights = |now_us| {
        let record = balancer.record(None, now_us, 0).unwrap();
        [0, 1].map(|place: usize| record.judged[place].weight_permille)
    };
    assert_eq!(
        [weights(0), weights(9 * SECOND_US), weights(10 * SECOND_US)],
        [[200, 500], [200, 500], [1_000; 2]]
    );
}

#[test]
fn a_warm_up_and_a_report_that_never_end_are_over_with_their_bounds() {
    let mut balancer = balancer(2, Setting { policy: Policy::Used, balancers: 2 });
    let now_us = answers(&mut balancer, 2, 40, 10_000, 0);
    balancer.cold(id(1), Some(Cold { ends_in_us: u64::MAX, capacity_permille: Some(200) }), now_us);
    let weight = |balancer: &mut Balancer, in_us: u64| {
        balancer.record(None, now_us + in_us, 0).unwrap().judged[0].weight_permille
    };
    let bound_us = u64::from(WARMUP_MS_MAX) * 1_000;
    assert_eq!([bound_us - 1, bound_us].map(|in_us| weight(&mut balancer, in_us)), [200, 1_000]);
    balancer.report(id(1), Report { valid_for_ms: u32::MAX, ..says(8, 0) }, now_us);
    let trust = |balancer: &mut Balancer, in_us: u64| {
        balancer.record(None, now_us + in_us, 0).unwrap().judged[0].trust_permille
    };
    let bound_us = u64::from(REPORT_MS_MAX) * 1_000;
    assert!(trust(&mut balancer, bound_us / 2) > 0);
    assert_eq!(trust(&mut balancer, bound_us), 0);
}

#[test]
fn stale_words_send_no_two_gateways_to_the_same_one() {
    let setting = Setting { policy: Policy::Used, balancers: 2 };
    let mut gateways = [balancer(8, setting), balancer(8, setting)];
    let mut got = [0_u32; 9];
    for balancer in &mut gateways {
        let now_us = answers(balancer, 8, 20, 10_000, 0);
        // The fifth had nothing to do, some time ago.
        for number in 1..=8 {
            balancer.report(id(number), says(8, if number == 5 { 0 } else { 9 }), now_us);
        }
    }
    for request in 0..64 {
        for (gateway, balancer) in (0..).zip(&mut gateways) {
            let now_us = SECOND_US + u64::from(request);
            let chosen = balancer.choose(None, now_us, request * 2 + gateway).unwrap();
            got[chosen.id.0 as usize] += 1;
            balancer.sent(chosen.id, now_us);
        }
    }
    assert!(got[5] < 64 && got[5] > 128 / 8, "{got:?}");
    assert!((1..=8).all(|number| got[number] > 0), "{got:?}");
}

#[test]
fn by_words_that_are_stale_the_fewer_are_compared_the_more_gateways_there_are() {
    let compared = |balancers: u32, later_us: u64| {
        let mut balancer = balancer(40, Setting { policy: Policy::Used, balancers });
        let now_us = answers(&mut balancer, 40, 20, 10_000, 0);
        (1..=40).for_each(|number| balancer.report(id(number), says(8, 0), now_us));
        balancer.record(None, now_us + later_us, 0).unwrap().compared.len()
    };
    // Whoever is drawn twice is compared once.
    let stale = [1, 2, 4, 64].map(|balancers| compared(balancers, SECOND_US));
    let bounds = [9..=16, 5..=8, 3..=4, 2..=2];
    assert!(bounds.iter().zip(stale).all(|(bounds, compared)| bounds.contains(&compared)), "{stale:?}");
    assert!(compared(64, 0) > 8, "what is fresh is as good as seen");
}

#[test]
fn what_one_claims_counts_four_times_what_is_measured_at_most() {
    let mut balancer = balancer(4, Setting::default());
    let now_us = answers(&mut balancer, 4, 40, 10_000, 0);
    (1..=4).for_each(|number| balancer.report(id(number), says(8, 0), now_us));
    balancer.report(id(1), Report { backlog_ms: Some(3_600_000), ..says(8, 0) }, now_us);
    let judged = balancer.record(None, now_us, 0).unwrap().judged[0];
    assert!(judged.raw > 400_000_000 && judged.bounded == 40_000, "{judged:?}");
    assert!(judged.clamps.has(Clamp::Cost));
    // And the longer ago it said so, the less.
    let judged = balancer.record(None, now_us + 8 * SECOND_US, 0).unwrap().judged[0];
    assert!(judged.trust_permille == 400 && judged.final_cost < 25_000, "{judged:?}");
    let judged = balancer.record(None, now_us + 11 * SECOND_US, 0).unwrap().judged[0];
    assert_eq!(judged.trust_permille, 0);
}

/// Four that have answered and have room, but for what the first says; and how the first is judged.
fn first_says(report: Report, sent: impl Fn(&mut Balancer, u64)) -> Judged {
    let mut balancer = balancer(4, Setting::default());
    let now_us = answers(&mut balancer, 4, 40, 10_000, 0);
    (2..=4).for_each(|number| balancer.report(id(number), says(8, 0), now_us));
    balancer.report(id(1), report, now_us);
    sent(&mut balancer, now_us);
    balancer.record(None, now_us, 0).unwrap().judged[0]
}

#[test]
fn how_many_it_works_on_at_once_counts_four_times_what_its_peers_say_at_most_and_a_quarter_at_least() {
    let judged = [1, 2, 32, 33].map(|places| first_says(says(places, 0), |_, _| ()));
    assert_eq!(judged.map(|it| it.places), [2, 2, 32, 32]);
    assert_eq!(judged.map(|it| it.clamps.has(Clamp::Places)), [true, false, false, true]);
}

#[test]
fn who_says_that_it_has_room_and_has_far_more_than_its_peers_counts_as_full() {
    let send = |count: u32| {
        move |balancer: &mut Balancer, now_us| {
            (0..count).for_each(|_| assert!(balancer.sent(id(1), now_us).is_some()));
        }
    };
    let judged = [4, 5].map(|count| first_says(says(32, 0), send(count)));
    assert_eq!(judged.map(|it| (it.is_hot, it.clamps.has(Clamp::Room))), [(false, false), (true, true)]);
}

#[test]
fn who_says_that_it_is_full_and_has_far_less_than_its_peers_counts_as_if_it_said_nothing() {
    let send = |count: u32| {
        move |balancer: &mut Balancer, now_us| {
            for number in 2..=4 {
                (0..count).for_each(|_| assert!(balancer.sent(id(number), now_us).is_some()));
            }
        }
    };
    let judged = [1, 2].map(|count| first_says(says(8, 50), send(count)));
    assert_eq!(judged.map(|it| (it.is_hot, it.clamps.has(Clamp::Full))), [(true, false), (false, true)]);
    assert!(judged[0].final_cost > judged[0].seen && judged[1].final_cost <= judged[1].seen);
}

#[test]
fn who_had_room_by_its_word_and_was_slow_all_the_same_is_believed_less_for_a_time() {
    let mut balancer = balancer(4, Setting::default());
    let now_us = answers(&mut balancer, 4, 40, 10_000, 0);
    let all_say = |balancer: &mut Balancer, at_us| {
        balancer.report(id(1), says(32, 0), at_us);
        (2..=4).for_each(|number| balancer.report(id(number), says(8, 0), at_us));
    };
    let trust = |balancer: &mut Balancer, at_us| {
        let judged = balancer.record(None, at_us, 0).unwrap().judged;
        judged.iter().map(|it| it.trust_permille).collect::<Vec<_>>()
    };
    all_say(&mut balancer, now_us);
    let after_us = now_us + 100_000;
    // Both have something to do, and only the first one says that this is less to it than to others.
    for number in [1, 2] {
        let sent: Vec<_> = (0..4).filter_map(|_| balancer.sent(id(number), now_us)).collect();
        balancer.choose(None, now_us, 0).unwrap();
        let last = balancer.sent(id(number), now_us).unwrap();
        sent.into_iter().for_each(|sent| balancer.ended(sent, End::Left, after_us));
        balancer.ended(last, End::Answered { at_us: after_us }, after_us);
    }
    all_say(&mut balancer, after_us);
    assert_eq!(trust(&mut balancer, after_us)[..2], [500, 1_000]);
    let later_us = after_us + 60 * SECOND_US;
    all_say(&mut balancer, later_us);
    assert!(trust(&mut balancer, later_us)[0] > 950);
}

#[test]
fn who_is_not_to_be_chosen_again_is_only_if_there_is_no_other() {
    let mut balancer = balancer(2, Setting::default());
    assert!((0..50).all(|random| balancer.choose(Some(id(1)), 0, random).unwrap().id == id(2)));
    balancer.not_ready(id(2), Some(SECOND_US));
    assert_eq!(balancer.choose(Some(id(1)), 0, 0).unwrap().id, id(1));
    balancer.park(id(2), true);
    assert_eq!(
        balancer.choose(Some(id(1)), SECOND_US, 0).unwrap().id,
        id(2),
        "what waits there may be served"
    );
    balancer.park(id(2), false);
    balancer.absent(id(2), true);
    assert_eq!(balancer.choose(Some(id(1)), SECOND_US, 0).unwrap().id, id(2), "and who waits until it runs");
    balancer.drain(id(2), true);
    assert_eq!(balancer.choose(Some(id(1)), SECOND_US, 0).unwrap().id, id(1));
    balancer.remove(id(2));
    assert_eq!(balancer.choose(Some(id(1)), 0, 0).unwrap().id, id(1));
}

#[test]
fn who_runs_and_is_not_ready_is_asked_rather_than_one_that_does_not_run_yet() {
    let mut balancer = balancer(3, Setting::default());
    (1..=3).for_each(|number| balancer.absent(id(number), true));
    let chosen = |balancer: &mut Balancer| {
        let chosen = (0..50).filter_map(|random| balancer.choose(None, 0, random));
        chosen.map(|chosen| chosen.id).collect::<alloc::collections::BTreeSet<_>>()
    };
    assert_eq!(chosen(&mut balancer), [id(1), id(2), id(3)].into(), "one of them is waited for");
    balancer.not_ready(id(2), Some(SECOND_US));
    assert_eq!(balancer.standing(id(2), 0), Some(Standing::Absent));
    balancer.absent(id(2), false);
    assert_eq!(chosen(&mut balancer), [id(2)].into());
    balancer.park(id(3), true);
    balancer.absent(id(3), false);
    assert_eq!(chosen(&mut balancer), [id(3)].into(), "who moves serves soon");
    // Another process of it is no less absent until it is said to run.
    balancer.absent(id(3), true);
    balancer.turn(id(3), 0);
    assert_eq!(balancer.standing(id(3), 0), Some(Standing::Absent));
}

/// Any history, with every kind of word in it.
fn history(seed: u32, setting: Setting, mut look: impl FnMut(&mut Balancer, u64, u32)) {
    let mut dice = dice::Dice::new(seed);
    let mut balancer = balancer(6, setting);
    let (mut now_us, mut on_their_way) = (0, Vec::new());
    for step in 0..400 {
        now_us += dice.below(20_000);
        let mut any = |bound: u64| u32::try_from(dice.below(bound)).unwrap();
        let which = id(1 + any(8));
        match any(16) {
            0 => balancer.drain(which, any(2) == 0),
            1 => balancer.park(which, any(2) == 0),
            2 => balancer.not_ready(which, Some(now_us + u64::from(any(100_000)))),
            3 => {
                let begins_in_us = u64::from(any(100_000));
                let ends_in_us = begins_in_us + u64::from(any(200_000));
                balancer.pause(which, Some(Pause { begins_in_us, ends_in_us }), now_us);
            }
            4 => {
                let capacity_permille = Some(any(2_000)).filter(|it| it % 3 > 0);
                let cold = Cold { ends_in_us: u64::from(any(3_000_000)), capacity_permille };
                balancer.cold(which, Some(cold), now_us);
            }
            5 => balancer.remove(which),
            6 => balancer.add(which, now_us),
            7 => balancer.turn(which, now_us),
            8..=10 => {
                let mut maybe = |bound| Some(any(bound)).filter(|it| it % 3 > 0);
                let report = Report {
                    valid_for_ms: maybe(100_000).unwrap_or(0),
                    age_ms: maybe(500).unwrap_or(0),
                    concurrency: maybe(1 << 32),
                    capacity_milli_per_s: maybe(1 << 32),
                    in_flight: maybe(1 << 32),
                    queued: maybe(20),
                    backlog_ms: maybe(1 << 32),
                    utilisation_permille: maybe(10_000),
                    weight_permille: maybe(10_000),
                };
                balancer.report(which, report, now_us);
            }
            _ => {
                let random = any(1 << 32);
                if let Some(chosen) = balancer.choose(None, now_us, random) {
                    on_their_way.extend(balancer.sent(chosen.id, now_us));
                }
            }
        }
        if on_their_way.len() > usize::try_from(dice.below(12)).unwrap() {
            let answered = End::Answered { at_us: now_us };
            let end = [answered, answered, End::Failed, End::Left][usize::try_from(dice.below(4)).unwrap()];
            let place = usize::try_from(dice.below(on_their_way.len() as u64)).unwrap();
            balancer.ended(on_their_way.swap_remove(place), end, now_us);
        }
        look(&mut balancer, now_us, step);
    }
}

const POLICIES: [Policy; 5] =
    [Policy::Used, Policy::Ignored, Policy::LeastInFlight, Policy::RoundRobin, Policy::Random];

#[test]
fn every_record_replays_to_itself_and_from_its_text() {
    for seed in 0..20 {
        let setting = Setting { policy: POLICIES[seed as usize % 5], balancers: 1 + seed % 3 };
        history(seed, setting, |balancer, now_us, step| {
            let but = (step % 7 == 0).then_some(id(1 + step % 6));
            let Some(record) = balancer.record(but, now_us, step) else { return };
            assert_eq!(record.replay().as_ref(), Some(&record));
            let text = serde_json::to_string(&record).unwrap();
            let read: Record = serde_json::from_str(&text).unwrap();
            assert_eq!(serde_json::to_string(&read.replay()).unwrap(), text);
        });
    }
}

#[test]
fn the_best_standing_is_always_chosen_and_the_record_says_if_it_is_bad() {
    for seed in 100..120 {
        let setting = Setting { policy: POLICIES[seed as usize % 5], balancers: 1 + seed % 3 };
        history(seed, setting, |balancer, now_us, step| {
            let Some(record) = balancer.record(None, now_us, step) else { return };
            let of = |id| record.inputs.iter().position(|inputs| inputs.id == id).unwrap();
            let best = record.judged.iter().map(|judged| judged.standing).min().unwrap();
            assert_eq!(record.judged[of(record.chosen)].standing, best);
            assert_eq!(record.regime == Regime::LeastBad, best > Standing::Open);
        });
    }
}

#[test]
fn the_same_calls_give_the_same_choices() {
    let run = || {
        let mut all = Vec::new();
        history(7, Setting { policy: Policy::Used, balancers: 2 }, |balancer, now_us, step| {
            all.push(balancer.choose(None, now_us, step));
        });
        all
    };
    assert_eq!(run(), run());
}
