//! What is printed and logged, and what becomes of it where it cannot be written: a command that did not arrive has
//! failed, and a shell that cannot log goes on.

use crate::rig::{Answer, Rig, kill, run_into, wait_until};
use rustix::process::Signal;
use std::fs::File;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// A program that says something when it is told to end.
const SAYS_GOODBYE: &str = "\
def goodbye(*_):
    print('goodbye', flush=True)
    os._exit(0)
signal.signal(signal.SIGTERM, goodbye)
";
/// Shortens the time after which what a killed `up` left is ended.
const ORPHAN_MS: &str = "PARACLOUD_ORPHAN_MS";

/// Every write to it fails: there is no room.
fn full() -> File {
    File::options().write(true).open("/dev/full").expect("a device that every Linux has")
}

/// A pipe that nobody reads.
fn unread() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

fn into(rig: &Rig, arguments: &[&str], out: impl Into<Stdio>) -> Answer {
    run_into(&[&["--dir", &rig.cloud()], arguments].concat(), out)
}

#[test]
fn a_command_whose_words_cannot_be_written_has_failed_and_one_that_nobody_reads_ends_quietly() {
    let rig = Rig::new("state: none");
    let mut up = rig.up(&[]);
    up.serving();
    wait_until("it has written something", || rig.run(&["logs", "web"]).out.contains("starting"));
    let manifest = rig.manifest().to_owned();
    for arguments in [
        &["ps"][..],
        &["ps", "--output", "json"],
        &["events"],
        &["events", "-f"],
        &["logs", "web"],
        &["logs", "-f", "web"],
        &["validate", &manifest],
        &["move", "web", "--dry-run"],
        &["move", "web"],
        &["move", "web", "--output", "json"],
        &["--help"],
        &["--version"],
    ] {
        let failed = into(&rig, arguments, full());
        assert_eq!(failed.code, 1, "{arguments:?}: {}", failed.err);
        let said = "error: standard output: what this command said could not be written: No space left on device (os \
                    error 28)";
        assert_eq!(failed.err.lines().last(), Some(said), "{arguments:?}");
        let unread = into(&rig, arguments, unread());
        assert_eq!(unread.code, 0, "{arguments:?}: {}", unread.err);
        assert!(!unread.err.contains("error"), "{arguments:?}: {}", unread.err);
    }
    // What went wrong is said where it can be, and the exit code says that.
    for arguments in [&["move", "nobody"][..], &["move", "nobody", "--output", "json"]] {
        let failed = into(&rig, arguments, full());
        assert_eq!(failed.code, 2, "{arguments:?}: {}", failed.err);
        assert!(failed.err.contains("error: nobody: there is no instance"), "{arguments:?}: {}", failed.err);
    }
}

#[test]
fn an_up_that_can_print_nothing_looks_after_its_cloud_and_says_at_the_end_that_it_could_not() {
    let rig = Rig::new("state: none");
    let err = rig.path().join("err");
    let mut command = Command::new(env!("CARGO_BIN_EXE_paracloud"));
    command.args(["up", rig.manifest(), "--output", "json", "--dir", &rig.cloud()]).stdin(Stdio::null());
    let mut up =
        command.stdout(full()).stderr(File::create(&err).expect("our own")).spawn().expect("it runs");
    let serves = || rig.run(&["ps"]).out.contains("serving");
    wait_until("it serves", serves);
    let before = rig.processes("controller");
    kill(before[0], Signal::KILL);
    wait_until("there is another controller", || {
        let now = rig.processes("controller");
        now.len() == 1 && now != before && serves()
    });
    kill(up.id().cast_signed(), Signal::INT);
    assert_eq!(up.wait().expect("it ends").code(), Some(1));
    let said = std::fs::read_to_string(err).expect("text");
    assert!(said.starts_with("error: standard output: ") && said.lines().count() == 1, "{said}");
    assert!(rig.left().is_empty(), "{:?}", rig.left());
}

#[test]
fn shells_whose_logs_cannot_be_written_run_and_come_back() {
    let rig = Rig::new("state: none");
    let log = Path::new(&rig.cloud()).join("log");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&log).expect("our own");
    // It is the directory of a cloud.
    std::fs::write(log.with_file_name("up.lock"), "").expect("our own");
    for shell in ["controller", "agent-n1", "agent-n2", "gateway-g1", "gateway-g2"] {
        std::os::unix::fs::symlink("/dev/full", log.join(format!("{shell}.log"))).expect("our own");
    }
    let mut up = rig.up(&[]);
    up.serving();
    for shell in ["controller", "agent", "gateway"] {
        let before = rig.processes(shell);
        before.iter().for_each(|pid| kill(*pid, Signal::KILL));
        wait_until("each has a successor, and all are connected", || {
            let now = rig.processes(shell);
            let ps = rig.run(&["ps"]);
            let is_whole = ps.code == 0 && !ps.out.contains("not connected");
            now.len() == before.len() && now.iter().all(|pid| !before.contains(pid)) && is_whole
        });
        assert_eq!((rig.get(0), rig.get(1)), ("hello\n".to_owned(), "hello\n".to_owned()), "{shell}");
    }
    assert_eq!(rig.json(&["move", "web", "--to", "n2"])["outcome"]["node"], 2);
    assert_eq!(rig.run(&["stop"]).code, 0);
    assert_eq!(up.ended(), 0);
    assert!(!up.said().contains("exit status 101"), "{}", up.said());
}

#[test]
fn a_move_that_is_not_waited_for_names_its_operation() {
    let rig = Rig::new("state: none");
    let mut up = rig.up(&[]);
    up.serving();
    let begun = rig.json(&["move", "web", "--no-wait"]);
    assert_eq!(
        (&begun["ok"], &begun["instance"], &begun["operation"]),
        (&true.into(), &"web".into(), &1.into())
    );
    wait_until("it is over", || rig.events().iter().any(|event| !event["what"]["concluded"].is_null()));
    let told = rig.events();
    let concluded = told.iter().find(|event| !event["what"]["concluded"].is_null()).expect("it is over");
    assert_eq!(concluded["operation"], begun["operation"]);
}

#[test]
fn who_follows_logs_hears_the_last_word_of_what_runs_and_is_told_when_the_cloud_has_ended() {
    let rig = Rig::with_program(SAYS_GOODBYE, "state: none");
    // Whoever follows prints into a file: what is read of it is what was printed.
    let follow = |name: &str| {
        let path = rig.path().join(name);
        let printed = File::create(&path).expect("our own");
        let following = rig.start(&["logs", "-f", "web"], printed);
        wait_until("it has printed something", || count(&path, "starting") > 0);
        (path, following)
    };
    let mut up = rig.up(&[]);
    up.serving();
    let (path, mut following) = follow("first");
    assert_eq!(rig.run(&["stop"]).code, 0);
    assert_eq!(following.ended(), 3);
    assert_eq!(count(&path, "goodbye"), 1);
    assert_eq!(up.ended(), 0);

    // What a killed `up` leaves goes on writing until it is ended.
    let mut up = rig.up(&[(ORPHAN_MS, "2000")]);
    up.serving();
    let (path, mut following) = follow("second");
    up.signal(Signal::KILL);
    up.ended();
    assert_eq!(following.ended(), 3);
    assert_eq!(count(&path, "goodbye"), 2, "that of the first cloud, and its own");
    let ended = rig.run(&["logs", "-f", "web"]);
    assert_eq!((ended.code, ended.out.matches("goodbye").count()), (3, 2), "{}", ended.err);
    assert!(ended.err.contains("the cloud of this directory is not up"), "{}", ended.err);
}

/// How often a file has this in it.
fn count(path: &Path, what: &str) -> usize {
    std::fs::read_to_string(path).map_or(0, |text| text.matches(what).count())
}
