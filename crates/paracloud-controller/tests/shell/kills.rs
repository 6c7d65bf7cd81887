//! A controller that is killed at each of its promises. It is a process of its own: this test binary again.

use crate::player::Agent;
use crate::town::{Controller, Person, Town, WAIT, soon, swaps};
use paracloud_core::ids::NodeId;
use paracloud_core::migration::promises::{Point, Promise};
use paracloud_core::register::Record;
use paracloud_substrate::failpoint;
use paracloud_substrate::layout::Layout;
use paracloud_substrate::person::{Conclusion, Consent, Event, Loss, What};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const CHILD: &str = "PARACLOUD_CONTROLLER_TEST_DIRECTORY";
const POINTS: [Point; 3] = [Point::BeforePersist, Point::AfterPersist, Point::AfterSend];

/// A controller in a process of its own, which ends with this one.
struct Process(Child);

impl Process {
    fn start(test: &str, town: &Town, failpoints: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([test, "--exact", "--nocapture"]);
        command.env(CHILD, town.layout.root()).env(failpoint::DIRECTORY, failpoints);
        command.env("PARACLOUD_LIFELINE", "1");
        Self(command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The child's part.
fn runs_as_the_child() -> bool {
    let Some(directory) = std::env::var_os(CHILD).map(PathBuf::from) else { return false };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(paracloud_controller::run(Layout::new(&directory).unwrap())).unwrap();
    true
}

async fn exists(path: &Path) {
    for _ in 0..WAIT.as_millis() {
        if path.exists() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("{} was never reached", path.display());
}

/// What became of a move whose controller was killed there and started again.
async fn killed_at(test: &str, promise: Promise, point: Point, given_up: bool) -> Vec<(String, Record)> {
    let town = Town::new();
    let failpoints = tempfile::tempdir().unwrap();
    let people = town.populate();
    people.1.node.lock().unwrap().manners.refuses_as_target = given_up;
    let mut controller = Process::start(test, &town, failpoints.path());
    // Let go of the first start: its promises have the same names.
    town.until(|event| matches!(event.what, What::Swapped { ref record, .. } if record.served.is_some()))
        .await;
    soon(async { while town.web().await.phase != paracloud_core::migration::Phase::Idle {} }).await;
    let armed = failpoints.path().join(format!("{promise}.{point}"));
    std::fs::write(&armed, "").unwrap();
    let _waiting = Person::ask(&town.layout, &Town::move_to(2)).await;
    exists(&failpoints.path().join(format!("{promise}.{point}.fired"))).await;
    controller.kill();
    let _controller = Process::start(test, &town, failpoints.path());
    let opened = (promise, point) != (Promise::Open, Point::BeforePersist);
    let seen = if opened {
        town.until_swapped("close").await
    } else {
        soon(async { while town.web().await.phase != paracloud_core::migration::Phase::Idle {} }).await;
        town.until(is_served).await
    };
    let gates = town.gates.lock().unwrap();
    assert!(!gates.doubled, "{promise} {point}: two processes served at once");
    let record = swaps(&seen).pop().unwrap().1;
    assert_eq!(gates.open.iter().collect::<Vec<_>>(), [&record.owner.start], "{promise} {point}");
    let swapped = swaps(&seen);
    let newer = swapped.windows(2).all(|pair| pair[0].1.order() < pair[1].1.order());
    assert!(newer, "{promise} {point}: {swapped:?}");
    assert_eq!(record.operation, None);
    swapped
}

fn is_served(event: &Event) -> bool {
    matches!(&event.what, What::Swapped { change, .. } if change == "serve")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_killed_at_any_promise_of_a_move_ends_it_when_it_is_back() {
    if tokio::task::block_in_place(|| std::thread::spawn(runs_as_the_child).join().unwrap()) {
        return;
    }
    let test = "kills::a_controller_killed_at_any_promise_of_a_move_ends_it_when_it_is_back";
    for promise in [Promise::Open, Promise::Seal, Promise::Commit, Promise::Serve, Promise::Close] {
        for point in POINTS {
            let swapped = killed_at(test, promise, point, false).await;
            let (_, last) = swapped.last().unwrap();
            // Whatever was promised holds: before the intent to seal was on disk, nothing has happened.
            let sealed = swapped.iter().any(|(change, _)| change == "seal");
            let persisted = (promise, point) > (Promise::Seal, Point::BeforePersist);
            assert_eq!(sealed, persisted, "{promise} {point}");
            let expected = if sealed { (NodeId(2), 2) } else { (NodeId(1), 1) };
            assert_eq!((last.owner.node, last.incarnation.0), expected, "{promise} {point}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_killed_while_it_gives_a_move_up_gives_it_up() {
    if tokio::task::block_in_place(|| std::thread::spawn(runs_as_the_child).join().unwrap()) {
        return;
    }
    let test = "kills::a_controller_killed_while_it_gives_a_move_up_gives_it_up";
    for point in POINTS {
        let swapped = killed_at(test, Promise::RollBack, point, true).await;
        let (_, last) = swapped.last().unwrap();
        assert_eq!((last.owner.node, last.incarnation.0), (NodeId(1), 1), "{point}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn that_the_state_of_a_dead_owner_is_lost_is_on_disk_with_its_successor() {
    if tokio::task::block_in_place(|| std::thread::spawn(runs_as_the_child).join().unwrap()) {
        return;
    }
    let test = "kills::that_the_state_of_a_dead_owner_is_lost_is_on_disk_with_its_successor";
    for point in POINTS {
        let town = Town::new();
        let failpoints = tempfile::tempdir().unwrap();
        let (first, _second, _one, _two) = town.populate();
        let mut controller = Process::start(test, &town, failpoints.path());
        town.until(is_served).await;
        soon(async { while town.web().await.phase != paracloud_core::migration::Phase::Idle {} }).await;
        let armed = failpoints.path().join(format!("restart.{point}"));
        std::fs::write(&armed, "").unwrap();
        let before = town.web().await.record.unwrap();
        drop(first);
        town.gates.lock().unwrap().open.clear();
        let _back = Agent::knowing(&town, 1, Some(before.clone()), &[], &[before.owner.start.0]);
        exists(&armed.with_extension(format!("{point}.fired"))).await;
        controller.kill();
        let _controller = Process::start(test, &town, failpoints.path());
        let replaced = |record: Record| record.owner != before.owner && record.served.is_some();
        soon(async { while !town.web().await.record.is_some_and(replaced) {} }).await;
        // What is read up to the successor's own word is all that could say so.
        let is_serving = |event: &Event| {
            matches!(&event.what, What::Swapped { change, record }
                if change == "serve" && record.owner != before.owner)
        };
        let seen = town.until(is_serving).await;
        let lost = What::StateLost { by: Loss::Death, consent: Consent::Nobody };
        assert_eq!(seen.iter().filter(|event| event.what == lost).count(), 1, "{point}: {seen:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_is_started_in_the_middle_of_a_move_says_what_it_cannot_know_of_it() {
    if tokio::task::block_in_place(|| std::thread::spawn(runs_as_the_child).join().unwrap()) {
        return;
    }
    let test = "kills::a_controller_that_is_started_in_the_middle_of_a_move_says_what_it_cannot_know_of_it";
    let town = Town::new();
    let failpoints = tempfile::tempdir().unwrap();
    let _people = town.populate();
    let mut controller = Process::start(test, &town, failpoints.path());
    town.until(is_served).await;
    soon(async { while town.web().await.phase != paracloud_core::migration::Phase::Idle {} }).await;
    // All has crossed the channel, and gateways still park.
    std::fs::write(failpoints.path().join("commit.after_persist"), "").unwrap();
    let _waiting = Person::ask(&town.layout, &Town::move_to(2)).await;
    exists(&failpoints.path().join("commit.after_persist.fired")).await;
    controller.kill();
    let _controller = Process::start(test, &town, failpoints.path());
    let heard = town.until(|event| matches!(event.what, What::Concluded(_))).await;
    let last = heard.last().map(|event| event.what.clone());
    let unknown = Conclusion { carried_bytes: None, clients_known: true };
    assert_eq!(last, Some(What::Concluded(unknown)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_whose_runtime_is_dropped_leaves_nothing_behind() {
    let town = Town::new();
    let _people = town.populate();
    let layout = town.layout.clone();
    let first = tokio::task::spawn_blocking(|| tokio::runtime::Runtime::new().unwrap()).await.unwrap();
    first.spawn(async move { paracloud_controller::run_until(layout, std::future::pending()).await });
    town.until_swapped("serve").await;
    let _waiting = Person::ask(&town.layout, &Town::move_to(2)).await;
    town.until_swapped("open").await;
    // It waits for the store's thread, so the directory is free when this returns.
    tokio::task::spawn_blocking(move || drop(first)).await.unwrap();
    let controller = Controller::start(&town);
    town.until_swapped("close").await;
    assert!(!town.gates.lock().unwrap().doubled);
    controller.stop().await;
}
