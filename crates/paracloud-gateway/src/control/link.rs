//! The way from the machines to the controller.

use super::{Control, State};
use crate::bounds::LINK_QUEUE_MAX;
use paracloud_core::migration::message::FromGateway;
use paracloud_core::migration::promises::{Point, Promise};
use paracloud_substrate::failpoint;
use paracloud_substrate::message::FromGatewayLine;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc;

/// A message for the controller.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) line: FromGatewayLine,
    /// The promise that it makes. The machine stands still while this lives.
    pub(crate) stand: Option<(Promise, Stand)>,
}

/// Keeps a machine from taking inputs, for as long as it lives: a crash test stopped it at a promise.
#[derive(Debug)]
pub(crate) struct Stand(Arc<Control>);

impl Drop for Stand {
    fn drop(&mut self) {
        self.0.stands.store(false, Ordering::SeqCst);
        self.0.moving.send_replace(());
    }
}

/// The receiving end of what the machines say, and whether anybody takes it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) queue: mpsc::Receiver<Outgoing>,
    pub(crate) is_up: Arc<AtomicBool>,
}

/// The sending end.
#[derive(Debug, Clone)]
pub(crate) struct ToController {
    queue: mpsc::Sender<Outgoing>,
    is_up: Arc<AtomicBool>,
}

impl ToController {
    /// Both ends.
    pub(crate) fn new() -> (Self, Link) {
        let (sender, receiver) = mpsc::channel(LINK_QUEUE_MAX);
        let is_up = Arc::new(AtomicBool::new(false));
        (Self { queue: sender, is_up: Arc::clone(&is_up) }, Link { queue: receiver, is_up })
    }

    /// Hands a message over. A message that finds no link, or a full queue, is lost, as messages may be; then the answer
    /// is `false`.
    pub(crate) fn send(&self, message: Outgoing) -> bool {
        if !self.is_up.load(Ordering::Relaxed) {
            return false;
        }
        let sent = self.queue.try_send(message).is_ok();
        if !sent {
            tracing::debug!("a message to the controller is lost: its queue is full");
        }
        sent
    }
}

impl Control {
    /// Says something to the controller.
    pub(super) fn say(&self, state: &mut State, message: FromGateway) {
        let promise = match &message {
            FromGateway::Obeyed { parks: true, .. } => Some(Promise::Parked),
            FromGateway::Obeyed { order, parks: false } if state.released.as_ref() < Some(order) => {
                state.released = Some(*order);
                Some(Promise::Released)
            }
            FromGateway::Drained { order } if state.draining.is_some_and(|it| it.order == *order) => {
                Some(Promise::Drained)
            }
            FromGateway::Obeyed { .. }
            | FromGateway::Ask
            | FromGateway::Drained { .. }
            | FromGateway::Wanted { .. } => None,
        };
        let up = self.controller.is_up.load(Ordering::Relaxed);
        let armed = promise.filter(|promise| {
            up && failpoint::is_armed(*promise, Point::AfterSend, &self.gateway.to_string())
        });
        let stand = armed.zip(self.me.upgrade()).map(|(promise, me)| {
            self.stands.store(true, Ordering::SeqCst);
            (promise, Stand(me))
        });
        let line = FromGatewayLine::Machine { instance: self.instance.clone(), message };
        let _ = self.controller.send(Outgoing { line, stand });
    }
}
