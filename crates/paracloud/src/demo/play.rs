//! What is shown, in which order, and what is said of it meanwhile.

use super::Options;
use super::clients::{Clients, REQUESTS_PER_S, SOCKETS};
use super::cloud::Cloud;
use super::parked::Mark;
use super::place::{APP, Place};
use super::report::{Report, Window};
use crate::failure::{Exit, Failure};
use crate::figures::{bytes, micros, millis};
use crate::output::{Format, tell};
use paracloud_core::ids::NodeId;
use paracloud_core::migration::promises::{Point, Promise};
use paracloud_substrate::person::Outcome;
use std::time::{Duration, Instant};
use tokio::time::sleep;

const N1: NodeId = NodeId(1);
const N2: NodeId = NodeId(2);
/// Findings of one audit that are reported one by one.
const FINDINGS_MAX: usize = 10;

/// Tells people what happens, with the time since the beginning.
#[derive(Debug)]
pub(super) struct Teller {
    format: Format,
    began: Instant,
}

impl Teller {
    /// From now on.
    pub(super) fn new(format: Format) -> Self {
        Self { format, began: Instant::now() }
    }

    /// For whom.
    pub(super) fn format(&self) -> Format {
        self.format
    }

    /// Says a line. Programs hear only the end.
    pub(super) fn tell(&self, text: &str) {
        if self.format == Format::Text {
            tell(&format!("{:>5.1} s  {text}", self.began.elapsed().as_secs_f64()));
        }
    }
}

/// Shows everything.
///
/// # Errors
/// A part cannot be run, or does not answer.
pub(super) async fn play(
    cloud: &mut Cloud,
    place: &Place,
    options: &Options,
    teller: &Teller,
) -> Result<Report, Failure> {
    let state = bytes(u64::from(options.state_mib) << 20);
    teller.tell(&format!("starting a cloud of two nodes, and {APP} with {state} in memory"));
    cloud.serving().await?;
    teller.tell(&format!("{APP} serves on n1; clients connect through two gateways"));
    let clients = Clients::start(place, options.state_mib).await?;
    teller.tell(&format!("{REQUESTS_PER_S} requests a second of ten writes each, {SOCKETS} WebSockets"));
    let window = Duration::from_millis(options.window_ms);
    let mut stage = Stage { cloud, clients, teller, window };
    // Sessions connect, and memory is touched for the first time.
    sleep(window / 4).await;
    let control = stage.control().await?;
    let there = stage.moves("n1 to n2", N2).await?;
    let back = stage.moves("n2 to n1", N1).await?;
    let killed = stage.moves_and_is_killed("kill -9", N2).await?;
    Ok(Report { state_mib: options.state_mib, windows: vec![control, there, back, killed] })
}

struct Stage<'a> {
    cloud: &'a Cloud,
    clients: Clients,
    teller: &'a Teller,
    /// The least length of each window.
    window: Duration,
}

impl Stage<'_> {
    async fn control(&mut self) -> Result<Window, Failure> {
        self.teller.tell(&format!("first {} without a move, to compare with", shown(self.window)));
        let (mark, _) = self.begin("control").await?;
        sleep(self.window).await;
        self.end("control", false, &mark, None).await
    }

    async fn moves(&mut self, name: &str, to: NodeId) -> Result<Window, Failure> {
        let (mark, began) = self.begin(name).await?;
        sleep(self.window / 4).await;
        self.teller.tell(&format!("moving it to {to} while they go on"));
        let outcome = self.cloud.moved(to).await?;
        self.teller.tell(&format!("{}; {}", how(&outcome), waited(&outcome)));
        self.rest(began).await;
        self.end(name, false, &mark, Some(outcome)).await
    }

    /// The controller has told the source to close its gate, and is killed before anybody answers.
    async fn moves_and_is_killed(&mut self, name: &str, to: NodeId) -> Result<Window, Failure> {
        let (mark, began) = self.begin(name).await?;
        sleep(self.window / 4).await;
        self.teller.tell(&format!("moving it to {to} once more"));
        let armed = self.cloud.arm(Promise::Seal, Point::AfterSend)?;
        let mut following = Box::pin(self.cloud.moved(to));
        tokio::select! {
            outcome = &mut following => {
                let outcome = outcome?;
                let why = format!("its last move ended before its controller could be killed: {}", how(&outcome));
                return Err(Failure::new(Exit::Failed, "late", APP, why, ""));
            }
            () = armed.fired() => self.cloud.kill_controller()?,
        }
        self.teller.tell("the app was told to close its gate, and the controller is dead: kill -9");
        let outcome = following.await?;
        self.teller
            .tell(&format!("a new controller read the journal and ended the move: {}", word(&outcome)));
        self.cloud.settled().await?;
        self.rest(began).await;
        self.end(name, true, &mark, Some(outcome)).await
    }

    async fn begin(&mut self, name: &str) -> Result<(Mark, Instant), Failure> {
        let mark = Mark::set(self.cloud.layout());
        self.clients.begin(name).await?;
        Ok((mark, Instant::now()))
    }

    /// As much time behind a move as before it, and no less than the window has.
    async fn rest(&self, began: Instant) {
        sleep(self.window.saturating_sub(began.elapsed()).max(self.window / 4)).await;
    }

    async fn end(
        &mut self,
        name: &str,
        killed: bool,
        mark: &Mark,
        outcome: Option<Outcome>,
    ) -> Result<Window, Failure> {
        let (seen, audited) = self.clients.end(name).await?;
        let parked = mark.since().map_err(|error| Failure::machine("a gateway's log of waits", &error))?;
        let mut findings = audited.writes.findings;
        findings.truncate(FINDINGS_MAX);
        let window = Window {
            name: name.to_owned(),
            killed,
            outcome,
            seen,
            lost: audited.writes.lost,
            doubled: audited.writes.duplicated,
            findings,
            sockets: audited.sockets,
            parked,
        };
        self.teller.tell(&format!(
            "compared: {} writes lost, {} doubled; worst gap between answers {}",
            window.lost,
            window.doubled,
            window.gap(),
        ));
        Ok(window)
    }
}

fn shown(duration: Duration) -> String {
    millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

fn how(outcome: &Outcome) -> String {
    let total = millis(outcome.total_ms);
    if outcome.committed {
        return format!("it serves on {}, moved in {total}", outcome.node);
    }
    let cause = outcome.cause.as_deref().unwrap_or("of unknown cause");
    format!("it stays on {}, rolled back after {total} ({cause})", outcome.node)
}

fn waited(outcome: &Outcome) -> String {
    match outcome.parked {
        0 => "no request had to wait".to_owned(),
        _ => format!("requests waited {} at most", micros(outcome.parked_us_max)),
    }
}

fn word(outcome: &Outcome) -> String {
    let word = if outcome.committed { "committed" } else { "rolled back" };
    format!("{word}; it serves on {}", outcome.node)
}
