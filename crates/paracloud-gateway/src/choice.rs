//! One request and the instance that was chosen for it.

use crate::backends::Backends;
use crate::control::Control;
use crate::sessions::SessionId;
use crate::sticky::Marked;
use hyper::StatusCode;
use paracloud_core::balancing::Sent;
use std::sync::Arc;
use std::time::Instant;

/// What is known of a request when its instance is chosen.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wish {
    /// The session that it is of.
    pub(crate) session: Option<Marked>,
    /// Not this one, if there is another.
    pub(crate) but: Option<u32>,
    /// It came only now.
    pub(crate) is_new: bool,
    /// When its client waits no longer, if it has said so.
    pub(crate) deadline: Option<Instant>,
    /// When its wait has to end that began before this choice.
    pub(crate) latest: Option<Instant>,
}

/// The session of a request at the instance that was chosen for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    /// It lives there, and did so before.
    pub(crate) lives_here: bool,
}

/// Why no instance was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unplaced {
    /// Too many requests wait for the first instance already.
    Full,
    /// None took it in time.
    Nobody,
    /// Its client waits no longer.
    Late,
}

/// The instance that a request goes to.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) control: Arc<Control>,
    /// Where there are several, this one's place among them.
    pub(crate) tally: Option<Tally>,
    /// While it waits there it may be given to another.
    pub(crate) is_free: bool,
    pub(crate) session: Option<Session>,
    /// When its wait has to end, if it has waited for an instance.
    pub(crate) latest: Option<Instant>,
}

impl Place {
    /// The only one.
    pub(crate) fn only(control: &Arc<Control>) -> Self {
        Self { control: Arc::clone(control), tally: None, is_free: false, session: None, latest: None }
    }
}

/// A request counts as in flight at its instance for as long as this lives, and what came of it is told then.
#[derive(Debug)]
pub(crate) struct Tally {
    backends: Arc<Backends>,
    number: u32,
    sent: Sent,
    came: Came,
    /// It waited: how long it took says nothing of the instance.
    waited: bool,
}

/// What came of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Came {
    /// Nothing yet.
    Nothing,
    /// The head of an answer.
    Answer(Instant),
    /// An error, or no answer.
    Failure,
}

impl Tally {
    pub(crate) fn new(backends: &Arc<Backends>, number: u32, sent: Sent) -> Self {
        Self { backends: Arc::clone(backends), number, sent, came: Came::Nothing, waited: false }
    }

    /// Which of the app's instances it is.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// All of them.
    pub(crate) fn backends(&self) -> &Arc<Backends> {
        &self.backends
    }

    /// It waits, or did.
    pub(crate) fn waits(&mut self) {
        self.waited = true;
    }

    /// The head of the answer is here.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.came = if status.is_server_error() { Came::Failure } else { Came::Answer(Instant::now()) };
    }

    /// The instance did not take it, or gave no answer.
    pub(crate) fn failed(&mut self) {
        self.came = Came::Failure;
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.backends.ended(self.number, self.sent, self.came, self.waited);
    }
}
