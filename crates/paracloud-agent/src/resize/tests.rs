//! With real processes: one that frees memory when it is asked to, and one that does not.

use super::*;
use paracloud_core::ids::StartId;
use paracloud_substrate::cgroup::{Hierarchies, Site, sweep_gone_clouds};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;
/// Longer than any test waits.
const LONG: Duration = Duration::from_secs(30);

fn memory(mib: u64) -> Size {
    Size { memory_bytes: Some(mib * MIB), cpu_milli: None }
}

/// A shell in a group of its own that has some memory in use, and gives it back when it hears a line.
struct Hog {
    _directory: TempDir,
    group: Group,
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Hog {
    /// `None`: no memory can be limited here.
    fn start() -> Option<Self> {
        let hierarchies = Hierarchies::find().unwrap();
        sweep_gone_clouds(&hierarchies);
        let directory = tempfile::tempdir().unwrap();
        let group = Site::of(&hierarchies, directory.path()).make("n1", StartId(1));
        if let Err(why) = group.raise_memory(Some(256 * MIB)) {
            eprintln!("skipped: {why}");
            let _ = group.remove();
            return None;
        }
        let joining: String = group
            .directories()
            .iter()
            .map(|path| format!("echo 0 > '{}/cgroup.procs'; ", path.display()))
            .collect();
        let script =
            "x=$(head -c 64000000 /dev/zero | tr '\\0' x); echo held; read next; x=; echo freed; read end";
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "sh", "-c", &format!("{joining}{script}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut hog = Self { _directory: directory, group, child, stdin, stdout };
        assert_eq!(hog.hear(), "held");
        Some(hog)
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    fn free(&mut self) {
        self.stdin.write_all(b"\n").unwrap();
    }

    fn limit_mib(&self) -> Option<u64> {
        self.group.memory_limit_bytes().map(|bytes| bytes / MIB)
    }

    fn lives(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let end = std::time::Instant::now() + LONG;
        while self.group.kill().and_then(|()| self.group.remove()).is_err() && std::time::Instant::now() < end
        {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

#[tokio::test]
async fn a_limit_is_lowered_once_what_is_used_has_fallen() {
    let Some(mut hog) = Hog::start() else { return };
    hog.free();
    let size = Size { cpu_milli: Some(500), ..memory(48) };
    assert_eq!(set_when_fallen(&hog.group, size, LONG, Arc::default()).await, Ok(()));
    assert_eq!((hog.limit_mib(), hog.group.usage().cpu_limit_milli), (Some(48), Some(500)));
    assert_eq!(hog.hear(), "freed");
    assert!(hog.lives());
    // And larger again, at once.
    let size = Size { cpu_milli: Some(1_500), ..memory(512) };
    assert_eq!(set(&hog.group, size), Ok(()));
    assert_eq!((hog.limit_mib(), hog.group.usage().cpu_limit_milli), (Some(512), Some(1_500)));
}

#[tokio::test]
async fn a_process_that_keeps_its_memory_keeps_its_limit_and_lives() {
    let Some(mut hog) = Hog::start() else { return };
    let size = Size { cpu_milli: Some(500), ..memory(48) };
    let shrunk = set_when_fallen(&hog.group, size, Duration::from_millis(1), Arc::default()).await;
    assert!(
        matches!(shrunk, Err(Unset::NotFallen { usage_bytes: Some(used) }) if used > 48 * MIB),
        "{shrunk:?}"
    );
    assert_eq!(
        (hog.limit_mib(), hog.group.usage().cpu_limit_milli),
        (Some(256), None),
        "nothing was changed"
    );
    assert!(hog.lives());
    hog.free();
    assert_eq!(hog.hear(), "freed");
}

#[tokio::test]
async fn a_margin_is_left_above_what_is_used() {
    let Some(hog) = Hog::start() else { return };
    let used = hog.group.memory_bytes().unwrap();
    let tight = Size { memory_bytes: Some(used + MARGIN_BYTES_MIN / 2), cpu_milli: None };
    let shrunk = set_when_fallen(&hog.group, tight, Duration::ZERO, Arc::default()).await;
    assert!(matches!(shrunk, Err(Unset::NotFallen { .. })), "{shrunk:?}");
    assert_eq!(margin_bytes(1_000 * MIB), 50 * MIB);
    assert_eq!(margin_bytes(2 * MIB), MARGIN_BYTES_MIN);
}

#[test]
fn a_limit_is_lifted_and_set_again_and_what_is_as_it_is_to_be_is_not_touched() {
    let Some(hog) = Hog::start() else { return };
    assert_eq!(set(&hog.group, Size::default()), Ok(()));
    assert_eq!(limits(&hog.group), Size::default());
    assert!(lessens(limits(&hog.group), memory(256)) && !lessens(memory(256), limits(&hog.group)));
    assert_eq!(set(&hog.group, memory(256)), Ok(()));
    assert_eq!(limits(&hog.group), memory(256));
    let without_cpu = Group { cpu: Err(NoGroup::Off), ..hog.group.clone() };
    assert_eq!(set(&without_cpu, memory(300)), Ok(()));
    let both = Size { cpu_milli: Some(500), ..memory(400) };
    assert_eq!(set(&without_cpu, both), Err(Unset::NoGroup { why: NoGroup::Off }));
    assert_eq!(hog.limit_mib(), Some(300), "both or none");
}

#[tokio::test]
async fn where_there_is_no_group_that_is_the_answer() {
    let group = Site::of(&Hierarchies::off(), std::path::Path::new("/cloud")).make("n1", StartId(1));
    assert_eq!(set(&group, memory(64)), Err(Unset::NoGroup { why: NoGroup::Off }));
    assert_eq!(
        set_when_fallen(&group, memory(64), LONG, Arc::default()).await,
        Err(Unset::NoGroup { why: NoGroup::Off })
    );
    let cpu = Size { memory_bytes: None, cpu_milli: Some(100) };
    assert_eq!(
        set_when_fallen(&group, cpu, LONG, Arc::default()).await,
        Err(Unset::NoGroup { why: NoGroup::Off })
    );
}
