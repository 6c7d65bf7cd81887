//! Announced demand, and how true it was.
//!
//! Once an announced time is over, what came is held against what was announced. The grade of who announced follows, and
//! the next announcement is provided for only as far as its grade goes. Demand that has begun by its word and does not
//! show is not waited for: it is graded then.

use super::observation::{ANNOUNCEMENT_ID_BYTES_MAX, ANNOUNCEMENTS_MAX, Announcement, Observation};
use super::policy::{Announced, Work};
use super::record::{Bound, Figure, Input, Subject};
use super::trust::{Notes, Said};
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// The most ids that are remembered, open and graded ones each; the one that is known for longest is forgotten first.
const IDS_MAX: usize = 64;

/// How sure who does not say it is taken to be, in thousandths: halfway between not at all and certain.
const CONFIDENCE_PERMILLE: u32 = 500;

/// How true announcements were.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Grades {
    /// Of the app: what an id begins with that was never graded. `None`: nothing of it was graded yet.
    app_permille: Option<u32>,
    /// Of ids that announced before.
    ids: BTreeMap<String, Grade>,
    /// Announcements that are provided for.
    open: BTreeMap<String, Open>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Grade {
    permille: u32,
    graded_ms: u64,
    /// The end of what was graded: the same again is not provided for.
    end_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Open {
    start_ms: u64,
    end_ms: u64,
    rate_milli: u64,
    /// The greatest rate while it lasts. `None`: nothing was measured meanwhile.
    seen_milli: Option<u64>,
}

/// What is known when announcements are looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now<'a> {
    pub(super) now_ms: u64,
    /// What comes without them, in thousandths of a request a second.
    pub(super) rate_milli: u64,
    /// The rate that came over the last seconds, if anything is measured.
    pub(super) seen_milli: Option<u64>,
    /// A start with its warm-up and the time until it is decided on, in milliseconds.
    pub(super) lead_ms: u64,
    pub(super) work: Work,
    pub(super) policy: &'a Announced,
}

impl Grades {
    /// The rate to be ready for, with what is announced, in thousandths of a request a second.
    pub(super) fn expect(
        &mut self,
        observation: &Observation,
        now: &Now<'_>,
        inputs: &mut Vec<Input>,
    ) -> u64 {
        self.follow(now);
        let mut expected = now.rate_milli;
        let mut announced: Vec<&Announcement> = observation.announcements.iter().collect();
        announced.sort();
        announced.sort_by_key(|it| it.start_ms);
        for announcement in announced.into_iter().take(ANNOUNCEMENTS_MAX) {
            let id = short(&announcement.id);
            let is_over = announcement.end_ms <= now.now_ms || announcement.start_ms >= announcement.end_ms;
            if is_over {
                continue;
            }
            let told = u64::from(announcement.rate_milli);
            let grade_permille = self.grade(&id, now.policy);
            let of = Subject::Announcement(id.clone());
            let said = |used, by| Said { told, used, age_ms: 0, trust_permille: grade_permille, by };
            let ahead_ms = announcement.start_ms.saturating_sub(now.now_ms);
            let counts_not = match now.work {
                Work::Queue => Some(Bound::NoLoad),
                Work::Requests => (ahead_ms > now.lead_ms).then_some(Bound::Ahead(ahead_ms)),
            };
            if let Some(by) = counts_not {
                Notes { inputs }.told(of, Figure::Announced, said(0, by));
                continue;
            }
            let confidence = announcement.confidence_permille.unwrap_or(CONFIDENCE_PERMILLE).min(1_000);
            let was_graded = self.ids.get(&id).is_some_and(|it| it.end_ms >= announcement.end_ms);
            let extra = told.saturating_sub(now.rate_milli) * u64::from(grade_permille) / 1_000
                * u64::from(confidence)
                / 1_000;
            let (used, by) = if was_graded {
                (now.rate_milli.min(told), Bound::NotShown)
            } else {
                let by = if confidence < grade_permille { Bound::Confidence } else { Bound::Grade };
                (now.rate_milli.min(told) + extra, by)
            };
            expected = expected.max(used);
            Notes { inputs }.told(of, Figure::Announced, said(used, by));
            // From when it is provided for: what is lowered or taken back afterwards was announced all the same.
            if !was_graded {
                self.begin(id, announcement);
            }
        }
        expected
    }

    /// The grade of an id, in thousandths.
    fn grade(&self, id: &str, policy: &Announced) -> u32 {
        let app_permille = self.app_permille.unwrap_or(policy.grade_permille);
        self.ids.get(id).map_or(app_permille, |grade| grade.permille).min(1_000)
    }

    fn begin(&mut self, id: String, announcement: &Announcement) {
        let &Announcement { start_ms, end_ms, rate_milli, .. } = announcement;
        if self.open.len() >= IDS_MAX && !self.open.contains_key(&id) {
            return;
        }
        let open = self.open.entry(id).or_insert(Open { start_ms, end_ms, rate_milli: 0, seen_milli: None });
        (open.end_ms, open.rate_milli) = (end_ms, open.rate_milli.max(rate_milli.into()));
    }

    /// Sees what came of those that have begun, and grades those that are over or do not show.
    fn follow(&mut self, now: &Now<'_>) {
        let mut done = Vec::new();
        for (id, open) in &mut self.open {
            if (open.start_ms..open.end_ms).contains(&now.now_ms) {
                open.seen_milli = open.seen_milli.max(now.seen_milli);
            }
            // As long as nothing was measured it may be so.
            let shows = open.seen_milli.is_none_or(|seen_milli| seen_milli >= open.rate_milli / 2);
            let is_late = now.now_ms >= open.start_ms.saturating_add(now.policy.show_ms.into());
            if now.now_ms >= open.end_ms || is_late && !shows {
                done.push((id.clone(), *open));
            }
        }
        for (id, open) in done {
            self.open.remove(&id);
            // Without anything measured, nobody knows whether it was true.
            if let Some(seen_milli) = open.seen_milli {
                self.learn(id, &open, seen_milli, now);
            }
        }
    }

    fn learn(&mut self, id: String, open: &Open, seen_milli: u64, now: &Now<'_>) {
        let truth = (seen_milli * 1_000).checked_div(open.rate_milli).unwrap_or(1_000).min(1_000);
        let truth = u32::try_from(truth).unwrap_or(1_000);
        let permille = u32::midpoint(self.grade(&id, now.policy), truth);
        let app_permille = self.app_permille.unwrap_or(now.policy.grade_permille);
        self.app_permille = Some(u32::midpoint(app_permille, truth));
        if self.ids.len() >= IDS_MAX
            && !self.ids.contains_key(&id)
            && let Some(oldest) =
                self.ids.iter().min_by_key(|(_, grade)| grade.graded_ms).map(|(id, _)| id.clone())
        {
            self.ids.remove(&oldest);
        }
        self.ids.insert(id, Grade { permille, graded_ms: now.now_ms, end_ms: open.end_ms });
    }
}

fn short(id: &str) -> String {
    id.char_indices()
        .take_while(|(at, _)| *at < ANNOUNCEMENT_ID_BYTES_MAX)
        .map(|(_, it)| it)
        .collect::<String>()
        .to_string()
}

#[cfg(test)]
mod tests {
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
            let expected =
                run(&mut grades, &announced(id, from_s + 5, from_s + 50), from_s, from_s + 60, |_| 0);
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
}
