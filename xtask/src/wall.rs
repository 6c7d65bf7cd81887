//! The wall: which crate may see which, and that the core cannot do anything.
//!
//! The compiler holds most of it: the core is built without the standard library. What is left is checked here, from
//! `cargo metadata`: crates see lower floors only, the core's dependencies are the listed ones, and the sources that
//! must be pure name nothing that is not.

use crate::report::Report;
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The floor of each crate. It sees lower floors only; those on one floor meet through messages.
const FLOORS: &[(&str, u8)] = &[
    ("paci", 0),
    ("paracloud-core", 1),
    ("paracloud-substrate", 2),
    ("paracloud-agent", 3),
    ("paracloud-controller", 3),
    ("paracloud-gateway", 3),
    ("paracloud", 4),
];

/// Crates beside the floors, and all of ours that they may see.
const BESIDE: &[(&str, &[&str])] = &[
    ("paracloud-sdk", &["paci"]),
    ("paracloud-sim", &["paci", "paracloud-core"]),
    ("paracloud-load", &[]),
    ("sessions", &["paracloud-sdk"]),
    ("worker", &["paracloud-sdk"]),
];

/// What the binary takes from beside the floors: the demo's application and its clients.
const BINARY_BESIDE: &[&str] = &["sessions", "paracloud-load"];

/// All that the two pure crates may depend on, directly: nothing that could do anything.
const PURE: &[(&str, &[&str])] = &[
    ("paci", &["crc32fast", "serde", "serde_json", "thiserror"]),
    ("paracloud-core", &["paci", "serde", "thiserror"]),
];

/// The application's machine lives in the contract, which may use `std`; this file of it may not.
const PURE_SOURCES: &[&str] = &["crates/paci/src/participant.rs"];

/// Words that a pure source does not have.
const IMPURE_WORDS: &[&str] = &["std::", "tokio", "Instant", "SystemTime", "HashMap", "HashSet", "rand::"];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_root: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

/// Checks all of it.
///
/// # Errors
/// Something is not as it must be, or cargo does not say how it is.
pub(crate) fn run() -> Result<Report> {
    check()?;
    Ok(Report { ok: true, fields: json!({}) })
}

fn check() -> Result<()> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .output()
        .context("cargo metadata cannot be run")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Metadata =
        serde_json::from_slice(&output.stdout).context("cargo metadata speaks otherwise")?;
    let faults = faults(&metadata.packages)
        .into_iter()
        .chain(impure_sources(&metadata.workspace_root)?)
        .collect::<Vec<_>>();
    if faults.is_empty() {
        return Ok(());
    }
    bail!("the wall is broken:\n  {}", faults.join("\n  "));
}

fn faults(packages: &[Package]) -> Vec<String> {
    let ours: BTreeMap<&str, &Package> = packages.iter().map(|it| (it.name.as_str(), it)).collect();
    let floor =
        |name: &str| FLOORS.iter().find(|(crate_name, _)| *crate_name == name).map(|(_, floor)| *floor);
    let mut faults = Vec::new();
    for package in packages.iter().filter(|package| package.name != "xtask") {
        let name = package.name.as_str();
        let beside = BESIDE.iter().find(|(crate_name, _)| *crate_name == name).map(|(_, sees)| *sees);
        if floor(name).is_none() && beside.is_none() {
            faults.push(format!("{name} has no floor: give it one in xtask/src/wall.rs"));
        }
        // What only its tests use is no part of it.
        for dependency in package.dependencies.iter().filter(|it| it.kind.as_deref() != Some("dev")) {
            let other = dependency.name.as_str();
            let pure = PURE.iter().find(|(crate_name, _)| *crate_name == name);
            if pure.is_some_and(|(_, may)| !may.contains(&other)) {
                faults.push(format!("{name} must be pure, and {other} is not on its list"));
            }
            if !ours.contains_key(other) {
                continue;
            }
            let lower = match (floor(name), floor(other)) {
                (Some(own), Some(seen)) => seen < own,
                (Some(_), None) => name == "paracloud" && BINARY_BESIDE.contains(&other),
                (None, _) => beside.is_some_and(|sees| sees.contains(&other)),
            };
            if !lower {
                faults.push(format!("{name} must not see {other}"));
            }
        }
    }
    faults
}

fn impure_sources(root: &Path) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    let core = fs::read_to_string(root.join("crates/paracloud-core/src/lib.rs"))?;
    if !core.contains("#![no_std]") {
        faults.push("paracloud-core must be built without the standard library".to_owned());
    }
    for path in rust_files(&root.join("crates/paracloud-core/src"))? {
        if takes_std(&fs::read_to_string(&path)?) {
            let file = path.strip_prefix(root).unwrap_or(&path).display();
            faults.push(format!("{file} takes the standard library in outside of its tests"));
        }
    }
    for source in PURE_SOURCES {
        let text = fs::read_to_string(root.join(source)).with_context(|| format!("{source} is gone"))?;
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate() {
            let line = line.split("//").next().unwrap_or_default();
            if let Some(word) = IMPURE_WORDS.iter().find(|word| line.contains(**word)) {
                faults.push(format!("{source}:{}: {word} in a pure source", number + 1));
            }
        }
    }
    Ok(faults)
}

/// Whether a source takes the standard library in, and not only for its tests.
fn takes_std(text: &str) -> bool {
    let before = std::iter::once("").chain(text.lines());
    before
        .zip(text.lines())
        .any(|(before, line)| line.contains("extern crate std") && before.trim() != "#[cfg(test)]")
}

fn rust_files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| format!("{} is gone", directory.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|it| it == "rs") {
            found.push(path);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[(&str, Option<&str>)]) -> Package {
        let dependencies = dependencies
            .iter()
            .map(|(name, kind)| Dependency { name: (*name).into(), kind: kind.map(Into::into) })
            .collect();
        Package { name: name.into(), dependencies }
    }

    #[test]
    fn a_crate_that_sees_a_higher_floor_is_found() {
        let packages =
            [package("paracloud-core", &[("paracloud-agent", None)]), package("paracloud-agent", &[])];
        let faults = faults(&packages);
        assert!(faults.contains(&"paracloud-core must not see paracloud-agent".to_owned()), "{faults:?}");
    }

    #[test]
    fn crates_on_one_floor_do_not_see_each_other() {
        let packages =
            [package("paracloud-agent", &[("paracloud-gateway", None)]), package("paracloud-gateway", &[])];
        assert_eq!(faults(&packages), ["paracloud-agent must not see paracloud-gateway"]);
    }

    #[test]
    fn a_clock_or_a_runtime_in_the_core_is_found_and_one_in_its_tests_is_not() {
        let packages = [package("paracloud-core", &[("tokio", None), ("rand", Some("dev"))])];
        assert_eq!(faults(&packages), ["paracloud-core must be pure, and tokio is not on its list"]);
    }

    #[test]
    fn a_new_crate_needs_a_floor() {
        assert_eq!(faults(&[package("paracloud-utils", &[])]).len(), 1);
    }

    #[test]
    fn a_module_that_takes_the_standard_library_in_is_found() {
        assert!(takes_std("extern crate std;\nuse std::time::Instant;\n"));
        assert!(takes_std("use alloc::vec;\nextern crate std as own;\n"));
        assert!(!takes_std("extern crate alloc;\n#[cfg(test)]\nextern crate std;\n"));
    }

    #[test]
    fn the_tree_keeps_the_wall() {
        check().unwrap();
    }
}
