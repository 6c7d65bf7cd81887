//! How a cloud lies on disk.
//!
//! ```text
//! cloud.json                  nodes, gateways, and the current revision of each app
//! apps/APP.REVISION.json      what that revision is: written once, before anything names it, and never changed
//! ```
//!
//! So whoever reads of a revision finds what it is, and a process can be started anew as what it was.

use super::{App, Cloud, ConfigError, Node};
use paracloud_core::ids::GatewayId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// The largest file of a configuration, in bytes: what a manifest of 1 MiB can become.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// What `cloud.json` says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    nodes: Vec<Node>,
    gateways: Vec<GatewayId>,
    apps: Vec<Named>,
}

/// The current revision of an app.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: String,
    revision: u32,
}

/// Where a revision of an app lies, beside this `cloud.json`.
fn revision_path(cloud: &Path, app: &str, revision: u32) -> PathBuf {
    cloud.with_file_name("apps").join(format!("{app}.{revision}.json"))
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.into(), source };
    let mut text = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(failed)?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > FILE_BYTES_MAX {
        return Err(ConfigError::TooLarge { path: path.into() });
    }
    serde_json::from_slice(&text).map_err(|source| ConfigError::Form { path: path.into(), source })
}

/// Written whole, or not at all: also on a machine that loses its power.
fn write(path: &Path, value: &impl Serialize) -> Result<(), ConfigError> {
    let failed = |source| ConfigError::Write { path: path.into(), source };
    let text = serde_json::to_vec_pretty(value).map_err(|error| failed(error.into()))?;
    let staged = path.with_extension("new");
    let written = || -> io::Result<()> {
        let mut file = File::create(&staged)?;
        file.write_all(&text)?;
        file.sync_all()?;
        std::fs::rename(&staged, path)
    };
    written().map_err(|error| {
        // Half a file is of no use to anybody.
        let _ = std::fs::remove_file(&staged);
        failed(error)
    })
}

impl Cloud {
    /// Reads what `up` or `apply` wrote.
    ///
    /// # Errors
    /// A file cannot be read, or is not of this version.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let Kept { nodes, gateways, apps } = read(path)?;
        let apps = apps.iter().map(|app| Self::revision(path, &app.name, app.revision));
        Ok(Self { nodes, gateways, apps: apps.collect::<Result<_, _>>()? })
    }

    /// What this revision of an app is, of the cloud whose configuration lies here.
    ///
    /// # Errors
    /// There is no such revision, or it cannot be read or is not of this version.
    pub fn revision(path: &Path, app: &str, revision: u32) -> Result<App, ConfigError> {
        read(&revision_path(path, app, revision))
    }

    /// Writes it for the shells: revisions that are not there yet, then the file that names them.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), ConfigError> {
        let directory = path.with_file_name("apps");
        std::fs::create_dir_all(&directory)
            .map_err(|source| ConfigError::Write { path: directory.clone(), source })?;
        for app in &self.apps {
            let own = revision_path(path, &app.name, app.revision);
            if !own.exists() {
                write(&own, app)?;
            }
        }
        let named = |app: &App| Named { name: app.name.clone(), revision: app.revision };
        let apps = self.apps.iter().map(named).collect();
        write(path, &Kept { nodes: self.nodes.clone(), gateways: self.gateways.clone(), apps })
    }

    /// Gives each app its revision: that of `before` if it still means the same, else one that no file has had here.
    pub fn revise(&mut self, before: Option<&Self>, path: &Path) {
        for app in &mut self.apps {
            let known = before.and_then(|before| before.app(&app.name));
            app.revision = match known {
                Some(known) if known.means(app) => known.revision,
                Some(_) | None => {
                    let had = highest_revision(path, &app.name);
                    had.max(known.map_or(0, |known| known.revision)).saturating_add(1)
                }
            };
        }
    }
}

/// The highest revision of an app that was ever written here; 0: none.
fn highest_revision(path: &Path, app: &str) -> u32 {
    let Ok(entries) = std::fs::read_dir(path.with_file_name("apps")) else { return 0 };
    let number = |name: &str| name.strip_prefix(app)?.strip_prefix('.')?.strip_suffix(".json")?.parse().ok();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| number(&name)).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use paracloud_core::ids::NodeId;

    fn cloud(command: &str) -> Cloud {
        let node = Node { id: NodeId(1), name: "n1".to_owned(), host: [127, 0, 1, 1].into() };
        let apps =
            vec![App::new("web", vec![command.to_owned()]), App::new("web-2", vec!["other".to_owned()])];
        Cloud { nodes: vec![node], gateways: vec![GatewayId(1)], apps }
    }

    #[test]
    fn what_was_written_is_read_and_each_change_of_an_app_is_a_revision_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cloud.json");
        let mut first = cloud("one");
        first.revise(None, &path);
        first.save(&path).unwrap();
        assert_eq!(Cloud::load(&path).unwrap(), first);
        let mut second = cloud("two");
        second.revise(Some(&first), &path);
        second.save(&path).unwrap();
        let revisions = |cloud: &Cloud| cloud.apps.iter().map(|app| app.revision).collect::<Vec<_>>();
        assert_eq!((revisions(&first), revisions(&second)), (vec![1, 1], vec![2, 1]));
        assert_eq!(Cloud::load(&path).unwrap(), second);
        assert_eq!(Cloud::revision(&path, "web", 1).unwrap(), first.apps[0], "what was is not forgotten");
        // Gone back to: what it means was there before, its number was not.
        let mut third = cloud("one");
        third.revise(Some(&second), &path);
        assert_eq!(revisions(&third), [3, 1]);
    }

    #[test]
    fn a_revision_that_was_written_and_named_by_nobody_is_not_given_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cloud.json");
        let mut cloud = cloud("one");
        cloud.apps[0].revision = 7;
        cloud.save(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        cloud.revise(None, &path);
        assert_eq!(cloud.apps[0].revision, 8);
    }

    #[test]
    fn a_revision_that_is_not_there_is_an_error_that_names_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cloud.json");
        let cloud = cloud("one");
        cloud.save(&path).unwrap();
        let missing = Cloud::revision(&path, "web", 2).unwrap_err();
        assert!(missing.to_string().contains("apps/web.2.json"), "{missing}");
        std::fs::remove_file(revision_path(&path, "web", 1)).unwrap();
        assert!(Cloud::load(&path).unwrap_err().to_string().contains("apps/web.1.json"));
        std::fs::write(revision_path(&path, "web", 1), "{\"name\": \"web\"}").unwrap();
        assert!(matches!(Cloud::load(&path), Err(ConfigError::Form { .. })));
        std::fs::write(&path, vec![b' '; 17 << 20]).unwrap();
        assert!(matches!(Cloud::load(&path), Err(ConfigError::TooLarge { .. })));
    }

    #[test]
    fn an_instance_belongs_to_the_app_that_can_have_it() {
        let mut cloud = cloud("one");
        cloud.apps[0].scale = Some(super::super::Scale::default());
        let app_of = |name: &str| cloud.app_of(name).map(|app| app.name.as_str());
        assert_eq!(app_of("web.2"), Some("web"));
        assert_eq!(app_of("web-2"), Some("web-2"));
        for name in ["web", "web-2.1", "web.0", "other", "../web", ""] {
            assert_eq!(app_of(name), None, "{name}");
        }
    }
}
