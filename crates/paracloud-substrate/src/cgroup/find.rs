//! Which trees of groups a machine has, and where in them a process is.

use super::NoGroup;
use crate::process::into_io;
use procfs::process::{MountInfos, Process};
use procfs::{FromBufRead, ProcResult, ProcessCGroups};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// The trees that can be reached, each by the directory of the group that this process is in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hierarchies {
    /// Version 1: by controller.
    pub(super) v1: BTreeMap<String, PathBuf>,
    /// Version 2: where it is mounted, and the own group in it.
    pub(super) v2: Option<Tree>,
    /// Nothing is to be looked for.
    pub(super) is_off: bool,
}

/// The tree of version 2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tree {
    /// The highest group that can be reached.
    pub(super) top: PathBuf,
    /// The group of this process.
    pub(super) own: PathBuf,
}

impl Hierarchies {
    /// Those of the machine, as this process sees them. None, where [`super::VARIABLE`] says so.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn find() -> io::Result<Self> {
        if std::env::var_os(super::VARIABLE).is_some_and(|value| value == "off") {
            return Ok(Self::off());
        }
        let own = Process::myself().map_err(into_io)?;
        let mounts = own.mountinfo().map_err(into_io)?;
        let groups = own.cgroups().map_err(into_io)?;
        Ok(Self::of(&mounts, &groups))
    }

    /// None at all, because nobody wants any.
    pub fn off() -> Self {
        Self { is_off: true, ..Self::default() }
    }

    /// As two files in `/proc` have it: `mountinfo` and `cgroup` of a process.
    ///
    /// # Errors
    /// They are not of that form.
    pub fn read(mountinfo: &str, cgroup: &str) -> io::Result<Self> {
        let mounts: ProcResult<MountInfos> = MountInfos::from_buf_read(mountinfo.as_bytes());
        let groups: ProcResult<ProcessCGroups> = ProcessCGroups::from_buf_read(cgroup.as_bytes());
        Ok(Self::of(&mounts.map_err(into_io)?, &groups.map_err(into_io)?))
    }

    fn of(mounts: &MountInfos, groups: &ProcessCGroups) -> Self {
        let mut found = Self::default();
        for mount in mounts {
            let (root, point) = (Path::new(&mount.root), mount.mount_point.as_path());
            match mount.fs_type.as_str() {
                "cgroup" => {
                    for group in groups {
                        // The options of a mount name its controllers, and all of them in one tree share a group.
                        for controller in &group.controllers {
                            if mount.super_options.contains_key(controller) {
                                let own = reached(point, root, Path::new(&group.pathname));
                                found.v1.entry(controller.clone()).or_insert(own);
                            }
                        }
                    }
                }
                "cgroup2" if found.v2.is_none() => {
                    let unified = groups.0.iter().find(|group| group.controllers.is_empty());
                    found.v2 = unified.map(|group| Tree {
                        top: point.to_owned(),
                        own: reached(point, root, Path::new(&group.pathname)),
                    });
                }
                _ => {}
            }
        }
        found
    }

    /// The own group in the tree of version 1 that has a controller.
    pub(super) fn v1(&self, controller: &str) -> Result<&Path, NoGroup> {
        if self.is_off {
            return Err(NoGroup::Off);
        }
        self.v1.get(controller).map(PathBuf::as_path).ok_or_else(|| NoGroup::not_mounted(controller))
    }
}

/// Where a group can be reached below a mount of a part of its tree. A group above that part, as a container that was
/// given no names of its own sees it, is reached as far up as can be.
fn reached(point: &Path, root: &Path, group: &Path) -> PathBuf {
    let below = group
        .strip_prefix(root)
        .ok()
        .filter(|below| below.components().all(|part| matches!(part, std::path::Component::Normal(_))));
    match below {
        Some(below) if point.join(below).is_dir() => point.join(below),
        Some(_) | None => point.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / {top} rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / {top}/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / {top}/memory rw,relatime shared:7 - cgroup cgroup rw,memory
41 31 0:38 / {top}/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn each_controller_is_found_in_its_tree_and_the_own_group_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path();
        std::fs::create_dir_all(top.join("memory/service/a")).unwrap();
        let mounts = HYBRID.replace("{top}", &top.display().to_string());
        let own = "5:cpu,cpuacct:/\n4:memory:/service/a\n1:name=systemd:/x\n0::/\n";
        let found = Hierarchies::read(&mounts, own).unwrap();
        assert_eq!(found.v1("memory").unwrap(), top.join("memory/service/a"));
        assert_eq!(found.v1("cpu").unwrap(), top.join("cpu"));
        assert_eq!(found.v1("cpuacct").unwrap(), top.join("cpu"));
        assert_eq!(found.v1("pids"), Err(NoGroup::not_mounted("pids")));
        let unified = top.join("unified");
        assert_eq!(found.v2, Some(Tree { top: unified.clone(), own: unified }));
    }

    #[test]
    fn a_part_of_a_tree_that_is_mounted_is_taken_for_what_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path();
        std::fs::create_dir_all(top.join("inner")).unwrap();
        let mounts = |root: &str| format!("41 31 0:38 {root} {} rw - cgroup2 cgroup2 rw\n", top.display());
        let own = |root: &str, group: &str| {
            Hierarchies::read(&mounts(root), &format!("0::{group}\n")).unwrap().v2.unwrap().own
        };
        assert_eq!(own("/docker/abc", "/docker/abc/inner"), top.join("inner"));
        assert_eq!(own("/docker/abc", "/docker/abc"), top);
        assert_eq!(own("/", "/../.."), top, "above what can be reached");
        assert_eq!(own("/", "/not/shown/here"), top, "somebody else's view of it");
    }

    #[test]
    fn where_there_is_nothing_nothing_is_found() {
        let found = Hierarchies::read("31 23 0:28 / /sys rw - sysfs sysfs rw\n", "").unwrap();
        assert_eq!(found, Hierarchies::default());
        assert_eq!(Hierarchies::off().v1("memory"), Err(NoGroup::Off));
        assert!(Hierarchies::read("no such form", "").is_err());
    }
}
