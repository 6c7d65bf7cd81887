//! Where what lies in the directory of a cloud.
//!
//! ```text
//! DIR/                          mode 0700: nobody else reaches a socket in it
//!   cloud.json                  the configuration: nodes, gateways, the current revision of each app
//!   apps/APP.REVISION.json      what an app is in one of its revisions; never changed
//!   up.lock                     held by `up` as long as it lives; who it is stands in it
//!   up.shells                   who the shells of the last `up` are, so that the next one can end them
//!   ending                      there while `up` ends: an agent that is told to stop then stops its instances
//!   controller.sock             the controller listens here
//!   controller/                 register and journal
//!   scales.json                 how many instances a person wants of an app, and until when
//!   decisions/                  decisions about numbers of instances, with all that they were made from
//!   decisions.damaged/          such a log with something in it that could not be read, put aside
//!   ordered.json                instances that are to be started and are not in the register yet
//!   closed-nodes.json           nodes that get no new instances
//!   draining.json               nodes that are being drained, and how
//!   updating.json               apps whose instances are being updated, and with what consent
//!   replacing.json              instances in whose places others come, and how far that is
//!   n1/                         node 1
//!     generation                counts its agents, under a lock
//!     agent.sock                other agents pass channel ends here
//!     records/INSTANCE.json     the newest record this node has heard of, durable
//!     records/INSTANCE.slot     the same, written before anything follows from it
//!     p/START/                  one process: its marker, identity, shim socket, log
//!     s/START/                  the directory an instance sees: paci.sock, channel
//!   g1/parked.jsonl             gateway 1: every wait of a request
//!   trace/                      logs of machines
//!   log/                        logs of the shells
//! ```

use paracloud_core::ids::{GatewayId, NodeId, StartId};
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// What the log of waits is called in the directory of a gateway; a full one has a number behind that.
pub const PARKED: &str = "parked.jsonl";

/// The directory of a cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The cloud in this directory, which need not exist yet.
    ///
    /// # Errors
    /// The path cannot be made absolute.
    pub fn new(root: &Path) -> io::Result<Self> {
        Ok(Self { root: std::path::absolute(root)? })
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes a directory of the cloud and all above it, for its owner alone.
    ///
    /// # Errors
    /// As the file system says.
    pub fn make(&self, directory: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)
    }

    /// The configuration.
    pub fn cloud(&self) -> PathBuf {
        self.root.join("cloud.json")
    }

    /// The lock of `up`: its pid in the first line, its identity in the second.
    pub fn up_lock(&self) -> PathBuf {
        self.root.join("up.lock")
    }

    /// Who the shells of the last `up` are.
    pub fn up_shells(&self) -> PathBuf {
        self.root.join("up.shells")
    }

    /// There while `up` ends the cloud: an agent that is told to stop (SIGTERM) then stops its instances; without it
    /// an agent leaves them running for its successor.
    pub fn ending(&self) -> PathBuf {
        self.root.join("ending")
    }

    /// Where the controller listens.
    pub fn controller_socket(&self) -> PathBuf {
        self.root.join("controller.sock")
    }

    /// Register and journal.
    pub fn controller(&self) -> PathBuf {
        self.root.join("controller")
    }

    /// How many instances a person wants of an app, and until when.
    pub fn scales(&self) -> PathBuf {
        self.root.join("scales.json")
    }

    /// Instances that were ordered to be started and are not in the register yet.
    pub fn ordered(&self) -> PathBuf {
        self.root.join("ordered.json")
    }

    /// Nodes that get no new instances.
    pub fn closed_nodes(&self) -> PathBuf {
        self.root.join("closed-nodes.json")
    }

    /// Nodes that are being drained, and how.
    pub fn draining(&self) -> PathBuf {
        self.root.join("draining.json")
    }

    /// Apps whose instances are being updated, and with what consent.
    pub fn updating(&self) -> PathBuf {
        self.root.join("updating.json")
    }

    /// Instances in whose places others come.
    pub fn replacing(&self) -> PathBuf {
        self.root.join("replacing.json")
    }

    /// A node.
    pub fn node(&self, node: NodeId) -> PathBuf {
        self.root.join(format!("n{}", node.0))
    }

    /// The counter of a node's agents.
    pub fn generation(&self, node: NodeId) -> PathBuf {
        self.node(node).join("generation")
    }

    /// Where other agents pass channel ends to a node's agent.
    pub fn agent_socket(&self, node: NodeId) -> PathBuf {
        self.node(node).join("agent.sock")
    }

    /// The newest record of an instance that a node has heard of.
    pub fn record(&self, node: NodeId, instance: &str) -> PathBuf {
        self.node(node).join("records").join(format!("{instance}.json"))
    }

    /// All processes of a node.
    pub fn processes(&self, node: NodeId) -> PathBuf {
        self.node(node).join("p")
    }

    /// One process.
    pub fn process(&self, node: NodeId, start: StartId) -> PathBuf {
        self.processes(node).join(start.to_string())
    }

    /// The directory that a process sees.
    pub fn socket_directory(&self, node: NodeId, start: StartId) -> PathBuf {
        self.node(node).join("s").join(start.to_string())
    }

    /// A gateway.
    pub fn gateway(&self, gateway: GatewayId) -> PathBuf {
        self.root.join(format!("g{}", gateway.0))
    }

    /// Every wait of a request at a gateway, one line of JSON each.
    pub fn parked_log(&self, gateway: GatewayId) -> PathBuf {
        self.gateway(gateway).join(PARKED)
    }

    /// Logs of machines.
    pub fn trace(&self) -> PathBuf {
        self.root.join("trace")
    }

    /// The log of decisions.
    pub fn decisions(&self) -> PathBuf {
        self.root.join("decisions")
    }

    /// Logs of the shells.
    pub fn log(&self) -> PathBuf {
        self.root.join("log")
    }
}
