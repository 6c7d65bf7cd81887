//! What a process leaves behind is known, and nobody else is taken for it.

use super::*;
use crate::process::signal;
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};

/// How often one that changes all the while is looked at.
const LOOKS: usize = 300;

const NAME: &str = "PARACLOUD_TEST_TRAIL";

/// A session of two, its leader a shell that waits for a line; all of them are killed when it is dropped.
struct Session {
    leader: Child,
    identity: Identity,
    member: Identity,
}

impl Session {
    /// `prelude` is what starts the member: `env -i`, say.
    fn of(prelude: &str, value: &str, output: Stdio) -> Self {
        let script = format!("{prelude} sleep 600 >&2 & echo $!; read line");
        // A child that leads no group becomes the leader of a session without a fork.
        let mut leader = Command::new("setsid")
            .args(["sh", "-c", &script])
            .env(NAME, value)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(output)
            .spawn()
            .unwrap();
        let identity = Identity::of(leader.id().cast_signed()).unwrap();
        let mut pid = String::new();
        BufReader::new(leader.stdout.take().unwrap()).read_line(&mut pid).unwrap();
        let pid = pid.trim().parse().unwrap();
        // The shell forks first; what counts is the environment and the output of the program.
        let is_sleep =
            || std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|it| it.starts_with(b"sleep"));
        while !is_sleep() {
            std::thread::yield_now();
        }
        Self { leader, identity, member: Identity::of(pid).unwrap() }
    }

    /// The leader ends. As long as it is not waited for, it keeps its number.
    fn leader_ends(&mut self) {
        drop(self.leader.stdin.take());
        while self.identity.is_alive().unwrap() {
            std::thread::yield_now();
        }
    }

    fn reap(&mut self) {
        self.leader_ends();
        self.leader.wait().unwrap();
    }

    fn earlier(&self) -> Identity {
        Identity { start_ticks: self.identity.start_ticks - 1, ..self.identity.clone() }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.leader.kill();
        let _ = self.leader.wait();
        if let Ok(Some(handle)) = self.member.open() {
            let _ = signal(&handle, Signal::KILL);
        }
    }
}

/// What is left by a leader that had the variable with this value.
fn left_by(leader: Identity, value: &str) -> Vec<Identity> {
    Trail::of(leader, (NAME, value), Path::new("/no/such/log")).look().unwrap()
}

#[test]
fn as_long_as_a_leader_has_its_number_its_session_is_its_own() {
    let mut session = Session::of("env -i", "", Stdio::null());
    assert_eq!(session.identity.number().unwrap(), Number::Its);
    assert_eq!(left_by(session.identity.clone(), "a"), [session.member.clone()]);
    session.leader_ends();
    assert_eq!(session.identity.number().unwrap(), Number::Its, "it was not reaped");
    assert_eq!(left_by(session.identity.clone(), "a"), [session.member.clone()]);
    assert_eq!(
        Trail::of(session.identity.clone(), (NAME, "a"), Path::new("")).group().unwrap(),
        [session.member.clone()]
    );
}

#[test]
fn a_number_that_another_process_has_says_nothing() {
    let session = Session::of("env -i", "", Stdio::null());
    let reboot = Identity { boot_id: "an earlier one".to_owned(), ..session.identity.clone() };
    for before in [session.earlier(), reboot] {
        assert_eq!(before.number().unwrap(), Number::Others);
        assert!(left_by(before.clone(), "b").is_empty());
        assert!(Trail::of(before, (NAME, "b"), Path::new("")).group().unwrap().is_empty());
    }
}

#[test]
fn whoever_has_the_variable_is_found_whatever_became_of_the_number() {
    let mut session = Session::of("", "c", Stdio::null());
    let leader = session.identity.clone();
    assert_eq!(left_by(session.earlier(), "c"), [leader, session.member.clone()]);
    session.reap();
    assert_eq!(left_by(session.identity.clone(), "c"), [session.member.clone()]);
    assert!(left_by(session.identity.clone(), "another").is_empty());
}

#[test]
fn a_session_whose_leader_was_reaped_is_anybodys_until_one_of_it_proves_whose() {
    let mut session = Session::of("env -i", "", Stdio::null());
    let mut knowing = Trail::of(session.identity.clone(), (NAME, "d"), Path::new(""));
    assert_eq!(knowing.look().unwrap(), [session.member.clone()]);
    session.reap();
    assert_eq!(session.identity.number().unwrap(), Number::Nobodys);
    assert!(left_by(session.identity.clone(), "d").is_empty(), "it may be a later leader's of this number");
    assert_eq!(knowing.look().unwrap(), [session.member.clone()], "seen before the leader was reaped");
}

#[test]
fn who_writes_to_the_log_proves_whose_the_session_is_and_who_reads_it_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let mut writes = Session::of("env -i", "", File::create(&log).unwrap().into());
    let mut reads = Session::of("env -i", "", File::open(&log).unwrap().into());
    writes.reap();
    reads.reap();
    let left = |session: &Session| Trail::of(session.identity.clone(), (NAME, "e"), &log).look().unwrap();
    assert_eq!(left(&writes), [writes.member.clone()]);
    assert!(left(&reads).is_empty());
}

/// Whether the leader and the member belong to a leader that had the variable with this value.
fn covers(leader: &Identity, value: &str, session: &Session) -> (bool, bool) {
    let trail = Trail::of(leader.clone(), (NAME, value), Path::new("/no/such/log"));
    (trail.covers(session.identity.pid), trail.covers(session.member.pid))
}

#[test]
fn a_session_that_has_the_number_of_a_dead_process_is_not_covered_by_it() {
    let mut session = Session::of("env -i", "f", Stdio::null());
    let own = session.identity.clone();
    let reboot = Identity { boot_id: "an earlier one".to_owned(), ..own.clone() };
    assert_eq!(covers(&own, "f", &session), (true, true));
    for dead in [session.earlier(), reboot] {
        assert_eq!(covers(&dead, "f", &session), (false, false), "{dead:?}");
    }
    session.leader_ends();
    assert_eq!(covers(&own, "f", &session), (false, true), "it was not reaped");
    session.reap();
    assert_eq!(covers(&own, "f", &session), (false, false), "nobody proves whose the session is");
}

#[test]
fn whoever_is_left_in_a_session_is_covered_if_it_proves_whose_it_is() {
    let mut session = Session::of("", "g", Stdio::null());
    session.reap();
    assert_eq!(covers(&session.identity, "g", &session), (false, true));
    assert_eq!(covers(&session.identity, "another", &session), (false, false));
    assert_eq!(covers(&session.earlier(), "g", &session), (false, true), "nobody has the number");
}

#[test]
fn who_left_the_session_is_covered_as_long_as_its_parents_live() {
    let session = Session::of("", "h", Stdio::null());
    let own = Trail::of(Identity::own().unwrap(), (NAME, "another"), Path::new(""));
    assert!(own.covers(session.identity.pid) && own.covers(session.member.pid));
    let beside = Trail::of(session.member.clone(), (NAME, "another"), Path::new(""));
    assert!(!beside.covers(session.identity.pid) && !beside.covers(own.leader().pid));
}

#[test]
fn a_session_is_told_with_its_leader_and_of_one_that_is_gone_only_if_it_is_proved() {
    let mut session = Session::of("", "i", Stdio::null());
    let number = session.identity.pid;
    let told = |value| Trail::of_session(number, (NAME, value), Path::new("")).unwrap().session().unwrap();
    assert_eq!(told("i"), [session.identity.clone(), session.member.clone()]);
    session.reap();
    assert_eq!(told("i"), [session.member.clone()]);
    assert!(told("another").is_empty());
}

/// Descriptors are a process's own: a look that has none left is taken in a process of its own.
#[test]
fn what_cannot_be_looked_at_is_not_taken_for_gone() {
    const ALONE: &str = "PARACLOUD_TEST_TRAIL_ALONE";
    const SPARE_MAX: u64 = 4;
    if std::env::var_os(ALONE).is_none() {
        let name = "process::trail::tests::what_cannot_be_looked_at_is_not_taken_for_gone";
        let own = std::env::current_exe().unwrap();
        let ended = Command::new(own).args(["--exact", name]).env(ALONE, "").output().unwrap();
        let said = String::from_utf8_lossy(&ended.stdout);
        assert!(ended.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let mut session = Session::of("", "k", Stdio::null());
    let mut trail = Trail::of(session.identity.clone(), (NAME, "k"), Path::new("/no/such/log"));
    session.reap();
    let before = getrlimit(Resource::Nofile);
    let next = u64::try_from(File::open("/dev/null").unwrap().as_raw_fd()).unwrap();
    // Each of them is enough for another step of a look and no more.
    for spare in 0..=SPARE_MAX {
        setrlimit(Resource::Nofile, Rlimit { current: Some(next + spare), ..before }).unwrap();
        let looked = [trail.look(), trail.session()];
        setrlimit(Resource::Nofile, before).unwrap();
        for look in looked {
            assert!(
                look.as_ref().is_err() || *look.as_ref().unwrap() == [session.member.clone()],
                "{look:?}"
            );
        }
    }
    assert_eq!(trail.look().unwrap(), [session.member.clone()]);
}

#[test]
fn what_this_user_is_not_shown_has_another_environment() {
    use std::io::{Error, ErrorKind};
    let said = |error: Error| shown::<()>(Err(error.into()));
    let os = |error: Errno| Error::from_raw_os_error(error.raw_os_error());
    for unseen in [Errno::ACCESS, Errno::PERM, Errno::NOENT, Errno::SRCH] {
        assert!(matches!(said(os(unseen)), Ok(None)), "{unseen}");
    }
    for unknown in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::IO, Errno::LOOP] {
        assert!(said(os(unknown)).is_err(), "{unknown}");
    }
    assert_eq!(said(ErrorKind::TimedOut.into()).unwrap_err().kind(), ErrorKind::TimedOut);
}

#[test]
fn who_replaces_its_program_again_and_again_is_seen_at_each_look() {
    // A shell that becomes itself for ever; `setsid` has taken it out of every session that could tell.
    let mut other = Command::new("setsid")
        .args(["sh", "-c", "exec sh -c \"$AGAIN\""])
        .env("AGAIN", "exec sh -c \"$AGAIN\"")
        .env(NAME, "again")
        .spawn()
        .unwrap();
    let leader = Identity { pid: i32::MAX, start_ticks: 0, boot_id: boot_id().unwrap() };
    let missed = (0..LOOKS).filter(|_| left_by(leader.clone(), "again").is_empty()).count();
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(missed, 0, "of {LOOKS} looks");
}
