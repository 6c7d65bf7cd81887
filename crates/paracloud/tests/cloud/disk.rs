//! Full disks: under the journal nothing is begun that could not be finished; under a node's processes what has begun is
//! given up; and nothing is lost.

use crate::clients::Clients;
use crate::points::Points;
use crate::rig::{Rig, kill, wait_until};
use paracloud_core::ids::NodeId;
use paracloud_core::migration::promises::{Point, Promise};
use paracloud_substrate::layout::Layout;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The tests of this file.
const JOURNAL: &str = "disk::on_a_full_disk_no_move_begins_and_one_that_has_begun_is_finished";
const PROCESSES: &str =
    "disk::a_move_to_a_node_whose_disk_is_full_is_rolled_back_and_its_target_is_said_to_be_dead";
const CLOUD: &str =
    "disk::on_a_full_disk_shells_that_are_killed_come_back_and_moves_end_and_logs_say_later_what_is_missing";
const ORDERS: &str = "disk::on_a_full_disk_no_order_of_a_person_begins_and_each_is_done_once_there_is_room";
/// Set where it runs in namespaces of its own.
const INSIDE: &str = "PARACLOUD_TEST_IN_NAMESPACE";
/// `1`: whoever runs the tests consents to one that shows nothing, where no disk can be mounted.
const WITHOUT: &str = "PARACLOUD_TEST_WITHOUT_DISK";
/// How it begins to say that it cannot be shown.
const MISSING: &str = "a disk of its own cannot be mounted";
/// Enough for the journal, and too little for what a move reserves.
const SMALL: &str = "size=6m";
/// How the system says that a disk is full.
const NO_SPACE: &str = "No space left on device";
/// Enough for both.
const LARGE: &str = "size=48m";

/// A disk of its own under one directory of a cloud, until it is dropped.
struct Disk(PathBuf);

impl Disk {
    /// `None`: this machine permits none.
    fn under(rig: &Rig, part: impl Fn(&Layout) -> PathBuf) -> Option<Self> {
        let layout = Layout::new(Path::new(&rig.cloud())).expect("a path");
        let directory = |path: &Path| std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        directory(&part(&layout)).expect("a directory of our own");
        // It is the directory of a cloud.
        std::fs::write(layout.up_lock(), "").expect("a file of our own");
        let disk = Self(part(&layout));
        disk.mounts(&["-t", "tmpfs", "-o", &format!("{SMALL},mode=0700"), "paracloud"]).then_some(disk)
    }

    fn mounts(&self, arguments: &[&str]) -> bool {
        let status = Command::new("mount").args(arguments).arg(&self.0).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    }

    fn enlarge(&self) {
        // Only the size: the owner that mount(8) reads from what is mounted is nobody in a user namespace.
        let enlarged = self.mounts(&["--options-mode", "ignore", "-o", &format!("remount,{LARGE}")]);
        assert!(enlarged, "what was mounted can be enlarged");
    }

    /// Fills it up to the last block.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.filler()).expect("a file of our own");
        while file.write_all(&[7; 4096]).is_ok() {}
    }

    /// Makes room again.
    fn clear(&self) {
        std::fs::remove_file(self.filler()).expect("it was filled");
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // As soon as nobody uses it any more.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).stderr(Stdio::null()).status();
    }
}

#[test]
fn on_a_full_disk_no_move_begins_and_one_that_has_begun_is_finished() {
    let rig = Rig::sessions(&json!({}), &json!({}));
    let Some(disk) = Disk::under(&rig, Layout::controller) else { return in_namespaces(JOURNAL) };
    let (_up, points) = Points::up(&rig);
    let owner = rig.record().expect("it serves")["owner"].clone();
    let mut clients = Clients::modest(&rig, 10);
    for _ in 0..3 {
        let moved = rig.run(&["move", "sessions"]);
        assert_eq!(moved.code, 1, "{}{}", moved.out, moved.err);
        assert!(moved.err.starts_with("error: sessions: nothing was begun"), "{}", moved.err);
        assert!(moved.err.contains(" MiB large") && !moved.err.contains("bytes"), "{}", moved.err);
        assert!(moved.err.contains("next: ") && moved.err.contains("free some space"), "{}", moved.err);
    }
    let record = rig.record().expect("the controller answers");
    assert_eq!((&record["owner"], &record["operation"]), (&owner, &Value::Null), "{record}");
    clients.audit_clean();

    // Room is made, a move goes as far as the seal, and the disk is filled again: what it needs was reserved.
    disk.enlarge();
    points.move_until(&rig, Promise::Seal, Point::AfterPersist);
    disk.fill();
    points.go(Promise::Seal, Point::AfterPersist);
    wait_until("the move is committed and over", || {
        rig.record().is_some_and(|record| record["owner"]["node"] == 2 && record["operation"].is_null())
    });
    clients.audit_clean();
}

#[test]
fn a_move_to_a_node_whose_disk_is_full_is_rolled_back_and_its_target_is_said_to_be_dead() {
    // It waits for no budget.
    let rig = Rig::sessions(&json!({ "move": { "prepare": "1h" } }), &json!({}));
    let processes = |layout: &Layout| layout.processes(NodeId(2));
    let Some(disk) = Disk::under(&rig, processes) else { return in_namespaces(PROCESSES) };
    let (_up, _points) = Points::up(&rig);
    let owner = rig.record().expect("it serves")["owner"].clone();
    let mut clients = Clients::modest(&rig, 10);
    disk.fill();
    let moved = rig.run(&["move", "sessions"]);
    assert_eq!(moved.code, 1, "{}{}", moved.out, moved.err);
    assert!((moved.out + &moved.err).contains(NO_SPACE), "why is said");
    wait_until("the move is over", || {
        rig.record().is_some_and(|record| record["owner"] == owner && record["operation"].is_null())
    });
    clients.audit_clean();

    disk.clear();
    let moved = rig.run(&["move", "sessions"]);
    assert_eq!(moved.code, 0, "{}{}", moved.out, moved.err);
    clients.audit_clean();
}

#[test]
fn on_a_full_disk_shells_that_are_killed_come_back_and_moves_end_and_logs_say_later_what_is_missing() {
    let rig = Rig::sessions(&json!({ "move": { "prepare": "500ms" } }), &json!({}));
    let Some(disk) = Disk::under(&rig, |layout| layout.root().to_owned()) else {
        return in_namespaces(CLOUD);
    };
    let mut up = rig.up(&[]);
    up.serving();
    disk.enlarge();
    // The register has room for further moves then.
    assert_eq!(rig.json(&["move", "sessions"])["outcome"]["node"], 2);
    let owner = rig.record().expect("it serves")["owner"].clone();
    let mut clients = Clients::modest(&rig, 10);
    disk.fill();
    let logs = disk.0.join("log");
    fill_last_blocks(&logs);
    for shell in ["controller", "agent", "gateway"] {
        for pid in rig.processes(shell) {
            kill(pid, Signal::KILL);
            wait_until("it has a successor, and all are connected", || {
                let ps = rig.run(&["ps"]);
                let is_whole = ps.code == 0 && !ps.out.contains("not connected");
                is_whole && !rig.processes(shell).contains(&pid)
            });
        }
    }
    wait_until("it has greeted its agent", || rig.run(&["move", "sessions", "--dry-run"]).code == 0);
    for _ in 0..2 {
        let moved = rig.run(&["move", "sessions"]);
        assert_eq!(moved.code, 1, "{}{}", moved.out, moved.err);
        assert!(
            moved.err.contains("the move was rolled back") && moved.err.contains(NO_SPACE),
            "{}",
            moved.err
        );
    }
    let record = rig.record().expect("it serves");
    assert_eq!((&record["owner"], &record["operation"]), (&owner, &Value::Null), "{record}");
    let audited = clients.audit();
    assert!(audited.is_clean(), "{audited:#?}");
    up.signal(Signal::KILL);
    up.ended();
    // Who came in the place of one that was killed is in no file, as the disk is full: the next `up` does not end it.
    wait_until("its shells have ended by themselves", || {
        ["controller", "agent", "gateway"].iter().all(|shell| rig.processes(shell).is_empty())
    });
    let mut up = rig.up(&[]);
    up.serving();
    let record = rig.record().expect("it serves");
    assert_eq!(record["owner"], owner, "the next `up` has adopted it");

    disk.clear();
    wait_until("it has greeted its agent", || rig.run(&["move", "sessions", "--dry-run"]).code == 0);
    let moved = rig.run(&["move", "sessions"]);
    assert_eq!(moved.code, 0, "{}{}", moved.out, moved.err);
    let audited = clients.audit();
    assert!(audited.is_clean(), "{audited:#?}");
    let log = std::fs::read_to_string(logs.join("gateway-g1.log")).expect("it logs");
    let said = format!(" of this log could not be written before this one: {NO_SPACE}");
    assert!(log.lines().any(|line| line.contains(&said)), "{log}");
    assert_eq!(rig.run(&["stop", "--yes"]).code, 0);
    assert_eq!(up.ended(), 0);
    assert!(!up.said().contains("exit status"), "{}", up.said());
}

#[test]
fn on_a_full_disk_no_order_of_a_person_begins_and_each_is_done_once_there_is_room() {
    let worker = Path::new(env!("CARGO_BIN_EXE_paracloud")).with_file_name("worker");
    let own = json!({ "state": "none", "stopGrace": "1s", "scale": { "min": 1, "max": 4, "start": 2 } });
    let rig = Rig::of("worker", &json!([worker]), &[&own], &json!({}));
    let Some(disk) = Disk::under(&rig, |layout| layout.root().to_owned()) else {
        return in_namespaces(ORDERS);
    };
    let mut up = rig.up(&[]);
    up.serving();
    disk.enlarge();
    let before = there(&rig);
    let text = std::fs::read_to_string(rig.manifest()).expect("it is there");
    let changed = text.replacen("\"env\":{", "\"env\":{\"NOTE\":\"two\",", 1);
    assert_ne!(changed, text);
    std::fs::write(rig.manifest(), changed).expect("it can be written");
    disk.fill();
    let orders = [&["scale", "worker", "3"][..], &["drain-node", "n1"], &["apply", rig.manifest()]]
        .map(<[&str]>::to_vec);
    for order in &orders {
        let refused = rig.run(order);
        assert_eq!(refused.code, 1, "{order:?}: {}{}", refused.out, refused.err);
        assert!(refused.err.contains(NO_SPACE), "{order:?}: {}", refused.err);
        assert!(refused.err.contains("free some space"), "{order:?}: {}", refused.err);
    }
    assert_eq!(there(&rig), before, "nothing was begun");
    let closed = rig.json(&["ps"])["nodes"].to_string();
    assert!(!closed.contains("\"closed\":true"), "{closed}");

    disk.clear();
    for order in &orders {
        let done = rig.run(order);
        assert_eq!(done.code, 0, "{order:?}: {}{}", done.out, done.err);
    }
    let now = there(&rig);
    assert!(now.len() == 3 && now.iter().all(|(_, node, revision)| *node == 2 && *revision == 2), "{now:?}");
    assert_eq!(rig.run(&["stop", "--yes"]).code, 0);
    assert_eq!(up.ended(), 0);
}

/// The instances that are there: who, where and what.
fn there(rig: &Rig) -> Vec<(Value, Value, Value)> {
    let ps = rig.json(&["ps"]);
    let all = ps["instances"].as_array().expect("a list").iter();
    let there = all.filter(|it| it["record"]["gone"] != json!(true));
    there
        .map(|it| (it["name"].clone(), it["record"]["owner"]["node"].clone(), it["revision"].clone()))
        .collect()
}

/// Takes what room there is in the last block of each file, so that nothing can be added to it.
fn fill_last_blocks(directory: &Path) {
    for file in std::fs::read_dir(directory).expect("a directory of the cloud") {
        let file = std::fs::File::options().append(true).open(file.expect("an entry").path());
        let mut file = file.expect("a log");
        while file.write_all(b"x").is_ok() {}
    }
}

/// Runs a test once more where everybody may mount: as root of a user namespace, with mounts of its own.
fn in_namespaces(name: &str) {
    let missing = if std::env::var_os(INSIDE).is_some() {
        "mount(8) is refused even to the root of a user namespace".to_owned()
    } else {
        let test = std::env::current_exe().expect("this program");
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount"]).arg(test).args([
            "--exact",
            name,
            "--nocapture",
        ]);
        match command.env(INSIDE, "1").env_remove(WITHOUT).output() {
            Err(error) => format!("unshare(1) cannot be run: {error}"),
            Ok(output) => {
                let text = [output.stdout, output.stderr].concat();
                let text = String::from_utf8_lossy(&text).into_owned();
                if output.status.success() && text.contains("1 passed") {
                    return;
                }
                assert!(
                    !text.contains("running 1 test") || text.contains(MISSING),
                    "in a namespace:\n{text}"
                );
                text
            }
        }
    };
    let consents = std::env::var_os(WITHOUT).is_some_and(|it| it == "1");
    assert!(
        consents,
        "{MISSING}: {missing}\nnext: run this as root, permit user namespaces, or set {WITHOUT}=1"
    );
    say(&format!("NOT SHOWN, as {WITHOUT}=1 permits: {name}. {missing}"));
}

#[expect(clippy::print_stderr, reason = "nobody should think that this was shown here")]
fn say(text: &str) {
    eprintln!("{text}");
}
