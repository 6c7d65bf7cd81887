//! The agent of a node, and the shim that looks after each of its processes.
//!
//! | | |
//! |---|---|
//! | [`run`] | the agent: one loop that owns every instance's machine (`node`) |
//! | `controller` | its link to the controller |
//! | `accept`, `doors`, `peer`, `rate` | the sockets that a program sees: PaCI over HTTP/1.1, and the channel |
//! | `session`, `upcalls`, `holds`, `leases`, `answers` | one program's session: what it is asked, what its answers mean, what it says of itself for a time |
//! | `channel`, `relay` | joining the two ends of a state channel |
//! | `processes`, `durable` | process directories, addresses, and files that are whole or not there |
//! | `shims`, [`shim`] | the agent's side of the shims, and the shim itself |
//! | `resize` | raising and lowering the limits of a process that runs |
//! | `probe` | whether a program is ready, and alive, seen from outside |
//!
//! What decides is in [`paracloud_core`]; this crate carries it out. An agent may be killed at any time: programs and
//! shims go on, and the next agent finds them in the node's directory.

mod accept;
mod answers;
mod breaches;
mod channel;
mod controller;
mod doors;
mod durable;
mod holds;
mod leases;
mod node;
mod peer;
mod probe;
mod processes;
mod rate;
mod relay;
mod resize;
mod session;
pub mod shim;
mod shims;
mod upcalls;

use node::Node;
use paci::bounds::SOCKET_PATH_BYTES_MAX;
use paracloud_core::ids::{NodeId, StartId};
use paracloud_core::migration::shim::Generation;
use paracloud_substrate::config::{Cloud, ConfigError};
use paracloud_substrate::layout::Layout;
use paracloud_substrate::lifeline::Ends;
use paracloud_substrate::private::{self, NotPrivate};
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

/// Names the program that is started as shim, in the place of this very one; for tests.
pub const BINARY_VARIABLE: &str = "PARACLOUD_BIN";

/// What shims are called in lists of processes.
pub(crate) const NAME: &str = "paracloud";

/// The program that shims are started from: this very one, even if its file was replaced meanwhile.
pub(crate) fn binary() -> OsString {
    std::env::var_os(BINARY_VARIABLE).unwrap_or_else(|| "/proc/self/exe".into())
}

/// Why an agent ends.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The directory of the cloud.
    #[error(transparent)]
    NotPrivate(#[from] NotPrivate),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The configuration has no such node.
    #[error("there is no node {0} in this cloud: `cloud.json` names the nodes")]
    NoSuchNode(NodeId),
    /// The directory of the cloud is too deep for the sockets in it.
    #[error(
        "{path}: {bytes} bytes, a socket's path has at most {SOCKET_PATH_BYTES_MAX}: use a shorter directory"
    )]
    PathTooLong {
        /// The longest path.
        path: PathBuf,
        /// Its length.
        bytes: usize,
    },
    /// The node's directory cannot be used.
    #[error("{path}: cannot be used")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A process of this node may live, and nothing is known of it.
    #[error(
        "{path}: it cannot be known whether this process lives, so the agent does not say what lives on its node; make it \
         readable, or end the process and remove the directory"
    )]
    UnknownProcess {
        /// Its directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A record can be kept nowhere.
    #[error(
        "{path}: this record could not be kept; nothing is done because of it that the agent after this one would not know of"
    )]
    Unkept {
        /// Where it is to be kept.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A newer agent of this node was here.
    #[error("agent {own:?} of this node was replaced by agent {by:?}")]
    Superseded {
        /// This one.
        own: Generation,
        /// The newer one.
        by: Generation,
    },
}

/// Looks after the instances on a node until it is told to stop (SIGTERM, SIGINT, SIGHUP) or loses its lifeline. What runs is
/// left running, unless the cloud is being ended ([`Layout::ending`]).
///
/// # Errors
/// The directory is not its owner's alone, the configuration or the node's directory cannot be used, or a newer agent took over.
pub async fn run(layout: Layout, node: NodeId) -> Result<(), AgentError> {
    private::check(layout.root())?;
    let cloud = Cloud::load(&layout.cloud())?;
    if cloud.node(node).is_none() {
        return Err(AgentError::NoSuchNode(node));
    }
    let longest = layout.process(node, StartId(0)).join("shim.sock");
    let sees = layout.socket_directory(node, StartId(0)).join(paci::env::SOCKET_FILE);
    for path in [longest, sees] {
        let bytes = path.as_os_str().len();
        if bytes > SOCKET_PATH_BYTES_MAX {
            return Err(AgentError::PathTooLong { path, bytes });
        }
    }
    let directory = layout.node(node);
    let failed = |source| AgentError::Directory { path: directory.clone(), source };
    layout.make(&directory).map_err(failed)?;
    let generation = Generation(durable::raise(&layout.generation(node)).map_err(failed)?);
    let ends = Ends::listen().map_err(failed)?;
    tracing::info!(%node, generation = generation.0, "the agent starts");
    Node::open(layout, cloud, node, generation)?.run(ends).await
}
