use super::*;

const POLICY: Announced = Announced { grade_permille: 800, show_ms: 60_000 };

fn announced(id: &str, start_s: u64, end_s: u64) -> Observation {
    let announcement = Announcement {
        id: id.into(),
        start_ms: start_s * 1_000,
        end_ms: end_s * 1_000,
        rate_milli: 500_000,
        confidence_permille: Some(1_000),
    };
    Observation { announcements: [announcement].to_vec(), ..Observation::default() }
}

/// What is expected each second from 0 on, when so much comes each second.
fn run(
    grades: &mut Grades,
    seen: &Observation,
    from_s: u64,
    to_s: u64,
    rate: impl Fn(u64) -> u64,
) -> Vec<u64> {
    let mut expected = Vec::new();
    for second in from_s..to_s {
        let rate_milli = rate(second);
        let now = Now {
            now_ms: second * 1_000,
            rate_milli,
            seen_milli: Some(rate_milli),
            lead_ms: 10_000,
            work: Work::Requests,
            policy: &POLICY,
        };
        expected.push(grades.expect(seen, &now, &mut Vec::new()));
    }
    expected
}

#[test]
fn demand_is_provided_for_one_start_ahead_as_far_as_its_grade_goes() {
    let expected = run(&mut Grades::default(), &announced("sale", 30, 90), 0, 31, |_| 100_000);
    assert_eq!((expected[19], expected[20], expected[30]), (100_000, 420_000, 420_000));
}

#[test]
fn what_is_known_too_early_is_told_with_when_it_begins_and_counts_for_nothing() {
    let mut inputs = Vec::new();
    let now = Now {
        now_ms: 0,
        rate_milli: 100_000,
        seen_milli: Some(100_000),
        lead_ms: 10_000,
        work: Work::Requests,
        policy: &POLICY,
    };
    let mut grades = Grades::default();
    let mut expect = |start_s, work| {
        inputs.clear();
        let sale = announced("sale", start_s, 90);
        let expected = grades.expect(&sale, &Now { work, ..now }, &mut inputs);
        (expected, inputs[0].used, inputs[0].bound)
    };
    assert_eq!(expect(11, Work::Requests), (100_000, 0, Some(Bound::Ahead(11_000))));
    assert_eq!(expect(10, Work::Requests), (420_000, 420_000, Some(Bound::Grade)));
    assert_eq!(expect(10, Work::Queue), (100_000, 0, Some(Bound::NoLoad)), "of requests");
}

#[test]
fn what_is_less_sure_than_its_grade_is_cut_by_that() {
    let mut sale = announced("sale", 5, 50);
    let mut bound = |confidence_permille| {
        sale.announcements[0].confidence_permille = confidence_permille;
        let now = Now {
            now_ms: 0,
            rate_milli: 0,
            seen_milli: None,
            lead_ms: 10_000,
            work: Work::Requests,
            policy: &POLICY,
        };
        let mut inputs = Vec::new();
        Grades::default().expect(&sale, &now, &mut inputs);
        inputs[0].bound
    };
    let [unknown, unsure, sure] = [None, Some(700), Some(900)].map(&mut bound);
    assert_eq!([unknown, unsure], [Some(Bound::Confidence); 2]);
    assert_eq!(sure, Some(Bound::Grade));
}

#[test]
fn who_does_not_say_how_sure_it_is_is_taken_to_be_half_sure() {
    let mut sale = announced("sale", 5, 50);
    let mut expected = |confidence_permille| {
        sale.announcements[0].confidence_permille = confidence_permille;
        run(&mut Grades::default(), &sale, 0, 1, |_| 100_000)[0]
    };
    let [certain, unknown, unsure] = [Some(1_000), None, Some(0)].map(&mut expected);
    assert_eq!([certain, unknown, unsure], [420_000, 260_000, 100_000]);
}

#[test]
fn what_nobody_measured_while_it_lasted_is_graded_by_nothing() {
    let grade = |measured: fn(u64) -> bool| {
        let (mut grades, sale) = (Grades::default(), announced("sale", 10, 50));
        for second in 0..60 {
            let now = Now {
                now_ms: second * 1_000,
                rate_milli: 100_000,
                seen_milli: measured(second).then_some(100_000),
                lead_ms: 10_000,
                work: Work::Requests,
                policy: &POLICY,
            };
            grades.expect(&sale, &now, &mut Vec::new());
        }
        grades.grade("sale", &POLICY)
    };
    let before = Grades::default().grade("sale", &POLICY);
    assert_eq!(grade(|second| !(9..50).contains(&second)), before, "silent for all of it");
    assert!(grade(|_| true) < before, "it was false");
}

#[test]
fn who_announced_truly_is_believed_more() {
    let mut grades = Grades::default();
    run(&mut grades, &announced("sale", 0, 50), 0, 60, |_| 500_000);
    let again = run(&mut grades, &announced("sale", 100, 150), 95, 96, |_| 100_000);
    assert_eq!(again, [460_000]);
}

#[test]
fn who_announced_falsely_three_times_is_hardly_believed_under_any_id() {
    let mut grades = Grades::default();
    let mut extra = Vec::new();
    for (round, id) in (0_u64..).zip(["a", "b", "c", "d"]) {
        let from_s = round * 100;
        let expected = run(&mut grades, &announced(id, from_s + 5, from_s + 50), from_s, from_s + 60, |_| 0);
        extra.push(expected[0]);
    }
    assert_eq!(extra, [400_000, 200_000, 100_000, 50_000]);
}

#[test]
fn who_lowers_an_announcement_or_takes_it_back_once_it_is_provided_for_is_graded_by_what_it_said() {
    let sale = announced("sale", 30, 60);
    let mut lowered = sale.clone();
    lowered.announcements[0].rate_milli = 1_000;
    for (from_s, later) in [(29, &lowered), (59, &lowered), (29, &Observation::default())] {
        let mut grades = Grades::default();
        run(&mut grades, &sale, 0, from_s, |_| 100_000);
        run(&mut grades, later, from_s, 100, |_| 100_000);
        let again = run(&mut grades, &announced("sale", 200, 250), 195, 196, |_| 100_000);
        assert_eq!(again, [300_000], "a fifth of it came, from {from_s}");
    }
}

#[test]
fn demand_that_does_not_show_is_not_waited_for() {
    let expected = run(&mut Grades::default(), &announced("sale", 0, 8 * 3_600), 0, 100, |_| 100_000);
    assert_eq!((expected[59], expected[61], expected[99]), (420_000, 100_000, 100_000));
}

#[test]
fn ids_without_end_are_bounded() {
    let mut grades = Grades::default();
    for round in 0..1_000_u64 {
        let id = std::format!("{round}{}", "x".repeat(500));
        run(&mut grades, &announced(&id, round * 3, round * 3 + 1), round * 3, round * 3 + 3, |_| 0);
    }
    assert!(grades.ids.len() <= IDS_MAX && grades.open.len() <= IDS_MAX);
    assert!(grades.ids.keys().all(|id| id.len() <= ANNOUNCEMENT_ID_BYTES_MAX + 4));
}

/// So many that announce so little that it is true, from then on and for ever; each is said once.
fn fill(grades: &mut Grades, count: usize, from_s: u64) {
    for number in 0..count {
        let mut tiny = announced(&std::format!("tiny {number}"), from_s, u64::MAX / 1_000);
        tiny.announcements[0].rate_milli = 1_000;
        run(grades, &tiny, from_s, from_s + 1, |_| 100_000);
    }
}

#[test]
fn what_could_not_be_graded_because_so_many_are_open_is_not_provided_for() {
    let room = (IDS_MAX - 1, [420_000, 420_000], None);
    for (open, provided, of_first) in [room, (IDS_MAX, [100_000, 420_000], Some(900))] {
        let mut grades = Grades::default();
        fill(&mut grades, open, 0);
        let lie = announced("lie", 5, u64::MAX / 1_000);
        let expected = run(&mut grades, &lie, 1, 200, |_| 100_000);
        // Once those that are open were waited for, the one that began first makes room.
        assert_eq!([expected[0], expected[59]], provided, "{open}");
        assert_eq!(expected[198], 100_000, "it did not show");
        assert!(grades.open.len() <= IDS_MAX && grades.grade("lie", &POLICY) < 700);
        let of_first_now = grades.ids.get("tiny 0").map(|it| it.permille);
        assert_eq!(of_first_now, of_first, "who makes room is graded");
    }
}

#[test]
fn what_is_not_provided_for_because_so_many_are_open_is_told_to_be_too_many() {
    let mut grades = Grades::default();
    fill(&mut grades, IDS_MAX, 0);
    let bound = |grades: &mut Grades, id| {
        let now = Now {
            now_ms: 1_000,
            rate_milli: 100_000,
            seen_milli: Some(100_000),
            lead_ms: 10_000,
            work: Work::Requests,
            policy: &POLICY,
        };
        let mut inputs = Vec::new();
        grades.expect(&announced(id, 5, 50), &now, &mut inputs);
        (inputs[0].used, inputs[0].bound)
    };
    assert_eq!(bound(&mut grades, "sale"), (100_000, Some(Bound::TooMany)));
    assert_eq!(bound(&mut grades, "tiny 3"), (420_000, Some(Bound::Grade)), "it is open");
}
