//! What lives at an instance that leaves, and when nothing does any more.
//!
//! Single requests the machine counts itself. Beyond them there are uploads, streaming replies, and sessions; a WebSocket
//! that belongs to no session holds nothing up, as it holds up no move.

use super::{Control, State, View};
use crate::sessions::SessionId;
use crate::sticky::Given;
use paracloud_core::migration::gateway::Input;
use paracloud_core::register::RecordOrder;
use std::time::Instant;
use tokio::task::JoinHandle;

/// The instance leaves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Draining {
    /// By the record with this order.
    pub(super) order: RecordOrder,
    /// Nothing but requests is left there, and the machine was told so.
    is_empty: bool,
}

impl State {
    /// A table comes into force. Of an instance that served before this gateway heard of it nobody knows which sessions it
    /// has.
    pub(super) fn sessions_by(&mut self, view: &View) {
        if view.is_gone() {
            self.sessions.clear();
        } else if !self.is_known && view.route.is_some() {
            self.sessions.may_be(Instant::now());
        }
        self.is_known = true;
    }
}

impl Control {
    /// The instance leaves: it is to be said when nothing lives there.
    pub(super) fn leaves(&self, state: &mut State, order: RecordOrder) {
        state.draining = Some(Draining { order, is_empty: false });
        self.looks_on(state);
    }

    /// As long as sessions live at an instance that leaves it is looked again whether they still do.
    pub(super) fn looks_on(&self, state: &mut State) {
        let Some(Draining { order, is_empty: false }) = state.draining else { return };
        if state.sessions.live_until(Instant::now()).is_none() {
            return;
        }
        let me = self.me.clone();
        let looks = tokio::spawn(async move {
            while let Some(me) = me.upgrade() {
                let until = {
                    let mut state = me.woken().await;
                    me.look(&mut state);
                    state
                        .draining
                        .filter(|it| it.order == order && !it.is_empty)
                        .and_then(|_| state.sessions.live_until(Instant::now()))
                };
                drop(me);
                let Some(until) = until else { return };
                tokio::time::sleep_until(until.into()).await;
            }
        });
        state.looks.replace(looks).iter().for_each(JoinHandle::abort);
    }

    /// Something that lived there has ended.
    pub(super) fn look(&self, state: &mut State) {
        if let Some(emptied) = self.emptied(state) {
            let _ = self.take(state, emptied, None);
        }
    }

    /// What the machine is to be told if nothing lives there any more. A request in progress may yet begin a session.
    pub(super) fn emptied(&self, state: &mut State) -> Option<Input> {
        let draining = state.draining.as_mut().filter(|draining| !draining.is_empty)?;
        let begins = state.sessions.are_kept() && state.machine.machine().outstanding() > 0;
        if begins || !self.streams.is_empty() || state.sessions.is_any(Instant::now()) {
            return None;
        }
        draining.is_empty = true;
        Some(Input::Emptied(draining.order))
    }

    /// The application answered a request, of this session, and said this of it. Of which it is from now on.
    pub(crate) fn answers_session(&self, session: Option<SessionId>, given: Given) -> Option<SessionId> {
        let (ended, begun) = match given {
            Given::Session(id) if session != Some(id) => (session, Some(id)),
            Given::Nothing | Given::Session(_) => return session,
            Given::End => (session, None),
        };
        let (mut state, now) = (self.state(), Instant::now());
        if let Some(id) = ended {
            state.sessions.end(id);
            state.sessions.ends(id, now);
        }
        begun.into_iter().for_each(|id| state.sessions.begins(id, now));
        begun
    }

    /// Whether something of this session was seen here.
    pub(crate) fn has_session(&self, id: SessionId) -> bool {
        self.state().sessions.has(id)
    }
}
