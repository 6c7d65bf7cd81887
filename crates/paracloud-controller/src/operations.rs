//! An operation, from its command to its outcome: what people hear of it. Nothing is decided by it.

use crate::journal::{NODE_LOST, now_unix_ms};
use crate::recovery::Past;
use paci::finding::MoveEstimate;
use paci::upcall::Reason;
use paracloud_core::ids::{GatewayId, OperationNumber, StartId};
use paracloud_core::migration::Phase;
use paracloud_core::register::{Change, Mode, MoveStep, Record, Step};
use paracloud_substrate::config::App;
use paracloud_substrate::message::{Note, Terms};
use paracloud_substrate::person::{Consent, Kind, Loss, Outcome, Progress, falls_back, fell_back};
use paracloud_substrate::seen::{Account, Accounts};
use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// The shortest time between two words about a copy's progress.
pub(crate) const PROGRESS_EVERY: Duration = Duration::from_millis(200);
/// How far back a rate looks.
pub(crate) const RATE_OVER: Duration = Duration::from_secs(1);
/// Counts that a rate is made of.
const SAMPLES_MAX: usize = 64;
/// How long an outcome waits for what gateways have to say of the pause.
pub(crate) const FIGURES_WAIT: Duration = Duration::from_secs(1);

/// What a committed move cost when its owner crashed before it was over.
const DIED_SERVING: &str =
    "the target's process died when it served, and was started anew: what only it held is lost";
/// What a move that was rolled back cost when its source was dead by then.
const DIED_AS_SOURCE: &str = "the source's process died, and was started anew: what only it held is lost";
/// What ended a change of size whose owner was replaced.
const DIED_RESIZING: &str = "the owner's process died, and was started anew";

/// See the module.
#[derive(Debug)]
pub(crate) struct Tracker {
    pub(crate) operation: OperationNumber,
    begun: Instant,
    begun_unix_ms: u64,
    /// What passed before this controller began, in milliseconds.
    before_ms: u64,
    /// Those that ended, in microseconds.
    phases: Vec<(Phase, u64)>,
    /// All of its phases are known.
    knows_phases: bool,
    current: Option<(Phase, Instant)>,
    pub(crate) cause: Option<String>,
    /// What it was given up for passes.
    may_pass: bool,
    /// The last trouble told before that.
    because: Option<Note>,
    /// The source, once it is to be stopped: its end is no trouble.
    stopped: Option<StartId>,
    /// What was agreed on for it.
    pub(crate) terms: Terms,
    /// Why it was opened.
    pub(crate) reason: Reason,
    /// Its owner was replaced because a person gave a node up.
    node_lost: bool,
    /// Gateways were told to park.
    pub(crate) parks: bool,
    state_bytes: Option<u64>,
    predicted_pause_ms: Option<u32>,
    /// `None`: what crossed before this controller began is not known, and nothing was counted since.
    carried_bytes: Option<u64>,
    samples: VecDeque<(Instant, u64)>,
    accounts: Accounts,
    /// Gateways that have said all that their clients saw.
    heard: BTreeSet<GatewayId>,
    told: Option<Instant>,
}

impl Tracker {
    /// An operation that a command opened at `begun`, for this reason.
    pub(crate) fn new(operation: OperationNumber, begun: Instant, terms: Terms, reason: Reason) -> Self {
        Self {
            operation,
            begun,
            begun_unix_ms: now_unix_ms().saturating_sub(millis(begun.elapsed())),
            before_ms: 0,
            phases: Vec::new(),
            knows_phases: true,
            current: None,
            cause: None,
            may_pass: false,
            because: None,
            stopped: None,
            terms,
            reason,
            node_lost: false,
            parks: false,
            state_bytes: None,
            predicted_pause_ms: None,
            carried_bytes: Some(0),
            samples: VecDeque::new(),
            accounts: Accounts::default(),
            heard: BTreeSet::new(),
            told: None,
        }
    }

    /// An operation that was open when the controller before this one ended. What was agreed on for it is forgotten: one
    /// that was not sealed yet is given up.
    pub(crate) fn recovered(operation: OperationNumber, past: Option<Past>) -> Self {
        let mut tracker = Self::new(operation, Instant::now(), Terms::default(), Reason::Person);
        (tracker.carried_bytes, tracker.knows_phases) = (None, false);
        let Some(past) = past.filter(|past| past.operation == operation) else { return tracker };
        tracker.knows_phases = true;
        let now = now_unix_ms();
        tracker.before_ms = now.saturating_sub(past.begun_unix_ms);
        tracker.begun_unix_ms = past.begun_unix_ms;
        tracker.phases = past.phases;
        if let Some((phase, since)) = past.current {
            tracker.phases.push((phase, now.saturating_sub(since) * 1000));
        }
        tracker.cause = past.cause;
        tracker.parks = past.parked;
        tracker.state_bytes = past.state_bytes;
        tracker.accounts = past.accounts;
        tracker
    }

    /// A phase began, and the one before it ended.
    pub(crate) fn enter(&mut self, phase: Phase) {
        self.end_phase();
        self.current = Some((phase, Instant::now()));
    }

    /// Whether it was ever in this phase, as far as that is known.
    fn may_have_entered(&self, phase: Phase) -> bool {
        let ended = self.phases.iter().map(|(ended, _)| *ended);
        !self.knows_phases || ended.chain(self.current.map(|(current, _)| current)).any(|it| it == phase)
    }

    fn end_phase(&mut self) {
        if let Some((phase, since)) = self.current.take() {
            self.phases.push((phase, u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)));
        }
    }

    /// The register changed. The first cause is the one that counts.
    pub(crate) fn swapped(&mut self, change: &Change, before: &Record, record: &Record) {
        self.parks |= record.step() == Some(Step::Sealing);
        if matches!(change, Change::Depart) {
            self.stopped = self.stopped.or(Some(before.owner.start));
        }
        let restarted = record.moving().filter(|it| it.mode == Mode::Restart && it.step == MoveStep::Sealing);
        self.stopped = self.stopped.or_else(|| restarted.map(|operation| operation.source.start));
        let cause = match change {
            Change::Restart { .. } if before.step() == Some(Step::Resizing) => DIED_RESIZING.to_owned(),
            Change::RollBack(cause) | Change::Return(cause) | Change::Keep(cause) => {
                self.may_pass |= self.cause.is_none() && cause.is_passing();
                cause.to_string()
            }
            Change::Doom => "the target did not get ready within its budget, and was ended".to_owned(),
            Change::Restart { .. } if falls_back("restart", before) => {
                self.cause = Some(fell_back(self.cause.as_deref()));
                return;
            }
            Change::Promote => "the target died before it had served".to_owned(),
            // It explains what went wrong before: a channel breaks with either end.
            Change::Restart { .. } if record.step() == Some(Step::Undo) => {
                let target = record.moving().map(|operation| operation.target.start);
                self.cause = Some(DIED_AS_SOURCE.to_owned());
                self.because.take_if(|note| target.is_some_and(|target| note.is_failure_of(target)));
                return;
            }
            Change::Replace(_) => {
                self.node_lost = true;
                NODE_LOST.to_owned()
            }
            Change::Restart { .. } if record.step() == Some(Step::Retire) => DIED_SERVING.to_owned(),
            Change::Open { .. }
            | Change::Seal
            | Change::Commit
            | Change::Serve(_)
            | Change::Restart { .. }
            | Change::Close
            | Change::Leave
            | Change::DrainAgain
            | Change::Depart
            | Change::Gone
            | Change::Start(_)
            | Change::Resize(_)
            | Change::Resized => return,
        };
        self.cause.get_or_insert(cause);
    }

    /// Something went wrong, or it came to a new size. What comes after the cause is not its reason.
    pub(crate) fn troubled(&mut self, note: &Note) {
        // That it is not ready yet says less than what was told of it before.
        let says_less = matches!(note, Note::Unready { .. }) && self.because.is_some();
        let is_ordered = matches!(note, Note::Ended { start, .. } if self.stopped == Some(*start));
        let says_how = note.is_trouble() || note.is_new_size();
        if self.cause.is_none() && says_how && !says_less && !is_ordered {
            self.because = Some(note.clone());
        }
    }

    /// What the application answered last and did not consent with, as it goes on after why it was given up.
    pub(crate) fn put_off(&self) -> Option<String> {
        match self.because.as_ref()? {
            Note::Reason(said) => Some(format!("; it said: {said}")),
            Note::Breach { what, .. } => Some(format!("; it broke the contract: {what}")),
            Note::Estimate(_)
            | Note::Remark { .. }
            | Note::Carried { .. }
            | Note::Copying { .. }
            | Note::Blocked { .. }
            | Note::Ended { .. }
            | Note::Unready { .. }
            | Note::Unresponsive { .. }
            | Note::Awaited { .. }
            | Note::Failure { .. }
            | Note::Sized(_) => None,
        }
    }

    /// The application said how large its state is, and in which form it travels.
    pub(crate) fn estimated(&mut self, estimate: &MoveEstimate) {
        self.state_bytes = estimate.state_kib.map(|kib| u64::from(kib) * 1024);
        self.terms.schema.clone_from(&estimate.schema);
    }

    /// An agent counted what crossed the channel.
    pub(crate) fn carried(&mut self, bytes: u64) {
        self.carried_bytes = self.carried_bytes.max(Some(bytes));
        let now = Instant::now();
        self.samples.push_back((now, self.carried_bytes.unwrap_or(bytes)));
        let old = |since: Instant| now.duration_since(since) > RATE_OVER;
        while self.samples.len() > SAMPLES_MAX || self.samples.get(1).is_some_and(|(since, _)| old(*since)) {
            self.samples.pop_front();
        }
    }

    /// The source said what a pause would last now.
    pub(crate) fn predicted(&mut self, pause_ms: u32) {
        self.predicted_pause_ms = Some(pause_ms);
    }

    /// A gateway said what its clients saw, and with `is_last` all of it. `false`: that is known, or of a pause before.
    pub(crate) fn parked(&mut self, gateway: GatewayId, account: &Account, is_last: bool) -> bool {
        if account.began_unix_us < self.begun_unix_ms.saturating_mul(1000) {
            return false;
        }
        if is_last {
            self.heard.insert(gateway);
        }
        self.accounts.hear(gateway.0, account)
    }

    /// Whether this gateway has said all of it.
    pub(crate) fn has_heard(&self, gateway: GatewayId) -> bool {
        self.heard.contains(&gateway)
    }

    /// How far the copy is, if it is time to say so again.
    pub(crate) fn progress(&mut self) -> Option<Progress> {
        if self.told.is_some_and(|told| told.elapsed() < PROGRESS_EVERY) {
            return None;
        }
        self.told = Some(Instant::now());
        let rate_bytes_per_s = self.rate_bytes_per_s();
        let carried_bytes = self.carried_bytes.unwrap_or_default();
        let left = self.state_bytes.map(|state| state.saturating_sub(carried_bytes));
        Some(Progress {
            carried_bytes,
            state_bytes: self.state_bytes,
            rate_bytes_per_s,
            eta_ms: left.and_then(|left| left.saturating_mul(1000).checked_div(rate_bytes_per_s)),
            predicted_pause_ms: self.predicted_pause_ms,
        })
    }

    fn rate_bytes_per_s(&self) -> u64 {
        let (Some((since, first)), Some((until, last))) = (self.samples.front(), self.samples.back()) else {
            return 0;
        };
        let micros = u64::try_from(until.duration_since(*since).as_micros()).unwrap_or(u64::MAX);
        (last - first).saturating_mul(1_000_000).checked_div(micros).unwrap_or(0)
    }

    /// The operation was closed: `open` is its last record with it open, `closed` the one after it. What gateways
    /// say later is added by [`Tracker::conclude`].
    pub(crate) fn close(&mut self, app: &App, open: &Record, closed: &Record) -> Outcome {
        self.end_phase();
        let moved = open.moving();
        let kind = open.operation.as_ref().map(Kind::of).unwrap_or_default();
        let committed = match kind {
            Kind::Move => open.step() == Some(Step::Retire),
            Kind::Leave => closed.gone,
            Kind::Resize => {
                open.resize().is_some_and(|it| closed.size == Some(it.to)) && self.cause.is_none()
            }
        };
        // Who tried to call back one that had left came too late.
        let cause = self.cause.clone().filter(|_| !closed.gone);
        let mode = moved.map_or(Mode::Handoff, |operation| operation.mode);
        let state_lost = moved.map_or_else(
            || closed.gone && self.terms.loss_accepted,
            |operation| operation.loses_state(closed.owner.start),
        );
        let here_ms = millis(self.begun.elapsed());
        Outcome {
            instance: app.name.clone(),
            operation: self.operation,
            kind,
            mode,
            committed,
            state_lost: state_lost && !app.is_stateless(),
            because: self.because.clone().filter(|note| {
                let died = closed.gone && note.is_end_of(open.owner.start);
                cause.is_some() || note.is_new_size() || died
            }),
            may_pass: self.may_pass && cause.is_some(),
            cause,
            node: closed.owner.node,
            incarnation: closed.incarnation.0,
            phases: self.phases.clone(),
            total_ms: self.before_ms.saturating_add(here_ms),
            carried_bytes: None,
            parked: 0,
            parked_us_max: 0,
            failed: 0,
            uploads_failed: 0,
            streams_cut: 0,
            websockets_closed: 0,
            clients_known: false,
        }
    }

    /// With what the state is lost when the operation is closed, and with whose consent; `None`: it is not lost, or
    /// there is none.
    pub(crate) fn loss(&self, app: &App, open: &Record, closed: &Record) -> Option<(Loss, Consent)> {
        if closed.gone {
            // Who goes by its own word has nothing more to lose.
            let consented = self.terms.loss_accepted && !app.is_stateless();
            let consent = if app.accept_loss { Consent::Manifest } else { Consent::Person };
            return consented.then_some((Loss::Leave, consent));
        }
        let operation = open.moving().filter(|it| it.loses_state(closed.owner.start))?;
        let (by, consent) = match operation.mode {
            _ if self.node_lost => (Loss::Node, Consent::Person),
            Mode::Handoff => (Loss::Death, Consent::Nobody),
            // Its source died by itself: it was never to be stopped.
            Mode::Restart if !self.may_have_entered(Phase::Seal) => (Loss::Death, Consent::Nobody),
            // What was agreed on is forgotten by a controller that is started later; without the manifest's consent
            // there was a person's.
            Mode::Restart if self.terms.loss_accepted || !app.accept_loss => (Loss::Restart, Consent::Person),
            Mode::Restart => (Loss::Restart, Consent::Manifest),
        };
        (!app.is_stateless()).then_some((by, consent))
    }

    /// What gateways have said, and what crossed the channel. With `clients_known` no gateway has more to say.
    pub(crate) fn conclude(&self, outcome: &mut Outcome, clients_known: bool) {
        outcome.saw(&self.accounts);
        outcome.clients_known = clients_known;
        // Only a handoff has a channel.
        let nothing = (outcome.mode == Mode::Restart || outcome.kind != Kind::Move).then_some(0);
        outcome.carried_bytes = self.carried_bytes.or(nothing);
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
