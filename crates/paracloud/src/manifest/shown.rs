//! A cloud as a manifest would say it: every field, under the manifest's own names.

use paracloud_substrate::config::{
    App, Balance, Budgets, Check, Cloud, Parking, Probe, Protocol, Reports, Resources, Scale, Session, Shape,
    Size, State, Sticky, Work,
};
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// What a manifest means: its apps with every field, and what they run on.
#[derive(Debug, Serialize)]
pub struct Shown<'a> {
    nodes: Vec<Node<'a>>,
    gateways: Vec<String>,
    apps: Vec<Manifest<'a>>,
}

#[derive(Debug, Serialize)]
struct Node<'a> {
    name: &'a str,
    host: IpAddr,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'a> {
    kind: &'static str,
    name: &'a str,
    command: &'a [String],
    directory: &'a Path,
    env: &'a BTreeMap<String, String>,
    listen: &'a [SocketAddr],
    state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<Sessions<'a>>,
    accept_loss: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scale: Option<Scaling>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resources: Option<Limits>,
    protocol: Protocol,
    balance: Balance,
    readiness: Look<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    liveness: Option<Look<'a>>,
    r#move: Move,
    parking: Waiting,
    stop_grace: String,
    drain: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Look<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    http: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tcp: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exec: Option<&'a [String]>,
    period: String,
    timeout: String,
    failures: u32,
    #[serde(skip_serializing_if = "is_one")]
    successes: u32,
}

fn is_one(count: &u32) -> bool {
    *count == 1
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Sessions<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    cookie: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    header: Option<&'a str>,
    idle: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Scaling {
    min: u32,
    max: u32,
    start: u32,
    period: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hold: Option<String>,
    target: String,
    flap: Flapping,
    drain: String,
    manual_hold: String,
    shape: Shape,
    reports: Reports,
    work: Work,
}

#[derive(Debug, Serialize)]
struct Flapping {
    actions: u32,
    per: String,
}

/// Without bounds, of which there are none, it is a size.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Limits {
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resize_min: Option<Box<Self>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resize_max: Option<Box<Self>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Move {
    prepare: String,
    copy: String,
    park: String,
    seal: String,
    guard_wait: String,
    switch: String,
    release: String,
    pause: String,
    pause_max: String,
}

#[derive(Debug, Serialize)]
struct Waiting {
    wait: String,
    requests: u32,
    replay: String,
}

impl<'a> Shown<'a> {
    /// What this cloud is.
    pub fn of(cloud: &'a Cloud) -> Self {
        let node = |node: &'a paracloud_substrate::config::Node| Node { name: &node.name, host: node.host };
        Self {
            nodes: cloud.nodes.iter().map(node).collect(),
            gateways: cloud.gateways.iter().map(ToString::to_string).collect(),
            apps: cloud.apps.iter().map(|app| Manifest::of(app, cloud)).collect(),
        }
    }

    /// As a manifest, which means the same; what it runs on is a comment.
    ///
    /// # Errors
    /// Something in it cannot be written in YAML.
    pub fn yaml(&self) -> Result<String, serde_saphyr::SerializeError> {
        let nodes: Vec<_> = self.nodes.iter().map(|node| format!("{} ({})", node.name, node.host)).collect();
        let mut text = format!("# nodes {}; gateways {}\n", nodes.join(", "), self.gateways.join(", "));
        for (index, app) in self.apps.iter().enumerate() {
            text += if index == 0 { "" } else { "---\n" };
            text += serde_saphyr::to_string(app)?.trim_end();
            text.push('\n');
        }
        Ok(text)
    }
}

impl<'a> Manifest<'a> {
    fn of(app: &'a App, cloud: &'a Cloud) -> Self {
        Self {
            kind: "App",
            name: &app.name,
            command: &app.command,
            directory: &app.directory,
            env: &app.env,
            listen: &app.listen,
            state: app.state,
            session: app.session.as_ref().map(Sessions::of),
            accept_loss: app.accept_loss,
            node: cloud.node(app.node).filter(|_| app.scale.is_none()).map(|node| node.name.as_str()),
            scale: app.scale.as_ref().map(Scaling::of),
            resources: Limits::of(&app.resources),
            protocol: app.protocol,
            balance: app.balance,
            readiness: Look::of(&app.readiness),
            liveness: app.liveness.as_ref().map(Look::of),
            r#move: Move::of(&app.budgets),
            parking: Waiting::of(&app.parking),
            stop_grace: time(app.stop_grace_ms),
            drain: time(app.drain_ms),
        }
    }
}

impl<'a> Look<'a> {
    fn of(check: &'a Check) -> Self {
        let (http, tcp, exec) = match &check.probe {
            Probe::Http(path) => (Some(path.as_str()), None, None),
            Probe::Tcp => (None, Some(true), None),
            Probe::Exec(command) => (None, None, Some(command.as_slice())),
        };
        let (period, timeout) = (time(check.period_ms), time(check.timeout_ms));
        Self { http, tcp, exec, period, timeout, failures: check.failures, successes: check.successes }
    }
}

impl<'a> Sessions<'a> {
    fn of(session: &'a Session) -> Self {
        let (cookie, header) = match &session.sticky {
            Sticky::Cookie(name) => (Some(name.as_str()), None),
            Sticky::Header(name) => (None, Some(name.as_str())),
        };
        Self { cookie, header, idle: time(session.idle_ms) }
    }
}

impl Scaling {
    fn of(scale: &Scale) -> Self {
        Self {
            min: scale.min,
            max: scale.max,
            start: scale.start,
            period: time(scale.period_ms),
            hold: scale.hold_ms.map(time),
            target: format!("{}%", scale.target_permille / 10),
            flap: Flapping { actions: scale.flap.actions, per: time(scale.flap.per_ms) },
            drain: time(scale.drain_ms),
            manual_hold: time(scale.manual_hold_ms),
            shape: scale.shape,
            reports: scale.reports,
            work: scale.work,
        }
    }
}

impl Limits {
    fn of(resources: &Resources) -> Option<Self> {
        let Resources { start, least, most } = resources;
        let sized = |size: &Size| Self {
            memory: size.memory_bytes.map(memory),
            cpu: size.cpu_milli.map(|milli| format!("{milli}m")),
            resize_min: None,
            resize_max: None,
        };
        let bound = |size: &Size| Some(Box::new(sized(size)));
        (*start != Size::default()).then(|| Self {
            resize_min: bound(least),
            resize_max: bound(most),
            ..sized(start)
        })
    }
}

impl Move {
    fn of(budgets: &Budgets) -> Self {
        Self {
            prepare: time(budgets.prepare_ms),
            copy: time(budgets.copy_ms),
            park: time(budgets.park_ms),
            seal: time(budgets.seal_ms),
            guard_wait: time(budgets.guard_wait_ms),
            switch: time(budgets.switch_ms),
            release: time(budgets.release_ms),
            pause: time(budgets.pause_ms),
            pause_max: time(budgets.pause_ms_max),
        }
    }
}

impl Waiting {
    fn of(parking: &Parking) -> Self {
        Self {
            wait: time(parking.parked_ms_max),
            requests: parking.parked_max,
            replay: size(parking.replay_bytes_max),
        }
    }
}

/// A length of time in the largest unit that it is a whole number of.
fn time(ms: u32) -> String {
    in_units(ms, &[("h", 3_600_000), ("m", 60_000), ("s", 1_000)], "ms")
}

fn size(bytes: u32) -> String {
    in_units(bytes, &[("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)], "B")
}

fn memory(bytes: u64) -> String {
    let units = [("TiB", 1_u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let unit = units.iter().find(|(_, of)| bytes.is_multiple_of(*of));
    unit.map_or_else(|| format!("{bytes}B"), |(name, of)| format!("{}{name}", bytes / of))
}

fn in_units(count: u32, units: &[(&str, u32)], smallest: &str) -> String {
    let unit = units.iter().find(|(_, of)| count > 0 && count.is_multiple_of(*of));
    unit.map_or_else(|| format!("{count}{smallest}"), |(name, of)| format!("{}{name}", count / of))
}
