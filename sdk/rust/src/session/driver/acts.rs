//! Does what the participant asks for: gate, copy, load, guards.

use super::{Driver, Event, Kind, ms};
use crate::handoff::source::Copy;
use crate::handoff::target::{Load, Loaded};
use crate::handoff::{HandoffError, join, source, target};
use paci::finding::Blocked;
use paci::names::AnswerCode;
use paci::participant::{self, Act, Phase};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

impl Driver {
    /// Does what the participant asks for. `kind` is the call that its answer belongs to.
    pub(super) fn perform(&mut self, kind: Kind, acts: Vec<Act>) {
        for act in acts {
            match act {
                Act::Answer(operation, answer) => self.answer(kind, operation, answer),
                Act::Open(incarnation) => {
                    self.parts.gate.open(incarnation);
                    // Not before: it takes a while, and nobody waits for it.
                    if std::mem::take(&mut self.has_loaded) {
                        let replies = self.parts.replies.clone();
                        self.parts.program.spawn_blocking(move || replies.find_loaded());
                    }
                }
                Act::Close => self.parts.gate.close(),
                Act::Copy(operation) => self.start_copy(operation),
                Act::Ship(operation) => self.wait_for_guards(operation),
                Act::Load(operation) => self.start_load(operation),
                // The program's handler is run by who asked for it.
                Act::Drain(_) => {}
                Act::Forget(_) => {
                    // Its thread ends the copy: a later one waits for that.
                    if let Some((_, copy)) = self.copy.take() {
                        copy.forget();
                    }
                }
            }
        }
    }

    pub(super) fn start_copy(&mut self, operation: u32) {
        let copy = Arc::new(Copy::default());
        self.copy = Some((operation, copy.clone()));
        self.joined = false;
        let (path, token) = (self.parts.endpoint.channel(), self.token.clone());
        let (store, events) = (self.parts.store.clone(), self.events.clone());
        self.thread("paci-copy", operation, move || {
            let _only_copy = store.only_copy();
            let copied = contained(|| {
                let stream = join::join(&path, &token)?;
                let _session_ended = events.blocking_send(Event::Joined(operation));
                source::run(stream, &store, &copy)
            });
            if matches!(copied, Err(HandoffError::Panicked)) {
                copy.forget();
                store.end_copy();
            }
            let is_sealed = copied.is_ok();
            let _session_ended = events.blocking_send(Event::Copied(operation, copied));
            if is_sealed {
                copy.forgotten();
                store.end_copy();
            }
        });
    }

    pub(super) fn start_load(&mut self, operation: u32) {
        let load = Arc::new(Load::default());
        self.load = Some((operation, load.clone()));
        self.joined = false;
        let (path, token) = (self.parts.endpoint.channel(), self.token.clone());
        let (store, events) = (self.parts.store.clone(), self.events.clone());
        self.thread("paci-load", operation, move || {
            let filled = contained(|| {
                let stream = join::join(&path, &token)?;
                let _session_ended = events.blocking_send(Event::Joined(operation));
                target::run(stream, &store, &load)
            });
            let _session_ended = events.blocking_send(Event::Filled(operation, filled));
        });
    }

    pub(super) fn thread(&mut self, name: &str, operation: u32, work: impl FnOnce() + Send + 'static) {
        if let Err(error) = std::thread::Builder::new().name(name.to_owned()).spawn(work) {
            self.channel_failed(operation, AnswerCode::NoRoom, &format!("no thread: {error}"));
        }
    }

    pub(super) fn wait_for_guards(&mut self, operation: u32) {
        let (gate, events, wait) = (self.parts.gate.clone(), self.events.clone(), self.guard_wait);
        tokio::spawn(async move {
            let ended = tokio::time::timeout(wait, gate.ended()).await;
            let ended = ended.map_err(|_| match gate.oldest() {
                Some(oldest) => Blocked { route: oldest.route.to_string(), held_ms: ms(oldest.held) },
                None => Blocked { route: "a guard that has just ended".to_owned(), held_ms: ms(wait) },
            });
            let _session_ended = events.send(Event::Guards(operation, ended)).await;
        });
    }

    pub(super) fn filled(&mut self, operation: u32, loaded: Loaded) {
        let (position, stated) = match loaded.stated.parse() {
            Ok(stated) => (loaded.staged.position, stated),
            Err(error) => return self.channel_failed(operation, AnswerCode::ChannelLost, &error.to_string()),
        };
        let held = participant::Sealed { position, digest: loaded.digest.to_be_bytes().to_vec() };
        let stated = participant::Sealed { position: stated.0, digest: stated.1 };
        let acts = self.participant.loaded(operation, held, stated);
        if matches!(self.participant.phase(), Phase::Loaded(of, ..) if *of == operation) {
            self.staged = Some((operation, loaded.staged));
        }
        self.perform(Kind::Prepare, acts);
    }

    pub(super) fn channel_failed(&mut self, operation: u32, code: AnswerCode, message: &str) {
        self.failure = Some((operation, code, message.to_owned()));
        let kind = if self.participant.is_sealed() { Kind::Seal } else { Kind::Prepare };
        let acts = self.participant.channel_failed(operation);
        self.perform(kind, acts);
    }
}

/// One side of a handoff, whose end is told however it ends: nobody would hear of a thread that panics.
fn contained<T>(work: impl FnOnce() -> Result<T, HandoffError>) -> Result<T, HandoffError> {
    // What was copied or loaded is dropped with the error; nothing else is shared but locks that stand a panic.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(HandoffError::Panicked))
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    #[test]
    fn a_side_of_a_handoff_that_panics_has_failed() {
        assert!(matches!(contained(|| Ok(7)), Ok(7)));
        assert!(matches!(contained(|| Err::<(), _>(HandoffError::Forgotten)), Err(HandoffError::Forgotten)));
        assert!(matches!(contained::<()>(|| panic!("a fault of ours")), Err(HandoffError::Panicked)));
    }
}
