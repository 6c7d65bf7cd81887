//! Each party is killed while a node is drained, and while an app is updated: it ends by itself, as many serve as before, and
//! whoever was not killed lost nothing.

use crate::instances::all_connected;
use crate::rig::{PATIENCE, Rig, kill, wait_until};
use crate::scale_in::serving;
use crate::unruly::Unruly;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Controller,
    /// Of the node of the one that leaves.
    SourceAgent,
    /// Of the node of the one that came in its place.
    TargetAgent,
    /// The one that the client began at.
    ClientsGateway,
    /// The other one.
    Gateway,
    Leaver,
    LeaversShim,
    Substitute,
    SubstitutesShim,
}

const VICTIMS: [Victim; 9] = [
    Victim::Controller,
    Victim::SourceAgent,
    Victim::TargetAgent,
    Victim::ClientsGateway,
    Victim::Gateway,
    Victim::Leaver,
    Victim::LeaversShim,
    Victim::Substitute,
    Victim::SubstitutesShim,
];

impl Victim {
    /// Whether requests that it has are lost with it.
    fn has_requests(self) -> bool {
        match self {
            Self::ClientsGateway
            | Self::Leaver
            | Self::LeaversShim
            | Self::Substitute
            | Self::SubstitutesShim => true,
            Self::Controller | Self::SourceAgent | Self::TargetAgent | Self::Gateway => false,
        }
    }
}

/// When.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// Another one is started in its place, and does not serve yet.
    Comes,
    /// The other one serves, and this one works on what it has.
    Drains,
}

/// An instance that is there.
#[derive(Debug, Clone)]
pub(crate) struct Instance {
    name: String,
    node: u64,
    start: String,
    revision: u64,
    serves: bool,
    step: Value,
}

/// Instances that are there, the first one first.
pub(crate) fn instances(rig: &Rig) -> Vec<Instance> {
    let answer = rig.run(&["ps", "--output", "json"]);
    let ps: Value = serde_json::from_str(&answer.out).unwrap_or_default();
    let all = ps["instances"].as_array().cloned().unwrap_or_default().into_iter();
    let there = all.filter(|it| it["record"].is_object() && it["record"]["gone"] != json!(true));
    let instance = |it: Value| Instance {
        name: it["name"].as_str().expect("a name").to_owned(),
        node: it["record"]["owner"]["node"].as_u64().expect("a number"),
        start: it["record"]["owner"]["start"].as_str().expect("an id").to_owned(),
        revision: it["revision"].as_u64().unwrap_or_default(),
        serves: !it["record"]["served"].is_null(),
        step: it["record"]["operation"]["leave"]["step"].clone(),
    };
    let mut all: Vec<_> = there.map(instance).collect();
    all.sort_by(|left, right| left.name.cmp(&right.name));
    all
}

/// The shim of an instance, and its process.
pub(crate) fn processes(rig: &Rig, instance: &Instance) -> (i32, i32) {
    let place = Path::new(&rig.cloud()).join(format!("n{}", instance.node)).join("p").join(&instance.start);
    let identity = std::fs::read(place.join("identity.json")).expect("it was started");
    let identity: Value = serde_json::from_slice(&identity).expect("JSON");
    let left = rig.left();
    let is_shim = |words: &[String]| {
        words.get(1).is_some_and(|it| it == "shim") && words.iter().any(|it| it.contains(&instance.start))
    };
    let shim = left.iter().find(|it| is_shim(&it.words)).expect("it has a shim").pid;
    let pid = identity["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
    (shim, pid.expect("a number"))
}

/// The process of a part of the cloud that has this number.
fn part(rig: &Rig, what: &str, id: &str) -> Option<i32> {
    let is_it = |words: &[String]| {
        words.get(1).is_some_and(|it| it == what) && (id.is_empty() || words.iter().any(|it| it == id))
    };
    rig.left().iter().find(|it| is_it(&it.words)).map(|it| it.pid)
}

/// Kills it, and waits until the cloud is whole again, if it was a part of that.
fn strike(rig: &Rig, victim: Victim, leaver: &Instance, substitute: &Instance) {
    let of_cloud = |what: &str, id: &str| {
        let struck = part(rig, what, id).expect("it runs");
        kill(struck, Signal::KILL);
        wait_until("another one is there", || part(rig, what, id).is_some_and(|it| it != struck));
        wait_until("everybody is connected", || all_connected(rig));
    };
    match victim {
        Victim::Controller => of_cloud("controller", ""),
        Victim::SourceAgent => of_cloud("agent", &format!("n{}", leaver.node)),
        Victim::TargetAgent => of_cloud("agent", &format!("n{}", substitute.node)),
        Victim::ClientsGateway => of_cloud("gateway", "g1"),
        Victim::Gateway => of_cloud("gateway", "g2"),
        Victim::Leaver => kill(processes(rig, leaver).1, Signal::KILL),
        Victim::LeaversShim => kill(processes(rig, leaver).0, Signal::KILL),
        Victim::Substitute => kill(processes(rig, substitute).1, Signal::KILL),
        Victim::SubstitutesShim => kill(processes(rig, substitute).0, Signal::KILL),
    }
}

/// What became of somebody's jobs.
#[derive(Debug, Default)]
struct Worked {
    /// So many were done through each gateway.
    done: [u32; 2],
    /// What did not succeed.
    failed: Vec<String>,
}

/// Jobs, one after the other, until it is over: through the first gateway, and from when that breaks one off or takes none through
/// the other one, and so on. Whoever takes no connection has lost no job.
fn work(rig: &Rig, is_over: &AtomicBool) -> Worked {
    let (mut worked, mut gateway) = (Worked::default(), 0);
    while !is_over.load(Ordering::Relaxed) {
        let Ok(mut stream) = TcpStream::connect(rig.address(gateway)) else {
            gateway = 1 - gateway;
            continue;
        };
        stream.set_read_timeout(Some(PATIENCE)).expect("it is a time");
        let head = "POST /jobs/5 HTTP/1.1\r\nHost: rig\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let mut answer = String::new();
        let heard = stream.write_all(head.as_bytes()).and_then(|()| stream.read_to_string(&mut answer));
        match heard {
            Ok(_) if answer.split(' ').nth(1) == Some("200") => worked.done[gateway] += 1,
            Ok(_) if !answer.is_empty() => {
                worked.failed.push(answer.lines().next().unwrap_or_default().to_owned());
            }
            broken => {
                worked.failed.push(format!("g{} broke off: {broken:?}", gateway + 1));
                gateway = 1 - gateway;
            }
        }
    }
    worked
}

/// Two, one on each node, of which another one may come.
fn two() -> Unruly {
    let scale = json!({ "scale": { "min": 2, "max": 4, "start": 2, "hold": "10m", "drain": "10m" } });
    Unruly::up(&scale, &json!({}))
}

/// The name that the next one of the app gets.
fn next_name(rig: &Rig) -> String {
    let taken = instances(rig);
    let names = (1..).map(|number| format!("jobs.{number}"));
    names.into_iter().find(|name| taken.iter().all(|it| it.name != *name)).expect("there are few")
}

/// Whether a process was started for it.
fn runs(rig: &Rig, instance: &Instance) -> bool {
    let place = Path::new(&rig.cloud()).join(format!("n{}", instance.node)).join("p").join(&instance.start);
    place.join("identity.json").exists()
}

/// Begins what lets `leaver` go, strikes then, and waits until it is over.
fn strikes(
    unruly: &Unruly,
    (when, victim): (When, Victim),
    leaver: &Instance,
    begin: impl FnOnce(&Rig),
    is_over: impl Fn(&Rig) -> bool,
) {
    let rig = &unruly.rig;
    unruly.order(&leaver.name, &json!({ "drain": "never" }));
    unruly.wait_obeys(&leaver.name);
    let comes = next_name(rig);
    unruly.order(&comes, &json!({ "slow": when == When::Comes }));
    begin(rig);
    let mut substitute = None;
    wait_until("another one comes in its place, or serves and it drains", || {
        let now = instances(rig);
        substitute = now.iter().find(|it| it.name == comes && runs(rig, it)).cloned();
        let drains = now.iter().any(|it| it.start == leaver.start && it.step == "draining");
        substitute.as_ref().is_some_and(|it| it.serves == drains && drains == (when == When::Drains))
    });
    let substitute = substitute.expect("another one came in its place");
    strike(rig, victim, leaver, &substitute);
    unruly.order(&comes, &json!({}));
    unruly.order(&leaver.name, &json!({}));
    wait_until(&format!("{victim:?} was struck: it is over"), || is_over(rig));
    assert!(instances(rig).len() <= 3, "one more at most: {:?}", instances(rig));
    wait_until("as many serve as before", || serving(rig).len() == 2 && instances(rig).len() == 2);
}

/// Does it once for each party, while somebody works: what failed in each.
fn each(rig: &Rig, when: When, turn: impl Fn(usize, (When, Victim))) {
    for (number, victim) in VICTIMS.into_iter().enumerate() {
        let is_over = AtomicBool::new(false);
        let Worked { done, failed } = std::thread::scope(|scope| {
            let client = scope.spawn(|| work(rig, &is_over));
            let _over = Over(&is_over);
            turn(number, (when, victim));
            is_over.store(true, Ordering::Relaxed);
            client.join().expect("it works")
        });
        assert!(done[0] > 0, "{when:?}: {victim:?}: {failed:?}");
        // Who loses its gateway goes on at the other one, and nobody else has to.
        assert_eq!(
            done[1] > 0,
            victim == Victim::ClientsGateway,
            "{when:?}: {victim:?}: {done:?} {failed:?}"
        );
        // What somebody has in hand dies with it: one at a time is sent.
        let most = usize::from(victim.has_requests());
        assert!(failed.len() <= most, "{when:?}: {victim:?}: {failed:?} of {done:?}");
    }
}

/// Ends clients also when a test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_drain_of_a_node_ends_whoever_is_killed_while_one_leaves_and_as_many_serve_as_before() {
    drain(When::Drains);
}

#[test]
fn a_drain_of_a_node_ends_whoever_is_killed_while_another_one_comes_and_as_many_serve_as_before() {
    drain(When::Comes);
}

#[test]
fn an_update_of_an_app_ends_whoever_is_killed_while_one_leaves_and_as_many_serve_as_before() {
    update(When::Drains);
}

#[test]
fn an_update_of_an_app_ends_whoever_is_killed_while_another_one_comes_and_as_many_serve_as_before() {
    update(When::Comes);
}

fn drain(when: When) {
    let unruly = two();
    let rig = &unruly.rig;
    let is_drained = |rig: &Rig, node: u64| {
        let kept = std::fs::read(Path::new(&rig.cloud()).join("draining.json")).unwrap_or_default();
        let is_over = serde_json::from_slice::<Value>(&kept).is_ok_and(|kept| kept == json!({}));
        is_over && instances(rig).iter().all(|it| it.node != node)
    };
    each(rig, when, |_, strike| {
        let leaver = instances(rig).into_iter().next().expect("two are there");
        let node = format!("n{}", leaver.node);
        let begin = |rig: &Rig| drop(rig.json(&["drain-node", &node, "--parallel", "1", "--no-wait"]));
        strikes(&unruly, strike, &leaver, begin, |rig| is_drained(rig, leaver.node));
        rig.json(&["node", "open", &node]);
    });
    unruly.end();
}

fn update(when: When) {
    let unruly = two();
    let rig = &unruly.rig;
    each(rig, when, |number, strike| {
        let leaver = instances(rig).into_iter().next().expect("two are there");
        let text = std::fs::read_to_string(rig.manifest()).expect("it is there");
        let note =
            |number: usize| if number == 0 { String::new() } else { format!("\"NOTE\":\"{number}\",") };
        let (old, new) = (note(number) + "\"EXAMPLE\":", note(number + 1) + "\"EXAMPLE\":");
        let changed = text.replacen(&old, &new, 1);
        assert_ne!(changed, text);
        std::fs::write(rig.manifest(), changed).expect("it can be written");
        let begin = |rig: &Rig| drop(rig.json(&["apply", rig.manifest(), "--no-wait"]));
        let is_over = |rig: &Rig| {
            let kept = std::fs::read(Path::new(&rig.cloud()).join("updating.json")).unwrap_or_default();
            serde_json::from_slice::<Value>(&kept).is_ok_and(|kept| kept == json!({}))
                && instances(rig).iter().all(|it| it.revision > leaver.revision)
        };
        strikes(&unruly, strike, &leaver, begin, is_over);
    });
    unruly.end();
}
