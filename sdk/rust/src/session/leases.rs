//! Tells the agent what the program says of itself for a time: its report, renewed while the value stands, announcements
//! and asks. After each Hello all that still counts is told again.

use super::agent::{Agent, CallError};
use super::backoff::Backoff;
use super::driver::ms;
use super::readiness::is_final;
use paci::announcement::{AnnounceRequest, AnnounceResponse};
use paci::ask::{AskRequest, AskResponse, Became, Wish};
use paci::http::Route;
use paci::report::Report;
use paci::wire::Message;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

/// Words that wait to be said.
pub(crate) const WORDS_MAX: usize = 64;
/// Between two reports at least: a newer value in between takes the place of the older.
const GAP: Duration = Duration::from_millis(20);
/// Reports in the time that one is valid for: two may be lost.
const RENEWALS: u32 = 3;
/// A report that the program has not said again for so long is not renewed any more: it may hang.
pub(crate) const STANDS: Duration = Duration::from_secs(60);

/// A report, and when the program said it.
#[derive(Debug, Clone)]
pub(crate) struct Reported {
    pub(crate) report: Report,
    pub(crate) at: Instant,
}

/// What the program says, and who waits for the agent's word.
#[derive(Debug)]
pub(crate) enum Word {
    /// Of demand that is coming.
    Announce(AnnounceRequest, oneshot::Sender<Result<AnnounceResponse, CallError>>),
    /// Of what it wants done with itself.
    Ask(AskRequest, oneshot::Sender<Result<AskResponse, CallError>>),
}

/// Where the program's words come from.
#[derive(Debug)]
pub(crate) struct Sources {
    pub(crate) report: watch::Receiver<Option<Reported>>,
    pub(crate) words: mpsc::Receiver<Word>,
}

/// What was said and still counts.
#[derive(Debug, Default)]
struct Standing {
    announcements: BTreeMap<String, (AnnounceRequest, Instant)>,
    asks: BTreeMap<&'static str, (AskRequest, Instant)>,
}

/// When the report is to be said again.
#[derive(Debug, Default)]
struct Pace {
    said: Option<Instant>,
    due: Option<Instant>,
    backoff: Backoff,
}

pub(super) async fn tell(path: PathBuf, sources: Sources, mut greetings: watch::Receiver<u32>) {
    let Sources { mut report, mut words } = sources;
    let mut agent = Agent::new(path);
    let mut standing = Standing::default();
    let mut pace = Pace::default();
    // Before the first Hello nothing of it is taken.
    if greetings.changed().await.is_err() {
        return;
    }
    pace.due = Some(Instant::now());
    loop {
        let due = pace.due;
        tokio::select! {
            word = words.recv() => match word {
                Some(word) => standing.say(&mut agent, word).await,
                None => return,
            },
            greeted = greetings.changed() => {
                if greeted.is_err() {
                    return;
                }
                standing.say_again(&mut agent).await;
                pace = Pace { due: Some(Instant::now()), ..Pace::default() };
            }
            changed = report.changed() => {
                if changed.is_err() {
                    return;
                }
                pace.changed();
            }
            () = until(due) => {
                let said = report.borrow_and_update().clone();
                pace.tell(&mut agent, said).await;
            }
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

impl Pace {
    fn changed(&mut self) {
        let soonest = self.said.map_or_else(Instant::now, |said| said + GAP);
        self.due = Some(self.due.map_or(soonest, |due| due.min(soonest)));
    }

    async fn tell(&mut self, agent: &mut Agent, said: Option<Reported>) {
        self.due = None;
        let Some(Reported { report, at }) = said.filter(|said| said.at.elapsed() < STANDS) else { return };
        let told = agent.call(&Route::Report, report.write(), Duration::ZERO).await;
        let now = Instant::now();
        self.said = Some(now);
        let next = match told {
            Ok(_) => {
                self.backoff.reset();
                Duration::from_millis(u64::from(report.valid_for_ms)) / RENEWALS
            }
            Err(error) => {
                tracing::debug!(%error, "the report was not taken");
                if is_final(&error) {
                    return;
                }
                self.backoff.next()
            }
        };
        self.due = Some(now + next.max(GAP)).filter(|due| *due < at + STANDS);
    }
}

impl Standing {
    async fn say(&mut self, agent: &mut Agent, word: Word) {
        match word {
            Word::Announce(request, answer) => {
                let told = announce(agent, &request).await;
                self.announcements.remove(&request.id);
                if !request.revokes() && counts(&told) {
                    self.announcements.insert(request.id.clone(), (request, Instant::now()));
                }
                // Who does not wait any more does not want to know.
                let _ = answer.send(told);
            }
            Word::Ask(request, answer) => {
                let told = ask(agent, &request).await;
                if let Some(wish) = request.wish.as_ref().map(Wish::name) {
                    self.asks.remove(wish);
                    let is_refused = told.as_ref().is_ok_and(|told| told.became == Became::Refused);
                    if request.valid_for_ms > 0 && counts(&told) && !is_refused {
                        self.asks.insert(wish, (request, Instant::now()));
                    }
                }
                let _ = answer.send(told);
            }
        }
    }

    /// Says all that still counts, to an agent that has forgotten it.
    async fn say_again(&mut self, agent: &mut Agent) {
        self.announcements.retain(|_, (request, at)| announced(request, ms(at.elapsed())).is_some());
        self.asks.retain(|_, (request, at)| asked(request, ms(at.elapsed())).is_some());
        for (request, at) in self.announcements.values() {
            let Some(left) = announced(request, ms(at.elapsed())) else { continue };
            if let Err(error) = announce(agent, &left).await {
                tracing::debug!(%error, "an announcement was not taken");
            }
        }
        for (request, at) in self.asks.values() {
            let Some(left) = asked(request, ms(at.elapsed())) else { continue };
            if let Err(error) = ask(agent, &left).await {
                tracing::debug!(%error, "an ask was not taken");
            }
        }
    }
}

/// What is left of an announcement so long after it was made, if anything is.
fn announced(request: &AnnounceRequest, passed_ms: u32) -> Option<AnnounceRequest> {
    let begun_ms = passed_ms.saturating_sub(request.begins_in_ms);
    let begins_in_ms = request.begins_in_ms.saturating_sub(passed_ms);
    let lasts_ms = request.lasts_ms.saturating_sub(begun_ms);
    (passed_ms < request.ends_in_ms()).then(|| AnnounceRequest { begins_in_ms, lasts_ms, ..request.clone() })
}

/// What is left of an ask so long after it was made, if anything is.
fn asked(request: &AskRequest, passed_ms: u32) -> Option<AskRequest> {
    let valid_for_ms = request.valid_for_ms.saturating_sub(passed_ms);
    (valid_for_ms > 0).then(|| AskRequest { valid_for_ms, ..request.clone() })
}

/// Whether what was told counts, or will once there is an agent to tell.
fn counts<T>(told: &Result<T, CallError>) -> bool {
    told.as_ref().err().is_none_or(|error| !is_final(error))
}

async fn announce(agent: &mut Agent, request: &AnnounceRequest) -> Result<AnnounceResponse, CallError> {
    let route = Route::Announce { id: request.id.clone() };
    let body = agent.call(&route, request.write(), Duration::ZERO).await?.unwrap_or_default();
    AnnounceResponse::read(&body).map_err(|error| CallError::Refused(error.into()))
}

async fn ask(agent: &mut Agent, request: &AskRequest) -> Result<AskResponse, CallError> {
    let body = agent.call(&Route::Ask, request.write(), Duration::ZERO).await?.unwrap_or_default();
    AskResponse::read(&body).map_err(|error| CallError::Refused(error.into()))
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    /// Counts calls, and takes each.
    async fn take_all(listener: UnixListener, calls: Arc<AtomicU32>) {
        let (mut stream, _) = listener.accept().await.expect("the socket is there");
        let mut buffer = vec![0; 4_096];
        while stream.read(&mut buffer).await.is_ok_and(|bytes| bytes > 0) {
            calls.fetch_add(1, Ordering::SeqCst);
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
            if stream.write_all(answer).await.is_err() {
                return;
            }
        }
    }

    #[test]
    fn of_an_announcement_first_what_is_before_it_passes_and_then_itself() {
        let request = AnnounceRequest { begins_in_ms: 1_000, lasts_ms: 500, ..AnnounceRequest::default() };
        let left = |passed_ms| announced(&request, passed_ms).map(|left| (left.begins_in_ms, left.lasts_ms));
        assert_eq!([left(0), left(1_000)], [Some((1_000, 500)), Some((0, 500))]);
        assert_eq!([left(400), left(1_499)], [Some((600, 500)), Some((0, 1))]);
        assert_eq!([left(1_500), left(u32::MAX)], [None; 2]);
    }

    #[test]
    fn an_ask_counts_as_long_as_it_did_before() {
        let request = AskRequest { valid_for_ms: 1_000, ..AskRequest::default() };
        let left = |passed_ms| asked(&request, passed_ms).map(|left| left.valid_for_ms);
        assert_eq!([left(0), left(999)], [Some(1_000), Some(1)]);
        assert_eq!([left(1_000), left(u32::MAX)], [None; 2], "0 would take it back");
    }

    #[tokio::test]
    async fn a_value_that_the_program_has_not_said_for_a_minute_is_renewed_no_more() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("paci.sock");
        let calls = Arc::new(AtomicU32::new(0));
        let listener = UnixListener::bind(&path).expect("a socket");
        tokio::spawn(take_all(listener, calls.clone()));
        let (mut agent, mut pace) = (Agent::new(path), Pace::default());
        let report = Report { valid_for_ms: 3_000, ..Report::default() };
        let now = Instant::now();
        let at = |ago: Duration| now.checked_sub(ago).map(|at| Reported { report: report.clone(), at });
        pace.tell(&mut agent, at(Duration::ZERO)).await;
        assert!(pace.due.is_some_and(|due| due <= now + Duration::from_secs(30)), "{pace:?}");
        pace.tell(&mut agent, at(STANDS - Duration::from_millis(900))).await;
        assert_eq!((pace.due, calls.load(Ordering::SeqCst)), (None, 2), "the next would be too late");
        pace.tell(&mut agent, at(STANDS)).await;
        assert_eq!((pace.due, calls.load(Ordering::SeqCst)), (None, 2));
        // Said anew, it stands anew.
        pace.changed();
        pace.tell(&mut agent, at(Duration::ZERO)).await;
        assert!(pace.due.is_some());
    }
}
