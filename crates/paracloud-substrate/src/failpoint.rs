//! Where the crash tests stop a shell: at a promise, before or after what it persists, or after it was said.
//!
//! Without [`DIRECTORY`] in the environment this does nothing. With it, a test arms a point by making the file
//! `PROMISE.POINT` (or `PROMISE.POINT.WHO` for one maker) in that directory. The first maker that reaches it renames
//! the file to `….fired` and stands still until the test makes `….go`; so a test knows that the point was reached,
//! and a point that is never reached is a test that fails.

use paracloud_core::migration::promises::{Point, Promise};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

/// The variable that names the directory.
pub const DIRECTORY: &str = "PARACLOUD_FAILPOINTS";
/// The longest that a shell stands still, in milliseconds.
pub const HELD_MS_MAX: u64 = 120_000;
const POLL_MS: u64 = 1;

fn directory() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOUND.get_or_init(|| std::env::var_os(DIRECTORY).map(PathBuf::from)).as_deref()
}

/// Whether a test armed this point for `who`: only then has a maker to see to it that what it said is on its way.
pub fn is_armed(promise: Promise, point: Point, who: &str) -> bool {
    directory().is_some_and(|directory| names(promise, point, who).any(|name| directory.join(name).exists()))
}

/// `who` reaches a point. Returns at once unless a test armed it.
pub async fn reached(promise: Promise, point: Point, who: &str) {
    let Some(directory) = directory() else { return };
    let Some(fired) = fire(directory, promise, point, who) else { return };
    tracing::info!(%promise, %point, who, "standing still for a test");
    let go = fired.with_extension("go");
    for _ in 0..HELD_MS_MAX / POLL_MS {
        if go.exists() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(POLL_MS)).await;
    }
}

/// The files that arm a point.
fn names(promise: Promise, point: Point, who: &str) -> impl Iterator<Item = String> {
    [format!("{promise}.{point}.{who}"), format!("{promise}.{point}")].into_iter()
}

/// Takes the armed file, so that it fires once.
fn fire(directory: &Path, promise: Promise, point: Point, who: &str) -> Option<PathBuf> {
    names(promise, point, who).find_map(|name| {
        let fired = directory.join(format!("{name}.fired"));
        std::fs::rename(directory.join(name), &fired).is_ok().then_some(fired)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_fires_once_and_only_where_it_is_armed() {
        let directory = tempfile::tempdir().unwrap();
        let armed = directory.path().join("commit.after_persist");
        std::fs::write(&armed, "").unwrap();
        assert_eq!(fire(directory.path(), Promise::Commit, Point::AfterSend, "controller"), None);
        let fired = fire(directory.path(), Promise::Commit, Point::AfterPersist, "controller").unwrap();
        assert!(fired.exists() && !armed.exists());
        assert_eq!(fire(directory.path(), Promise::Commit, Point::AfterPersist, "controller"), None);
        assert_eq!(fired.with_extension("go").file_name().unwrap(), "commit.after_persist.go");
    }
}
