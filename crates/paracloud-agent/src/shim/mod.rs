//! The shim: owns one process, its exit status and its log, and outlives the agent.
//!
//! It drives the core's [`paracloud_core::migration::shim::Shim`]: a start id is marked, durably, before its process is
//! started, and death is reported only when nothing of the process is left. A shim that was killed is replaced by
//! another one that adopts the process; the process itself notices nothing, because nothing of it leads to the shim.

mod exec;
mod keeper;
pub(crate) mod order;
pub(crate) mod place;
mod watch;

pub(crate) use exec::PARENT;
pub use exec::exec;
pub(crate) use watch::watch_for_death;

use keeper::Keeper;
use paracloud_substrate::private::{self, NotPrivate};
use std::io;
use std::path::{Path, PathBuf};

/// How long a process may be without agent and without `up` before it is ended, in milliseconds. A sealed one waits
/// on: only the outcome of its move may end it.
pub const ORPHAN_MS: u64 = 60_000;
/// The variable that shortens [`ORPHAN_MS`], for tests.
pub const ORPHAN_VARIABLE: &str = "PARACLOUD_ORPHAN_MS";

/// Why a shim, or the process it starts, cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ShimError {
    /// The process's directory is open to others.
    #[error(transparent)]
    NotPrivate(#[from] NotPrivate),
    /// A directory or a file in it.
    #[error("{path}: the process's directory cannot be used")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The shim that started this process died before it became the program.
    #[error("the shim is gone: the start id counts as dead")]
    Orphaned,
    /// The program that a probe looks at has not been put into its group yet.
    #[error("the program is only being started")]
    NotPlaced,
    /// The command is empty.
    #[error("the command is empty")]
    NoCommand,
    /// The program cannot be run.
    #[error("{program}: cannot be run")]
    Program {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
}

/// Owns the process of a directory until it is dead and an agent was told so.
///
/// Returns at once if the directory has a shim already.
///
/// # Errors
/// The directory is not its owner's alone, or cannot be used. Nothing was started then that was not marked.
pub async fn run(process_dir: &Path) -> Result<(), ShimError> {
    private::check(process_dir)?;
    match Keeper::open(process_dir).await? {
        Some(keeper) => keeper.run().await,
        None => Ok(()),
    }
}
