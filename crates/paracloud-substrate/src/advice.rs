//! What an application says of itself for a time, on its way from its agent to the controller and on to the gateways.
//!
//! Everything here advises: it permits nothing, and who goes by it holds it against what is measured. All times are
//! relative to the moment of sending: nobody's clock is compared with anybody else's. Who keeps an [`Advice`] ages it by
//! his own monotonic clock ([`Advice::aged`]).

use paci::announcement::AnnounceRequest;
use paci::ask::AskRequest;
use paci::report::Report;
use paci::state::State;
use serde::{Deserialize, Serialize};

/// The end of a pause is told for so long, in milliseconds.
pub const LAPSED_MS: u32 = 600_000;

/// All that one process says of itself and that still counts. What is absent is unknown, never zero.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Advice {
    /// What it can do and has to do.
    pub report: Option<Leased<Report>>,
    /// The state that it said last: never [`State::Pausing`], which is beside it, and never the unspecified one. `None`: it
    /// has said none.
    pub state: Option<Aged<State>>,
    /// A pause that it told of and that is not over.
    pub pause: Option<Pause>,
    /// The last pause that it told of, if its word was over with its time, it has said no state since, and that was not more
    /// than [`LAPSED_MS`] ago. It counts for nothing: it is told to whoever asks why it gets requests.
    pub lapsed: Option<Lapsed>,
    /// It is not fully able yet. Then the state is [`State::Cold`].
    pub cold: Option<Cold>,
    /// Demand that it knows of: announcements that are not over, by their ids. The times in them are those of when they were
    /// said; [`Leased::age_ms`] says how long ago that was.
    pub announcements: Vec<Leased<AnnounceRequest>>,
    /// What it wants done with itself: one of a kind at most.
    pub asks: Vec<Leased<AskRequest>>,
}

/// What was said, how long ago, and for how long it still counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Leased<T> {
    /// How long ago it was said, in milliseconds.
    pub age_ms: u32,
    /// For how long it still counts, in milliseconds; from 1.
    pub remaining_ms: u32,
    /// What was said.
    pub said: T,
}

/// What was said, and how long ago. It counts until something else is said.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Aged<T> {
    /// How long ago it was said, in milliseconds.
    pub age_ms: u32,
    /// What was said.
    pub said: T,
}

/// A pause that an application told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pause {
    /// Milliseconds until it begins; 0: it has begun.
    pub in_ms: u32,
    /// For how long it lasts from its beginning, or from now if it has begun, in milliseconds; from 1.
    pub for_ms: u32,
}

/// A pause that was over with its time, and not by a word of the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Lapsed {
    /// For how long it was told to last, in milliseconds.
    pub for_ms: u32,
    /// How long ago it was over, in milliseconds.
    pub age_ms: u32,
}

/// An application that is not fully able yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cold {
    /// For how long that is so, in milliseconds from now; from 1.
    pub warmup_ms: u32,
    /// The share of its capacity that it has until then: 1000 is all of it. `None`: unknown.
    pub capacity_permille: Option<u32>,
}

impl Advice {
    /// The same, so many milliseconds later: what is over by then is not in it.
    #[must_use]
    pub fn aged(self, by_ms: u32) -> Self {
        let cold = self.cold.and_then(|cold| cold.aged(by_ms));
        let was_cold = self.cold.is_some();
        let state = self.state.map(|state| {
            let said = if was_cold && cold.is_none() { State::Ready } else { state.said };
            Aged { age_ms: state.age_ms.saturating_add(by_ms), said }
        });
        Self {
            report: self.report.and_then(|report| report.aged(by_ms)),
            state,
            pause: self.pause.and_then(|pause| pause.aged(by_ms)),
            lapsed: self.lapsed.and_then(|lapsed| lapsed.aged(by_ms)),
            cold,
            announcements: self.announcements.into_iter().filter_map(|one| one.aged(by_ms)).collect(),
            asks: self.asks.into_iter().filter_map(|one| one.aged(by_ms)).collect(),
        }
    }

    /// When the first of it is over, in milliseconds; `None`: nothing of it ends by itself.
    pub fn ends_in_ms(&self) -> Option<u32> {
        let report = self.report.iter().map(|report| report.remaining_ms);
        let pause = self.pause.iter().map(|pause| pause.in_ms.saturating_add(pause.for_ms));
        let cold = self.cold.iter().map(|cold| cold.warmup_ms);
        let announcements = self.announcements.iter().map(|one| one.remaining_ms);
        let asks = self.asks.iter().map(|one| one.remaining_ms);
        report.chain(pause).chain(cold).chain(announcements).chain(asks).min()
    }
}

impl<T> Leased<T> {
    /// The same, so many milliseconds later; `None`: it counts no more.
    pub fn aged(self, by_ms: u32) -> Option<Self> {
        let remaining_ms = self.remaining_ms.saturating_sub(by_ms);
        let age_ms = self.age_ms.saturating_add(by_ms);
        (remaining_ms > 0).then_some(Self { age_ms, remaining_ms, said: self.said })
    }
}

impl Leased<AnnounceRequest> {
    /// Milliseconds until its demand begins; 0: it has begun.
    pub fn begins_in_ms(&self) -> u32 {
        self.said.begins_in_ms.saturating_sub(self.age_ms)
    }
}

impl Pause {
    /// The same, so many milliseconds later; `None`: it is over.
    pub fn aged(self, by_ms: u32) -> Option<Self> {
        let passed_ms = by_ms.saturating_sub(self.in_ms);
        let for_ms = self.for_ms.saturating_sub(passed_ms);
        (for_ms > 0).then_some(Self { in_ms: self.in_ms.saturating_sub(by_ms), for_ms })
    }
}

impl Lapsed {
    /// The same, so many milliseconds later; `None`: it is told no more.
    pub fn aged(self, by_ms: u32) -> Option<Self> {
        let age_ms = self.age_ms.saturating_add(by_ms);
        (age_ms <= LAPSED_MS).then_some(Self { age_ms, ..self })
    }
}

impl Cold {
    /// The same, so many milliseconds later; `None`: it is fully able.
    pub fn aged(self, by_ms: u32) -> Option<Self> {
        let warmup_ms = self.warmup_ms.saturating_sub(by_ms);
        (warmup_ms > 0).then_some(Self { warmup_ms, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_said_for_a_time_ends_with_it_and_nothing_becomes_zero() {
        let report = Report { valid_for_ms: 500, queued: Some(3), ..Report::default() };
        let sale = AnnounceRequest { begins_in_ms: 100, lasts_ms: 200, ..AnnounceRequest::default() };
        let advice = Advice {
            report: Some(Leased { age_ms: 0, remaining_ms: 500, said: report.clone() }),
            state: Some(Aged { age_ms: 9, said: State::Cold }),
            pause: Some(Pause { in_ms: 20, for_ms: 30 }),
            lapsed: None,
            cold: Some(Cold { warmup_ms: 400, capacity_permille: None }),
            announcements: vec![Leased { age_ms: 0, remaining_ms: 300, said: sale }],
            asks: Vec::new(),
        };
        assert_eq!(advice.ends_in_ms(), Some(50));
        let later = advice.aged(30);
        assert_eq!(later.pause, Some(Pause { in_ms: 0, for_ms: 20 }));
        assert_eq!(later.announcements[0].begins_in_ms(), 70);
        assert_eq!(later.report, Some(Leased { age_ms: 30, remaining_ms: 470, said: report }));
        let later = later.aged(20);
        assert_eq!((later.pause, later.ends_in_ms()), (None, Some(250)));
        let later = later.aged(350);
        assert_eq!(later.state, Some(Aged { age_ms: 409, said: State::Ready }), "it is warm");
        assert_eq!((later.cold, later.announcements.len()), (None, 0));
        assert_eq!(later.aged(100).report, None);
    }

    #[test]
    fn a_pause_that_was_over_with_its_time_is_told_for_a_while() {
        let told = Advice { lapsed: Some(Lapsed { for_ms: 30, age_ms: 1 }), ..Advice::default() };
        assert_eq!(told.ends_in_ms(), None, "nothing is over with it");
        let later = told.aged(LAPSED_MS - 1);
        assert_eq!(later.lapsed, Some(Lapsed { for_ms: 30, age_ms: LAPSED_MS }));
        assert_eq!(later.aged(1), Advice::default());
    }

    #[test]
    fn on_a_link_it_comes_back_as_it_was() {
        let asks = vec![Leased { age_ms: 1, remaining_ms: 2, said: AskRequest::default() }];
        let advice = Advice {
            asks,
            cold: Some(Cold { warmup_ms: 1, capacity_permille: Some(0) }),
            ..Advice::default()
        };
        let text = serde_json::to_string(&advice).unwrap();
        assert_eq!(serde_json::from_str::<Advice>(&text).unwrap(), advice);
        assert_eq!(serde_json::from_str::<Advice>("{}").unwrap(), Advice::default());
    }
}
