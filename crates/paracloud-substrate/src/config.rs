//! One cloud, resolved: what `up` made of the manifest. Every shell reads it when it starts, so that a shell that was
//! restarted knows what it knew, without asking anybody.
//!
//! | | |
//! |---|---|
//! | `config` | nodes, gateways, apps, and what the machines of an instance are set to |
//! | `app` | one app, as its manifest says it |
//! | `scale` | how many instances it has, and how large they are |
//! | `kept` | how all that lies on disk, and the revisions of an app |

mod app;
mod kept;
mod scale;

pub use app::{App, Balance, Budgets, Check, Parking, Probe, Protocol, Session, State, Sticky};
pub use scale::{Flap, Reports, Resources, Scale, Shape, Size, Work};

use crate::names::InstanceName;
use paracloud_core::ids::{GatewayId, NodeId};
use paracloud_core::migration::{convergence, coordinator};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::PathBuf;

/// The cloud of one directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cloud {
    /// Where instances run.
    pub nodes: Vec<Node>,
    /// The data plane. Gateway *k* listens, for each app, on the *k*-th of its addresses.
    pub gateways: Vec<GatewayId>,
    /// What runs.
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
/// An application and its agent have the budget of a preparation for another size; so long after it the outcome is still
/// waited for, in milliseconds.
pub const RESIZE_SAID_MS: u32 = 2_000;
/// Progress reports without a new minimum after which a copy counts as stalled, and after which it is given up.
pub const STALL_REPORTS: (u32, u32) = (40, 400);

impl Cloud {
    /// The app of this name.
    pub fn app(&self, name: &str) -> Option<&App> {
        self.apps.iter().find(|app| app.name == name)
    }

    /// The app that an instance of this name is one of. `None`: there is no such app, or it has no such instance: one with
    /// `scale` has numbered ones only, one without it only the one of its own name.
    pub fn app_of(&self, instance: &str) -> Option<&App> {
        let name: InstanceName = instance.parse().ok()?;
        self.app(name.app()).filter(|app| app.may_have(&name))
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
            leave_ms: app.scale.unwrap_or_default().drain_ms,
            resize_ms: budgets.prepare_ms.saturating_add(RESIZE_SAID_MS),
            pause: convergence::Budget {
                pause_ms: budgets.pause_ms,
                pause_ms_max: budgets.pause_ms_max,
                stall_reports: STALL_REPORTS.0,
                stall_reports_max: STALL_REPORTS.1,
            },
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
    /// It is larger than any that was written.
    #[error("{path}: too large to be the configuration of a cloud")]
    TooLarge {
        /// The file.
        path: PathBuf,
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
