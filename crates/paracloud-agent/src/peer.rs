//! Who is at the other end of a socket: only processes of the start that the socket belongs to may speak there.

use crate::processes::ProcessDirectory;
use paracloud_substrate::process::Identity;
use std::os::fd::AsFd;
use std::sync::{Arc, OnceLock};

/// Tells the processes of one start from all others.
#[derive(Debug, Clone)]
pub(crate) struct Peers {
    process: ProcessDirectory,
    /// Read once: it never changes, and is there before the program runs.
    identity: Arc<OnceLock<Identity>>,
}

impl Peers {
    pub(crate) fn of(process: ProcessDirectory) -> Self {
        Self { process, identity: Arc::default() }
    }

    /// Whether the process that connected belongs to this start. What cannot be proved is a no.
    pub(crate) fn allow(&self, socket: impl AsFd) -> bool {
        let Ok(peer) = rustix::net::sockopt::socket_peercred(socket) else { return false };
        let known = self.identity.get().cloned().or_else(|| {
            let identity = self.process.identity().ok()??;
            Some(self.identity.get_or_init(|| identity).clone())
        });
        known.is_some_and(|identity| identity.covers(peer.pid.as_raw_nonzero().get()))
    }
}
