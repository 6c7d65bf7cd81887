//! A log of decisions, read from its end: what is looked for is nearly always near.

use super::{FILES_MAX, Line, path};
use std::io;
use std::ops::ControlFlow;
use std::path::Path;

/// What stands in a line.
#[derive(Debug)]
pub enum Look<'a> {
    /// A decision, or what became of one.
    Line(Line<'a>),
    /// Nothing that can be read. The last line of a log that is being written may be that for a moment.
    Damaged,
}

/// Shows every line of the log in this directory, the newest first, until `look` breaks off or about `bytes_max` were
/// read: whole files are. A log that is not there has no lines.
///
/// # Errors
/// A file of it cannot be read.
pub fn newest_first(
    directory: &Path,
    bytes_max: u64,
    mut look: impl FnMut(Look<'_>) -> ControlFlow<()>,
) -> io::Result<()> {
    let mut bytes = 0_u64;
    for number in 0..=FILES_MAX {
        let text = match std::fs::read(path(directory, number)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        bytes = bytes.saturating_add(u64::try_from(text.len()).unwrap_or(u64::MAX));
        for line in text.rsplit(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let seen = serde_json::from_slice(line).map_or(Look::Damaged, Look::Line);
            if look(seen).is_break() {
                return Ok(());
            }
        }
        if bytes >= bytes_max {
            return Ok(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Decision, Log};
    use super::*;
    use paracloud_core::scaling::{Memory, Observation, Policy, plan};

    fn seen(directory: &Path, bytes_max: u64, most: usize) -> Vec<Option<String>> {
        let mut apps = Vec::new();
        let look = |look: Look<'_>| {
            apps.push(match look {
                Look::Line(line) => Some(line.app),
                Look::Damaged => None,
            });
            if apps.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        newest_first(directory, bytes_max, look).unwrap();
        apps
    }

    #[test]
    fn the_newest_line_comes_first_over_all_files_and_what_cannot_be_read_is_said() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(seen(directory.path(), u64::MAX, 9), [], "no log, no lines");
        let (_, _, record) = plan(&Policy::between(1, 2), &Observation::default(), &Memory::default());
        let mut log = Log::open_with(directory.path(), 2_500).unwrap();
        for app in ["a", "b", "c"] {
            log.write(app, Decision::Scaling(&record)).unwrap();
        }
        let apps = |names: &[&str]| names.iter().map(|it| Some((*it).to_owned())).collect::<Vec<_>>();
        assert!(path(directory.path(), 1).exists(), "they are in several files");
        assert_eq!(seen(directory.path(), u64::MAX, 9), apps(&["c", "b", "a"]));
        assert_eq!(seen(directory.path(), u64::MAX, 2), apps(&["c", "b"]));
        let first = seen(directory.path(), 1, 9);
        assert!((1..3).contains(&first.len()), "one file is enough: {first:?}");
        std::fs::write(path(directory.path(), 0), "{\"app\": ").unwrap();
        assert_eq!(seen(directory.path(), 1, 9), [None]);
    }
}
