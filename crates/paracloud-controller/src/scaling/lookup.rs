//! What stands in a log, looked through from its newest line. What came of a decision stands behind it, and is kept until the
//! decision is found.

use super::explain::{LOOK_BYTES_MAX, Scaled};
use paracloud_core::{ordered, scaling, wishes};
use paracloud_substrate::decision::{Done, Line, Look, Opened, newest_first};
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;

/// What came of decisions that is kept while those are looked for.
const FOLLOWED_MAX: usize = 4_096;

/// A decision that stands in a log before what came of it.
pub(super) trait Decided: DeserializeOwned {
    /// The kind of its lines.
    const KIND: &str;
    /// What came of it.
    type Followed: DeserializeOwned + Clone;
    /// The kind of the lines of that.
    const FOLLOWED: &str;

    /// When it was made, as [`Self::decided_ms`] has it.
    fn made_ms(&self) -> u64;
    /// When that was made which this came of.
    fn decided_ms(followed: &Self::Followed) -> u64;
}

impl Decided for scaling::Record {
    const KIND: &str = "scaling";
    type Followed = Done;
    const FOLLOWED: &str = "done";

    fn made_ms(&self) -> u64 {
        self.observation.now_ms
    }

    fn decided_ms(followed: &Done) -> u64 {
        followed.decided_ms
    }
}

impl Decided for ordered::Record {
    const KIND: &str = "ordered";
    type Followed = Opened;
    const FOLLOWED: &str = "opened";

    fn made_ms(&self) -> u64 {
        self.at_ms
    }

    fn decided_ms(followed: &Opened) -> u64 {
        followed.decided_ms
    }
}

impl Decided for wishes::Record {
    const KIND: &str = "wish";
    type Followed = Opened;
    const FOLLOWED: &str = "opened";

    fn made_ms(&self) -> u64 {
        self.sight.now_ms
    }

    fn decided_ms(followed: &Opened) -> u64 {
        followed.decided_ms
    }
}

/// A decision that was found.
pub(super) struct Found<D: Decided> {
    /// Of which app; empty: of all that are on a node.
    pub(super) app: String,
    /// When it was written, in milliseconds since 1970.
    pub(super) unix_ms: u64,
    /// It is not older than the one that is asked after.
    pub(super) is_of_this_one: bool,
    pub(super) record: D,
    /// What came of it.
    pub(super) followed: Vec<D::Followed>,
}

/// Shows each decision of this kind that may be about what is asked after, the newest first. Whether every line could be read.
pub(super) fn decisions<D: Decided>(
    asked: &Scaled<'_>,
    mut look: impl FnMut(Found<D>) -> ControlFlow<()>,
) -> io::Result<bool> {
    let mut followed: VecDeque<D::Followed> = VecDeque::new();
    lines(asked.directory, |line| {
        // Of what is on a node every app may have something.
        if line.app != asked.app && !line.app.is_empty() {
            return Some(ControlFlow::Continue(()));
        }
        // What came of this one is noted after it began; what is noted before was of another one of its name.
        let is_of_this_one = line.unix_ms >= asked.began_unix_ms;
        if line.kind == D::FOLLOWED && is_of_this_one {
            followed.push_front(serde_json::from_str(line.record.get()).ok()?);
            followed.truncate(FOLLOWED_MAX);
        }
        if line.kind != D::KIND {
            return Some(ControlFlow::Continue(()));
        }
        let record: D = serde_json::from_str(line.record.get()).ok()?;
        let made_ms = record.made_ms();
        let own = followed.iter().filter(|one| D::decided_ms(one) == made_ms).cloned().collect();
        followed.retain(|one| D::decided_ms(one) != made_ms);
        let (app, unix_ms) = (line.app, line.unix_ms);
        Some(look(Found { app, unix_ms, is_of_this_one, record, followed: own }))
    })
}

/// Shows each line, the newest first; `None`: it cannot be read. Whether all could be.
pub(super) fn lines(
    directory: &Path,
    mut look: impl FnMut(Line<'_>) -> Option<ControlFlow<()>>,
) -> io::Result<bool> {
    let (mut is_whole, mut is_last) = (true, true);
    newest_first(directory, LOOK_BYTES_MAX, |seen| {
        let was_last = std::mem::take(&mut is_last);
        match seen {
            Look::Line(line) => look(line).unwrap_or_else(|| {
                is_whole = false;
                ControlFlow::Continue(())
            }),
            Look::Damaged => {
                // The last one may be on its way.
                is_whole &= was_last;
                ControlFlow::Continue(())
            }
        }
    })?;
    Ok(is_whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (bool, Vec<u64>) {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("decisions.jsonl"), text).unwrap();
        let mut seen = Vec::new();
        let is_whole = lines(directory.path(), |line| {
            seen.push(line.unix_ms);
            (line.kind != "unknown").then_some(ControlFlow::Continue(()))
        });
        (is_whole.unwrap(), seen)
    }

    #[test]
    fn a_line_that_cannot_be_read_leaves_a_gap_and_the_last_one_that_is_on_its_way_does_not() {
        let line = |at: u64, kind: &str| {
            format!("{{\"app\":\"web\",\"unix_ms\":{at},\"kind\":\"{kind}\",\"record\":null}}\n")
        };
        let (one, two) = (line(1, "scaling"), line(2, "scaling"));
        assert_eq!(read(&format!("{one}{two}")), (true, vec![2, 1]));
        assert_eq!(read(&format!("{one}{two}{{\"app\":")), (true, vec![2, 1]));
        assert_eq!(read(&format!("{one}{{\"app\":\n{two}")), (false, vec![2, 1]));
        assert_eq!(read(&format!("{one}{}", line(2, "unknown"))), (false, vec![2, 1]));
        assert_eq!(read(""), (true, vec![]));
    }
}
