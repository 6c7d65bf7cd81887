//! The clouds that trials are made in.

use super::cells::{Cell, Story};
use super::courses::Course;
use super::kept::End;
use super::resizing::{BALLAST_BYTES, RESOURCES};
use super::{INSTANCE, SIZED};
use crate::replay::Replayed;
use crate::rig::{self, Rig};
use anyhow::Result;
use paracloud_substrate::layout::Layout;
use paracloud_substrate::trace;
use std::net::SocketAddr;
use std::path::Path;

/// Trials that one cloud serves; then it ends, so that what it has to say is said and its logs stay short.
pub(super) const TRIALS_MAX: usize = 16;

/// What the application of a cloud is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It can be handed over.
    Aware,
    /// As that, but a target that was committed never answers ready.
    NeverReady,
    /// It knows nothing of the cloud.
    Unaware,
    /// Two instances of a queue without state.
    Queue,
    /// One instance of it, with a size.
    Sized,
    /// The same, with more in use than it would have to do with.
    Heavy,
}

impl Kind {
    /// The kind that a cell needs.
    pub(super) fn of(cell: Cell) -> Self {
        match cell.story() {
            Story::Move | Story::Blocked | Story::OwnerDies => Self::Aware,
            Story::NeverReady => Self::NeverReady,
            Story::Restarted => Self::Unaware,
            Story::Leaves | Story::CalledBack | Story::Raced => Self::Queue,
            Story::Resized if cell.course == Course::Unkept => Self::Heavy,
            Story::Resized => Self::Sized,
        }
    }

    /// What the manifest says of the app beside where it listens.
    fn manifest(self) -> Result<String> {
        let program = |name| Ok::<_, anyhow::Error>(rig::binary(name)?.display().to_string());
        let sessions = |command: &[&str], environment: &str| {
            format!(
                "name: {INSTANCE}\ncommand: {command:?}\ndrain: 1s\nenv:\n  PARACLOUD_RIG: \"{{rig}}\"\n  \
                 SESSIONS_FAULTS: \"1\"\n{environment}move:\n  prepare: 10s\n  copy: 30s\n  park: 2s\n  \
                 seal: 3s\n  guardWait: 1s\n  switch: 3s\n  release: 2s\n"
            )
        };
        // Whoever decides the number of instances by load is not the subject here.
        let queue = |command: &[&str], fields: &str| {
            format!(
                "name: {SIZED}\ncommand: {command:?}\nstate: none\nenv:\n  PARACLOUD_RIG: \"{{rig}}\"\n  \
                 SLOTS: \"64\"\n  SLOT_KIB: \"1\"\n  SLOT_CPU_MILLIS: \"1\"\n{fields}"
            )
        };
        Ok(match self {
            Self::Aware => sessions(&[&program("sessions")?], ""),
            Self::NeverReady => {
                sessions(&[&program("sessions")?], "  SESSIONS_FAULT: never-ready-on-resume\n")
            }
            // A program that knows nothing of the cloud is the same one, started where it cannot see it.
            Self::Unaware => sessions(&["env", "PACI_DISABLED=true", &program("sessions")?], ""),
            Self::Queue => queue(&[&program("worker")?], "scale: {min: 1, max: 2, start: 2, drain: 20s}\n"),
            Self::Sized => queue(&[&program("worker")?], RESOURCES),
            Self::Heavy => {
                // What is read stays with `tail` until there is an end, and there is none.
                let read = format!("head -c {BALLAST_BYTES} /dev/zero; sleep 100000");
                let hold = format!("tail -c {BALLAST_BYTES} > /dev/null");
                let script = format!("({read}) | {hold} & exec {:?}", program("worker")?);
                queue(&["sh", "-c", &script], &format!("{RESOURCES}move: {{prepare: 1s}}\n"))
            }
        })
    }
}

/// A cloud at work.
pub(super) struct Cloud {
    pub(super) number: u64,
    pub(super) kind: Kind,
    pub(super) rig: Rig,
    pub(super) gateways: Vec<SocketAddr>,
    /// How many trials were made in it.
    pub(super) trials: usize,
}

impl Cloud {
    /// Starts one.
    pub(super) async fn start(number: u64, kind: Kind) -> Result<Self> {
        let gateways = rig::free_addresses(2)?;
        let listen: Vec<_> = gateways.iter().map(|address| format!("{:?}", address.to_string())).collect();
        let manifest = format!(
            "kind: App\nlisten: [{}]\nstopGrace: 1s\nreadiness:\n  http: /healthz\n{}",
            listen.join(", "),
            kind.manifest()?,
        );
        let rig = Rig::start(&manifest, &[(trace::SWITCH, "1".to_owned())]).await?;
        Ok(Self { number, kind, rig, gateways, trials: 0 })
    }

    /// Whether it is of use for a cell.
    pub(super) fn serves(&self, cell: Cell) -> bool {
        self.kind == Kind::of(cell) && self.trials < TRIALS_MAX
    }

    /// Ends it, and feeds the logs of its machines to the core again.
    pub(super) async fn end(self) -> Result<End> {
        let (left, directory) = self.rig.end().await;
        let traces = Layout::new(&directory.path().join("c"))?.trace();
        Ok(End { leftovers: left.unwrap_or(1), replayed: Replayed::of_cloud(&traces)? })
    }

    /// Copies its logs to a directory.
    pub(super) fn keep_logs(&self, to: &Path) -> Result<()> {
        let _ = std::fs::remove_dir_all(to);
        std::fs::create_dir_all(to)?;
        std::fs::write(to.join("up.log"), self.rig.output())?;
        for folder in [self.rig.layout().log(), self.rig.layout().trace()] {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let _ = std::fs::copy(entry.path(), to.join(entry.file_name()));
            }
        }
        Ok(())
    }
}
