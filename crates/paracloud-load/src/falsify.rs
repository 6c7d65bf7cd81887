//! Two falsehoods, for a test of the audit: an audit that finds neither says nothing.

use crate::clients::Clients;
use crate::ledger::Write;
use crate::meter::Fault;
use crate::send::{Post, Sent};
use crate::wire;
use crate::writer::Task;
use bytes::Bytes;
use std::sync::Arc;
use tokio::time::Instant;

/// What was to be applied once more was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a write for a test of the audit was not acknowledged: {0:?}")]
pub struct Unapplied(Fault);

/// Counts a write of the first key as acknowledged, and never sends it.
pub(crate) fn forge(clients: &Clients) {
    let (_, writes) = request(clients);
    writes.into_iter().for_each(|write| clients.ledger().forge(write));
}

/// Writes the first key, and sends the same request once more, which nobody enters.
pub(crate) async fn double(clients: &Arc<Clients>) -> Result<(), Unapplied> {
    let (body, writes) = request(clients);
    let post = Post { body, key: None };
    let task = Task { due: Instant::now(), post: post.clone(), writes, gateway: 0, is_twice: false };
    task.run(clients.clone()).await;
    match post.send(clients.pool(0)).await {
        Sent::Acknowledged(_) => Ok(()),
        Sent::NotApplied(fault) | Sent::Unknown(fault) => Err(Unapplied(fault)),
    }
}

/// A request of one write on the first key.
fn request(clients: &Clients) -> (Bytes, Vec<Write>) {
    wire::request(&mut rand::rng(), 1, 1, clients.config.value_bytes)
}
