//! `up`, controller, agents and gateways killed together, under load and in the middle of a move.

use crate::clients::Clients;
use crate::points::Points;
use crate::rig::{Rig, Up, kill, wait_until, wait_within};
use paracloud_agent::shim::ORPHAN_MS;
use paracloud_core::migration::promises::{Point, Promise};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long what a killed `up` left may live on.
const ORPHANS: Duration = Duration::from_millis(ORPHAN_MS);
/// What is allowed beyond it: the two seconds that a program has to obey, and a busy machine's time to wake a shim and
/// to look.
const LATE_MAX: Duration = Duration::from_secs(10);

/// Kills all of the cloud but its instances and their shims, at once, and says when.
pub(crate) fn kill_the_cloud(rig: &Rig, up: &mut Up) -> Instant {
    let shells = ["up", "controller", "agent", "gateway"].map(|shell| rig.processes(shell)).concat();
    assert_eq!(shells.len(), 6, "two nodes and two gateways: {:?}", rig.left());
    shells.into_iter().for_each(|pid| kill(pid, Signal::KILL));
    let blow = Instant::now();
    up.ended();
    wait_until("they are dead", || rig.processes("gateway").is_empty() && rig.processes("agent").is_empty());
    blow
}

/// Waits for what is to be so a minute after a blow.
fn wait_for_orphans(blow: Instant, what: &str, reached: impl FnMut() -> bool) {
    let bound = (blow + ORPHANS + LATE_MAX).saturating_duration_since(Instant::now());
    wait_within(bound, what, reached);
}

fn at_rest(rig: &Rig) -> Option<Value> {
    rig.record().filter(|record| record["operation"].is_null() && !record["served"].is_null())
}

#[test]
fn what_a_killed_cloud_left_is_adopted_by_the_next_up_and_no_client_lost_anything() {
    let rig = Rig::sessions(&json!({}), &json!({ "SESSIONS_FILL_MIB": "4" }));
    let mut up = rig.up(&[]);
    up.serving();
    let owner = rig.record().expect("it serves")["owner"].clone();
    let mut clients = Clients::modest(&rig, 10);
    clients.audit_clean();
    kill_the_cloud(&rig, &mut up);
    let mut again = rig.up(&[]);
    again.serving();
    assert_eq!(rig.record().expect("it serves")["owner"], owner, "the same process");
    let audited = clients.audit();
    assert!(audited.is_clean(), "{audited:#?}");
    wait_until("the app has greeted its new agent", || rig.run(&["move", "sessions", "--dry-run"]).code == 0);
    assert_eq!(rig.json(&["move", "sessions"])["outcome"]["node"], 2);
    let audited = clients.audit();
    assert!(audited.is_clean(), "{audited:#?}");
}

#[test]
fn a_move_that_was_decided_when_everything_was_killed_is_finished_by_the_next_up() {
    let rig = Rig::sessions(&json!({}), &json!({ "SESSIONS_FILL_MIB": "4" }));
    let (mut up, points) = Points::up(&rig);
    let mut clients = Clients::modest(&rig, 10);
    clients.audit_clean();
    points.move_until(&rig, Promise::Commit, Point::AfterPersist);
    kill_the_cloud(&rig, &mut up);
    let mut again = rig.up(&[]);
    again.serving();
    wait_until("the move is over", || at_rest(&rig).is_some_and(|record| record["owner"]["node"] == 2));
    wait_until("the source has ended", || rig.processes("demo-app").len() == 1);
    let audited = clients.audit();
    assert!(audited.is_clean(), "{audited:#?}");
}

/// The one process on a node, and its shim.
pub(crate) fn process_on(rig: &Rig, node: &str) -> (i32, i32) {
    let processes = format!("/{node}/p/");
    let left = rig.left();
    let of_node = |word: &&String| word.contains(&processes);
    let shims = left.iter().filter(|it| it.words.get(1).is_some_and(|word| word == "shim"));
    let found: Vec<_> = shims.filter_map(|it| Some((it.words.iter().find(of_node)?, it.pid))).collect();
    let [(directory, shim)] = found[..] else { panic!("one shim on {node}: {left:?}") };
    let identity = std::fs::read(Path::new(directory).join("identity.json")).expect("it was started");
    let identity: Value = serde_json::from_slice(&identity).expect("JSON");
    let pid = identity["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
    (pid.expect("a number"), shim)
}

#[test]
fn a_source_whose_death_nobody_can_see_does_not_end_the_target_that_has_the_only_copy() {
    let rig = Rig::sessions(&json!({ "move": { "switch": "1s" } }), &json!({ "SESSIONS_FILL_MIB": "1" }));
    let (_up, points) = Points::up(&rig);
    let mut clients = Clients::modest(&rig, 10);
    clients.audit_clean();
    points.move_until(&rig, Promise::Commit, Point::AfterPersist);
    let ((source, shim), (target, _)) = (process_on(&rig, "n1"), process_on(&rig, "n2"));
    kill(target, Signal::STOP);
    points.go(Promise::Commit, Point::AfterPersist);
    kill(shim, Signal::STOP);
    kill(source, Signal::KILL);
    let blow = Instant::now();
    let step = || rig.record().map(|record| record["operation"]["move"]["step"].clone());
    // The budget is used up then, and the source was asked about some times more.
    wait_until("the target has had its time", || {
        blow.elapsed() > Duration::from_secs(4) || step().is_none_or(|step| step != "switch")
    });
    assert_eq!(step(), Some("switch".into()), "{:?}", rig.record());

    kill(target, Signal::CONT);
    wait_until("the target serves", || step().is_some_and(|step| step == "retire"));
    kill(shim, Signal::CONT);
    wait_until("the move is over", || at_rest(&rig).is_some_and(|record| record["owner"]["node"] == 2));
    let audited = clients.audit();
    assert!(audited.is_clean(), "{audited:#?}");
}

#[test]
fn a_move_whose_controller_was_killed_says_what_clients_saw_and_what_crossed() {
    let rig = Rig::sessions(&json!({}), &json!({ "SESSIONS_FILL_MIB": "4" }));
    let (_up, points) = Points::up(&rig);
    let mut clients = Clients::modest(&rig, 10);
    clients.audit_clean();
    // All has crossed the channel, and gateways still park.
    points.arm(Promise::Commit, Point::AfterPersist);
    let moved = std::thread::scope(|scope| {
        let moved = scope.spawn(|| rig.json(&["move", "sessions"]));
        points.fired(Promise::Commit, Point::AfterPersist);
        rig.processes("controller").into_iter().for_each(|pid| kill(pid, Signal::KILL));
        moved.join().expect("the command")
    });
    let outcome = &moved["outcome"];
    // The agent that counted it tells the new controller.
    let carried = outcome["carried_bytes"].as_u64();
    assert!(outcome["node"] == 2 && carried.is_some_and(|bytes| bytes > 4 << 20), "{moved:#}");
    let told = (&outcome["websockets_closed"], &outcome["clients_known"]);
    assert_eq!(told, (&10.into(), &true.into()), "{moved:#}");
    let told = rig.run(&["events"]).out;
    assert!(told.contains("concluded: carried 4.") && told.contains("; every gateway"), "{told}");
    let audited = clients.audit();
    assert!(audited.is_clean(), "{audited:#?}");
}

#[test]
fn a_minute_after_everything_was_killed_only_what_is_sealed_is_left_and_the_next_up_opens_it() {
    let rig = Rig::sessions(&json!({}), &json!({ "SESSIONS_FILL_MIB": "4" }));
    let (mut up, points) = Points::up(&rig);
    let owner = rig.record().expect("it serves")["owner"].clone();
    let mut clients = Clients::modest(&rig, 10);
    clients.audit_clean();
    // Another cloud, in which nothing moves.
    let quiet = Rig::new("stopGrace: 1s");
    let mut quiet_up = quiet.up(&[]);
    quiet_up.serving();
    // The source is sealed; the target is filled, and owns nothing.
    points.move_until(&rig, Promise::Commit, Point::BeforePersist);
    let blow = kill_the_cloud(&rig, &mut up);
    let quiet_blow = kill_the_cloud(&quiet, &mut quiet_up);
    assert_eq!(rig.processes("demo-app").len(), 2, "both outlive it: {:?}", rig.left());
    assert!(!quiet.left().is_empty(), "an instance outlives its cloud for a while");

    wait_for_orphans(quiet_blow, "nothing is left of the quiet one", || quiet.left().is_empty());
    wait_for_orphans(blow, "the target and its shim have ended", || rig.left().len() == 2);
    let left = (rig.processes("demo-app").len(), rig.processes("shim").len());
    assert_eq!(left, (1, 1), "the sealed source and its shim: {:?}", rig.left());

    let mut again = rig.up(&[]);
    again.serving();
    wait_until("the move is over", || at_rest(&rig).is_some());
    let record = rig.record().expect("the controller answers");
    assert_eq!(record["owner"], owner, "the source was opened again");
    let audited = clients.audit();
    assert!(audited.is_clean(), "{audited:#?}");
}
