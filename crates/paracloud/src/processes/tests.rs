//! What is ended, and what is let alone.

use super::*;
use paracloud_core::ids::NodeId;
use std::process::{Child, Command};

/// Kills what a failed test would leave.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        to_group(self.0.id().cast_signed(), Signal::KILL);
        let _ = self.0.wait();
    }
}

/// A directory in which this program runs, in a session of its own, as a shim would have started it.
fn start(layout: &Layout, start: u64, program: &str) -> Started {
    let directory = layout.process(NodeId(1), StartId(start));
    layout.make(&directory).unwrap();
    std::fs::write(directory.join("spec.json"), "{\"instance\":\"web\",\"more\":1}").unwrap();
    // A child that leads no group becomes the leader of a session without a fork.
    let child = Command::new("setsid").args(["sh", "-c", program]).spawn().unwrap();
    let pid = child.id().cast_signed();
    let child = Started(child);
    while procfs::process::Process::new(pid).unwrap().stat().unwrap().session != pid {
        std::thread::yield_now();
    }
    let identity = serde_json::to_vec(&Identity::of(pid).unwrap()).unwrap();
    std::fs::write(directory.join("identity.json"), identity).unwrap();
    child
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
    assert!(left(&found).is_empty());
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
    assert!(left(&found).is_empty());
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
