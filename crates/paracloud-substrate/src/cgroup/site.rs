//! Where the groups of one cloud lie.

use super::find::Tree;
use super::group::remove_tree;
use super::{Group, Hierarchies, NoGroup, Seat, Version};
use paracloud_core::ids::StartId;
use std::collections::BTreeSet;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The groups of clouds are called so, followed by the cloud's directory.
pub(super) const PREFIX: &str = "paracloud-";
/// Controllers that limits need.
const CONTROLLERS: [&str; 2] = ["memory", "cpu"];
/// A directory above a group goes away with the last group in it, also while another one is made: then it is tried again.
const TRIES_MAX: u32 = 16;

/// See the module. Two clouds on one machine never share a group: each is named after its directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    memory: Result<Place, NoGroup>,
    cpu: Result<Place, NoGroup>,
    /// Version 1 alone: there CPU time has a controller of its own.
    accounting: Result<Place, NoGroup>,
    unified: Result<Place, NoGroup>,
}

/// All groups of the cloud in one tree.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    version: Version,
    path: PathBuf,
}

impl Site {
    /// Those of the cloud whose directory this is.
    pub fn of(hierarchies: &Hierarchies, cloud: &Path) -> Self {
        let name = name(cloud);
        let anchor = hierarchies.v2.as_ref().map(anchor);
        let unified = match &anchor {
            Some((anchor, _)) => Ok(Place { version: Version::V2, path: anchor.join(&name) }),
            None if hierarchies.is_off => Err(NoGroup::Off),
            None => Err(NoGroup::not_mounted("cgroup2")),
        };
        let in_v1 = |controller: &str| {
            let own = hierarchies.v1(controller)?;
            Ok(Place { version: Version::V1, path: own.join(&name) })
        };
        let limiting = |controller: &str| match (in_v1(controller), &anchor) {
            (Err(NoGroup::NotMounted { .. }), Some((_, handed))) if handed.contains(controller) => {
                unified.clone()
            }
            (Err(NoGroup::NotMounted { controller }), Some((path, _))) => {
                Err(NoGroup::NotHandedDown { controller, path: path.clone() })
            }
            (found, _) => found,
        };
        Self { memory: limiting("memory"), cpu: limiting("cpu"), accounting: in_v1("cpuacct"), unified }
    }

    /// Makes the group of one start of a node. What of it could not be made is told in its place.
    pub fn make(&self, node: &str, start: StartId) -> Group {
        let made = |place: &Result<Place, NoGroup>, file: &str| {
            let place = place.as_ref().map_err(Clone::clone)?;
            let path = place.path.join(node).join(start.to_string());
            make(place, node, &path)
                .map_err(|(at, error)| NoGroup::of(at.parent().unwrap_or(&at), &error))?;
            // The controller may not have come down as far as here.
            if path.join(file).exists() {
                return Ok(Seat { version: place.version, path });
            }
            let controller = file.split('.').next().unwrap_or_default().to_owned();
            Err(NoGroup::NotHandedDown { controller, path: place.path.clone() })
        };
        let file = |place: &Result<Place, NoGroup>, v1: &'static str, v2: &'static str| match place {
            Ok(Place { version: Version::V2, .. }) => v2,
            Ok(Place { version: Version::V1, .. }) | Err(_) => v1,
        };
        let unified = made(&self.unified, "cgroup.procs");
        let accounting = match &unified {
            Ok(seat) => Ok(seat.clone()),
            Err(_) => made(&self.accounting, "cpuacct.usage"),
        };
        Group {
            memory: made(&self.memory, file(&self.memory, "memory.limit_in_bytes", "memory.max")),
            cpu: made(&self.cpu, file(&self.cpu, "cpu.cfs_quota_us", "cpu.max")),
            accounting: accounting.ok(),
            unified: unified.map(|seat| seat.path).ok(),
        }
    }

    /// Removes the groups of a node in which nobody is any more, but those of the starts that are `kept`. Which stay
    /// though they are not kept, because somebody is in them, is returned.
    pub fn sweep(&self, node: &str, kept: impl Fn(StartId) -> bool) -> Vec<StartId> {
        let mut stay = BTreeSet::new();
        for cloud in self.clouds() {
            for group in below(&cloud.join(node)) {
                let start = group.file_name().and_then(|name| name.to_str()?.parse::<StartId>().ok());
                if let Some(start) = start.filter(|start| !kept(*start))
                    && remove_tree(&group).is_err()
                {
                    stay.insert(start);
                }
            }
        }
        stay.into_iter().collect()
    }

    /// All groups that are there of the cloud, on all nodes.
    pub fn groups(&self) -> Vec<Group> {
        let mut starts = BTreeSet::new();
        for cloud in self.clouds() {
            for node in below(&cloud) {
                let Some(name) = node.file_name().and_then(|name| name.to_str()).map(str::to_owned) else {
                    continue;
                };
                let found = below(&node).into_iter();
                let found = found.filter_map(|group| group.file_name()?.to_str()?.parse::<StartId>().ok());
                starts.extend(found.map(|start| (name.clone(), start)));
            }
        }
        starts.into_iter().map(|(node, start)| self.known(&node, start)).collect()
    }

    /// The group of a start, as far as it is there.
    pub fn known(&self, node: &str, start: StartId) -> Group {
        let found = |place: &Result<Place, NoGroup>| {
            let place = place.as_ref().map_err(Clone::clone)?;
            let path = place.path.join(node).join(start.to_string());
            match path.metadata() {
                Ok(_) => Ok(Seat { version: place.version, path }),
                Err(error) => Err(NoGroup::of(&path, &error)),
            }
        };
        let unified = found(&self.unified).ok();
        Group {
            memory: found(&self.memory),
            cpu: found(&self.cpu),
            accounting: unified.clone().or_else(|| found(&self.accounting).ok()),
            unified: unified.map(|seat| seat.path),
        }
    }

    fn clouds(&self) -> BTreeSet<PathBuf> {
        let places = [&self.memory, &self.cpu, &self.accounting, &self.unified];
        places.into_iter().filter_map(|place| Some(place.as_ref().ok()?.path.clone())).collect()
    }
}

/// The group of version 2 below which a cloud's are made, and the controllers that it hands down: the nearest one that
/// hands down what limits need and may be written to, or else the own one.
fn anchor(tree: &Tree) -> (PathBuf, BTreeSet<String>) {
    let handed = |path: &Path| -> BTreeSet<String> {
        let text = std::fs::read_to_string(path.join("cgroup.subtree_control")).unwrap_or_default();
        text.split_whitespace().filter(|it| CONTROLLERS.contains(it)).map(str::to_owned).collect()
    };
    let writable = |path: &Path| rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
    let reachable = tree.own.ancestors().take_while(|path| path.starts_with(&tree.top));
    let handing = reachable.map(|path| (path, handed(path))).filter(|(path, _)| writable(path));
    // The one that hands down most, and of these the nearest: the first.
    let best = handing.fold(None, |best: Option<(&Path, BTreeSet<String>)>, it| match best {
        Some(best) if best.1.len() >= it.1.len() => Some(best),
        Some(_) | None => Some(it),
    });
    match best.filter(|(_, handed)| !handed.is_empty()) {
        Some((path, handed)) => (path.to_owned(), handed),
        None => (tree.own.clone(), BTreeSet::new()),
    }
}

/// Makes a group and what is above it of the cloud.
fn make(place: &Place, node: &str, group: &Path) -> Result<(), (PathBuf, io::Error)> {
    let node = place.path.join(node);
    let mut tries = 0;
    loop {
        tries += 1;
        let made = [&place.path, &node].into_iter().try_for_each(|path| {
            made(path).map_err(|error| (path.clone(), error))?;
            if place.version == Version::V2 {
                hand_down(path);
            }
            Ok(())
        });
        let made = made.and_then(|()| made_own(group));
        match made {
            Err((_, error)) if error.kind() == io::ErrorKind::NotFound && tries < TRIES_MAX => {}
            made => return made,
        }
    }
}

fn made_own(group: &Path) -> Result<(), (PathBuf, io::Error)> {
    made(group).map_err(|error| (group.to_owned(), error))
}

/// Makes a directory that may be there.
fn made(path: &Path) -> io::Result<()> {
    match std::fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Hands the controllers of a group of ours on to those below it. What is not there is not handed on.
fn hand_down(path: &Path) {
    let there = std::fs::read_to_string(path.join("cgroup.controllers")).unwrap_or_default();
    for controller in there.split_whitespace().filter(|it| CONTROLLERS.contains(it)) {
        // Without it there is no file of that controller below, and that is looked at.
        let _ = super::group::write(&path.join("cgroup.subtree_control"), &format!("+{controller}"));
    }
}

/// The groups directly below a group.
pub(super) fn below(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// What the groups of a cloud are called: its directory, with `-` for `/` and `_` before what stands for itself.
fn name(cloud: &Path) -> std::ffi::OsString {
    let mut name = PREFIX.as_bytes().to_vec();
    for byte in cloud.as_os_str().as_bytes().iter().skip(1) {
        match byte {
            b'/' => name.push(b'-'),
            b'-' | b'_' => name.extend([b'_', *byte]),
            other => name.push(*other),
        }
    }
    std::ffi::OsString::from_vec(name)
}

/// The directory of the cloud whose groups have this name.
fn directory(name: &std::ffi::OsStr) -> Option<PathBuf> {
    let mut path = b"/".to_vec();
    let mut bytes = name.as_bytes().strip_prefix(PREFIX.as_bytes())?.iter();
    while let Some(byte) = bytes.next() {
        path.push(match byte {
            b'-' => b'/',
            b'_' => *bytes.next()?,
            other => *other,
        });
    }
    Some(std::ffi::OsString::from_vec(path).into())
}

/// Removes the groups, with nobody in them, of clouds whose directory is not there any more: of tests that were killed.
pub fn sweep_gone_clouds(hierarchies: &Hierarchies) {
    let own = hierarchies.v1.values().cloned().chain(hierarchies.v2.as_ref().map(|tree| anchor(tree).0));
    for cloud in own.flat_map(|own| below(&own)) {
        let of = cloud.file_name().and_then(directory);
        if of.is_some_and(|directory| matches!(directory.try_exists(), Ok(false))) {
            // Those with somebody in them stay.
            let _ = remove_tree(&cloud);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::fixture::{Fixture, START};

    #[test]
    fn two_clouds_never_have_one_name() {
        let names =
            ["/a/b", "/a-b", "/a_b", "/a/-b", "/a-/b", "/a_/b", "/a_-b"].map(|path| name(Path::new(path)));
        assert_eq!(names[0], "paracloud-a-b");
        assert_eq!(names[1], "paracloud-a_-b");
        assert_eq!(directory(&names[5]).unwrap(), Path::new("/a_/b"));
        assert_eq!(directory(std::ffi::OsStr::new("system.slice")), None);
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
    }

    #[test]
    fn in_version_1_each_controller_has_a_group_of_its_own() {
        let fixture = Fixture::v1();
        let group = fixture.group();
        let seat = |controller: &str| Seat {
            version: Version::V1,
            path: fixture.path(&format!("{controller}/here/paracloud-cloud/n1/{START}")),
        };
        assert_eq!(group.memory, Ok(seat("memory")));
        assert_eq!(group.cpu, Ok(seat("cpu")));
        assert_eq!(group.accounting, Some(seat("cpuacct")));
        assert_eq!(group.unified, None);
        assert_eq!(fixture.site().groups(), [group]);
    }

    #[test]
    fn in_version_2_there_is_one_group_below_the_nearest_that_hands_controllers_down() {
        let fixture = Fixture::v2("memory pids");
        let group = fixture.group();
        let path = fixture.path(&format!("slice/paracloud-cloud/n1/{START}"));
        assert_eq!(group.memory, Ok(Seat { version: Version::V2, path: path.clone() }));
        assert_eq!(
            group.cpu,
            Err(NoGroup::NotHandedDown { controller: "cpu".to_owned(), path: fixture.path("slice") })
        );
        assert_eq!(group.unified, Some(path));
        assert_eq!(fixture.text("slice/paracloud-cloud/n1/cgroup.subtree_control"), "+memory");
    }

    #[test]
    fn where_version_2_hands_nothing_down_members_are_known_and_nothing_is_limited() {
        let fixture = Fixture::v2("");
        let group = fixture.group();
        assert_eq!(group.unified, Some(fixture.path(&format!("slice/unit/paracloud-cloud/n1/{START}"))));
        let Err(reason) = group.memory else { panic!("{group:?}") };
        assert!(reason.to_string().contains("does not hand the controller memory down"), "{reason}");
        assert!(reason.to_string().contains("Delegate=yes"), "{reason}");
    }

    #[test]
    fn a_sweep_takes_what_is_not_kept_and_empty() {
        let fixture = Fixture::v1();
        let site = fixture.site();
        let group = fixture.group();
        assert_eq!(site.sweep("n2", |_| false), [], "another node's are let alone");
        assert_eq!(site.sweep("n1", |start| start == START), [], "it is kept");
        assert!(group.memory.as_ref().is_ok_and(|seat| seat.path.exists()));
        assert_eq!(
            site.sweep("n1", |_| false),
            [START],
            "no such directory of a file system goes away with its files"
        );
        fixture.empty();
        assert_eq!(site.sweep("n1", |_| false), []);
        assert!(!group.memory.is_ok_and(|seat| seat.path.exists()));
    }

    #[test]
    fn where_nothing_can_be_made_the_reason_is_told() {
        let off = Site::of(&Hierarchies::off(), Path::new("/cloud")).make("n1", START);
        assert!(!off.is_there());
        assert_eq!(off.memory, Err(NoGroup::Off));
        let nothing = Site::of(&Hierarchies::default(), Path::new("/cloud")).make("n1", START);
        assert_eq!(nothing.cpu, Err(NoGroup::not_mounted("cpu")));
        let fixture = Fixture::v1();
        std::fs::remove_dir_all(fixture.path("memory")).unwrap();
        std::fs::write(fixture.path("memory"), "").unwrap();
        assert!(matches!(fixture.group().memory, Err(NoGroup::Failed { .. })));
    }
}
