//! Processes that have the number of a dead one, and those that it has left: the first are let alone, the others ended.

use crate::rig::{N1, Rig, is_alive, kill, until};
use paracloud_core::ids::StartId;
use paracloud_substrate::process::Identity;
use rustix::process::Signal;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// A session that has nothing to do with any cloud: a leader, and another member.
struct Stranger {
    leader: Child,
    member: i32,
}

impl Stranger {
    fn new() -> Self {
        // A child that leads no group becomes the leader of a session without a fork.
        let mut command = Command::new("setsid");
        command.args(["sh", "-c", "sleep 600 & echo $!; wait"]).stdout(Stdio::piped());
        let mut leader = command.spawn().unwrap();
        let mut pid = String::new();
        BufReader::new(leader.stdout.take().unwrap()).read_line(&mut pid).unwrap();
        Self { leader, member: pid.trim().parse().unwrap() }
    }

    fn identity(&self) -> Identity {
        Identity::of(self.leader.id().cast_signed()).unwrap()
    }

    fn lives(&self) -> bool {
        self.identity().is_alive().unwrap() && is_alive(self.member)
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.leader.kill();
        let _ = self.leader.wait();
        kill(self.member, Signal::KILL);
    }
}

/// An agent, a shim and a program that are gone at once, so that nobody has written down how it ended.
fn all_gone_at_once(rig: &mut Rig) -> (StartId, Identity) {
    rig.agent(N1);
    let (start, shop) = rig.owner(N1);
    let (identity, shim) = (Identity::of(shop.pid()).unwrap(), rig.shim(N1, start));
    rig.kill_agent(0);
    for pid in [shim, identity.pid] {
        kill(pid, Signal::KILL);
        until("it is gone", || (!is_alive(pid)).then_some(()));
    }
    assert!(!rig.process_dir(N1, start).join("exit.json").exists());
    (start, identity)
}

/// What the next agent says of a process that had the number which a stranger has now.
fn told_of_one_that_was(now: &Identity) -> String {
    let mut rig = Rig::new();
    let (start, _) = all_gone_at_once(&mut rig);
    let path = rig.process_dir(N1, start).join("identity.json");
    std::fs::write(path, serde_json::to_vec(now).unwrap()).unwrap();
    rig.agent(N1);
    let how = rig.agents[0].hear_death(start);
    // Nothing of this rig may end the stranger either.
    std::fs::remove_file(rig.process_dir(N1, start).join("identity.json")).unwrap();
    how
}

#[test]
fn after_a_reboot_whoever_has_the_pid_of_a_process_now_is_let_alone() {
    let stranger = Stranger::new();
    let before = Identity { boot_id: "an earlier one".to_owned(), ..stranger.identity() };
    let how = told_of_one_that_was(&before);
    assert!(how.contains("not known"), "{how}");
    assert!(stranger.lives());
}

#[test]
fn whoever_has_the_pid_of_a_process_that_died_unseen_is_let_alone() {
    let stranger = Stranger::new();
    let identity = stranger.identity();
    let before = Identity { start_ticks: identity.start_ticks - 1, ..identity };
    let how = told_of_one_that_was(&before);
    assert!(how.contains("not known"), "{how}");
    assert!(stranger.lives());
}

#[test]
fn what_a_process_that_died_unseen_has_left_is_ended_before_its_death_is_told() {
    let mut rig = Rig::with(|app| {
        // It has another environment, and is found by its session and its output.
        let puppet = app.command.join(" ");
        let script = format!("env -i sleep 600 & echo $! > left; exec {puppet}");
        app.command = ["sh", "-c", &script].map(str::to_owned).to_vec();
    });
    let (start, _) = all_gone_at_once(&mut rig);
    let left: i32 = std::fs::read_to_string(rig.layout.root().join("left")).unwrap().trim().parse().unwrap();
    assert!(is_alive(left));
    rig.agent(N1);
    let how = rig.agents[0].hear_death(start);
    assert!(how.contains("not known"), "{how}");
    assert!(!is_alive(left));
}

#[test]
fn what_is_left_to_a_shim_that_adopted_its_process_is_ended_before_the_death_is_told() {
    let mut rig = Rig::with(|app| {
        // Neither its environment nor its output says whose it is: it was seen when the process was adopted.
        let puppet = app.command.join(" ");
        let script = format!("env -i sleep 600 >/dev/null 2>&1 & echo $! > left; exec {puppet}");
        app.command = ["sh", "-c", &script].map(str::to_owned).to_vec();
    });
    rig.agent(N1);
    let (start, shop) = rig.owner(N1);
    let (pid, shim) = (shop.pid(), rig.shim(N1, start));
    kill(shim, Signal::KILL);
    let second = until("another shim", || Some(rig.shim(N1, start)).filter(|pid| *pid != shim));
    let socket = rig.process_dir(N1, start).join("shim.sock");
    until("it has adopted", || std::os::unix::net::UnixStream::connect(&socket).ok());
    assert!(is_alive(second));
    let left: i32 = std::fs::read_to_string(rig.layout.root().join("left")).unwrap().trim().parse().unwrap();
    kill(pid, Signal::KILL);
    let how = rig.agents[0].hear_death(start);
    assert!(how.contains("not known"), "{how}");
    assert!(!is_alive(left));
}
