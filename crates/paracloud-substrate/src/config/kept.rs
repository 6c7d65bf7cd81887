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
    /// Absent where an older version wrote it: there every start was of the current one.
    #[serde(default)]
    floor: Option<u32>,
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
        let read = |Named { name, revision, floor }: Named| {
            let floor = floor.unwrap_or(revision);
            Ok(App { floor, ..Self::revision(path, &name, revision)? })
        };
        Ok(Self { nodes, gateways, apps: apps.into_iter().map(read).collect::<Result<_, _>>()? })
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
        let named =
            |app: &App| Named { name: app.name.clone(), revision: app.revision, floor: Some(app.floor) };
        let apps = self.apps.iter().map(named).collect();
        write(path, &Kept { nodes: self.nodes.clone(), gateways: self.gateways.clone(), apps })
    }

    /// Gives each app its revision: that of `before` if it still means the same, else one that no file has had here. It is
    /// brought up: whatever is started from now on is of that.
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
            app.floor = app.revision;
        }
    }

    /// Writes a revision of an app that nobody names yet, under a number that no file has had here: that of the app returned.
    /// Whoever writes one of the same app at the same time gets another number.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn add_revision(path: &Path, app: &App) -> Result<App, ConfigError> {
        loop {
            let revision = highest_revision(path, &app.name).max(app.revision).saturating_add(1);
            let own = revision_path(path, &app.name, revision);
            let added = App { revision, ..app.clone() };
            // In a file of its own, which is given its name once it is whole.
            let staged = own.with_extension(format!("{}.new", std::process::id()));
            write(&staged, &added)?;
            let named = std::fs::hard_link(&staged, &own);
            let _ = std::fs::remove_file(&staged);
            match named {
                Ok(()) => return Ok(added),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(ConfigError::Write { path: own, source }),
            }
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
    use paracloud_core::ids::{NodeId, Revision};

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
        assert!(Cloud::revision(&path, "web", 1).unwrap().means(&first.apps[0]), "what was is not forgotten");
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
    fn a_revision_that_is_added_is_named_by_nobody_and_starts_stay_what_they_were() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cloud.json");
        let mut first = cloud("one");
        first.revise(None, &path);
        first.save(&path).unwrap();
        let changed = App { command: vec!["two".to_owned()], ..first.apps[0].clone() };
        let added = Cloud::add_revision(&path, &changed).unwrap();
        assert_eq!((added.revision, Cloud::add_revision(&path, &changed).unwrap().revision), (2, 3));
        assert_eq!(Cloud::load(&path).unwrap(), first, "nobody names them");
        assert_eq!(Cloud::revision(&path, "web", 2).unwrap().command, ["two"]);
        let names: Vec<_> = std::fs::read_dir(directory.path().join("apps")).unwrap().collect();
        assert_eq!(names.len(), 4, "what was staged is gone: {names:?}");

        let mut applied = first.clone();
        applied.apps[0] = added;
        applied.save(&path).unwrap();
        let mut loaded = Cloud::load(&path).unwrap();
        assert_eq!(loaded, applied);
        let web = &loaded.apps[0];
        assert_eq!((web.revision, web.floor), (2, 1));
        assert_eq!([1, 2].map(|placed| web.started_from(Revision(placed))), [1, 2], "each is what it was");
        let was = Cloud::revision(&path, "web", 1).unwrap();
        assert_eq!(web.started_as(&was).command, ["one"]);
        loaded.revise(Some(&applied), &path);
        assert_eq!(loaded.apps[0].started_from(Revision(1)), 2, "it was brought up anew");
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
