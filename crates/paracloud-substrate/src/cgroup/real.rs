//! What the groups of this machine really do. Where none can be made, the tests say why and pass.

use super::{Group, Hierarchies, Refused, Site, Version};
use crate::config::Size;
use paracloud_core::ids::StartId;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const WAIT: Duration = Duration::from_secs(30);
const START: StartId = StartId(7);
const MIB: u64 = 1 << 20;

/// The group of a cloud of its own; what is in it is killed and the group removed, whatever becomes of the test.
struct Real {
    _directory: TempDir,
    site: Site,
    group: Group,
}

impl Real {
    fn make() -> Option<Self> {
        Self::with(&Hierarchies::find().unwrap())
    }

    fn with(hierarchies: &Hierarchies) -> Option<Self> {
        super::sweep_gone_clouds(hierarchies);
        let directory = tempfile::tempdir().unwrap();
        let site = Site::of(hierarchies, directory.path());
        let group = site.make("n1", START);
        if group.is_there() {
            return Some(Self { _directory: directory, site, group });
        }
        eprintln!("skipped: there are no groups here: {:?}, {:?}", group.memory, group.cpu);
        None
    }

    /// A shell in the group that does this; it dies with the test.
    fn shell(&self, script: &str) -> Shell {
        let joining: String = self
            .group
            .directories()
            .iter()
            .map(|path| format!("echo 0 > '{}' || exit 9; ", path.join("cgroup.procs").display()))
            .collect();
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "sh", "-c", &format!("{joining}echo in; {script}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut shell = Shell { child, stdin, stdout };
        assert_eq!(shell.hear(), "in");
        shell
    }

    fn remove(&self) -> std::io::Result<()> {
        let end = Instant::now() + WAIT;
        loop {
            self.group.kill()?;
            match self.group.remove() {
                Err(error) if Instant::now() >= end => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(2)),
                Ok(()) => return Ok(()),
            }
        }
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.remove();
    }
}

struct Shell {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Shell {
    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    fn go_on(&mut self) {
        self.stdin.write_all(b"\n").unwrap();
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + WAIT;
    while !is_so() {
        assert!(Instant::now() < end, "{what}: not within {WAIT:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn whoever_left_session_and_environment_is_in_the_group_and_ended_with_it() {
    let Some(real) = Real::make() else { return };
    let mut shell = real.shell("env -i setsid sleep 600 > /dev/null & echo $!; read end");
    let left: i32 = shell.hear().parse().unwrap();
    let members = || real.group.members().unwrap().into_iter().map(|it| it.pid).collect::<Vec<_>>();
    assert!(members().contains(&left));
    shell.go_on();
    shell.child.wait().unwrap();
    assert_eq!(members(), [left]);
    assert!(real.group.remove().is_err(), "somebody is in it");
    until("nobody is left", || real.group.kill().is_ok() && members().is_empty());
    real.remove().unwrap();
    assert_eq!(real.site.groups(), [], "nor is the group");
    for path in real.group.directories() {
        assert!(
            path.ancestors().skip(1).take(2).all(|above| !above.exists()),
            "nor what was above it: {path:?}"
        );
    }
    assert_eq!(real.group.members().unwrap(), []);
}

#[test]
fn where_version_2_is_not_used_members_are_ended_one_by_one() {
    let mut hierarchies = Hierarchies::find().unwrap();
    hierarchies.v2 = None;
    let Some(real) = Real::with(&hierarchies) else { return };
    assert_eq!(real.group.unified, None);
    let shell = real.shell("sleep 600 > /dev/null & sleep 600 > /dev/null");
    until("all are in", || real.group.members().unwrap().len() == 3);
    until("all are dead", || real.group.kill().is_ok() && real.group.members().unwrap().is_empty());
    drop(shell);
    real.remove().unwrap();
}

#[test]
fn a_limit_holds_from_the_first_instruction_and_what_is_used_is_seen() {
    let Some(real) = Real::make() else { return };
    if let Err(why) = real.group.limit(Size { memory_bytes: Some(32 * MIB), cpu_milli: Some(500) }) {
        return eprintln!("skipped: {why}");
    }
    let usage = real.group.usage();
    assert_eq!((usage.memory_limit_bytes, usage.cpu_limit_milli), (Some(32 * MIB), Some(500)));
    let mut shell = real.shell("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo done; read end");
    assert_eq!(shell.hear(), "done");
    let used = real.group.usage();
    assert!(
        used.memory_bytes.is_some_and(|bytes| bytes > 0) && used.cpu_us.is_some_and(|us| us > 0),
        "{used:?}"
    );
    real.group.set_cpu(None).unwrap();
    assert_eq!(real.group.usage().cpu_limit_milli, None);
    let mut greedy = real.shell("x=$(head -c 100000000 /dev/zero | tr '\\0' x); echo has it all");
    assert_ne!(greedy.hear(), "has it all", "it is ended before it has more than it may");
}

#[test]
fn a_limit_is_lowered_once_memory_was_freed_and_not_before() {
    let Some(real) = Real::make() else { return };
    if let Err(why) = real.group.raise_memory(Some(256 * MIB)) {
        return eprintln!("skipped: {why}");
    }
    let mut shell = real.shell(
        "x=$(head -c 64000000 /dev/zero | tr '\\0' x); echo held; read next; x=; echo freed; read end",
    );
    assert_eq!(shell.hear(), "held");
    let low = 48 * MIB;
    assert!(real.group.memory_bytes().unwrap() > low);
    let refused = real.group.lower_memory(low, MIB).unwrap_err();
    assert!(matches!(refused, Refused::InUse { usage_bytes: Some(used), .. } if used > low), "{refused}");
    if real.group.memory.as_ref().is_ok_and(|seat| seat.version == Version::V1) {
        let refused = real.group.limit_memory_as_the_kernel_allows(low).unwrap_err();
        assert!(matches!(refused, Refused::InUse { usage_bytes: Some(used), .. } if used > low), "{refused}");
    }
    assert_eq!(real.group.memory_limit_bytes(), Some(256 * MIB), "it stands");
    shell.go_on();
    assert_eq!(shell.hear(), "freed", "nobody was killed");
    until("it is lowered", || real.group.lower_memory(low, MIB).is_ok());
    assert_eq!(real.group.memory_limit_bytes(), Some(low));
}
