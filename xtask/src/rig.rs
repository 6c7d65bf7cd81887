//! A cloud of real processes: `paracloud up` in a directory of its own, and a handle to everybody in it.
//!
//! Every process of a rig carries [`MARKER`] in its environment, so each can be found, also those that have a session
//! of their own and outlived whoever started them; and what is left at the end is counted and ended.

use anyhow::{Context, Result, bail};
use paracloud_core::ids::{NodeId, StartId};
pub(crate) use paracloud_load::driver::free_addresses;
use paracloud_substrate::cgroup::{Hierarchies, Site, sweep_gone_clouds};
use paracloud_substrate::layout::Layout;
use paracloud_substrate::link;
use paracloud_substrate::message::Caller;
use paracloud_substrate::person::{Instance, Reply, Request, Status};
use paracloud_substrate::process::{Identity, signal};
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// The variable by which a rig's processes are known; its value is the rig's directory.
pub(crate) const MARKER: &str = "PARACLOUD_RIG";
/// `1`: the programs of a rig are built already.
const BUILT: &str = "PARACLOUD_RIG_BUILT";
/// How often a state is looked at.
const LOOK_MS: u64 = 5;
/// The longest that one answer of the controller may take, in milliseconds.
const ANSWER_MS_MAX: u64 = 10_000;
/// The longest that a rig's end may take before what is left counts as left over, in milliseconds.
const END_MS_MAX: u64 = 30_000;

/// Somebody in a rig.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Controller,
    Agent(NodeId),
    Gateway(u32),
    Shim(NodeId, StartId),
    Application(NodeId, StartId),
}

/// See the module.
pub(crate) struct Rig {
    directory: std::sync::Arc<TempDir>,
    layout: Layout,
    up: Child,
}

impl Rig {
    /// Starts a cloud of this manifest with the release binaries beside this program. `{rig}` in it stands for the
    /// value of [`MARKER`]: programs do not inherit the environment of `up`.
    pub(crate) async fn start(manifest: &str, environment: &[(&str, String)]) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("pc-").tempdir()?;
        let root = directory.path().join("c");
        let layout = Layout::new(&root)?;
        std::fs::create_dir(directory.path().join("failpoints"))?;
        let file = directory.path().join("app.yaml");
        std::fs::write(&file, manifest.replace("{rig}", &directory.path().display().to_string()))?;
        let output = std::fs::File::create(directory.path().join("up.log"))?;
        let up = Command::new(binary("paracloud")?)
            .arg("up")
            .arg(&file)
            .arg("--dir")
            .arg(&root)
            .env(MARKER, directory.path())
            .env("PARACLOUD_FAILPOINTS", directory.path().join("failpoints"))
            .env("PARACLOUD_DEAF", directory.path().join("deaf"))
            .envs(environment.iter().map(|(name, value)| (*name, value)))
            // It ends when this program does, however that ends.
            .env("PARACLOUD_LIFELINE", "1")
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("`paracloud up` cannot be started")?;
        Ok(Self { directory: std::sync::Arc::new(directory), layout, up })
    }

    /// The cloud's directory.
    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The directory of armed points.
    pub(crate) fn failpoints(&self) -> PathBuf {
        self.directory.path().join("failpoints")
    }

    /// What `up` printed.
    pub(crate) fn output(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("up.log")).unwrap_or_default()
    }

    /// Asks the controller, and gives all it answers.
    pub(crate) async fn ask(&self, request: &Request, bound: Duration) -> Result<Vec<Reply>> {
        ask(&self.layout, request, bound).await
    }

    /// How everything is; `None` if the controller is away.
    pub(crate) async fn status(&self) -> Option<Status> {
        status(&self.layout).await
    }

    /// Waits until the instance is as wanted.
    pub(crate) async fn until(
        &self,
        instance: &str,
        what: &str,
        bound: Duration,
        wanted: impl Fn(&Status, &Instance) -> bool,
    ) -> Result<Instance> {
        let begun = Instant::now();
        let mut last = None;
        while begun.elapsed() < bound {
            if let Some(status) = self.status().await {
                let found = status.instances.iter().find(|it| it.name == instance).cloned();
                if let Some(found) = found {
                    if wanted(&status, &found) {
                        return Ok(found);
                    }
                    last = Some(found);
                }
            }
            tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
        }
        bail!("{instance}: {what}: not within {} s; last seen: {last:?}", bound.as_secs())
    }

    /// Waits until the instance serves, nothing is open, and everybody is connected.
    pub(crate) async fn settled(&self, instance: &str, bound: Duration) -> Result<Instance> {
        self.until(instance, "settles", bound, |status, instance| {
            let record = instance.record.as_ref();
            record.is_some_and(|record| record.operation.is_none() && record.served.is_some())
                && status.nodes.iter().all(|node| node.connected)
                && status.gateways.iter().all(|(_, connected)| *connected)
        })
        .await
    }

    /// The process of somebody, if there is one.
    pub(crate) fn find(&self, who: Who) -> Option<Identity> {
        if let Who::Application(node, start) = who {
            let file = self.layout.process(node, start).join("identity.json");
            let identity: Identity = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
            return identity.is_alive().ok()?.then_some(identity);
        }
        self.processes()
            .into_iter()
            .find(|(_, arguments)| {
                let word = |word: &str| arguments.iter().any(|it| it == word);
                match who {
                    Who::Controller => arguments.get(1).is_some_and(|it| it == "controller"),
                    Who::Agent(node) => {
                        arguments.get(1).is_some_and(|it| it == "agent") && word(&format!("n{}", node.0))
                    }
                    Who::Gateway(number) => {
                        arguments.get(1).is_some_and(|it| it == "gateway") && word(&format!("g{number}"))
                    }
                    Who::Shim(_, start) => {
                        let start = start.to_string();
                        arguments.get(1).is_some_and(|it| it == "shim")
                            && arguments.iter().any(|it| it.ends_with(&start))
                    }
                    Who::Application(..) => false,
                }
            })
            .map(|(identity, _)| identity)
    }

    /// Every process of this rig with its arguments.
    pub(crate) fn processes(&self) -> Vec<(Identity, Vec<String>)> {
        marked(self.directory.path())
    }

    /// The file that makes a gateway deaf while it is there.
    pub(crate) fn deaf(&self, gateway: u32) -> PathBuf {
        self.directory.path().join(format!("deaf.g{gateway}"))
    }

    /// Ends the cloud as a person would, and says how many processes were left over; those are killed. The directory
    /// is there until it is dropped.
    pub(crate) async fn end(mut self) -> (Result<usize>, std::sync::Arc<TempDir>) {
        let directory = self.directory.clone();
        (self.end_up().await, directory)
    }

    async fn end_up(&mut self) -> Result<usize> {
        if let Some(identity) = self.up.id().and_then(|pid| Identity::of(i32::try_from(pid).ok()?).ok())
            && let Some(handle) = identity.open()?
        {
            signal(&handle, Signal::TERM)?;
        }
        // Waiting would close its standard input, which is a second word to end.
        let _lifeline = self.up.stdin.take();
        let ended = tokio::time::timeout(Duration::from_millis(END_MS_MAX), self.up.wait()).await;
        let left = self.processes();
        for (identity, arguments) in &left {
            tracing::warn!(pid = identity.pid, ?arguments, "left over");
        }
        kill_all(self.directory.path());
        if ended.is_err() {
            bail!("`paracloud up` does not end; {} processes were left", left.len());
        }
        Ok(left.len())
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        kill_all(self.directory.path());
    }
}

/// Asks the controller of a cloud, and gives all it answers.
pub(crate) async fn ask(layout: &Layout, request: &Request, bound: Duration) -> Result<Vec<Reply>> {
    let answered = async {
        let stream = link::dial(&layout.controller_socket()).await;
        let (mut reader, mut writer) = link::halves(stream);
        writer.write(&Caller::Person).await?;
        writer.write(request).await?;
        let mut replies = Vec::new();
        while let Some(reply) = reader.read().await? {
            replies.push(reply);
        }
        anyhow::Ok(replies)
    };
    tokio::time::timeout(bound, answered).await.context("the controller does not answer")?
}

/// How everything in a cloud is; `None` if its controller is away.
pub(crate) async fn status(layout: &Layout) -> Option<Status> {
    let replies = ask(layout, &Request::Status, Duration::from_millis(ANSWER_MS_MAX)).await.ok()?;
    replies.into_iter().find_map(|reply| match reply {
        Reply::Status(status) => Some(status),
        Reply::Event(_)
        | Reply::Outcome(_)
        | Reply::Waits { .. }
        | Reply::Drains(_)
        | Reply::Drained { .. }
        | Reply::Updates(_)
        | Reply::Applied { .. }
        | Reply::Previewed { .. }
        | Reply::Answered(_)
        | Reply::Begun(_)
        | Reply::Scaled(_)
        | Reply::GivenBack(_)
        | Reply::Explained(_)
        | Reply::Done
        | Reply::Refused(_) => None,
    })
}

/// Kills every process of a rig, until none is left.
fn kill_all(directory: &Path) {
    for _ in 0..100 {
        let left = marked(directory);
        if left.is_empty() {
            break;
        }
        for (identity, _) in left {
            if let Ok(Some(handle)) = identity.open() {
                let _ = signal(&handle, Signal::KILL);
            }
        }
        std::thread::sleep(Duration::from_millis(LOOK_MS));
    }
    remove_groups(directory);
}

/// Removes the control groups of the rig's cloud, whose shims would have, and those of rigs that were killed.
fn remove_groups(directory: &Path) {
    let Ok(hierarchies) = Hierarchies::find() else { return };
    for group in Site::of(&hierarchies, &directory.join("c")).groups() {
        // Who is in one was started by the rig, and has lost its mark.
        let _ = group.kill().and_then(|()| group.remove());
    }
    sweep_gone_clouds(&hierarchies);
}

fn marked(directory: &Path) -> Vec<(Identity, Vec<String>)> {
    let marker = format!("{MARKER}={}", directory.display());
    let own = std::process::id().to_string();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok().filter(|name| *name != own)?;
            let pid: i32 = name.parse().ok()?;
            let environment = std::fs::read(entry.path().join("environ")).ok()?;
            if !environment.split(|byte| *byte == 0).any(|it| it == marker.as_bytes()) {
                return None;
            }
            let identity = Identity::of(pid).ok().filter(|identity| identity.is_alive().unwrap_or(false))?;
            let line = std::fs::read(entry.path().join("cmdline")).ok()?;
            let arguments = line.split(|byte| *byte == 0).map(|it| String::from_utf8_lossy(it).into_owned());
            Some((identity, arguments.collect()))
        })
        .collect()
}

/// A program of the release build.
pub(crate) fn binary(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let path = own.parent().context("this program has no directory")?.join(name);
    anyhow::ensure!(path.exists(), "{} is not built: run this by `cargo xtask`", path.display());
    Ok(path)
}

/// Builds the programs that a rig runs, unless [`BUILT`] says that they are there.
pub(crate) fn build() -> Result<()> {
    if std::env::var_os(BUILT).is_some_and(|value| value == "1") {
        return Ok(());
    }
    let status = std::process::Command::new(env!("CARGO"))
        .args([
            "build",
            "--release",
            "-p",
            "paracloud",
            "-p",
            "sessions",
            "-p",
            "worker",
            "-p",
            "paracloud-load",
        ])
        .status()
        .context("cargo cannot be run")?;
    anyhow::ensure!(status.success(), "the programs of the rig do not build");
    Ok(())
}
