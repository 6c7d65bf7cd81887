//! A gateway before the workers, with an app for each rule.

use super::super::feed::{self, Became};
use super::workers::{COUNT, Kind, Workers};
use crate::rig;
use anyhow::{Context, Result, bail};
use paracloud_core::balancing::Policy;
use paracloud_core::ids::{GatewayId, NodeId, Placement, Revision, StartId};
use paracloud_load::look::Window;
use paracloud_substrate::config::{App, Balance, Cloud, Node, Scale, State};
use paracloud_substrate::layout::Layout;
use std::collections::BTreeMap;
use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

const GATEWAY: GatewayId = GatewayId(1);
const NODE: NodeId = NodeId(1);
/// How long the gateway may take to answer for every app, and to end, in milliseconds.
const WAIT_MS_MAX: u64 = 20_000;
/// How often that is looked at.
const LOOK_MS: u64 = 20;

/// See the module.
pub(super) struct Stand {
    workers: Workers,
    gateway: Child,
    feed: JoinHandle<Result<()>>,
    /// Nothing changes any more.
    _records: mpsc::Sender<Became>,
    addresses: BTreeMap<Policy, SocketAddr>,
    _directory: TempDir,
}

impl Stand {
    /// Starts all of it, and waits until every app answers.
    pub(super) async fn start(kind: Kind, policies: &[Policy], slots: u32) -> Result<Self> {
        let workers = Workers::start(kind, slots).await?;
        let private = Permissions::from_mode(0o700);
        let directory = tempfile::Builder::new().prefix("pc-").permissions(private).tempdir()?;
        let layout = Layout::new(directory.path())?;
        let addresses: BTreeMap<_, _> =
            policies.iter().copied().zip(rig::free_addresses(policies.len())?).collect();
        let cloud = cloud(&addresses);
        cloud.save(&layout.cloud())?;
        let socket = UnixListener::bind(layout.controller_socket())?;
        let apps = cloud.apps.iter().map(|app| app.name.clone()).collect();
        let (records, became) = mpsc::channel(COUNT as usize);
        for (number, address) in (1..).zip(workers.addresses()) {
            let owner = Placement { node: NODE, start: StartId(number.into()), revision: Revision::first() };
            records.send((number, feed::serving(owner, *address)?)).await?;
        }
        let feed = tokio::spawn(feed::serve(socket, apps, became, |_, _| {}));
        let gateway = Command::new(rig::binary("paracloud")?)
            .args(["gateway", "--gateway", "g1", "--dir"])
            .arg(directory.path())
            // It ends when this program does, however that ends.
            .env("PARACLOUD_LIFELINE", "1")
            .env("RUST_LOG", "warn")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(directory.path().join("gateway.log"))?)
            .kill_on_drop(true)
            .spawn()?;
        let mut stand = Self { workers, gateway, feed, _records: records, addresses, _directory: directory };
        for address in stand.addresses.clone().into_values() {
            stand.answers(address).await?;
        }
        Ok(stand)
    }

    async fn answers(&mut self, address: SocketAddr) -> Result<()> {
        let (window, began) = (Window::new(address), Instant::now());
        let wait = Duration::from_millis(WAIT_MS_MAX);
        while let Err(error) = window.look("/healthz", wait).await {
            self.check()?;
            anyhow::ensure!(began.elapsed() < wait, "the gateway does not answer: {error}");
            tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
        }
        Ok(())
    }

    /// # Errors
    /// The gateway is gone, or cannot be told anything.
    pub(super) fn check(&mut self) -> Result<()> {
        if let Some(status) = self.gateway.try_wait()? {
            let log = std::fs::read_to_string(self._directory.path().join("gateway.log")).unwrap_or_default();
            bail!("the gateway has ended: {status}; it says: {}", log.trim());
        }
        anyhow::ensure!(!self.feed.is_finished(), "the gateway is not told anything any more");
        Ok(())
    }

    /// Where clients of the app of this rule connect.
    pub(super) fn address(&self, policy: Policy) -> Result<SocketAddr> {
        self.addresses.get(&policy).copied().context("there is no app of this rule")
    }

    /// Its processes.
    pub(super) fn processes(&self) -> Result<Vec<i32>> {
        let gateway = i32::try_from(self.gateway.id().context("the gateway has ended")?)?;
        Ok([self.workers.pids()?, vec![gateway]].concat())
    }

    /// Ends all of it.
    pub(super) async fn end(mut self) -> Result<()> {
        self.check()?;
        // The end of its lifeline tells the gateway to end.
        drop(self.gateway.stdin.take());
        let ended = tokio::time::timeout(Duration::from_millis(WAIT_MS_MAX), self.gateway.wait()).await;
        let status = ended.context("the gateway does not end")??;
        anyhow::ensure!(status.success(), "the gateway has ended: {status}");
        self.feed.await?
    }
}

/// A cloud of one gateway, with an app for each rule.
fn cloud(addresses: &BTreeMap<Policy, SocketAddr>) -> Cloud {
    let app = |(policy, address): (&Policy, &SocketAddr)| App {
        listen: vec![*address],
        balance: Balance { policy: *policy },
        state: State::None,
        scale: Some(Scale { min: COUNT, max: COUNT, start: COUNT, ..Scale::default() }),
        ..App::new(&super::name(*policy).replace('_', "-"), vec!["worker".to_owned()])
    };
    let node = Node { id: NODE, name: "n1".to_owned(), host: [127, 0, 1, 1].into() };
    Cloud { nodes: vec![node], gateways: vec![GATEWAY], apps: addresses.iter().map(app).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_an_app_of_its_own_with_all_instances() {
        let addresses = BTreeMap::from([
            (Policy::LeastInFlight, ([127, 0, 0, 1], 1).into()),
            (Policy::Used, ([127, 0, 0, 1], 2).into()),
        ]);
        let cloud = cloud(&addresses);
        let app = cloud.app("least-in-flight").unwrap();
        assert_eq!((app.balance.policy, app.listen[0].port()), (Policy::LeastInFlight, 1));
        for number in 1..=COUNT {
            assert!(cloud.app_of(&format!("used.{number}")).is_some());
        }
    }
}
