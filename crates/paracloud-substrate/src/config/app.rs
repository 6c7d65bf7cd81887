//! One app, as its manifest says it.

use super::{ASK_MS, RESTART_MS, RESTART_SOUND_MS, Resources, SOON_MS, Scale};
use crate::names::InstanceName;
use paracloud_core::balancing::Policy;
use paracloud_core::ids::{NodeId, Revision};
use paracloud_core::migration::{agent, gateway};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A deployable unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct App {
    /// Its name: 1 to 63 lowercase letters, digits and hyphens.
    pub name: String,
    /// Grows with each change of anything below that was applied, from 1.
    pub revision: u32,
    /// That of the app as it was brought up last: whatever is started from now on is of it or of a later one. `cloud.json`
    /// has it, and not the file of a revision, which never changes.
    #[serde(skip)]
    pub floor: u32,
    /// Where it is started for the first time. With `scale`, instances are spread instead.
    pub node: NodeId,
    /// Program and arguments; `{host}` and `{port}` in them are replaced.
    pub command: Vec<String>,
    /// Added to the environment; `{host}` and `{port}` in values are replaced.
    pub env: BTreeMap<String, String>,
    /// The working directory.
    pub directory: PathBuf,
    /// What is lost when a process is.
    pub state: State,
    /// How clients are kept with their instance. There if and only if `state` says so.
    pub session: Option<Session>,
    /// The manifest consents to moves that lose the state (mode `restart` of a stateful app).
    pub accept_loss: bool,
    /// Where clients connect: one address for each gateway.
    pub listen: Vec<SocketAddr>,
    /// What it speaks with gateways.
    pub protocol: Protocol,
    /// How gateways choose among its instances.
    #[serde(default)]
    pub balance: Balance,
    /// How the agent sees that a program that does not speak PaCI is ready.
    pub readiness: Check,
    /// How the agent sees that a program that does not speak PaCI is alive; `None`: its process is.
    pub liveness: Option<Check>,
    /// How many instances it has; `None`: one, of its own name.
    pub scale: Option<Scale>,
    /// How large an instance is, and may become.
    pub resources: Resources,
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
    /// Sessions of clients: each lives in one instance and ends by itself.
    Session,
    /// Nothing: it can be stopped here and started there.
    None,
}

/// What an app speaks with gateways. Clients may speak either, whatever it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.1. What a manifest that does not say means.
    #[default]
    Http1,
    /// HTTP/2 from the first byte, without TLS.
    H2,
}

/// How gateways choose among the instances of an app.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Balance {
    /// By which rule: all but the one that a manifest means that does not say are there to be compared with it.
    pub policy: Policy,
}

/// How clients are kept with the instance that holds their session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// Where the id of a session stands.
    pub sticky: Sticky,
    /// A session of which nothing was seen for so long is over, in milliseconds.
    pub idle_ms: u32,
}

/// Where the id of a session stands: the application gives it in a response, and the client says it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sticky {
    /// In the cookie of this name.
    Cookie(String),
    /// In the header of this name, in lowercase.
    Header(String),
}

/// A look at a program from outside, again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// How it is looked.
    pub probe: Probe,
    /// From one look to the next, in milliseconds.
    pub period_ms: u32,
    /// A look that takes longer has failed, in milliseconds.
    pub timeout_ms: u32,
    /// So many looks in a row that failed mean that it is not (ready, alive) any more.
    pub failures: u32,
    /// So many looks in a row that were good mean that it is ready.
    #[serde(default = "once")]
    pub successes: u32,
}

/// How often is enough where nothing is said.
const fn once() -> u32 {
    1
}

impl Check {
    /// This probe, with what a manifest means that says no more.
    pub const fn by(probe: Probe) -> Self {
        Self { probe, period_ms: 1_000, timeout_ms: 1_000, failures: 3, successes: once() }
    }
}

/// How it is looked at a program from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// Its address accepts a connection.
    Tcp,
    /// A GET of this path is answered with a status from 200 to 399.
    Http(String),
    /// This command (program and arguments), run where and as the program is, ends with status 0.
    Exec(Vec<String>),
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

impl App {
    /// An app of this name that runs this command, with what a manifest means that says no more.
    pub fn new(name: &str, command: Vec<String>) -> Self {
        Self {
            name: name.to_owned(),
            revision: 1,
            floor: 1,
            node: NodeId(1),
            command,
            env: BTreeMap::new(),
            directory: PathBuf::from("/"),
            state: State::Stateful,
            session: None,
            accept_loss: false,
            listen: Vec::new(),
            protocol: Protocol::default(),
            balance: Balance::default(),
            readiness: Check::by(Probe::Tcp),
            liveness: None,
            scale: None,
            resources: Resources::default(),
            budgets: Budgets::default(),
            parking: Parking::default(),
            stop_grace_ms: 10_000,
            drain_ms: 5_000,
        }
    }

    /// Whether an instance of this name is one of its own.
    pub fn may_have(&self, instance: &InstanceName) -> bool {
        self.name == instance.app() && self.scale.is_some() == instance.number().is_some()
    }

    /// Whether a process of it holds nothing that is missed.
    pub fn is_stateless(&self) -> bool {
        self.state == State::None
    }

    /// Whether a process of the other one is started in the very same way: nothing of what a running process is made of
    /// differs.
    pub fn runs_as(&self, other: &Self) -> bool {
        (&self.command, &self.env, &self.directory) == (&other.command, &other.env, &other.directory)
    }

    /// Whether it is the same but for its revision.
    pub fn means(&self, other: &Self) -> bool {
        *self == Self { revision: self.revision, floor: self.floor, ..other.clone() }
    }

    /// Which revision a process is started from that the register says is of `placed`.
    pub fn started_from(&self, placed: Revision) -> u32 {
        placed.0.max(self.floor)
    }

    /// It as it is now, but started as `other` is.
    #[must_use]
    pub fn started_as(&self, other: &Self) -> Self {
        Self {
            revision: other.revision,
            command: other.command.clone(),
            env: other.env.clone(),
            directory: other.directory.clone(),
            ..self.clone()
        }
    }

    /// What of it differs that cannot be changed while the cloud runs: names of fields of the manifest.
    pub fn fixed_differences(&self, other: &Self) -> Vec<&'static str> {
        let fields = [
            ("listen", self.listen != other.listen),
            ("state", self.state != other.state),
            ("session", self.session != other.session),
            ("protocol", self.protocol != other.protocol),
            ("balance", self.balance != other.balance),
            ("parking", self.parking != other.parking),
            ("scale", self.scale.is_some() != other.scale.is_some()),
            ("scale.period", self.scale.map(|it| it.period_ms) != other.scale.map(|it| it.period_ms)),
        ];
        fields.into_iter().filter(|(_, differs)| *differs).map(|(field, _)| field).collect()
    }

    /// What of it differs that holds at once, without a new process: names of fields of the manifest.
    pub fn immediate_differences(&self, other: &Self) -> Vec<&'static str> {
        let fields = [
            ("acceptLoss", self.accept_loss != other.accept_loss),
            ("scale", self.scale != other.scale),
            ("resources", self.resources != other.resources),
            ("readiness", self.readiness != other.readiness),
            ("liveness", self.liveness != other.liveness),
            ("move", self.budgets != other.budgets),
            ("drain", self.drain_ms != other.drain_ms),
        ];
        fields.into_iter().filter(|(_, differs)| *differs).map(|(field, _)| field).collect()
    }

    /// What of it differs that holds for processes that are started from now on: names of fields of the manifest.
    pub fn later_differences(&self, other: &Self) -> Vec<&'static str> {
        let fields =
            [("node", self.node != other.node), ("stopGrace", self.stop_grace_ms != other.stop_grace_ms)];
        fields.into_iter().filter(|(_, differs)| *differs).map(|(field, _)| field).collect()
    }

    /// What of it differs that takes a new process: names of fields of the manifest.
    pub fn process_differences(&self, other: &Self) -> Vec<&'static str> {
        let fields = [
            ("command", self.command != other.command),
            ("env", self.env != other.env),
            ("directory", self.directory != other.directory),
        ];
        fields.into_iter().filter(|(_, differs)| *differs).map(|(field, _)| field).collect()
    }

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
