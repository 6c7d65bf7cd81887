//! Announced demand, and how true it was.
//!
//! Once an announced time is over, what came is held against what was announced. The grade of who announced follows, and
//! the next announcement is provided for only as far as its grade goes. Demand that has begun by its word and does not
//! show is not waited for: it is graded then. What could not be graded is not provided for.

use super::observation::{ANNOUNCEMENT_ID_BYTES_MAX, ANNOUNCEMENTS_MAX, Announcement, Observation};
use super::policy::{Announced, Work};
use super::record::{Bound, Figure, Input, Subject};
use super::trust::{Notes, Said};
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// The most ids that are remembered, open and graded ones each. Of graded ones the one that is known for longest is forgotten
/// first; of open ones the one that has shown for longest is graded before its end.
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

impl Open {
    /// Whether it was waited for.
    fn is_late(&self, now: &Now<'_>) -> bool {
        now.now_ms >= self.start_ms.saturating_add(now.policy.show_ms.into())
    }
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
            // From when it is provided for: what is lowered or taken back afterwards was announced all the same.
            let (extra, by) = match () {
                () if was_graded => (0, Bound::NotShown),
                () if !self.begin(id, announcement, now) => (0, Bound::TooMany),
                () if confidence < grade_permille => (extra, Bound::Confidence),
                () => (extra, Bound::Grade),
            };
            let used = now.rate_milli.min(told) + extra;
            expected = expected.max(used);
            Notes { inputs }.told(of, Figure::Announced, said(used, by));
        }
        expected
    }

    /// The grade of an id, in thousandths.
    fn grade(&self, id: &str, policy: &Announced) -> u32 {
        let app_permille = self.app_permille.unwrap_or(policy.grade_permille);
        self.ids.get(id).map_or(app_permille, |grade| grade.permille).min(1_000)
    }

    /// From now on it is followed until it can be graded. Says whether there is room for that.
    fn begin(&mut self, id: String, announcement: &Announcement, now: &Now<'_>) -> bool {
        let &Announcement { start_ms, end_ms, rate_milli, .. } = announcement;
        let is_full = self.open.len() >= IDS_MAX && !self.open.contains_key(&id);
        if is_full && !self.make_room(now) {
            return false;
        }
        let open = self.open.entry(id).or_insert(Open { start_ms, end_ms, rate_milli: 0, seen_milli: None });
        (open.end_ms, open.rate_milli) = (end_ms, open.rate_milli.max(rate_milli.into()));
        true
    }

    /// Grades the one that began first, if it was waited for: what did not show by then is not open any more.
    fn make_room(&mut self, now: &Now<'_>) -> bool {
        let first = self.open.iter().min_by_key(|(_, open)| open.start_ms);
        let Some((id, open)) = first.filter(|(_, open)| open.is_late(now)) else { return false };
        self.close(id.clone(), *open, now);
        true
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
            if now.now_ms >= open.end_ms || open.is_late(now) && !shows {
                done.push((id.clone(), *open));
            }
        }
        for (id, open) in done {
            self.close(id, open, now);
        }
    }

    fn close(&mut self, id: String, open: Open, now: &Now<'_>) {
        self.open.remove(&id);
        // Without anything measured, nobody knows whether it was true.
        if let Some(seen_milli) = open.seen_milli {
            self.learn(id, &open, seen_milli, now);
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
mod tests;
