//! One cloud, resolved: what `up` made of the manifest. Every shell reads it when it starts, so that a shell that was
//! restarted knows what it knew, without asking anybody.

use paracloud_core::ids::{GatewayId, NodeId};
use paracloud_core::migration::{agent, convergence, coordinator, gateway};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// The cloud of one directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cloud {
    /// Where instances run.
    pub nodes: Vec<Node>,
    /// The data plane. Gateway *k* listens, for each app, on the *k*-th of its addresses.
    pub gateways: Vec<GatewayId>,
    /// What runs. Each app has one instance, of the same name.
    pub apps: Vec<App>,
}

/// A node: an agent, and the address that its instances listen on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Its number.
    pub id: NodeId,
    /// Its name: `n1`.
    pub name: String,
    /// A loopback address of its own.
    pub host: IpAddr,
}

/// A deployable unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct App {
    /// Its name, and that of its instance: 1 to 63 lowercase letters, digits and hyphens.
    pub name: String,
    /// Where it is started for the first time.
    pub node: NodeId,
    /// Program and arguments; `{host}` and `{port}` in them are replaced.
    pub command: Vec<String>,
    /// Added to the environment; `{host}` and `{port}` in values are replaced.
    pub env: BTreeMap<String, String>,
    /// The working directory.
    pub directory: PathBuf,
    /// What is lost when a process is.
    pub state: State,
    /// The manifest consents to moves that lose the state (mode `restart` of a stateful app).
    pub accept_loss: bool,
    /// Where clients connect: one address for each gateway.
    pub listen: Vec<SocketAddr>,
    /// How the agent sees that a program that does not speak PaCI is ready.
    pub readiness: Probe,
    /// Budgets of a move.
    pub budgets: Budgets,
    /// Bounds of the gateways' waiting room.
    pub parking: Parking,
    /// How long a process that is told to stop may take, in milliseconds; then it is killed.
    pub stop_grace_ms: u32,
    /// How long uploads and streaming replies may go on once a move is about to park, in milliseconds.
    pub drain_ms: u32,
}

/// What an app holds in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Something that must not be lost. What a manifest that does not say means.
    Stateful,
    /// Nothing: it can be stopped here and started there.
    None,
}

/// How readiness is seen from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// Its address accepts a connection.
    Tcp,
    /// A GET of this path is answered with a status from 200 to 399.
    Http(String),
}

/// Budgets of a move, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budgets {
    /// The offer and the preparation, each.
    pub prepare_ms: u32,
    /// The copy.
    pub copy_ms: u32,
    /// Gateways coming to rest.
    pub park_ms: u32,
    /// Closing the gate and proving the digest; in mode `restart`, the end of the source.
    pub seal_ms: u32,
    /// How long `Seal` waits for guards. Less than `seal_ms`.
    pub guard_wait_ms: u32,
    /// The committed target getting ready; in mode `restart`, its start.
    pub switch_ms: u32,
    /// Gateways taking up the new route.
    pub release_ms: u32,
    /// The pause aimed at.
    pub pause_ms: u32,
    /// The pause tolerated once the copy has stalled.
    pub pause_ms_max: u32,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            prepare_ms: 10_000,
            copy_ms: 600_000,
            park_ms: 2_000,
            seal_ms: 3_000,
            guard_wait_ms: 1_000,
            switch_ms: 10_000,
            release_ms: 2_000,
            pause_ms: 5,
            pause_ms_max: 500,
        }
    }
}

/// Bounds of a gateway's waiting room, for one app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parking {
    /// Longest wait of one request, in milliseconds.
    pub parked_ms_max: u32,
    /// Requests waiting at once.
    pub parked_max: u32,
    /// The most of one request's body that is kept to send it again, in bytes.
    pub replay_bytes_max: u32,
}

impl Default for Parking {
    fn default() -> Self {
        Self { parked_ms_max: 20_000, parked_max: 4_096, replay_bytes_max: 1 << 20 }
    }
}

/// Everything that was not answered is said again after this long, in milliseconds.
pub const RESEND_MS: u32 = 500;
/// While it matters, a record or a table is asked for again after this long, in milliseconds.
pub const ASK_MS: u32 = 200;
/// A gateway tries a new owner that refuses again this soon, once, in milliseconds: it may not have heard yet that it
/// serves.
pub const SOON_MS: u32 = 10;
/// First and longest wait before a dead owner is replaced, in milliseconds.
pub const RESTART_MS: (u32, u32) = (200, 10_000);
/// An owner that has served for this long is sound, in milliseconds: if it dies, the wait is the first one again.
pub const RESTART_SOUND_MS: u32 = 60_000;
/// Progress reports without a new minimum after which a copy counts as stalled, and after which it is given up.
pub const STALL_REPORTS: (u32, u32) = (40, 400);

impl Cloud {
    /// Reads what `up` wrote.
    ///
    /// # Errors
    /// The file cannot be read, or is not of this version.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
        serde_json::from_slice(&text).map_err(|source| ConfigError::Form { path: path.into(), source })
    }

    /// Writes it for the shells.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), ConfigError> {
        let failed = |source| ConfigError::Write { path: path.into(), source };
        let text = serde_json::to_vec_pretty(self).map_err(|error| failed(error.into()))?;
        let staged = path.with_extension("new");
        std::fs::write(&staged, text).map_err(failed)?;
        std::fs::rename(&staged, path).map_err(failed)
    }

    /// The app of this name.
    pub fn app(&self, name: &str) -> Option<&App> {
        self.apps.iter().find(|app| app.name == name)
    }

    /// The node of this number.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.iter().find(|node| node.id == id)
    }

    /// The node of this name.
    pub fn node_named(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// What the coordinator of this app's instance is set to.
    pub fn coordinator_setting(&self, app: &App) -> coordinator::Setting {
        let budgets = &app.budgets;
        coordinator::Setting {
            gateways: self.gateways.iter().copied().collect(),
            nodes: self.nodes.iter().map(|node| node.id).collect(),
            resend_ms: RESEND_MS,
            prepare_ms: budgets.prepare_ms,
            copy_ms: budgets.copy_ms,
            drain_ms: app.drain_ms,
            park_ms: budgets.park_ms,
            seal_ms: budgets.seal_ms,
            // It is told to stop, then sent SIGTERM, each with its grace; then it is killed.
            stop_ms: budgets.seal_ms.saturating_add(app.stop_grace_ms.saturating_mul(2)),
            switch_ms: budgets.switch_ms,
            release_ms: budgets.release_ms,
            pause: convergence::Budget {
                pause_ms: budgets.pause_ms,
                pause_ms_max: budgets.pause_ms_max,
                stall_reports: STALL_REPORTS.0,
                stall_reports_max: STALL_REPORTS.1,
            },
        }
    }
}

impl App {
    /// What the machine of this app's instance is set to, in the agent of a node.
    pub fn agent_setting(&self, node: NodeId) -> agent::Setting {
        let (restart_ms, restart_ms_max) = RESTART_MS;
        agent::Setting { node, ask_ms: ASK_MS, restart_ms, restart_ms_max, sound_ms: RESTART_SOUND_MS }
    }

    /// What the machine of this app's instance is set to, in a gateway.
    pub fn gateway_setting(&self) -> gateway::Setting {
        gateway::Setting {
            parked_ms_max: self.parking.parked_ms_max,
            parked_max: self.parking.parked_max,
            ask_ms: ASK_MS,
            soon_ms: SOON_MS,
        }
    }
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not there, or not readable.
    #[error("{path}: cannot be read: is a cloud up in this directory?")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not written by this version.
    #[error("{path}: not the configuration of this version: end the cloud and start it again")]
    Form {
        /// The file.
        path: PathBuf,
        /// Where in it.
        source: serde_json::Error,
    },
    /// Not writable.
    #[error("{path}: cannot be written")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}
