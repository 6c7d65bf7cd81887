//! What a gateway is set to, hears and says.

use crate::ids::{Incarnation, StartId};
use crate::migration::message::{FromGateway, ToGateway};
use crate::register::{Record, RecordOrder, Step};
use core::net::SocketAddr;
use serde::{Deserialize, Serialize};

/// Where requests go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Route {
    /// The owner's incarnation.
    pub incarnation: Incarnation,
    /// The owner's process: an address belongs to one.
    pub start: StartId,
    /// Where it listens.
    pub address: SocketAddr,
}

/// What a coordinator tells a gateway.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Table {
    /// Of the record it was made from.
    pub order: RecordOrder,
    /// Start nothing new; wait for what is outstanding.
    pub parks: bool,
    /// The instance leaves, or has left: start nothing new that could go to another one.
    pub drains: bool,
    /// Where requests go, if anybody serves.
    pub route: Option<Route>,
}

impl Table {
    /// The table that follows from a record. With `waits`, the owner has not heard yet that it may serve.
    pub fn of(record: &Record, waits: bool) -> Self {
        let left = record.gone || record.step() == Some(Step::Leaving);
        let drains = left
            || match record.step() {
                Some(Step::Draining) => true,
                Some(Step::Returning) => waits,
                _ => false,
            };
        let route = record.served.filter(|_| !left).map(|address| Route {
            incarnation: record.incarnation,
            start: record.owner.start,
            address,
        });
        let moving = matches!(record.step(), Some(Step::Sealing | Step::Switch | Step::Doomed));
        let parks = !drains && (moving || waits || route.is_none());
        Self { order: record.order(), parks, drains, route }
    }

    /// Whether new requests go to the instance.
    pub fn is_open(&self) -> bool {
        !self.parks && !self.drains
    }

    /// Of one record, the table by which nothing is started comes first.
    pub fn is_newer_than(&self, other: &Self) -> bool {
        (self.order, self.is_open()) > (other.order, other.is_open())
    }
}

/// One request at a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ticket(pub u32);

/// What a gateway's machine is set to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Setting {
    /// Longest wait of one request, in milliseconds.
    pub parked_ms_max: u32,
    /// Requests waiting at once; one more is answered 503.
    pub parked_max: u32,
    /// While requests wait, ask for a newer table, and try the route in force again with those that it refused, this
    /// often, in milliseconds.
    pub ask_ms: u32,
    /// A route in force that refuses is tried again this soon the first time, in milliseconds; then every `ask_ms`.
    pub soon_ms: u32,
}

/// A gateway's timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    /// This request has waited as long as it may.
    Bound(Ticket),
    /// Ask for a newer table, and try the route in force again.
    Ask,
}

/// How an attempt to forward a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Answer {
    /// The application answered; its answer was passed on.
    Replied,
    /// Proved not applied: refused by a guard (421 with `Paci-Not-Applied`), or no byte could be sent.
    NotApplied,
    /// Refused, but the request can not be sent again: its body is no longer all here.
    Spent,
    /// A byte was sent and no answer came.
    Lost,
}

/// What a gateway answers by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Failure {
    /// 503, `outcome: not_applied`: nobody could serve it within the bound.
    NotApplied,
    /// 502, `outcome: unknown`: no answer came.
    Unknown,
    /// 503: too many requests wait already.
    Full,
}

/// What happens to a gateway.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Input {
    /// It starts, knowing nothing.
    Started,
    /// A request came.
    Arrived(Ticket),
    /// A request came of a session that lives at this instance: it goes there as long as the instance may still return.
    /// Once it was said that none is left there, it waits until that is taken back.
    Belongs(Ticket),
    /// The answer to [`Effect::Drain`]: no session lives at the instance any more, and no upload and no stream.
    Emptied(RecordOrder),
    /// An attempt ended.
    Answered(Ticket, Answer),
    /// The client went away.
    Left(Ticket),
    /// The coordinator speaks.
    Coordinator(ToGateway),
    /// The answer to [`Effect::Leave`]: no upload and no streaming reply is left.
    Drained(RecordOrder),
    /// A timer fired.
    Timer(Timer),
}

/// What a gateway wants done, in this order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Effect {
    /// Send the request there; answer with [`Input::Answered`].
    Forward(Ticket, Route),
    /// Answer the client.
    Fail(Ticket, Failure),
    /// Tell the coordinator.
    Coordinator(FromGateway),
    /// Arm a timer.
    SetTimer(Timer, u32),
    /// Disarm a timer.
    CancelTimer(Timer),
    /// Tell uploads and streaming replies to end; answer with [`Input::Drained`] when none is left. Those that are still
    /// there when a table parks are cut.
    Leave(RecordOrder),
    /// The instance leaves: whatever lives there beyond single requests is to end in its own time; answer with
    /// [`Input::Emptied`] when nothing does, as often as this is asked.
    Drain(RecordOrder),
    /// The instance leaves or has left: the request is to go to another one. Not a byte of it has been applied.
    Elsewhere(Ticket),
    /// The request waits from now on (for the log of parked times).
    Parked(Ticket),
}
