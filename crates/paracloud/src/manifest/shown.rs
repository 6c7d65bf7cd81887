//! A cloud as a manifest would say it: every field, under the manifest's own names.

use paracloud_substrate::config::{App, Budgets, Cloud, Parking, Probe, State};
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
    accept_loss: bool,
    node: &'a str,
    readiness: Readiness<'a>,
    r#move: Move,
    parking: Waiting,
    stop_grace: String,
    drain: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Readiness<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    http: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tcp: Option<bool>,
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
        let (http, tcp) = match &app.readiness {
            Probe::Http(path) => (Some(path.as_str()), None),
            Probe::Tcp => (None, Some(true)),
        };
        Self {
            kind: "App",
            name: &app.name,
            command: &app.command,
            directory: &app.directory,
            env: &app.env,
            listen: &app.listen,
            state: app.state,
            accept_loss: app.accept_loss,
            node: cloud.node(app.node).map_or("", |node| &node.name),
            readiness: Readiness { http, tcp },
            r#move: Move::of(&app.budgets),
            parking: Waiting::of(&app.parking),
            stop_grace: time(app.stop_grace_ms),
            drain: time(app.drain_ms),
        }
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

fn in_units(count: u32, units: &[(&str, u32)], smallest: &str) -> String {
    let unit = units.iter().find(|(_, of)| count > 0 && count.is_multiple_of(*of));
    unit.map_or_else(|| format!("{count}{smallest}"), |(name, of)| format!("{}{name}", count / of))
}
