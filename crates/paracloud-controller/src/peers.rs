//! Who is connected, and the queue towards each.
//!
//! A peer that is not there hears nothing, and one that does not read is dropped: the machines say again what was not
//! answered.

use crate::control::locked;
use paracloud_core::ids::{GatewayId, NodeId};
use paracloud_core::migration::shim::Generation;
use paracloud_substrate::link::{LinkError, Writer};
use paracloud_substrate::message::{ToAgentLine, ToGatewayLine};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// Lines waiting for one peer; one that has so many and gets one more is dropped.
pub(crate) const OUT_LINES_MAX: usize = 1024;
/// The longest that is waited for what was said to be written to the sockets, in milliseconds.
pub(crate) const FLUSH_MS_MAX: u64 = 1000;

/// Somebody the controller speaks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    Agent(NodeId),
    Gateway(GatewayId),
}

/// What goes out on a link.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly every line is of the large kind")]
pub(crate) enum Out {
    ToAgent(ToAgentLine),
    ToGateway(ToGatewayLine),
    /// Answered when all before it is written.
    Flush(oneshot::Sender<()>),
}

/// One connection of a peer, from the controller's side.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) number: u64,
    pub(crate) queue: mpsc::Receiver<Out>,
    /// Completes when the connection is to end, whatever it is waiting for.
    pub(crate) dropped: oneshot::Receiver<()>,
}

/// The same connection, from the side of those who speak.
#[derive(Debug)]
struct Link {
    number: u64,
    queue: mpsc::Sender<Out>,
    /// Dropped with it.
    _holds: oneshot::Sender<()>,
}

#[derive(Debug)]
struct Known {
    /// Since when there has been somebody to hear.
    began: Instant,
    /// When each was heard last.
    heard: BTreeMap<Peer, Instant>,
    links: BTreeMap<Peer, Link>,
    generations: BTreeMap<NodeId, Generation>,
    next: u64,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            heard: BTreeMap::new(),
            links: BTreeMap::new(),
            generations: BTreeMap::new(),
            next: 0,
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Peers(Mutex<Known>);

impl Peers {
    /// An agent dialled. `None` if a newer agent of its node was here: an older one is not listened to.
    pub(crate) fn connect_agent(&self, node: NodeId, generation: Generation) -> Option<Outgoing> {
        let mut known = locked(&self.0);
        let newest = known.generations.entry(node).or_insert(generation);
        if generation < *newest {
            return None;
        }
        *newest = generation;
        Some(known.connect(Peer::Agent(node)))
    }

    /// A gateway dialled.
    pub(crate) fn connect_gateway(&self, gateway: GatewayId) -> Outgoing {
        locked(&self.0).connect(Peer::Gateway(gateway))
    }

    /// A connection ended. Says whether the peer has no other one.
    pub(crate) fn disconnect(&self, peer: Peer, number: u64) -> bool {
        let mut known = locked(&self.0);
        if known.links.get(&peer).is_some_and(|link| link.number == number) {
            known.links.remove(&peer);
        }
        !known.links.contains_key(&peer)
    }

    /// Ends every agent's link: each dials again and says afresh what its node knows.
    pub(crate) fn hear_agents_again(&self) {
        locked(&self.0).links.retain(|peer, _| matches!(peer, Peer::Gateway(_)));
    }

    /// Says something, if the peer is there.
    pub(crate) fn say(&self, peer: Peer, out: Out) {
        let mut known = locked(&self.0);
        let Some(link) = known.links.get(&peer) else { return };
        if link.queue.try_send(out).is_err() {
            tracing::warn!(?peer, "this peer does not read: its link is dropped");
            known.links.remove(&peer);
        }
    }

    /// Whether a peer is connected.
    pub(crate) fn is_there(&self, peer: Peer) -> bool {
        locked(&self.0).links.contains_key(&peer)
    }

    /// A peer said something.
    pub(crate) fn heard(&self, peer: Peer) {
        locked(&self.0).heard.insert(peer, Instant::now());
    }

    /// For how long nothing was heard of a peer, in milliseconds: at most since this controller listens.
    pub(crate) fn silent_ms(&self, peer: Peer) -> u64 {
        let known = locked(&self.0);
        let last = known.heard.get(&peer).copied().unwrap_or(known.began);
        u64::try_from(last.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Waits, bounded, until everything said so far is written to the sockets of those who are there.
    pub(crate) async fn flush(&self) {
        let written: Vec<_> = locked(&self.0)
            .links
            .values()
            .filter_map(|link| {
                let (sender, receiver) = oneshot::channel();
                link.queue.try_send(Out::Flush(sender)).ok().map(|()| receiver)
            })
            .collect();
        let all = async {
            for one in written {
                let _ = one.await;
            }
        };
        if tokio::time::timeout(Duration::from_millis(FLUSH_MS_MAX), all).await.is_err() {
            tracing::warn!("not everything that was said is written: somebody does not read");
        }
    }
}

impl Known {
    fn connect(&mut self, peer: Peer) -> Outgoing {
        let (sender, queue) = mpsc::channel(OUT_LINES_MAX);
        let (holds, dropped) = oneshot::channel();
        self.next += 1;
        let number = self.next;
        self.heard.insert(peer, Instant::now());
        // The connection before it ends with this.
        self.links.insert(peer, Link { number, queue: sender, _holds: holds });
        Outgoing { number, queue, dropped }
    }
}

/// Writes what is queued, until the queue is taken away or the link breaks.
pub(crate) async fn write_out(queue: &mut mpsc::Receiver<Out>, writer: &mut Writer) -> Result<(), LinkError> {
    while let Some(out) = queue.recv().await {
        match out {
            Out::ToAgent(line) => writer.write(&line).await?,
            Out::ToGateway(line) => writer.write(&line).await?,
            Out::Flush(written) => drop(written.send(())),
        }
    }
    Ok(())
}
