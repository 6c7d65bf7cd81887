//! What clients see of a pause, as their requests tell it.

use super::{Control, Outgoing, State};
use crate::parked::ParkedLine;
use crate::pause::Waited;
use crate::sessions::SessionId;
use paracloud_core::ids::StartId;
use paracloud_core::migration::gateway::{Input, Ticket};
use paracloud_substrate::message::FromGatewayLine;
use paracloud_substrate::seen::{Account, Seen};
use std::sync::Arc;
use std::time::Instant;

impl Control {
    /// The deadline of a request was over before it could be sent on, and the gateway has answered.
    pub(crate) fn late(&self, ticket: Ticket, session: Option<SessionId>) {
        self.ends(Input::Left(ticket), ticket, session);
        let mut state = self.state();
        state.pause.failed();
        state.book.saw_if_open(|seen| seen.failed += 1);
        self.settle(&mut state);
    }

    /// The first byte of a request that waited for so long, in microseconds, was sent on. `ends`: its wait was not over
    /// before; `of_the_pause`: when, if that shows something of the pause.
    pub(crate) fn sent_on(&self, waited_us: u64, ends: bool, of_the_pause: Option<Instant>) {
        let mut state = self.state();
        if ends {
            state.pause.wait_ends(waited_us);
        } else {
            state.pause.lasted(waited_us);
        }
        if let Some(now) = of_the_pause {
            state.pause.sent_on(now);
        }
        self.settle(&mut state);
    }

    /// The wait of a request is over, after so long, in microseconds.
    pub(crate) fn wait_ends(&self, waited_us: u64) {
        let mut state = self.state();
        state.pause.wait_ends(waited_us);
        self.settle(&mut state);
    }

    /// A request waits again whose wait was over.
    pub(crate) fn wait_goes_on(&self) {
        self.state().pause.wait_goes_on();
    }

    /// The first byte of a reply came, `now`, to a request that waited since then.
    pub(crate) fn answered(&self, since: Instant, now: Instant) {
        let mut state = self.state();
        state.pause.answered(since, now);
        self.settle(&mut state);
    }

    /// A request that waited has ended; `waited_us`: and its wait with it, after so long, in microseconds.
    pub(crate) fn waited(&self, line: ParkedLine, waited_us: Option<u64>) {
        let mut state = self.state();
        if let Some(waited_us) = waited_us {
            state.pause.wait_ends(waited_us);
        }
        state.pause.ended();
        self.settle(&mut state);
        drop(state);
        self.log.write(line);
    }

    /// The body of a request is passed on as it comes.
    pub(crate) fn uploads(&self, ticket: Ticket) {
        self.state().uploads.insert(ticket);
    }

    /// A WebSocket to this process is relayed, in this session, for as long as what is returned lives.
    pub(crate) fn websocket(self: &Arc<Self>, start: StartId, session: Option<SessionId>) -> WebSocket {
        let mut state = self.state();
        state.book.websocket_begins(start);
        session.into_iter().for_each(|id| state.sessions.begins(id, Instant::now()));
        drop(state);
        WebSocket { control: Arc::clone(self), start, session }
    }

    /// A client saw something of a pause, or of what follows it.
    pub(crate) fn saw(&self, what: impl FnOnce(&mut Seen)) {
        let mut state = self.state();
        state.book.saw(what);
        self.settle(&mut state);
    }

    /// What was told last of a pause is told again: the link before this one may have lost it.
    pub(crate) fn tell_again(&self) {
        if let Some(account) = self.state().book.last() {
            let _ = self.tell(account, true);
        }
    }

    /// Writes a pause into the log once nothing more will be known of it, and tells the controller what clients saw.
    pub(super) fn settle(&self, state: &mut State) {
        let said = state.pause.say(state.machine.machine().parked());
        for over in said.lines {
            self.log.write(ParkedLine::Pause {
                instance: self.instance.clone(),
                began_unix_us: over.began_unix_us,
                parked_us: over.parked_us,
                answered_us: over.answered_us,
                requests: over.requests,
                failed: over.failed,
            });
        }
        if let Some(waited) = said.waited {
            // A wait alone, of a request that was counted before, opens no account.
            if waited.requests > 0 {
                state.book.open();
            }
            state.book.saw_if_open(|seen| saw(seen, waited));
            state.book.tell_soon();
        }
        let view = *self.view.borrow();
        let waits = view.parks || !state.pause.is_settled();
        if let Some(account) = state.book.due(waits, view.route.map(|route| route.start))
            && self.tell(account, false)
        {
            state.book.told(account);
        }
    }

    pub(super) fn tell(&self, account: Account, again: bool) -> bool {
        let line = FromGatewayLine::Parked { instance: self.instance.clone(), account, again };
        self.controller.send(Outgoing { line, stand: None })
    }
}

/// A WebSocket that is relayed.
#[derive(Debug)]
pub(crate) struct WebSocket {
    control: Arc<Control>,
    start: StartId,
    session: Option<SessionId>,
}

impl Drop for WebSocket {
    fn drop(&mut self) {
        let mut state = self.control.state();
        state.book.websocket_ends(self.start);
        self.session.into_iter().for_each(|id| state.sessions.ends(id, Instant::now()));
        self.control.settle(&mut state);
        drop(state);
        self.control.soon(Control::look);
    }
}

/// Clients waited.
pub(super) fn saw(seen: &mut Seen, waited: Waited) {
    seen.requests += waited.requests;
    seen.parked_us_max = seen.parked_us_max.max(waited.longest_us);
}
