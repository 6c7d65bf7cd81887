//! The demo as a person runs it, with little state and short windows.

use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The longest that anything may take. It bounds a failing test, and measures nothing.
const PATIENCE: Duration = Duration::from_secs(120);
/// Where programs put temporary directories: all processes of a demo are known by it.
const MARKER: &str = "TMPDIR";

/// One demo at a time: each measures, and fills a small machine.
static ALONE: Mutex<()> = Mutex::new(());

/// A demo, in a directory of its own.
struct Demo {
    _alone: MutexGuard<'static, ()>,
    directory: tempfile::TempDir,
    child: Child,
}

impl Demo {
    fn start(arguments: &[&str]) -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        // Short: unix sockets lie in it.
        let directory = tempfile::Builder::new().prefix("pc").tempdir_in("/tmp").expect("a directory");
        let mut command = Command::new(env!("CARGO_BIN_EXE_paracloud"));
        command.args(["demo", "--state-mib", "10"]).args(arguments).env(MARKER, directory.path());
        command.env_remove("PARACLOUD_DIR").env_remove("RUST_LOG").env_remove("PARACLOUD_LIFELINE");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().expect("it was built");
        Self { _alone: alone, directory, child }
    }

    /// Waits until it tells a line with this in it.
    fn tells(&mut self, what: &str) -> BufReader<ChildStderr> {
        let mut told = BufReader::new(self.child.stderr.take().expect("a pipe"));
        let mut all = String::new();
        while !all.contains(what) {
            assert_ne!(
                told.read_line(&mut all).expect("UTF-8"),
                0,
                "it ended before it told {what:?}:\n{all}"
            );
        }
        told
    }

    fn signal(&self, signal: Signal) {
        send(self.child.id().cast_signed(), signal);
    }

    /// Waits for its end: its exit code, and what it printed.
    fn ended(&mut self) -> (Option<i32>, String) {
        let mut out = String::new();
        self.child.stdout.take().expect("a pipe").read_to_string(&mut out).expect("UTF-8");
        (self.child.wait().expect("it was started").code(), out)
    }

    /// Its processes, itself included, by their command lines.
    fn left(&self) -> Vec<(i32, Vec<String>)> {
        let directory: &OsStr = self.directory.path().as_os_str();
        let of_demo = |process: procfs::process::Process| {
            let stat = process.stat().ok().filter(|stat| stat.state != 'Z')?;
            let environment = process.environ().ok()?;
            let is_marked = environment.get(OsStr::new(MARKER)).is_some_and(|value| value == directory);
            is_marked.then_some((stat.pid, process.cmdline().ok()?))
        };
        procfs::process::all_processes().expect("/proc").flatten().filter_map(of_demo).collect()
    }

    fn files(&self) -> usize {
        std::fs::read_dir(self.directory.path()).expect("it is there").count()
    }

    fn wait_until_nothing_is_left(&self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.left().is_empty() {
            assert!(Instant::now() < deadline, "left behind: {:?}", self.left());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Again, because one of them may have started another meanwhile.
        for _ in 0..100 {
            let left = self.left();
            if left.is_empty() {
                break;
            }
            left.into_iter().for_each(|(pid, _)| send(pid, Signal::KILL));
        }
        let _ = self.child.wait();
    }
}

fn send(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}

#[test]
fn clients_lose_nothing_in_live_moves_and_nothing_is_left_at_the_end() {
    let mut demo = Demo::start(&["--window-ms", "1000", "--output", "json"]);
    let (code, out) = demo.ended();
    let object: serde_json::Value = serde_json::from_str(&out).expect("one object");
    assert_eq!((code, &object["ok"]), (Some(0), &true.into()), "{object:#}");
    let windows = object["demo"]["windows"].as_array().expect("windows");
    assert_eq!(windows.len(), 4);
    for window in windows {
        assert_eq!((&window["lost"], &window["doubled"]), (&0.into(), &0.into()), "{window:#}");
        assert_ne!(window["seen"]["achieved"], 0, "{window:#}");
        assert_eq!(window["sockets"]["sessions"], 100, "{window:#}");
    }
    assert_eq!(windows[1]["outcome"]["node"], 2);
    assert_eq!(windows[2]["outcome"]["node"], 1);
    assert_eq!(windows[3]["killed"], true);
    assert_eq!(demo.files(), 0, "its directory is gone");
    assert!(demo.left().is_empty(), "left behind: {:?}", demo.left());
}

#[test]
fn ctrl_c_leaves_nothing_behind() {
    let mut demo = Demo::start(&[]);
    let _told = demo.tells("without a move");
    assert!(demo.left().len() > 7, "{:?}", demo.left());
    demo.signal(Signal::INT);
    assert_eq!(demo.ended().0, Some(1));
    assert_eq!(demo.files(), 0, "its directory is gone");
    assert!(demo.left().is_empty(), "left behind: {:?}", demo.left());
}

#[test]
fn what_a_killed_demo_started_ends_by_itself() {
    let mut demo = Demo::start(&[]);
    let _told = demo.tells("without a move");
    demo.signal(Signal::KILL);
    demo.ended();
    demo.wait_until_nothing_is_left();
}

#[test]
fn a_cloud_that_is_kept_can_be_used_until_ctrl_c() {
    let mut demo = Demo::start(&["--window-ms", "100", "--keep"]);
    let _told = demo.tells("curl");
    let place = std::fs::read_dir(demo.directory.path()).expect("a directory").flatten().next();
    let cloud = place.expect("its directory").path().join("c");
    let ps = Command::new(env!("CARGO_BIN_EXE_paracloud")).arg("ps").arg("--dir").arg(cloud).output();
    let ps = ps.expect("it was built");
    assert!(ps.status.success() && String::from_utf8_lossy(&ps.stdout).contains("serving"), "{ps:?}");
    demo.signal(Signal::INT);
    let (code, out) = demo.ended();
    assert_eq!(code, Some(0), "{out}");
    assert_eq!(demo.files(), 0, "its directory is gone");
    assert!(demo.left().is_empty(), "left behind: {:?}", demo.left());
}
