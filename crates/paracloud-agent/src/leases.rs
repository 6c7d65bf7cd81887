//! What one process says of itself for a time: its report, its state, pauses, announcements, asks. Each ends by itself.
//!
//! Without I/O and without a clock: `now_ms` counts from any beginning and never goes back. None of it outlasts the agent
//! but the state: an application says it again after each `Hello`.

use paci::announcement::{AnnounceRequest, AnnounceResponse};
use paci::ask::{AskRequest, AskResponse, Became, Wish};
use paci::bounds;
use paci::error::{ErrorBody, ErrorCode};
use paci::report::{Report, ReportResponse, WORK_UNIT};
use paci::state::{State, StateChange};
use paracloud_substrate::advice::{Advice, Aged, Cold, Lapsed, Leased, Pause};
use paracloud_substrate::config::Work;
use std::collections::BTreeMap;

/// The controller hears of what has changed at most this often, in milliseconds; of a pause, at once.
const ADVICE_MS: u64 = 20;

/// What became of an ask is known after so long as a rule, in milliseconds.
const DECIDED_MS: u32 = 1_000;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    report: Option<Lease<Report>>,
    /// The last state that is none of a pause, and when it was said.
    state: Option<(State, u64)>,
    pause: Option<Span>,
    /// The last pause, if it was over with its time: it has said no state since.
    lapsed: Option<Span>,
    cold: Option<(Option<u32>, u64)>,
    announcements: BTreeMap<String, Lease<AnnounceRequest>>,
    /// One of a kind, by its name.
    asks: BTreeMap<&'static str, Lease<AskRequest>>,
    /// What became of them, as far as the controller said so; also of one that was refused, until it may be asked again.
    became: BTreeMap<&'static str, (Wish, Answered, u64)>,
    news: News,
    /// When the controller heard of it last.
    told_ms: Option<u64>,
}

/// What became of an ask, in the controller's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) became: Became,
    pub(crate) message: String,
    /// When more will be known, in milliseconds from when it was said; 0: there is no more to be known.
    pub(crate) retry_after_ms: u32,
}

/// What was said, when, and until when it counts.
#[derive(Debug)]
struct Lease<T> {
    said: T,
    at_ms: u64,
    until_ms: u64,
}

#[derive(Debug, Clone, Copy)]
struct Span {
    from_ms: u64,
    until_ms: u64,
}

/// Whether the controller is to hear of something.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum News {
    #[default]
    None,
    /// With others, soon.
    Some,
    /// At once.
    Urgent,
}

impl Leases {
    /// Those of a process that said this state to an agent before this one.
    pub(crate) fn resumed(state: Option<State>) -> Self {
        Self { state: state.map(|state| (state, 0)), ..Self::default() }
    }

    /// Whether it has never said anything.
    pub(crate) fn is_silent(&self) -> bool {
        self.state.is_none() && self.told_ms.is_none() && self.news == News::None
    }

    /// It says how much it can do and has to do.
    pub(crate) fn report(&mut self, report: Report, now_ms: u64) -> ReportResponse {
        let granted_valid_for_ms = report.valid_for_ms;
        self.report = Some(Lease::new(report, granted_valid_for_ms, now_ms));
        self.changed(News::Some);
        ReportResponse { granted_valid_for_ms, message: String::new() }
    }

    /// It says what demand is coming, or takes that back.
    ///
    /// # Errors
    /// There are as many as there may be.
    pub(crate) fn announce(
        &mut self,
        request: AnnounceRequest,
        work: Work,
        now_ms: u64,
    ) -> Result<AnnounceResponse, ErrorBody> {
        self.expire(now_ms);
        self.changed(News::Some);
        if request.revokes() {
            self.announcements.remove(&request.id);
            return Ok(AnnounceResponse::default());
        }
        // What nobody can say in requests, or plans by requests, would count for nothing.
        let unplanned = match work {
            Work::Queue => {
                Some("the load of this app is what waits in its queue: nothing is planned ahead".to_owned())
            }
            Work::Requests if request.unit() != WORK_UNIT => {
                Some(format!("what comes is planned in {WORK_UNIT}s: say how many of those"))
            }
            Work::Requests => None,
        };
        if let Some(message) = unplanned {
            self.announcements.remove(&request.id);
            return Ok(AnnounceResponse { stands: false, message });
        }
        let count = self.announcements.len();
        if count >= bounds::ANNOUNCEMENTS_MAX && !self.announcements.contains_key(&request.id) {
            let many = format!("{count} announcements stand already");
            return Err(ErrorBody::new(ErrorCode::AnnouncementsFull, &many));
        }
        let ends_in_ms = request.ends_in_ms();
        self.announcements.insert(request.id.clone(), Lease::new(request, ends_in_ms, now_ms));
        Ok(AnnounceResponse { stands: true, message: String::new() })
    }

    /// It says what it wants done with itself, or takes that back.
    pub(crate) fn ask(&mut self, request: AskRequest, now_ms: u64) -> AskResponse {
        let granted_valid_for_ms = request.valid_for_ms;
        let Some(wish) = request.wish.clone() else { return AskResponse::default() };
        let kind = wish.name();
        if granted_valid_for_ms == 0 {
            self.asks.remove(kind);
            self.became.retain(|of, (_, known, _)| *of != kind || known.became == Became::Refused);
            self.changed(News::Some);
            return AskResponse::default();
        }
        let known = self.known(&wish, now_ms);
        if let Some(Answered { became: Became::Refused, message, retry_after_ms }) = known {
            return AskResponse { granted_valid_for_ms: 0, message, became: Became::Refused, retry_after_ms };
        }
        self.asks.remove(kind);
        self.asks.insert(kind, Lease::new(request, granted_valid_for_ms, now_ms));
        self.changed(News::Some);
        let Answered { became, message, retry_after_ms } = known.unwrap_or_else(|| Answered {
            became: Became::Pending,
            message: "it is not decided yet".to_owned(),
            retry_after_ms: DECIDED_MS,
        });
        AskResponse { granted_valid_for_ms, message, became, retry_after_ms }
    }

    /// What is known of what became of this wish. What was refused may be asked for anew when its time is over.
    fn known(&mut self, wish: &Wish, now_ms: u64) -> Option<Answered> {
        let (of, answered, at_ms) = self.became.get(wish.name())?;
        let retry_after_ms = answered.retry_after_ms.saturating_sub(bounded(now_ms.saturating_sub(*at_ms)));
        let is_over = answered.became == Became::Refused && retry_after_ms == 0;
        if of != wish || is_over {
            self.became.remove(wish.name());
            return None;
        }
        // More is known already, and not here yet.
        let is_last = answered.retry_after_ms == 0;
        let retry_after_ms = if is_last { 0 } else { retry_after_ms.max(1) };
        Some(Answered { retry_after_ms, ..answered.clone() })
    }

    /// The controller says what became of an ask. Of one that does not stand any more nobody wants to know.
    pub(crate) fn became(&mut self, wish: &Wish, answered: Answered, now_ms: u64) {
        self.expire(now_ms);
        let kind = wish.name();
        if self.asks.get(kind).is_none_or(|ask| ask.said.wish.as_ref() != Some(wish)) {
            return;
        }
        let message = cut(answered.message);
        let retry_after_ms = answered.retry_after_ms.min(bounds::ASK_MS_MAX);
        if answered.became == Became::Refused {
            self.asks.remove(kind);
            self.changed(News::Some);
        }
        self.became.insert(kind, (wish.clone(), Answered { message, retry_after_ms, ..answered }, now_ms));
    }

    /// It says its state. What it says of a pause stands beside the state that it had.
    pub(crate) fn state(&mut self, change: &StateChange, now_ms: u64) {
        (self.pause, self.lapsed) = (None, None);
        if change.state == State::Pausing {
            let from_ms = now_ms + u64::from(change.in_ms);
            self.pause = Some(Span { from_ms, until_ms: from_ms + u64::from(change.for_ms) });
            return self.changed(News::Urgent);
        }
        let cold = (change.capacity_permille, now_ms + u64::from(change.warmup_ms));
        self.cold = (change.state == State::Cold).then_some(cold);
        self.state = Some((change.state, now_ms));
        self.changed(News::Some);
    }

    /// A probe saw it ready, or not, and it says nothing of that itself.
    pub(crate) fn probed(&mut self, is_ready: bool, now_ms: u64) {
        let state = if is_ready { State::Ready } else { State::NotReady };
        self.state = Some((state, now_ms));
        self.changed(News::Urgent);
    }

    /// It speaks for itself from now on: what a probe saw counts no more.
    pub(crate) fn speaks(&mut self) {
        if self.state.take().is_some() {
            self.changed(News::Some);
        }
    }

    /// Nobody is there any more who could have said anything.
    pub(crate) fn end(&mut self) {
        if !self.is_silent() {
            *self = Self { news: News::Urgent, told_ms: self.told_ms, ..Self::default() };
        }
    }

    /// When the controller is to hear of something.
    pub(crate) fn due_ms(&self) -> Option<u64> {
        let news = match self.news {
            News::None => None,
            News::Some => Some(self.told_ms.map_or(0, |told_ms| told_ms + ADVICE_MS)),
            News::Urgent => Some(0),
        };
        news.into_iter().chain(self.ends_ms()).min()
    }

    /// What the controller is to hear, if it is due.
    pub(crate) fn news(&mut self, now_ms: u64) -> Option<Advice> {
        self.expire(now_ms);
        self.due_ms().filter(|due_ms| *due_ms <= now_ms).map(|_| self.tell(now_ms))
    }

    /// All that counts, for a controller that has heard nothing yet.
    pub(crate) fn tell(&mut self, now_ms: u64) -> Advice {
        self.expire(now_ms);
        (self.news, self.told_ms) = (News::None, Some(now_ms));
        let left = |until_ms: u64| bounded(until_ms.saturating_sub(now_ms));
        Advice {
            report: self.report.as_ref().map(|report| report.leased(now_ms)),
            state: self.state.map(|(said, at_ms)| Aged { age_ms: bounded(now_ms - at_ms), said }),
            pause: self.pause.map(|Span { from_ms, until_ms }| Pause {
                in_ms: left(from_ms),
                for_ms: bounded(until_ms - from_ms.max(now_ms)),
            }),
            lapsed: self.lapsed.and_then(|Span { from_ms, until_ms }| {
                let lapsed = Lapsed { for_ms: bounded(until_ms - from_ms), age_ms: 0 };
                lapsed.aged(bounded(now_ms.saturating_sub(until_ms)))
            }),
            cold: self
                .cold
                .map(|(capacity_permille, until_ms)| Cold { warmup_ms: left(until_ms), capacity_permille }),
            announcements: self.announcements.values().map(|one| one.leased(now_ms)).collect(),
            asks: self.asks.values().map(|one| one.leased(now_ms)).collect(),
        }
    }

    fn changed(&mut self, news: News) {
        self.news = self.news.max(news);
    }

    /// When the first of it is over.
    fn ends_ms(&self) -> Option<u64> {
        let report = self.report.iter().map(|report| report.until_ms);
        let pause = self.pause.iter().map(|pause| pause.until_ms);
        let cold = self.cold.iter().map(|(_, until_ms)| *until_ms);
        let announcements = self.announcements.values().map(|one| one.until_ms);
        let asks = self.asks.values().map(|one| one.until_ms);
        report.chain(pause).chain(cold).chain(announcements).chain(asks).min()
    }

    /// Forgets what is over. That is news: who goes by it hears that it counts no more.
    fn expire(&mut self, now_ms: u64) {
        if self.ends_ms().is_none_or(|ends_ms| ends_ms > now_ms) {
            return;
        }
        self.report.take_if(|report| report.until_ms <= now_ms);
        self.lapsed = self.pause.take_if(|pause| pause.until_ms <= now_ms).or(self.lapsed);
        if let Some((_, warm_ms)) = self.cold.take_if(|(_, until_ms)| *until_ms <= now_ms)
            && let Some((state, _)) = self.state
        {
            let state = if state == State::Cold { State::Ready } else { state };
            self.state = Some((state, warm_ms));
        }
        self.announcements.retain(|_, one| one.until_ms > now_ms);
        self.asks.retain(|_, one| one.until_ms > now_ms);
        let stands = |kind: &&'static str| self.asks.contains_key(kind);
        self.became.retain(|kind, (_, known, _)| stands(kind) || known.became == Became::Refused);
        self.changed(News::Urgent);
    }
}

impl<T: Clone> Lease<T> {
    fn new(said: T, valid_for_ms: u32, now_ms: u64) -> Self {
        Self { said, at_ms: now_ms, until_ms: now_ms + u64::from(valid_for_ms) }
    }

    fn leased(&self, now_ms: u64) -> Leased<T> {
        Leased {
            age_ms: bounded(now_ms.saturating_sub(self.at_ms)),
            remaining_ms: bounded(self.until_ms.saturating_sub(now_ms)),
            said: self.said.clone(),
        }
    }
}

/// As much of a text as an answer has room for, without what it may not have.
fn cut(text: String) -> String {
    let mut text: String = text.chars().map(|it| if it.is_control() { ' ' } else { it }).collect();
    text.truncate(text.floor_char_boundary(bounds::MESSAGE_BYTES_MAX));
    text
}

fn bounded(time_ms: u64) -> u32 {
    u32::try_from(time_ms).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
