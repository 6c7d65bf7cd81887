//! Messages on their way: between two parties they arrive in the order in which they were sent, except the strays.
//!
//! A message becomes a stray when it is overtaken, or is the second copy of one that was doubled: it arrives at any
//! later time, after whatever was sent since. A client's request and its reply have a connection of their own and
//! are strays from the first.

use crate::world::{Envelope, Message, Party};
use paracloud_core::ids::GatewayId;
use paracloud_core::migration::gateway::Ticket;
use std::collections::BTreeSet;

/// A gateway that there is not.
const NOBODY: Party = Party::Gateway(GatewayId(0));

/// A ticket that no gateway gives.
const NOBODYS: Ticket = Ticket(0);

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Network {
    /// By sender and receiver; of one pair, the oldest first.
    ordered: Vec<Envelope>,
    strays: BTreeSet<Envelope>,
}

impl Network {
    /// Something was sent. What was said before, and not heard yet, need not be said twice in a row.
    pub(super) fn send(&mut self, envelope: Envelope) {
        if matches!(envelope.message, Message::Request(..) | Message::Reply(..)) {
            self.strays.insert(envelope);
            return;
        }
        let pair = (envelope.from, envelope.to);
        let end = self.ordered.partition_point(|it| (it.from, it.to) <= pair);
        if end.checked_sub(1).and_then(|last| self.ordered.get(last)) != Some(&envelope) {
            self.ordered.insert(end, envelope);
        }
    }

    /// What can arrive next.
    pub(super) fn arriving(&self) -> impl Iterator<Item = &Envelope> {
        let before = std::iter::once(None).chain(self.ordered.iter().map(Some));
        let heads = self.ordered.iter().zip(before).filter(|(envelope, before)| {
            before.is_none_or(|before| (before.from, before.to) != (envelope.from, envelope.to))
        });
        let strays = self.strays.iter().filter(|stray| !self.is_head(stray));
        heads.map(|(envelope, _)| envelope).chain(strays)
    }

    /// Whether a message is next in its order.
    pub(super) fn is_head(&self, envelope: &Envelope) -> bool {
        self.ordered.iter().find(|it| (it.from, it.to) == (envelope.from, envelope.to)) == Some(envelope)
    }

    /// One copy of it is gone.
    pub(super) fn remove(&mut self, envelope: &Envelope) {
        if !self.strays.remove(envelope)
            && let Some(index) = self.ordered.iter().position(|it| it == envelope)
        {
            self.ordered.remove(index);
        }
    }

    /// A copy of it will arrive at any time.
    pub(super) fn stray(&mut self, envelope: &Envelope) {
        self.strays.insert(envelope.clone());
    }

    /// Whether a stray is on its way to somebody.
    pub(super) fn has_stray_to(&self, party: Party) -> bool {
        self.strays.iter().any(|it| it.to == party)
    }

    /// Whether a copy of it is a stray.
    pub(super) fn has_stray(&self, envelope: &Envelope) -> bool {
        self.strays.contains(envelope)
    }

    /// A gateway has died: its requests that are on their way may still arrive, but nobody waits for their answers, and
    /// whose they were decides nothing.
    pub(super) fn orphan(&mut self, gateway: Party) {
        let is_orphaned = |it: &Envelope| it.from == gateway && matches!(it.message, Message::Request(..));
        for mut orphan in self.strays.extract_if(.., |it| is_orphaned(it)).collect::<Vec<_>>() {
            if let Message::Request(ticket, ..) = &mut orphan.message {
                *ticket = NOBODYS;
            }
            orphan.from = NOBODY;
            self.strays.insert(orphan);
        }
    }

    /// Puts other messages in the place of some.
    pub(super) fn replace(&mut self, replacement: impl Fn(&Envelope) -> Option<Message>) {
        for envelope in &mut self.ordered {
            if let Some(message) = replacement(envelope) {
                envelope.message = message;
            }
        }
        self.ordered.dedup();
        let replaced: Vec<_> = self.strays.extract_if(.., |it| replacement(it).is_some()).collect();
        for mut envelope in replaced {
            if let Some(message) = replacement(&envelope) {
                envelope.message = message;
            }
            self.strays.insert(envelope);
        }
    }

    /// Keeps what is wanted.
    pub(super) fn retain(&mut self, mut wanted: impl FnMut(&Envelope) -> bool) {
        self.ordered.retain(&mut wanted);
        self.strays.retain(wanted);
    }

    /// Everything.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Envelope> {
        self.ordered.iter().chain(&self.strays)
    }

    /// Whether nothing is on its way.
    pub(super) fn is_empty(&self) -> bool {
        self.ordered.is_empty() && self.strays.is_empty()
    }

    /// The same with other names for the parties.
    pub(super) fn renamed(&self, rename: impl Fn(Party) -> Party) -> Self {
        let again = |it: &Envelope| Envelope { from: rename(it.from), to: rename(it.to), ..it.clone() };
        let mut ordered: Vec<_> = self.ordered.iter().map(again).collect();
        // Stable: of one pair, the oldest stays first.
        ordered.sort_by_key(|it| (it.from, it.to));
        Self { ordered, strays: self.strays.iter().map(again).collect() }
    }
}
