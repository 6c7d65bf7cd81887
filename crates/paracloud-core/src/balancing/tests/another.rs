//! What is known of one says nothing of who comes after it.

use super::*;

#[test]
fn another_process_begins_anew_and_answers_of_the_one_before_say_nothing_of_it() {
    let mut balancer = balancer(2, Setting::default());
    let sent = balancer.sent(id(1), 0).unwrap();
    balancer.turn(id(1), SECOND_US);
    assert_eq!(balancer.in_flight(id(1)), 0);
    balancer.ended(sent, End::Answered { at_us: 2 * SECOND_US }, 2 * SECOND_US);
    let inputs = balancer.record(None, 2 * SECOND_US, 0).unwrap().inputs[0];
    assert_eq!((inputs.own, inputs.answered, inputs.measured), (0, 0, None));
}

#[test]
fn who_is_added_with_the_number_of_one_that_is_gone_is_another() {
    let mut balancer = balancer(2, Setting::default());
    let sent = balancer.sent(id(1), 0).unwrap();
    balancer.remove(id(1));
    assert_eq!(balancer.standing(id(1), 0), None);
    balancer.add(id(1), SECOND_US);
    let own = balancer.sent(id(1), SECOND_US).unwrap();
    balancer.ended(sent, End::Answered { at_us: 2 * SECOND_US }, 2 * SECOND_US);
    let inputs = balancer.record(None, 2 * SECOND_US, 0).unwrap().inputs[0];
    assert_eq!((inputs.own, inputs.answered, inputs.measured), (1, 0, None));
    balancer.ended(own, End::Left, 2 * SECOND_US);
    assert_eq!((balancer.in_flight(id(1)), balancer.standing(id(1), 0)), (0, Some(Standing::Open)));
}

#[test]
fn another_process_drains_and_parks_as_the_one_before_and_inherits_nothing_that_that_one_said() {
    let mut balancer = balancer(2, Setting { policy: Policy::Used, balancers: 2 });
    let one = id(1);
    balancer.not_ready(one, Some(u64::MAX));
    balancer.pause(one, Some(Pause { begins_in_us: 0, ends_in_us: SECOND_US }), 0);
    let cold = Cold { ends_in_us: 10 * SECOND_US, capacity_permille: Some(200) };
    balancer.cold(one, Some(cold), 0);
    let inputs = |balancer: &mut Balancer| balancer.record(None, 0, 0).unwrap().inputs[0];
    let before = inputs(&mut balancer);
    assert_eq!(before.standing, Standing::NotReady);
    assert!(before.pause.is_some() && before.cold.is_some());
    balancer.turn(one, 0);
    let after = inputs(&mut balancer);
    assert_eq!((after.standing, after.pause, after.cold), (Standing::Open, None, None));
    balancer.park(one, true);
    balancer.turn(one, 0);
    assert_eq!(balancer.standing(one, 0), Some(Standing::Parked));
    balancer.drain(one, true);
    balancer.turn(one, 0);
    assert_eq!(balancer.standing(one, 0), Some(Standing::Draining));
}

#[test]
fn who_is_about_to_move_gets_nothing_new_while_enough_others_are_open_and_all_of_it_where_none_is() {
    let mut balancer = balancer(4, Setting { policy: Policy::Used, balancers: 1 });
    let chosen = |balancer: &mut Balancer| {
        let chosen = (0..100).filter_map(|random| balancer.choose(None, 0, random));
        chosen.map(|chosen| chosen.id).collect::<alloc::collections::BTreeSet<_>>()
    };
    balancer.moves(id(1), true);
    assert_eq!(balancer.standing(id(1), 0), Some(Standing::Open), "who waits may be sent there");
    assert_eq!(chosen(&mut balancer), [id(2), id(3), id(4)].into());
    balancer.moves(id(1), false);
    assert_eq!(chosen(&mut balancer).len(), 4);
    // Where more than a few are about to move, the others are not left to carry all of it.
    (1..=3).for_each(|number| balancer.moves(id(number), true));
    assert_eq!(chosen(&mut balancer).len(), 4);
    (2..=4).for_each(|number| balancer.park(id(number), true));
    assert_eq!(chosen(&mut balancer), [id(1)].into(), "it serves, and the others do not");
    // Another process of it is there: it has moved.
    balancer.turn(id(1), 0);
    let inputs = balancer.record(None, 0, 0).unwrap().inputs[0];
    assert_eq!(inputs.pause, None);
}
