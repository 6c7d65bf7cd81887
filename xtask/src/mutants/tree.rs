//! The copy of the tree that faults are put into: `target/mutants/tree`.
//!
//! It is kept between two runs. A file is written only if it differs, so that cargo builds only what changed; and what
//! is written has a new time, so that cargo never takes the build of a fault for the build of the tree.

use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// See the module.
pub(super) struct Tree {
    root: PathBuf,
    target: PathBuf,
}

impl Tree {
    /// Copies every file that git knows or would take, as it lies here.
    pub(super) fn copy() -> Result<Self> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in no tree")?;
        let folder = source.join("target").join("mutants");
        let tree = Self { root: folder.join("tree"), target: folder.join("target") };
        let files = tracked(source)?;
        for file in &files {
            let bytes =
                fs::read(source.join(file)).with_context(|| format!("{} cannot be read", file.display()))?;
            let copy = tree.root.join(file);
            if fs::read(&copy).is_ok_and(|there| there == bytes) {
                continue;
            }
            if let Some(folder) = copy.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::write(&copy, bytes).with_context(|| format!("{} cannot be written", copy.display()))?;
        }
        remove_others(&tree.root, &tree.root, &files)?;
        Ok(tree)
    }

    /// Where it lies.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Where it is built.
    pub(super) fn target(&self) -> &Path {
        &self.target
    }

    /// A file beside it for what is of use only during a run.
    pub(super) fn scratch(&self, name: &str) -> Result<PathBuf> {
        let folder = self.target.with_file_name("scratch");
        fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        Ok(folder.join(name))
    }

    /// The text of one of its files.
    pub(super) fn read(&self, file: &str) -> Result<String> {
        fs::read_to_string(self.root.join(file)).with_context(|| format!("{file} is not in the tree"))
    }

    /// Replaces the text of one of its files.
    pub(super) fn write(&self, file: &str, text: &str) -> Result<()> {
        fs::write(self.root.join(file), text).with_context(|| format!("the copy of {file} cannot be written"))
    }
}

fn tracked(source: &Path) -> Result<BTreeSet<PathBuf>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(source)
        .output()
        .context("git cannot be run")?;
    ensure!(
        output.status.success(),
        "git ls-files failed in {}: {}",
        source.display(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let names = String::from_utf8(output.stdout).context("a file's name is no UTF-8")?;
    let files = names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from);
    // One that was removed and is still known to git is not there.
    Ok(files.filter(|file| source.join(file).is_file()).collect())
}

/// Removes what is no longer in the tree.
fn remove_others(root: &Path, folder: &Path, files: &BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_others(root, &path, files)?;
        } else if !files.contains(path.strip_prefix(root)?) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}
