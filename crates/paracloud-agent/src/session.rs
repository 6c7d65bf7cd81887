//! What an agent knows of one process's session: who it said it is able to be, what it is asked, what it asked for.

use crate::breaches::Breaches;
use crate::doors::Reply;
use crate::durable;
use crate::holds::Holds;
use crate::leases::Leases;
use crate::processes::{self, ProcessDirectory};
use crate::upcalls::Desk;
use paci::call::Call;
use paci::error::{ErrorBody, ErrorCode};
use paci::finding::MoveEstimate;
use paci::state::State;
use paci::upcall::Upcall;
use paci::wire::Message;
use paracloud_core::ids::OperationNumber;
use paracloud_core::migration::message::Offer;
use paracloud_core::register::Mode;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tokio::sync::oneshot;

/// What of a session outlasts the agent.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    /// It has said `Hello` before.
    aware: bool,
    /// What it claimed then.
    capabilities: Vec<String>,
    state: Option<State>,
    #[serde(default)]
    state_message: String,
    holds: Holds,
    /// The last delivery of each operation that this agent may make.
    delivered: Vec<(u32, u32)>,
    /// The highest operation of the register that it was asked something because of; 0: none, or not known.
    #[serde(default)]
    heard: u32,
}

/// Deliveries of an operation that may be made without keeping each: a later agent goes on behind all of them.
const DELIVERIES_AHEAD: u32 = 16;
/// So many of them are left for a pause, in which nothing should be kept: three calls, and each some times more.
const DELIVERIES_OF_A_PAUSE: u32 = 8;

/// See the module.
#[derive(Debug)]
pub(crate) struct Session {
    process: ProcessDirectory,
    /// It has ever said `Hello`.
    pub(crate) aware: bool,
    /// It said `Hello` to this agent.
    pub(crate) greeted: bool,
    pub(crate) capabilities: Vec<String>,
    pub(crate) state: Option<State>,
    /// Why, in its words.
    pub(crate) state_message: String,
    pub(crate) holds: Holds,
    /// What it says of itself for a time.
    pub(crate) leases: Leases,
    pub(crate) desk: Desk,
    /// Answers of it that broke the contract.
    pub(crate) breaches: Breaches,
    /// What must outlast the agent has changed, and was not kept yet.
    pub(crate) unkept: bool,
    /// The last delivery of each operation that was kept as made.
    reserved: BTreeMap<u32, u32>,
    /// The number of what it is asked is one that the register has not issued.
    ahead: bool,
    /// The highest operation of the register that it was asked something because of, and the one that was kept.
    heard: u32,
    heard_kept: u32,
    /// The `Hello` that waits for the register's word, and until when, in the node's milliseconds.
    pub(crate) hello: Option<(oneshot::Sender<Reply>, u64)>,
    /// The version that it asked for.
    pub(crate) version: String,
    poller: Option<oneshot::Sender<Reply>>,
    /// In which mode the move is that it is asked about.
    pub(crate) mode: Mode,
    /// This question was said to be staged.
    pub(crate) staged: bool,
    /// The last offer, so that it can be repeated.
    pub(crate) offer: Option<(OperationNumber, Offer)>,
    /// The estimate that came with it.
    pub(crate) estimate: Option<MoveEstimate>,
    /// What it is asked under the number ahead and has not answered yet.
    pub(crate) asked_ahead: Option<Ahead>,
}

/// A question under the number of the next operation, because of none.
#[derive(Debug)]
pub(crate) struct Ahead {
    /// Answered with this number.
    pub(crate) question: u64,
    /// In which words.
    pub(crate) words: Words,
    /// It is waited for until then, in the node's milliseconds.
    pub(crate) until_ms: u64,
    /// Why its last answer was refused, if one was.
    pub(crate) refused: Option<String>,
}

/// In which words whoever asked hears the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Words {
    /// What it means for a move.
    Preview,
    /// The application's own.
    Answer,
}

impl Session {
    /// The session of a process, as far as an agent before this one kept it.
    pub(crate) fn resumed(process: ProcessDirectory) -> Self {
        let kept: Kept = processes::present(processes::read(&process.session()))
            .inspect_err(|error| tracing::warn!(%error, "what was kept of a session cannot be read"))
            .ok()
            .flatten()
            .unwrap_or_default();
        Self {
            process,
            aware: kept.aware,
            greeted: false,
            capabilities: kept.capabilities,
            state: kept.state,
            state_message: kept.state_message,
            holds: kept.holds,
            leases: Leases::resumed(kept.state),
            desk: Desk::resumed(kept.delivered),
            breaches: Breaches::default(),
            unkept: false,
            reserved: BTreeMap::new(),
            ahead: false,
            heard: kept.heard,
            heard_kept: kept.heard,
            hello: None,
            version: String::new(),
            poller: None,
            mode: Mode::Handoff,
            staged: false,
            offer: None,
            estimate: None,
            asked_ahead: None,
        }
    }

    /// Keeps what must outlast the agent.
    pub(crate) fn keep(&mut self) {
        self.unkept = false;
        let ahead = |(operation, attempt): (u32, u32)| (operation, attempt.saturating_add(DELIVERIES_AHEAD));
        let reserved: BTreeMap<_, _> = self.desk.deliveries().map(ahead).collect();
        let kept = Kept {
            aware: self.aware,
            capabilities: self.capabilities.clone(),
            state: self.state,
            state_message: self.state_message.clone(),
            holds: self.holds.clone(),
            delivered: reserved.clone().into_iter().collect(),
            heard: self.heard,
        };
        let written = serde_json::to_vec(&kept)
            .map_err(std::io::Error::from)
            .and_then(|text| durable::write_whole(&self.process.session(), &text));
        match written {
            Ok(()) => (self.reserved, self.heard_kept) = (reserved, self.heard),
            // Nothing more is reserved: the next delivery tries to keep it again.
            Err(error) => {
                tracing::warn!(%error, "a session could not be kept: after a restart the agent will know less of it");
            }
        }
    }

    /// Whether it claimed a capability.
    pub(crate) fn can(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|claimed| claimed == capability)
    }

    /// Asks because of an operation of the register, and forgets what was asked before.
    pub(crate) fn ask(&mut self, upcall: Upcall, now_ms: u64) {
        (self.staged, self.ahead) = (false, false);
        self.desk.ask(upcall, now_ms);
    }

    /// The same because of no operation, under a number that the register has not issued: nobody hears of it.
    pub(crate) fn ask_ahead(&mut self, upcall: Upcall, now_ms: u64) {
        self.ask(upcall, now_ms);
        self.ahead = true;
    }

    /// It is opened anew. Its machine asks it anew what it is to be asked; that it is to stop is said here.
    pub(crate) fn reopen(&mut self, now_ms: u64) {
        let stop = self.desk.question().filter(|asked| matches!(asked.call, Some(Call::Stop(_)))).cloned();
        self.desk.withdraw();
        if let Some(stop) = stop {
            self.desk.ask(stop, now_ms);
        }
    }

    /// What it is asked, and the operation of the register that it is asked because of, if there is one.
    pub(crate) fn asked(&self) -> Option<(Option<OperationNumber>, &'static str)> {
        let upcall = self.desk.open()?;
        let operation = (!self.ahead).then_some(OperationNumber(upcall.operation));
        Some((operation, upcall.call.as_ref()?.name()))
    }

    /// The highest operation of the register that it was asked something because of.
    pub(crate) fn heard(&self) -> OperationNumber {
        OperationNumber(self.heard)
    }

    /// Whether it was told how an operation ends, after which it refuses to stop because of it.
    pub(crate) fn has_closed(&self, operation: OperationNumber) -> bool {
        self.desk.question().is_some_and(|asked| {
            let closes = matches!(asked.call, Some(Call::Resume(_) | Call::Serve(_) | Call::Abort(_)));
            closes && asked.operation == operation.0 && asked.attempt > 0
        })
    }

    /// A new poller takes the place of the one before.
    pub(crate) fn poll(&mut self, poller: oneshot::Sender<Reply>) {
        let newer = ErrorBody::new(ErrorCode::Superseded, "a newer Next of this instance came");
        if let Some(older) = self.poller.replace(poller) {
            let _ = older.send(Err(newer));
        }
    }

    /// Keeps what has changed: now, or once the pause is over that clients may wait in.
    pub(crate) fn keep_soon(&mut self, pauses: bool) {
        self.unkept = true;
        if !pauses {
            self.keep();
        }
    }

    /// Hands a delivery that is due to who waits for it; `pauses`: clients may wait for it. Says whether the application
    /// has just become silent.
    pub(crate) fn deliver(&mut self, now_ms: u64, pauses: bool) -> bool {
        self.desk.wait(now_ms);
        if self.poller.as_ref().is_none_or(oneshot::Sender::is_closed) {
            self.desk.miss(now_ms);
            return self.desk.falls_silent();
        }
        let Some(upcall) = self.desk.deliver(now_ms) else { return self.desk.falls_silent() };
        let silent = self.desk.falls_silent();
        // Before it leaves: no later agent may use this number again.
        let left = if pauses { 0 } else { DELIVERIES_OF_A_PAUSE };
        let wanted = upcall.attempt.saturating_add(left);
        if !self.ahead {
            self.heard = self.heard.max(upcall.operation);
        }
        // In a pause a record has its number.
        let is_news = self.heard > self.heard_kept && !pauses;
        if is_news || self.reserved.get(&upcall.operation).is_none_or(|reserved| wanted > *reserved) {
            self.keep();
        }
        let handed = self.poller.take().is_some_and(|poller| poller.send(Ok(Some(upcall.write()))).is_ok());
        if !handed {
            self.desk.returned();
        }
        silent
    }

    /// When there is something to do for it.
    pub(crate) fn due_ms(&self) -> Option<u64> {
        let waits = self.poller.as_ref().is_some_and(|poller| !poller.is_closed());
        let delivery = if waits { self.desk.due_ms() } else { self.desk.misses_ms() };
        let hello = self.hello.as_ref().map(|(_, until)| *until);
        let ahead = self.asked_ahead.as_ref().map(|ahead| ahead.until_ms);
        let due =
            [delivery, self.desk.lapses_ms(), self.desk.overdue_ms(), hello, ahead, self.leases.due_ms()];
        due.into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paci::call::{Call, Prepare, Seal};
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_delivery_that_could_not_be_kept_reserves_none_of_those_behind_it() {
        let parent = tempfile::tempdir().unwrap();
        let process = ProcessDirectory::at(parent.path().join("not there yet"));
        let mut session = Session::resumed(process.clone());
        let mut deliver = || {
            let call = Some(Call::Seal(Seal::default()));
            session.ask(Upcall { operation: 7, call, ..Upcall::default() }, 0);
            let (poller, _polls) = oneshot::channel();
            session.poll(poller);
            session.deliver(0, false);
        };
        deliver();
        std::fs::create_dir(process.path()).unwrap();
        deliver();
        let kept: Kept = processes::read(&process.session()).unwrap();
        assert!(kept.delivered.iter().all(|(operation, last)| (*operation, *last > 2) == (7, true)));
        assert_eq!(Session::resumed(process).desk.deliveries().count(), 1);
    }

    #[test]
    fn however_often_a_copy_was_asked_for_numbers_for_a_pause_are_left() {
        let parent = tempfile::tempdir().unwrap();
        let process = ProcessDirectory::at(parent.path().to_path_buf());
        for copies in 1..=40 {
            let mut session = Session::resumed(process.clone());
            let mut deliver = |call, pauses| {
                session.ask(Upcall { operation: 7, call: Some(call), ..Upcall::default() }, 0);
                let (poller, mut polls) = oneshot::channel();
                session.poll(poller);
                session.deliver(0, pauses);
                assert!(polls.try_recv().is_ok(), "it was delivered");
            };
            (0..copies).for_each(|_| deliver(Call::Prepare(Prepare::default()), false));
            // A file that is written anew is another one.
            let file = || std::fs::metadata(process.session()).unwrap().ino();
            let before = file();
            (0..DELIVERIES_OF_A_PAUSE).for_each(|_| deliver(Call::Seal(Seal::default()), true));
            assert_eq!(file(), before, "after {copies} deliveries before the pause");
            let Kept { delivered, .. } = processes::read(&process.session()).unwrap();
            assert!(
                delivered.iter().all(|(_, kept)| *kept >= copies + DELIVERIES_OF_A_PAUSE),
                "{delivered:?}"
            );
            std::fs::remove_file(process.session()).unwrap();
        }
    }
}
