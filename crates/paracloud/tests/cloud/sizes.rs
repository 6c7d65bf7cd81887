//! Another size for an instance, on real control groups: what the kernel enforces is read from its own files. Where none can
//! be made the tests see that it is refused with the reason, and say that nothing was shown. Where one can be, not to have one
//! is a failure.

use crate::rig::{Rig, kill, wait_until};
use crate::scaling;
use crate::unruly::Unruly;
use paracloud_substrate::cgroup::Group;
use rustix::fs::{Access, access};
use rustix::process::{Signal, geteuid};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Stdio;

const MIB: u64 = 1 << 20;

/// An app of one instance with 256 MiB and half a processor. `None`: no limit can be enforced here, and nobody could.
fn up(orders: &Value, fields: &Value) -> Option<Unruly> {
    let unruly = Unruly::up(&with_resources(fields), orders);
    if can_be_limited(&unruly.rig, "jobs") {
        return Some(unruly);
    }
    unruly.end();
    None
}

/// These fields, and limits that can be changed.
fn with_resources(fields: &Value) -> Value {
    let mut own = json!({ "resources": {
        "memory": "256MiB", "cpu": "500m",
        "resizeMin": { "memory": "48MiB", "cpu": "250m" }, "resizeMax": { "memory": "1GiB", "cpu": 2 },
    } });
    own.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
    own
}

/// Whether limits are enforced on the owner. Where they are not, nobody could.
#[expect(clippy::print_stderr, reason = "who runs the tests is to see which of them tested nothing")]
pub(crate) fn can_be_limited(rig: &Rig, instance: &str) -> bool {
    if group(rig).is_some_and(|group| group.memory.is_ok() && group.cpu.is_ok()) {
        return true;
    }
    let refused = rig.json_of_refused(&["resize", instance, "--memory", "128MiB"], 1);
    let told = refused.to_string();
    assert!(told.contains("no limit can be enforced"), "{told}");
    assert!(!has_to_be_possible(), "control groups can be made here, and none was: {told}");
    eprintln!("skipped: no limit can be enforced here: {told}");
    false
}

/// Whether limits can be enforced here for sure: by root, in trees of control groups that it may write to. It is asked of the
/// kernel, and not of what makes the groups.
fn has_to_be_possible() -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("/proc can be read");
    geteuid().is_root() && ["memory", "cpu"].iter().all(|controller| is_to_be_had(&mounts, controller))
}

/// Whether a tree in which limits of this kind are set is mounted and can be written to.
fn is_to_be_had(mounts: &str, controller: &str) -> bool {
    mounts.lines().any(|line| {
        let Some((before, after)) = line.split_once(" - ") else { return false };
        let Some(point) = before.split(' ').nth(4).map(PathBuf::from) else { return false };
        let mut after = after.split(' ');
        let has_it = match after.next() {
            // Its options name its controllers.
            Some("cgroup") => after.nth(1).is_some_and(|all| all.split(',').any(|it| it == controller)),
            // What is below its top may have those that are handed down.
            Some("cgroup2") => std::fs::read_to_string(point.join("cgroup.subtree_control"))
                .is_ok_and(|handed| handed.split_whitespace().any(|it| it == controller)),
            Some(_) | None => false,
        };
        has_it && access(&point, Access::WRITE_OK).is_ok()
    })
}

#[test]
fn where_limits_can_be_enforced_for_sure_is_told_by_what_is_mounted() {
    let directory = tempfile::tempdir().expect("a directory");
    let point = directory.path().display();
    let v1 = format!("35 31 0:32 / {point} rw,relatime shared:7 - cgroup cgroup rw,cpu,cpuacct\n");
    assert!(is_to_be_had(&v1, "cpu") && !is_to_be_had(&v1, "memory"));
    assert!(!is_to_be_had(&v1.replace(&point.to_string(), "/not/there"), "cpu"));
    assert!(!is_to_be_had(&v1.replace("cgroup cgroup", "tmpfs tmpfs"), "cpu"));
    let v2 = format!("41 31 0:38 / {point} rw - cgroup2 cgroup2 rw\n");
    assert!(!is_to_be_had(&v2, "memory"), "nothing is handed down");
    std::fs::write(directory.path().join("cgroup.subtree_control"), "cpu memory\n").expect("written");
    assert!(is_to_be_had(&v2, "memory") && is_to_be_had(&v2, "cpu") && !is_to_be_had(&v2, "io"));
}

/// The group of the owner.
fn group(rig: &Rig) -> Option<Group> {
    let record = rig.record().expect("a record");
    let owner = &record["owner"];
    let start = owner["start"].as_str().expect("a start id");
    let place = Path::new(&rig.cloud()).join(format!("n{}", owner["node"])).join("p").join(start);
    let place: Value = serde_json::from_slice(&std::fs::read(place.join("group.json")).ok()?).ok()?;
    serde_json::from_value(place["group"].clone()).ok()
}

/// What the kernel enforces: MiB and thousandths of a processor.
pub(crate) fn limits(rig: &Rig) -> (Option<u64>, Option<u32>) {
    let group = group(rig).expect("a group");
    (group.memory_limit_bytes().map(|bytes| bytes / MIB), group.usage().cpu_limit_milli)
}

/// What was noted of the changes of its size, the oldest first.
fn noted(rig: &Rig) -> Vec<Value> {
    let events = rig.events();
    events.iter().map(|event| event["what"]["note"]["sized"].clone()).filter(Value::is_object).collect()
}

#[test]
fn an_instance_gets_more_at_once_and_less_once_it_has_let_go_of_it_and_keeps_that_across_restarts() {
    let Some(unruly) = up(&json!({ "ballastMib": 100 }), &json!({})) else { return };
    let rig = &unruly.rig;
    let grown = rig.json(&["resize", "jobs", "--memory", "512MiB", "--cpu", "1"]);
    assert_eq!((&grown["outcome"]["kind"], &grown["outcome"]["committed"]), (&json!("resize"), &json!(true)));
    assert_eq!(grown["outcome"]["because"]["sized"]["limit"]["memory_kib"], 512 << 10, "{grown}");
    assert_eq!(limits(rig), (Some(512), Some(1_000)));
    assert!(unruly.did("jobs").iter().any(|line| line.starts_with("resized") && line.contains("524288")));
    // Less is asked for; what it lets go of is measured.
    let dry = rig.run(&["resize", "jobs", "--memory", "96MiB", "--dry-run"]);
    assert!(dry.out.contains("it would do with that"), "{}{}", dry.out, dry.err);
    assert_eq!(limits(rig).0, Some(512), "nothing was changed");
    let beyond = rig.json_of_refused(&["resize", "jobs", "--memory", "47MiB", "--dry-run"], 2);
    assert_eq!(beyond["error"]["code"], "out_of_bounds", "{beyond}");
    let shrunk = rig.run(&["resize", "jobs", "--memory", "96MiB"]);
    assert_eq!(shrunk.code, 0, "{}{}", shrunk.out, shrunk.err);
    assert!(shrunk.out.contains("has its new size"), "{}", shrunk.out);
    assert_eq!(limits(rig), (Some(96), Some(1_000)));
    // It is its size, whoever is killed: its agent, and itself. Who begins anew has not so much.
    unruly.order("jobs", &json!({ "ballastMib": 8 }));
    rig.processes("agent").into_iter().for_each(|pid| kill(pid, Signal::KILL));
    let before = rig.record().expect("a record")["owner"]["start"].clone();
    let pid = group(rig).expect("a group").members().expect("members")[0].pid;
    kill(pid, Signal::KILL);
    wait_until("another one serves", || {
        rig.record().is_some_and(|record| record["owner"]["start"] != before && !record["served"].is_null())
    });
    assert_eq!(limits(rig), (Some(96), Some(1_000)));
    for (arguments, code) in [
        (&["resize", "jobs", "--memory", "96MiB"][..], "same_size"),
        (&["resize", "jobs", "--memory", "47MiB"], "out_of_bounds"),
        (&["resize", "jobs", "--cpu", "3"], "out_of_bounds"),
        (&["resize", "nobody", "--cpu", "1"], "unknown_instance"),
    ] {
        let answer = rig.run(&[arguments, &["--output", "json"]].concat());
        let refused: Value = serde_json::from_str(&answer.out).expect("an object");
        assert_eq!((refused["error"]["code"].as_str(), answer.code == 0), (Some(code), false), "{refused}");
    }
    unruly.end();
}

#[test]
fn an_app_that_asks_for_another_size_has_it_within_its_manifest_and_is_told_why_it_has_no_other() {
    let ask = |size: Value| json!({ "validForMs": 600_000, "reason": "the index grows", "size": size });
    let orders = |size: Value| json!({ "ask": ask(size), "asksAgain": true });
    let Some(unruly) = up(&orders(json!({ "memoryKib": 512 << 10, "cpuMillis": 1_000 })), &json!({})) else {
        return;
    };
    let rig = &unruly.rig;
    wait_until("it has what it asked for", || limits(rig) == (Some(512), Some(1_000)));
    unruly.wait_did_times("jobs", "became GRANTED it is done", 1);
    let told = rig.run(&["events", "jobs"]).out;
    let words = "asked by the application, for another size (memory 524288 KiB, cpu 1000m): the index grows";
    assert!(told.contains(words), "{told}");
    unruly.order("jobs", &orders(json!({ "memoryKib": 2 << 20 })));
    let refused = "it may not have more than 1048576 KiB: resources.resizeMax.memory";
    unruly.wait_did_times("jobs", &format!("became REFUSED {refused}"), 1);
    assert!(scaling::explained(rig, &["jobs"]).contains(refused));
    // Less is asked of it as by anybody else: it does not let go of it.
    let keeps = json!({ "verdict": "REFUSE", "code": "DOES_NOT_FIT", "message": "on second thoughts" });
    let mut less = orders(json!({ "memoryKib": 300 << 10 }));
    less["resize"] = keeps;
    unruly.order("jobs", &less);
    unruly.wait_did_times("jobs", "became REFUSED op-", 1);
    assert_eq!(limits(rig), (Some(512), Some(1_000)));
    unruly.end();
}

#[test]
fn a_change_of_size_is_given_up_after_the_budget_that_it_was_given() {
    let orders = json!({ "resize": "silent", "ballastMib": 60 });
    let Some(unruly) = up(&orders, &json!({ "move": { "prepare": "10m" } })) else { return };
    let rig = &unruly.rig;
    let kept = rig.json_of_refused(&["resize", "jobs", "--memory", "64MiB", "--budget", "300ms"], 1);
    assert!(kept.to_string().contains("it was not done within 300 ms"), "{kept}");
    let because = &kept["outcome"]["because"]["sized"];
    assert_eq!(
        (&because["to"]["memory_kib"], &because["limit"]["memory_kib"]),
        (&json!(64 << 10), &json!(262_144))
    );
    let told = explained(rig, &kept["outcome"]);
    assert!(told.contains("its limit is 256 MiB") && told.contains("not done within 300 ms"), "{told}");
    let budgets = unruly.budgets("jobs", "resize");
    assert!(
        budgets.iter().all(|ms| (1..=300).contains(ms)) && !budgets.is_empty(),
        "it is told: {budgets:?}"
    );
    assert_eq!(limits(rig), (Some(256), Some(500)));
    unruly.end();
}

#[test]
fn what_an_app_says_that_puts_a_size_off_is_told_and_it_is_asked_again_until_it_consents() {
    let later = |retry: Value| {
        let mut answer = json!({ "verdict": "DEFER", "message": "payroll is running" });
        answer.as_object_mut().expect("an object").extend(retry.as_object().expect("an object").clone());
        json!({ "resize": answer })
    };
    let Some(unruly) = up(&later(json!({ "retryAfterMs": 50 })), &json!({ "move": { "prepare": "10m" } }))
    else {
        return;
    };
    let rig = &unruly.rig;
    let asked = |rig: &Rig, budget: &str| {
        let kept = rig.json_of_refused(&["resize", "jobs", "--memory", "64MiB", "--budget", budget], 1);
        let why = kept["outcome"]["because"]["sized"]["why"].as_str().unwrap_or_default().to_owned();
        (explained(rig, &kept["outcome"]), why, kept)
    };
    let (told, why, kept) = asked(rig, "900ms");
    assert_eq!(why, "it was not done within 900 ms; it said: payroll is running", "{kept}");
    assert!(told.contains("it said: payroll is running"), "{told}");
    assert!(unruly.budgets("jobs", "resize").len() > 1, "{:?}", unruly.did("jobs"));
    let shown = rig.run(&["resize", "jobs", "--memory", "64MiB", "--budget", "300ms"]);
    assert!(shown.err.contains("it said: payroll is running"), "{}{}", shown.out, shown.err);
    // One that does not say when it is to be asked again is no answer, and that is told.
    unruly.order("jobs", &later(json!({})));
    unruly.wait_obeys("jobs");
    let (told, why, kept) = asked(rig, "300ms");
    assert!(why.contains("it broke the contract: its answer to resize was refused"), "{kept}");
    assert!(told.contains("retryAfterMs"), "{told}");
    // Asked again, it consents.
    unruly.order("jobs", &later(json!({ "retryAfterMs": 50 })));
    unruly.wait_obeys("jobs");
    let asked_before = unruly.budgets("jobs", "resize").len();
    let mut shrinks = rig.start(&["resize", "jobs", "--memory", "64MiB", "--budget", "60s"], Stdio::null());
    wait_until("it has put it off", || unruly.budgets("jobs", "resize").len() > asked_before + 1);
    unruly.order("jobs", &json!({ "resize": null }));
    assert_eq!(shrinks.ended(), 0);
    assert_eq!(limits(rig).0, Some(64));
    unruly.end();
}

/// What `explain` says of an operation of this outcome.
fn explained(rig: &Rig, outcome: &Value) -> String {
    let operation = format!("op-{}", outcome["operation"]);
    scaling::explained(rig, &["jobs", &operation])
}

#[test]
fn a_shrink_that_is_refused_leaves_the_limit_and_the_counter_offer_is_told() {
    let counter = json!({ "verdict": "REFUSE", "code": "DOES_NOT_FIT", "message": "the index takes 180 MiB",
                          "fit": { "memoryKib": 196_608 } });
    let Some(unruly) = up(&json!({ "resize": counter, "ballastMib": 60 }), &json!({})) else { return };
    let rig = &unruly.rig;
    let kept = rig.json_of_refused(&["resize", "jobs", "--memory", "64MiB"], 1);
    assert_eq!(kept["error"]["code"], "size_kept", "{kept}");
    let outcome = &kept["outcome"];
    assert_eq!((&outcome["committed"], &outcome["kind"]), (&json!(false), &json!("resize")));
    let because = &outcome["because"]["sized"];
    assert_eq!(because["offered"], json!({ "memory_kib": 196_608, "cpu_milli": null }), "{kept}");
    assert_eq!(because["why"], "DOES_NOT_FIT: the index takes 180 MiB");
    assert_eq!(because["limit"], json!({ "memory_kib": 262_144, "cpu_milli": 500 }));
    assert_eq!(limits(rig), (Some(256), Some(500)));
    assert_eq!(noted(rig), std::slice::from_ref(because), "it is in the journal");
    let told = rig.run(&["events", "jobs"]).out;
    assert!(told.contains("it could do with 192 MiB") && told.contains("its limit is 256 MiB"), "{told}");
    let told = explained(rig, outcome);
    assert!(told.contains("it could do with 192 MiB") && told.contains("the index takes 180 MiB"), "{told}");
    // Who fails at it has refused nothing.
    unruly
        .order("jobs", &json!({ "resize": { "verdict": "FAILED", "code": "DISK", "message": "no spool" } }));
    unruly.wait_obeys("jobs");
    let kept = rig.json_of_refused(&["resize", "jobs", "--memory", "64MiB"], 1);
    let outcome = &kept["outcome"];
    assert_eq!(outcome["because"]["sized"]["why"], "DISK: no spool", "{kept}");
    assert_eq!(outcome["cause"], "the application failed at another size", "{kept}");
    unruly.end();
}

#[test]
fn a_shrink_that_is_accepted_and_not_kept_lowers_no_limit() {
    let orders = json!({ "resize": "keep", "ballastMib": 100 });
    let Some(unruly) = up(&orders, &json!({ "move": { "prepare": "1s" } })) else { return };
    let rig = &unruly.rig;
    wait_until("it has much in use", || {
        group(rig).and_then(|group| group.memory_bytes()).is_some_and(|bytes| bytes > 100 * MIB)
    });
    let kept = rig.json_of_refused(&["resize", "jobs", "--memory", "64MiB", "--cpu", "250m"], 1);
    assert_eq!(kept["error"]["code"], "size_kept", "{kept}");
    assert!(unruly.did("jobs").iter().any(|line| line.contains("resized") && line.contains("DONE")));
    let because = &kept["outcome"]["because"]["sized"];
    assert!(because["used_kib"].as_u64().is_some_and(|kib| kib > 100 << 10), "{kept}");
    assert_eq!((&because["offered"], &because["limit"]["memory_kib"]), (&Value::Null, &json!(262_144)));
    assert_eq!(limits(rig), (Some(256), Some(500)), "neither of both");
    let told = explained(rig, &kept["outcome"]);
    assert!(told.contains("did not fall") && told.contains("its limit is 256 MiB"), "{told}");
    let again = rig.json(&["resize", "jobs", "--memory", "300MiB"]);
    assert_eq!(again["outcome"]["committed"], true, "{again}");
    assert_eq!(limits(rig).0, Some(300));
    unruly.end();
}

#[test]
fn what_comes_in_the_place_of_one_that_was_given_another_size_has_that_too() {
    let scale = json!({ "scale": { "min": 1, "max": 3, "start": 1, "hold": "10m" } });
    let unruly = Unruly::up(&with_resources(&scale), &json!({}));
    let rig = &unruly.rig;
    if !can_be_limited(rig, "jobs.1") {
        return unruly.end();
    }
    rig.json(&["resize", "jobs.1", "--memory", "512MiB"]);
    let drained = rig.json(&["drain-node", "n1"]);
    assert_eq!(drained["instances"][0]["instance"], "jobs.1", "{drained}");
    let ps = rig.json(&["ps"]);
    let second = ps["instances"].as_array().expect("a list").iter().find(|it| it["name"] == "jobs.2");
    assert_eq!(second.expect("it came in its place")["record"]["size"]["memory_kib"], 512 << 10, "{ps}");
    unruly.end();
}

#[test]
fn of_an_app_whose_manifest_limits_nothing_no_size_is_changed() {
    let unruly = Unruly::up(&json!({ "resources": { "cpu": "500m" } }), &json!({}));
    let rig = &unruly.rig;
    let refused = rig.json_of_refused(&["resize", "jobs", "--memory", "128MiB"], 2);
    assert_eq!(refused["error"]["code"], "out_of_bounds", "{refused}");
    let refused = rig.run(&["resize", "jobs", "--memory", "128MiB"]);
    let why = "jobs: its manifest has no resources.memory, so there is no limit to change";
    assert!(refused.err.contains(why), "{}", refused.err);
    assert!(refused.err.contains("next: set resources.memory in its manifest"), "{}", refused.err);
    assert!(noted(rig).is_empty(), "nobody was asked");
    unruly.end();
}
