//! Trees of files that look like trees of groups, for the version that this machine does not have.

use super::{Group, Hierarchies, Site};
use paracloud_core::ids::StartId;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

pub(super) const START: StartId = StartId(0xabc);

/// What a directory of a group holds.
const V1: [(&str, &[(&str, &str)]); 3] = [
    (
        "memory",
        &[
            ("memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory.usage_in_bytes", "67108864\n"),
            ("memory.stat", "cache 8388608\ninactive_file 1\ntotal_inactive_file 4194304\n"),
        ],
    ),
    ("cpu", &[("cpu.cfs_quota_us", "-1\n"), ("cpu.cfs_period_us", "100000\n")]),
    ("cpuacct", &[("cpuacct.usage", "1500000999\n")]),
];
const V2: [(&str, &str); 11] = [
    ("cgroup.procs", ""),
    ("cgroup.subtree_control", ""),
    ("cgroup.controllers", "memory\n"),
    ("memory.max", "max\n"),
    ("memory.high", "max\n"),
    ("memory.current", "67108864\n"),
    ("memory.stat", "anon 5\ninactive_file 4194304\n"),
    ("cpu.max", "max 100000\n"),
    ("cpu.stat", "usage_usec 1500000\nuser_usec 1\n"),
    (
        "memory.pressure",
        "some avg10=12.34 avg60=0.00 avg300=0.00 total=9\nfull avg10=1.00 avg60=0 avg300=0 total=1\n",
    ),
    ("cpu.pressure", "some avg10=0.50 avg60=0.00 avg300=0.00 total=9\n"),
];

pub(super) struct Fixture {
    directory: TempDir,
    mounts: String,
    own: &'static str,
    site: Vec<PathBuf>,
}

impl Fixture {
    /// Controllers mounted one by one; this process is in `here` of each.
    pub(super) fn v1() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut mounts = String::new();
        let mut site = Vec::new();
        for (place, (controller, files)) in V1.iter().enumerate() {
            let point = directory.path().join(controller);
            let line =
                format!("{place} 1 0:{place} / {} rw - cgroup cgroup rw,{controller}\n", point.display());
            mounts.push_str(&line);
            let group = point.join(format!("here/paracloud-cloud/n1/{START}"));
            fill(&group, &[*files, &[("cgroup.procs", "")]].concat());
            site.push(group);
        }
        Self { directory, mounts, own: "1:memory:/here\n2:cpu:/here\n3:cpuacct:/here\n", site }
    }

    /// One tree; this process is in `slice/unit`, and `slice` hands these controllers down.
    pub(super) fn v2(handed: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path();
        let anchor = top.join(if handed.is_empty() { "slice/unit" } else { "slice" });
        std::fs::create_dir_all(top.join("slice/unit")).unwrap();
        std::fs::write(top.join("slice/cgroup.subtree_control"), handed).unwrap();
        let group = anchor.join(format!("paracloud-cloud/n1/{START}"));
        let is_there = |name: &str| {
            (handed.contains("memory") || !name.starts_with("memory."))
                && (handed.contains("cpu") || name != "cpu.max")
        };
        let files: Vec<_> = V2.iter().filter(|(name, _)| is_there(name)).copied().collect();
        for above in [&group, group.parent().unwrap(), group.parent().unwrap().parent().unwrap()] {
            fill(above, &files);
        }
        let mounts = format!("1 1 0:1 / {} rw - cgroup2 cgroup2 rw\n", top.display());
        Self { mounts, own: "0::/slice/unit\n", site: vec![group], directory }
    }

    pub(super) fn site(&self) -> Site {
        Site::of(&Hierarchies::read(&self.mounts, self.own).unwrap(), Path::new("/cloud"))
    }

    pub(super) fn group(&self) -> Group {
        self.site().make("n1", START)
    }

    pub(super) fn path(&self, below: &str) -> PathBuf {
        self.directory.path().join(below)
    }

    pub(super) fn text(&self, below: &str) -> String {
        std::fs::read_to_string(self.path(below)).unwrap()
    }

    /// Changes what a file of the group says.
    pub(super) fn put(&self, file: &str, text: &str) {
        let group = self.site.iter().find(|group| group.join(file).exists()).unwrap();
        std::fs::write(group.join(file), text).unwrap();
    }

    /// What a file of the group says.
    pub(super) fn get(&self, file: &str) -> String {
        let group = self.site.iter().find(|group| group.join(file).exists()).unwrap();
        std::fs::read_to_string(group.join(file)).unwrap()
    }

    /// Takes the files away, which go away by themselves with a group.
    pub(super) fn empty(&self) {
        for group in &self.site {
            for entry in std::fs::read_dir(group).unwrap() {
                std::fs::remove_file(entry.unwrap().path()).unwrap();
            }
        }
    }
}

fn fill(group: &Path, files: &[(&str, &str)]) {
    std::fs::create_dir_all(group).unwrap();
    for (name, text) in files {
        std::fs::write(group.join(name), text).unwrap();
    }
}
