//! What is promised to survive the machine is synced: the file before it has its name, and its directory after that.
//!
//! Whether somebody syncs is to be seen by nobody but the kernel and who stands before it. So agents, shims and what they
//! start run with a library (`synced.c`) that notes what they sync and rename, and passes it on.

use crate::rig::{APP, N1, Rig, until};
use std::path::{Path, PathBuf};
use std::process::Command;

const NOTES: &str = "PARACLOUD_TEST_SYNCED";

/// Builds the library with the compiler that links this crate.
fn library(directory: &Path) -> PathBuf {
    let (source, built) =
        (concat!(env!("CARGO_MANIFEST_DIR"), "/tests/agent/synced.c"), directory.join("synced.so"));
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&built)
        .args([source, "-ldl"])
        .output();
    let compiled = compiled.expect("a C compiler: Rust links with it");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    built
}

#[test]
fn a_marker_an_identity_and_a_record_are_synced_and_the_marker_before_anything_is_started() {
    let mut rig = Rig::new();
    let notes = rig.layout.root().join("synced");
    let library = library(rig.layout.root());
    rig.set("LD_PRELOAD", library.to_str().unwrap());
    rig.set(NOTES, notes.to_str().unwrap());
    rig.agent(N1);
    let (start, _) = rig.owner(N1);
    let process = rig.process_dir(N1, start);
    let record = rig.layout.record(N1, APP);
    let noted = |directory: &Path, names: &[&str]| -> Vec<String> {
        let notes = std::fs::read_to_string(&notes).unwrap();
        // What is synced is told by its true path.
        let true_path = directory.canonicalize().unwrap();
        let ours = notes.lines().filter_map(|line| {
            let (what, path) = line.split_once(' ')?;
            let path = Path::new(path);
            let name =
                path.strip_prefix(&true_path).or_else(|_| path.strip_prefix(directory)).ok()?.to_str()?;
            names.contains(&name).then(|| format!("{what} {name}"))
        });
        ours.collect()
    };
    // Of a directory itself no name is left.
    assert_eq!(
        noted(&process, &["marker.new", "marker", "identity.new", "identity.json", ""]),
        [
            "synced marker.new",
            "renamed marker",
            "synced ",
            "synced identity.new",
            "renamed identity.json",
            "synced "
        ]
    );
    let staged = record.with_extension("new");
    let [staged, name] = [&staged, &record].map(|path| path.file_name().unwrap().to_str().unwrap());
    let kept = [format!("synced {staged}"), format!("renamed {name}"), "synced ".to_owned()];
    until("the record is synced", || {
        (noted(record.parent().unwrap(), &[staged, name, ""]).starts_with(&kept)).then_some(())
    });
}
