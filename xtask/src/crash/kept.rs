//! What was tried of this commit, a line of JSON each, so that a run goes on where it was interrupted.
//!
//! Nothing is ever taken back: a cell that broke once stays broken at this commit, whatever comes of it later. A trial
//! counts as done only when its cloud has ended and said what it left over, and whether its logs replay. A tree with
//! changes of its own has no name, so what was tried of it says nothing of the tree of now: it is tried anew.

use super::cells::Cell;
use super::trial::Verdict;
use crate::replay::Replayed;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// What came of a cloud itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct End {
    /// Processes that were left over.
    pub(super) leftovers: usize,
    /// What its logs say.
    pub(super) replayed: Replayed,
}

/// One line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "row")]
enum Row {
    Trial { cloud: u64, cell: Cell, verdict: Verdict },
    Cloud { cloud: u64, end: End },
}

/// A trial, and the cloud it was made in.
#[derive(Debug, Clone)]
pub(super) struct Trial {
    pub(super) cloud: u64,
    pub(super) cell: Cell,
    pub(super) verdict: Verdict,
}

/// See the module.
pub(super) struct Kept {
    file: File,
    /// All trials, in their order.
    pub(super) trials: Vec<Trial>,
    /// The clouds that have ended.
    pub(super) clouds: BTreeMap<u64, End>,
    /// The number of the next cloud.
    next: u64,
}

impl Kept {
    /// Reads what was tried of this commit. With `fresh`, nothing was.
    pub(super) fn open(folder: &Path, commit: &str, fresh: bool) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let path = folder.join(format!("{commit}.jsonl"));
        let has_no_name = commit.ends_with('+') || commit == "unknown";
        let text = match std::fs::read_to_string(&path) {
            Ok(text) if !fresh && !has_no_name => text,
            Ok(_) | Err(_) => String::new(),
        };
        // A line that was torn when a run was interrupted is gone; what is whole is written again.
        let rows: Vec<Row> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        // In the place of the old file once everything is in it.
        let new = path.with_extension("new");
        let file = File::create(&new).with_context(|| format!("{} cannot be written", new.display()))?;
        let mut kept = Self { file, trials: Vec::new(), clouds: BTreeMap::new(), next: 1 };
        for row in rows {
            kept.add(row)?;
        }
        std::fs::rename(new, path)?;
        Ok(kept)
    }

    /// The number of a new cloud.
    pub(super) fn new_cloud(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// A cell was tried.
    pub(super) fn tried(&mut self, cloud: u64, cell: Cell, verdict: Verdict) -> Result<()> {
        self.add(Row::Trial { cloud, cell, verdict })
    }

    /// A cloud has ended.
    pub(super) fn ended(&mut self, cloud: u64, end: End) -> Result<()> {
        self.add(Row::Cloud { cloud, end })
    }

    /// Whether a cell need not be tried again.
    pub(super) fn is_done(&self, cell: Cell) -> bool {
        let last = self.trials.iter().rev().find(|trial| trial.cell == cell);
        last.is_some_and(|last| last.verdict.is_good() && self.clouds.contains_key(&last.cloud))
    }

    fn add(&mut self, row: Row) -> Result<()> {
        writeln!(self.file, "{}", serde_json::to_string(&row)?)?;
        match row {
            Row::Trial { cloud, cell, verdict } => {
                self.next = self.next.max(cloud + 1);
                self.trials.push(Trial { cloud, cell, verdict });
            }
            Row::Cloud { cloud, end } => {
                self.next = self.next.max(cloud + 1);
                self.clouds.insert(cloud, end);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Verdict {
        Verdict { fired: true, ended: true, ..Verdict::default() }
    }

    fn bad() -> Verdict {
        Verdict { violation: Some("it burnt".to_owned()), ..good() }
    }

    fn cells() -> [Cell; 2] {
        [Cell::all()[0], Cell::all()[1]]
    }

    #[test]
    fn a_run_goes_on_where_it_was_interrupted_and_forgets_no_verdict() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = cells();
        let mut kept = Kept::open(folder.path(), "abc", false).unwrap();
        let cloud = kept.new_cloud();
        kept.tried(cloud, one, bad()).unwrap();
        kept.tried(cloud, one, good()).unwrap();
        assert!(!kept.is_done(one), "its cloud has not ended");
        let inputs = [("agent".to_owned(), 7)].into();
        let end = End { leftovers: 1, replayed: Replayed { inputs, differ: vec!["line 3".to_owned()] } };
        kept.ended(cloud, end.clone()).unwrap();
        let next = kept.new_cloud();
        kept.tried(next, other, good()).unwrap();

        let mut kept = Kept::open(folder.path(), "abc", false).unwrap();
        assert_eq!(kept.clouds.get(&cloud), Some(&end));
        assert!(kept.is_done(one) && !kept.is_done(other));
        assert_eq!(kept.trials.iter().filter(|trial| !trial.verdict.is_good()).count(), 1);
        assert!(kept.new_cloud() > next);
    }

    #[test]
    fn a_torn_line_is_no_verdict() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = cells();
        let mut kept = Kept::open(folder.path(), "abc", false).unwrap();
        let cloud = kept.new_cloud();
        kept.tried(cloud, one, good()).unwrap();
        let path = folder.path().join("abc.jsonl");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{text}{}", &text[..20])).unwrap();
        let mut kept = Kept::open(folder.path(), "abc", false).unwrap();
        kept.tried(cloud, other, good()).unwrap();
        assert_eq!(Kept::open(folder.path(), "abc", false).unwrap().trials.len(), 2);
    }

    #[test]
    fn a_tree_with_changes_of_its_own_is_tried_anew() {
        let folder = tempfile::tempdir().unwrap();
        for (commit, fresh) in [("abc+", false), ("unknown", false), ("abc", true)] {
            let mut kept = Kept::open(folder.path(), commit, false).unwrap();
            let cloud = kept.new_cloud();
            kept.tried(cloud, cells()[0], good()).unwrap();
            kept.ended(cloud, End::default()).unwrap();
            let kept = Kept::open(folder.path(), commit, fresh).unwrap();
            assert!(kept.trials.is_empty() && kept.clouds.is_empty(), "{commit}");
        }
    }
}
