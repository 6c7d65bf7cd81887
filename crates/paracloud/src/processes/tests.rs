//! What is ended, and what is let alone.

use super::*;
use paracloud_core::ids::NodeId;
use paracloud_substrate::cgroup::{Group, Hierarchies, Site, sweep_gone_clouds};
use rustix::process::{Pid, kill_process_group};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// Kills what a failed test would leave.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
        let _ = self.0.wait();
    }
}

impl Started {
    fn identity(&self) -> Identity {
        Identity::of(self.0.id().cast_signed()).unwrap()
    }

    /// Ends the leader, and only it. Until it is waited for it keeps its number.
    fn leader_ends(&mut self) {
        let identity = self.identity();
        self.0.kill().unwrap();
        while identity.is_alive().unwrap() {
            std::thread::yield_now();
        }
    }
}

/// A directory in which this program runs, in a session of its own, as a shim would have started it.
fn start(layout: &Layout, start: u64, program: &str) -> Started {
    let directory = layout.process(NodeId(1), StartId(start));
    layout.make(&directory).unwrap();
    std::fs::write(directory.join("spec.json"), "{\"instance\":\"web\",\"more\":1}").unwrap();
    // A child that leads no group becomes the leader of a session without a fork.
    let child = Started(Command::new("setsid").args(["sh", "-c", program]).spawn().unwrap());
    leads_a_session(&child);
    let identity = serde_json::to_vec(&child.identity()).unwrap();
    std::fs::write(directory.join("identity.json"), identity).unwrap();
    child
}

fn leads_a_session(child: &Started) {
    let pid = child.0.id().cast_signed();
    while procfs::process::Process::new(pid).unwrap().stat().unwrap().session != pid {
        std::thread::yield_now();
    }
}

/// A session with the variables of this start, whose directory was removed: its leader, and a member. `as_member` is what
/// a program is started with as one.
fn start_unknown(layout: &Layout, start: u64, as_member: &str) -> (Started, Identity) {
    let sockets = layout.socket_directory(NodeId(1), StartId(start));
    let endpoint = paci::env::Endpoint::in_directory(&sockets).to_string();
    let script =
        format!("{as_member} sh -c 'echo $$; trap \"\" TERM; while :; do sleep 600; done' & exec sleep 600");
    let mut command = Command::new("setsid");
    command.args(["sh", "-c", &script]).stdout(Stdio::piped());
    command.env(paci::env::ENDPOINT, endpoint).env(paci::env::INSTANCE, "web");
    let mut child = Started(command.spawn().unwrap());
    leads_a_session(&child);
    let mut pid = String::new();
    BufReader::new(child.0.stdout.take().unwrap()).read_line(&mut pid).unwrap();
    let member = Identity::of(pid.trim().parse().unwrap()).unwrap();
    // The shell forks first, and becomes the program then; while it does it has no words.
    let leader = procfs::process::Process::new(child.identity().pid).unwrap();
    while leader.cmdline().unwrap().first().is_none_or(|word| word != "sleep") {
        std::thread::yield_now();
    }
    (child, member)
}

#[tokio::test]
async fn a_program_that_does_not_listen_is_killed_with_its_whole_session() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::new(directory.path()).unwrap();
    let deaf = start(&layout, 7, "trap '' TERM; sleep 600 & wait; sleep 600");
    let willing = start(&layout, 8, "sleep 600");
    let found = all(&layout);
    assert_eq!(found.iter().map(|it| it.start.0).collect::<Vec<_>>(), [7, 8], "in order of start");
    assert!(found.iter().all(|it| it.node == "n1" && it.instance == "web" && it.alive().is_some()));
    assert!(end(&found, Duration::from_millis(50)).await);
    assert!(found.iter().all(|it| it.alive().is_none()));
    assert!(some_left(&found).is_empty());
    drop((deaf, willing));
}

#[tokio::test]
async fn whoever_has_the_number_of_a_process_that_is_dead_is_let_alone() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::new(directory.path()).unwrap();
    let mut stranger = start(&layout, 9, "sleep 600 & sleep 600; true");
    let found = all(&layout);
    let path = found[0].directory.join("identity.json");
    let now = found[0].identity().unwrap().unwrap();
    for before in [
        Identity { boot_id: "an earlier one".to_owned(), ..now.clone() },
        Identity { start_ticks: now.start_ticks - 1, ..now.clone() },
    ] {
        std::fs::write(&path, serde_json::to_vec(&before).unwrap()).unwrap();
        assert!(end(&found, Duration::from_millis(1)).await);
        assert!(now.is_alive().unwrap());
    }
    // Its own leader is dead, and nobody proves whose the session is.
    std::fs::write(&path, serde_json::to_vec(&now).unwrap()).unwrap();
    stranger.0.kill().unwrap();
    stranger.0.wait().unwrap();
    assert!(some_left(&found).is_empty());
}

#[tokio::test]
async fn a_directory_that_is_none_of_ours_is_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(directory.path().join("n1/p/not-a-start")).unwrap();
    std::fs::create_dir_all(directory.path().join("notes/p/0000000000000001")).unwrap();
    let layout = Layout::new(directory.path()).unwrap();
    assert!(all(&layout).is_empty());
    assert!(end(&[], Duration::ZERO).await);
}

#[tokio::test]
async fn a_session_whose_directory_was_removed_is_ended_with_members_that_do_not_prove_whose_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::new(directory.path()).unwrap();
    let (leader, member) = start_unknown(&layout, 10, "env -i");
    assert!(all(&layout).is_empty());
    let found = all_seen(&layout);
    assert_eq!(found.iter().map(|it| (it.start.0, it.instance.as_str())).collect::<Vec<_>>(), [(10, "web")]);
    assert_eq!(found[0].alive(), Some(leader.identity()));
    assert_eq!(some_left(&found), ["web on n1"]);
    // The leader ends when it is asked to, and is not waited for; the member does not listen.
    assert!(end(&found, Duration::from_secs(30)).await);
    assert!(!leader.identity().is_alive().unwrap() && !member.is_alive().unwrap());
}

#[tokio::test]
async fn what_a_leader_left_behind_is_ended_if_it_proves_whose_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::new(directory.path()).unwrap();
    let (mut leader, member) = start_unknown(&layout, 11, "");
    leader.leader_ends();
    let found = all_seen(&layout);
    assert!(found[0].alive().is_none());
    assert_eq!(some_left(&found), ["web on n1"], "its leader is not reaped");
    leader.0.wait().unwrap();
    assert_eq!(some_left(&found), ["web on n1"], "its leader is reaped");
    assert!(end(&found, Duration::from_millis(1)).await);
    assert!(!member.is_alive().unwrap());
}

#[tokio::test]
async fn whoever_has_the_number_of_a_session_that_was_seen_before_is_let_alone() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::new(directory.path()).unwrap();
    let (other, member) = start_unknown(&layout, 12, "env -i");
    let mut seen = all_seen(&layout).remove(0);
    // What was seen, its leader too, has ended since; the number is another session's by now.
    seen.start = StartId(13);
    seen.directory = layout.process(NodeId(1), seen.start);
    seen.seen[0].start_ticks -= 1;
    assert!(end(&[seen], Duration::from_millis(1)).await);
    assert!(other.identity().is_alive().unwrap() && member.is_alive().unwrap());
    let mut group = other;
    group.leader_ends();
    signal_each(&[member], Signal::KILL);
}

#[tokio::test]
async fn who_has_the_variables_in_a_session_of_somebody_else_is_let_alone() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::new(directory.path()).unwrap();
    let sockets = layout.socket_directory(NodeId(1), StartId(14));
    let endpoint = paci::env::Endpoint::in_directory(&sockets).to_string();
    // As somebody does who has them in a terminal.
    let command = format!("{}={endpoint} sleep 600 & sleep 600; true", paci::env::ENDPOINT);
    let terminal = start(&layout, 15, &command);
    std::fs::remove_dir_all(layout.process(NodeId(1), StartId(15))).unwrap();
    assert!(all_seen(&layout).is_empty());
    let known =
        Process::at("n1", StartId(14), "web", SystemTime::now(), &layout.process(NodeId(1), StartId(14)));
    assert!(end(&[known], Duration::ZERO).await);
    assert!(terminal.identity().is_alive().unwrap());
}

/// Puts a sleeping process into a group that a start of n1 has here, and nothing else that tells whose it is.
fn start_in_group(group: &Group) -> Started {
    let join = |path: &&Path| format!("echo 0 > '{}/cgroup.procs' && ", path.display());
    let joining: String = group.directories().iter().map(join).collect();
    let script = format!("{joining} exec sleep 600");
    let child =
        Command::new("setpriv").args(["--pdeathsig", "KILL", "sh", "-c", &script]).process_group(0).spawn();
    let child = Started(child.unwrap());
    let pid = child.0.id().cast_signed();
    while !group.members().unwrap().iter().any(|member| member.pid == pid) {
        std::thread::yield_now();
    }
    child
}

#[tokio::test]
async fn whoever_is_in_the_group_of_a_process_is_ended_with_it_and_the_group_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::new(directory.path()).unwrap();
    let hierarchies = Hierarchies::find().unwrap();
    sweep_gone_clouds(&hierarchies);
    let site = Site::of(&hierarchies, layout.root());
    // Of the second nothing is left that says where it was put.
    let (written, derived) = (site.make("n1", StartId(1)), site.make("n1", StartId(2)));
    if !written.is_there() {
        return eprintln!("skipped: there are no groups here: {:?}", written.memory);
    }
    let process = |start: u64| {
        let path = layout.process(NodeId(1), StartId(start));
        Process::at("n1", StartId(start), "web", SystemTime::UNIX_EPOCH, &path)
    };
    layout.make(&process(1).directory).unwrap();
    let place = serde_json::json!({"group": written, "unenforced": null}).to_string();
    std::fs::write(process(1).directory.join("group.json"), place).unwrap();
    let sleepers = [start_in_group(&written), start_in_group(&derived)];
    let processes = [process(1), process(2)];
    assert_eq!(some_left(&processes), ["web on n1", "web on n1"]);
    assert!(end(&processes, Duration::ZERO).await);
    assert!(sleepers.iter().all(|sleeper| !sleeper.identity().is_alive().unwrap()));
    assert!(some_left(&processes).is_empty());
    assert_eq!(site.groups(), []);
}
