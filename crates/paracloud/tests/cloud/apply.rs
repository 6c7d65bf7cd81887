//! A manifest is applied to a cloud that runs.

use crate::clients::Clients;
use crate::rig::{Rig, free_addresses, kill, wait_until};
use crate::unruly::Unruly;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// What the manifest says becomes something else: its text, with this in the place of that.
fn rewrite(rig: &Rig, this: &str, that: &str) {
    let text = std::fs::read_to_string(rig.manifest()).expect("it is there");
    assert!(text.contains(this), "{this} is not in {text}");
    std::fs::write(rig.manifest(), text.replacen(this, that, 1)).expect("it can be written");
}

fn apply(rig: &Rig, more: &[&str]) -> Value {
    rig.json(&[&["apply", rig.manifest()], more].concat())
}

/// The record of an instance.
fn record(rig: &Rig, name: &str) -> Value {
    let ps = rig.json(&["ps"]);
    let instances = ps["instances"].as_array().expect("a list");
    instances.iter().find(|it| it["name"] == name).map_or(Value::Null, |it| it["record"].clone())
}

fn revision(rig: &Rig, name: &str) -> u64 {
    let ps = rig.json(&["ps"]);
    let instances = ps["instances"].as_array().expect("a list");
    let found = instances.iter().find(|it| it["name"] == name).expect("it is there");
    found["revision"].as_u64().expect("a number")
}

/// Of each row: who, how, and whether it is so.
fn rows(applied: &Value) -> Vec<(Value, Value, Value)> {
    let row = |row: &Value| (row["who"].clone(), row["how"].clone(), row["done"].clone());
    applied["changes"].as_array().expect("a list").iter().map(row).collect()
}

#[test]
fn an_app_that_hands_over_goes_to_a_process_of_what_was_applied_and_its_clients_lose_nothing() {
    let rig = Rig::sessions(&json!({}), &json!({ "SESSIONS_FILL_MIB": "4", "NOTE": "one" }));
    let mut up = rig.up(&[]);
    up.serving();
    let mut clients = Clients::modest(&rig, 10);
    clients.audit_clean();
    let before = rig.record().expect("it serves");
    assert_eq!(revision(&rig, "sessions"), 1);
    let same = apply(&rig, &[]);
    assert_eq!((&same["changes"], &same["unchanged"]), (&json!([]), &json!(["sessions"])), "{same}");

    rewrite(&rig, r#""NOTE":"one""#, r#""NOTE":"two""#);
    let dry = apply(&rig, &["--dry-run"]);
    assert_eq!(rows(&dry), [(json!("sessions"), json!("handoff"), json!(false))], "{dry}");
    assert_eq!(rig.record().expect("it serves")["owner"], before["owner"], "nothing was changed");
    assert_eq!(revision(&rig, "sessions"), 1);

    let applied = apply(&rig, &[]);
    assert_eq!(rows(&applied), [(json!("sessions"), json!("handoff"), json!(true))], "{applied}");
    assert_eq!(applied["changes"][0]["changed"], json!(["env"]));
    let after = rig.record().expect("it serves");
    assert_eq!((&after["owner"]["node"], &after["owner"]["revision"]), (&json!(1), &json!(2)), "{after}");
    assert_ne!(after["owner"]["start"], before["owner"]["start"], "another process, on the same node");
    assert_eq!(revision(&rig, "sessions"), 2);
    clients.audit_clean();

    // What holds at once takes no process.
    rewrite(&rig, r#""stopGrace":"2s""#, r#""drain":"4s","stopGrace":"3s""#);
    let applied = apply(&rig, &[]);
    let row = |how| (json!("sessions"), json!(how), json!(true));
    assert_eq!(rows(&applied), [row("at_once"), row("later")], "{applied}");
    assert_eq!(rig.record().expect("it serves")["owner"], after["owner"], "the same process");

    assert_eq!(rig.json(&["move", "sessions"])["outcome"]["node"], 2);
    assert_eq!(revision(&rig, "sessions"), 2, "it was moved as what it is");
    clients.audit_clean();
    drop(clients);
    assert_eq!(rig.run(&["stop", "--yes"]).code, 0);
    assert_eq!(up.ended(), 0);
    assert!(rig.left().is_empty(), "{:?}", rig.left());
}

#[test]
fn what_the_new_process_cannot_read_is_refused_before_a_byte_moves_and_a_better_manifest_mends_it() {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cloud/misbehave.py");
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/python");
    let environment = json!({ "MISBEHAVE": "older", "EXAMPLE": example });
    let rig =
        Rig::of("sinner", &json!(["python3", "-B", program]), &[&json!({ "stopGrace": "2s" })], &environment);
    let mut up = rig.up(&[]);
    up.serving();
    for expected in ["1\n", "2\n", "3\n"] {
        assert_eq!(rig.ask(0, "POST /a"), expected);
    }
    let owner = record(&rig, "sinner")["owner"].clone();
    rewrite(&rig, r#""MISBEHAVE":"older""#, r#""MISBEHAVE":"older,or-not""#);
    let failed = rig.json_of_refused(&["apply", rig.manifest()], 1);
    assert_eq!(failed["error"]["code"], "rolled_back", "{failed}");
    let why = failed["changes"][0]["why"].as_str().expect("a reason");
    assert!(why.contains("SCHEMA_UNKNOWN") && why.contains("counters 3"), "{why}");
    let carried = rig.events().into_iter().filter(|event| !event["what"]["note"]["carried"].is_null());
    assert_eq!(carried.count(), 0, "not a byte");
    assert_eq!(record(&rig, "sinner")["owner"], owner, "the old one serves");
    assert_eq!(revision(&rig, "sinner"), 1);
    assert_eq!(rig.ask(1, "POST /a"), "4\n");

    rewrite(&rig, r#""MISBEHAVE":"older,or-not""#, r#""MISBEHAVE":"none""#);
    let applied = apply(&rig, &[]);
    assert_eq!(rows(&applied), [(json!("sinner"), json!("handoff"), json!(true))], "{applied}");
    assert_eq!(revision(&rig, "sinner"), 3);
    assert_eq!(rig.ask(0, "POST /a"), "5\n", "nothing was lost");
}

#[test]
fn a_version_that_crashes_after_it_has_served_is_put_right_by_applying_a_better_one() {
    let rig = Rig::new("state: none\nstopGrace: 1s\nscale: {min: 2, max: 3, start: 2}");
    let mut up = rig.up(&[]);
    up.serving();
    let crashes = "command: [sh, -c, 'python3 web.py & while [ ! -e crash ]; do sleep 0.1; done; sleep 1; kill $!; exit 7']";
    rewrite(&rig, "command: [python3, web.py]", crashes);
    assert_eq!(apply(&rig, &[])["changes"].as_array().map(Vec::len), Some(2));
    std::fs::write(rig.path().join("crash"), "").expect("it can be written");
    let all = || rig.json(&["ps"])["instances"].as_array().expect("a list").clone();
    wait_until("both have served, and their processes are dead", || {
        let is_down = |it: &Value| it["restarts"] == true && !it["record"]["served"].is_null();
        all().iter().all(is_down)
    });
    let shown = rig.run(&["ps"]).out;
    assert!(shown.contains("restarting"), "{shown}");
    rewrite(&rig, crashes, "command: [python3, web.py]");
    let applied = apply(&rig, &[]);
    assert_eq!(applied["ok"], true, "{applied}");
    let is_good = |it: &Value| it["restarts"] == false && it["revision"] == 3;
    assert!(all().len() == 2 && all().iter().all(is_good), "{:?}", all());
    (0..2).for_each(|gateway| assert_eq!(rig.get(gateway), "hello\n"));
}

#[test]
fn a_state_that_cannot_be_handed_over_is_lost_with_consent_only() {
    let rig = Rig::new("stopGrace: 1s\nacceptLoss: false");
    let mut up = rig.up(&[]);
    up.serving();
    let owner = record(&rig, "web")["owner"].clone();
    rewrite(&rig, "env: {", "env: {NOTE: two, ");
    let refused = rig.json_of_refused(&["apply", rig.manifest()], 4);
    assert_eq!(refused["error"]["code"], "consent_needed", "{refused}");
    let why = refused["error"]["why"].as_str().expect("a reason");
    assert!(
        why.contains("nothing was applied") && why.contains("an update restarts it and loses the state"),
        "{why}"
    );
    rig.json_of_refused(&["apply", rig.manifest(), "--dry-run"], 4);
    assert_eq!(record(&rig, "web")["owner"], owner);
    let applied = apply(&rig, &["--accept-loss"]);
    assert_eq!(rows(&applied), [(json!("web"), json!("restart"), json!(true))], "{applied}");
    assert_eq!(applied["changes"][0]["state_lost"], true);
    (0..2).for_each(|gateway| assert_eq!(rig.get(gateway), "hello\n"));

    // A command that does not come up leaves the old process serving, and says why.
    let owner = record(&rig, "web")["owner"].clone();
    rewrite(&rig, "command: [python3, web.py]", "command: [python3, -c, 'print(\"no such key\"); exit(9)']");
    let failed = rig.json_of_refused(&["apply", rig.manifest(), "--accept-loss"], 1);
    let why = failed["changes"][0]["why"].as_str().expect("a reason");
    for said in ["before it had served; ", "was started again", "exited with status 9", "; its state is lost"]
    {
        assert!(why.contains(said), "{said}: {why}");
    }
    assert_eq!(failed["changes"][0]["wrote"], json!(["no such key"]), "{failed}");
    assert_eq!(failed["changes"][0]["state_lost"], true, "{failed}");
    wait_until("somebody serves again", || !record(&rig, "web")["served"].is_null());
    assert_eq!(record(&rig, "web")["owner"]["revision"], owner["revision"], "as what it was");
    let layout =
        paracloud_substrate::layout::Layout::new(std::path::Path::new(&rig.cloud())).expect("a path");
    let before = record(&rig, "web")["incarnation"].as_u64();
    let programs = paracloud::processes::all(&layout);
    let pids = programs.iter().filter_map(|process| process.alive()).map(|identity| identity.pid);
    pids.for_each(|pid| kill(pid, Signal::KILL));
    wait_until("a new process serves", || {
        let now = record(&rig, "web");
        now["incarnation"].as_u64() > before && !now["served"].is_null()
    });
    assert_eq!(revision(&rig, "web"), 2, "started anew as what it was, whatever counts by now");
    rewrite(
        &rig,
        "command: [python3, -c, 'print(\"no such key\"); exit(9)']",
        "command: [python3, web.py, good]",
    );
    apply(&rig, &["--accept-loss"]);
    (0..2).for_each(|gateway| assert_eq!(rig.get(gateway), "hello\n"));
}

#[test]
fn instances_without_state_are_updated_one_after_the_other_while_clients_are_served() {
    let rig = Rig::new("state: none\nstopGrace: 1s\nscale: {max: 4, start: 3, hold: 10m}");
    let mut up = rig.up(&[]);
    up.serving();
    rewrite(&rig, "env: {", "env: {NOTE: two, ");
    let (served, ended) = (AtomicU32::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for gateway in 0..2 {
            let (rig, served, ended) = (&rig, &served, &ended);
            scope.spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    assert_eq!(rig.get(gateway), "hello\n");
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        wait_until("clients are served", || served.load(Ordering::Relaxed) > 20);
        let applied = rig.run(&["apply", rig.manifest(), "--output", "json"]);
        ended.store(true, Ordering::Relaxed);
        assert_eq!(applied.code, 0, "{}{}", applied.out, applied.err);
        let applied = serde_json::from_str(&applied.out).expect("one object");
        let row = |name: &str| (json!(name), json!("replaced"), json!(true));
        assert_eq!(rows(&applied), [row("web.1"), row("web.2"), row("web.3")], "{applied}");
    });
    let names =
        || rig.json(&["ps"])["instances"].as_array().expect("a list").iter().map(named).collect::<Vec<_>>();
    assert_eq!(names().len(), 3, "{:?}", names());
    assert!(names().iter().all(|name| revision(&rig, name) == 2), "{:?}", names());

    // Where there may be none more, each is restarted in its place.
    rewrite(&rig, "scale: {max: 4", "scale: {max: 3");
    rewrite(&rig, "NOTE: two", "NOTE: three");
    let before = names();
    let applied = apply(&rig, &[]);
    let how: Vec<_> = rows(&applied).into_iter().map(|(_, how, done)| (how, done)).collect();
    let restart = (json!("restart"), json!(true));
    assert_eq!(
        how,
        [(json!("at_once"), json!(true)), restart.clone(), restart.clone(), restart],
        "{applied}"
    );
    assert_eq!(names(), before);
    assert!(names().iter().all(|name| revision(&rig, name) == 3), "{:?}", names());
    (0..2).for_each(|gateway| assert_eq!(rig.get(gateway), "hello\n"));
}

#[test]
fn a_version_that_does_not_come_up_leaves_those_that_serve_and_says_what_it_wrote() {
    let rig = Rig::new("state: none\nstopGrace: 1s\nscale: {max: 3, start: 2}");
    let mut up = rig.up(&[]);
    up.serving();
    let owners = || [record(&rig, "web.1"), record(&rig, "web.2")].map(|it| it["owner"].clone());
    let before = owners();
    rewrite(&rig, "command: [python3, web.py]", "command: [python3, -c, 'print(\"no such key\"); exit(9)']");
    let failed = rig.run(&["apply", rig.manifest()]);
    assert_eq!(failed.code, 1, "{}{}", failed.out, failed.err);
    let first = failed.err.lines().find(|line| line.starts_with("web.1: ")).expect("what became of it");
    assert!(first.contains("web.3 did not come up: ") && first.contains("exited with status 9"), "{first}");
    assert!(failed.err.contains("web.1: its new process wrote: no such key"), "{}", failed.err);
    assert!(failed.err.contains("web.2: not begun"), "{}", failed.err);
    assert!(!failed.out.contains("nothing was changed"), "its revision counts: {}", failed.out);
    assert_eq!(owners(), before, "nobody left");
    (0..2).for_each(|gateway| assert_eq!(rig.get(gateway), "hello\n"));
    wait_until("nothing of it is left", || record(&rig, "web.3").is_null());
    let kept = std::fs::read_to_string(std::path::Path::new(&rig.cloud()).join("updating.json"));
    assert_eq!(kept.expect("it was begun"), "{}", "nobody tries again");
    rewrite(
        &rig,
        "command: [python3, -c, 'print(\"no such key\"); exit(9)']",
        "command: [python3, web.py, good]",
    );
    let row = |name: &str| (json!(name), json!("replaced"), json!(true));
    assert_eq!(rows(&apply(&rig, &[])), [row("web.1"), row("web.2")]);
}

#[test]
fn a_command_that_is_spelled_the_same_is_the_same_from_whatever_shell_it_is_applied() {
    let rig = Rig::new("state: none\nstopGrace: 1s\nscale: {max: 3, start: 2}");
    let mut up = rig.up(&[]);
    up.serving();
    let own = std::env::var("PATH").expect("there is one");
    let python = std::env::split_paths(&own).map(|path| path.join("python3")).find(|path| path.exists());
    let bin = rig.path().join("bin");
    std::fs::create_dir(&bin).expect("a directory of our own");
    std::os::unix::fs::symlink(python.expect("it runs"), bin.join("python3")).expect("a name of our own");
    let path = format!("{}:{own}", bin.display());
    let applied = rig.run_with(("PATH", &path), &["apply", rig.manifest(), "--output", "json"]);
    assert_eq!(applied.code, 0, "{}{}", applied.out, applied.err);
    let applied: Value = serde_json::from_str(&applied.out).expect("one object");
    assert_eq!((&applied["changes"], &applied["unchanged"]), (&json!([]), &json!(["web"])));
    assert_eq!(revision(&rig, "web.1"), 1);
}

fn named(instance: &Value) -> String {
    instance["name"].as_str().expect("a name").to_owned()
}

#[test]
fn a_controller_that_is_killed_in_an_update_leaves_either_the_old_or_the_new_and_the_same_manifest_goes_on() {
    let rig = Rig::sessions(&json!({}), &json!({ "SESSIONS_FILL_MIB": "64", "NOTE": "one" }));
    let mut up = rig.up(&[]);
    up.serving();
    let mut clients = Clients::modest(&rig, 4);
    clients.audit_clean();
    rewrite(&rig, r#""NOTE":"one""#, r#""NOTE":"two""#);
    let mut applying = rig.start(&["apply", rig.manifest()], std::process::Stdio::null());
    wait_until("the update has begun", || rig.record().is_some_and(|it| !it["operation"].is_null()));
    rig.processes("controller").into_iter().for_each(|pid| kill(pid, Signal::KILL));
    let code = applying.ended();
    assert!([0, 1].contains(&code), "{code}");
    wait_until("it is at rest", || {
        rig.record().is_some_and(|it| it["operation"].is_null() && !it["served"].is_null())
    });
    let audited = clients.audit();
    assert!(audited.is_clean(), "{audited:#?}");
    wait_until("the rest is applied", || rig.run(&["apply", rig.manifest()]).code == 0);
    assert_eq!(revision(&rig, "sessions"), 2);
    let same = apply(&rig, &[]);
    assert_eq!((&same["changes"], &same["unchanged"]), (&json!([]), &json!(["sessions"])), "{same}");
    let audited = clients.audit();
    assert!(audited.is_clean(), "{audited:#?}");
}

#[test]
fn a_new_app_starts_and_what_cannot_be_changed_is_refused_with_its_field() {
    let rig = Rig::new("state: none\nstopGrace: 1s");
    let mut up = rig.up(&[]);
    up.serving();
    let owner = record(&rig, "web")["owner"].clone();
    let first = std::fs::read_to_string(rig.manifest()).expect("it is there");
    let [one, other] = free_addresses();
    let second = |extra: &str| {
        format!(
            "{first}\n---\nkind: App\nname: other\ncommand: [python3, web.py]\nlisten: ['{one}', '{other}']\nstate: none\n\
             env: {{RIG: '{}'}}\n{extra}\n",
            rig.path().display()
        )
    };
    let written = |text: &str| std::fs::write(rig.manifest(), text).expect("it can be written");
    written(&second("scale: {max: 2, start: 2}"));
    let applied = apply(&rig, &[]);
    assert_eq!(rows(&applied), [(json!("other"), json!("started"), json!(true))], "{applied}");
    for address in [one, other] {
        let mut answer = String::new();
        wait_until("its clients are served", || {
            answer = ask(address);
            answer.contains(" 200 ")
        });
    }
    assert_eq!(record(&rig, "web")["owner"], owner, "nobody else was touched");
    let numbers = [record(&rig, "other.1"), record(&rig, "other.2")].map(|it| it["owner"]["node"].clone());
    assert_eq!(numbers, [json!(2), json!(1)], "spread");

    for (text, code, exit) in [
        (first.clone(), "app_missing", 2),
        (second("scale: {max: 2, start: 2}").replace("name: web\n", "name: web\nprotocol: h2\n"), "fixed", 2),
        (second("scale: {max: 2, min: 3}"), "manifest", 2),
    ] {
        written(&text);
        let refused = rig.json_of_refused(&["apply", rig.manifest()], exit);
        assert_eq!(refused["error"]["code"], code, "{refused}");
    }
    written(&second("scale: {max: 3, start: 2}"));
    let applied = apply(&rig, &[]);
    assert_eq!(rows(&applied), [(json!("other"), json!("at_once"), json!(true))], "{applied}");
    rig.json(&["scale", "other", "3"]);
    wait_until("the third serves", || !record(&rig, "other.3")["served"].is_null());

    // Whoever is started anew knows of it.
    for shell in ["controller", "gateway", "agent"] {
        rig.processes(shell).into_iter().for_each(|pid| kill(pid, Signal::KILL));
    }
    wait_until("its clients are served again", || ask(one).contains(" 200 ") && ask(other).contains(" 200 "));
    assert_eq!(rig.run(&["stop", "--yes"]).code, 0);
    assert_eq!(up.ended(), 0);
    assert!(rig.left().is_empty(), "{:?}", rig.left());
}

/// What somebody answers to a GET; nothing if nobody is there.
fn ask(address: std::net::SocketAddr) -> String {
    use std::io::{Read, Write};
    let mut answer = String::new();
    if let Ok(mut stream) = std::net::TcpStream::connect(address) {
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n");
        let _ = stream.read_to_string(&mut answer);
    }
    answer
}

#[test]
fn a_note_is_said_with_what_it_is_about_and_not_again() {
    let unruly = Unruly::up(&json!({ "scale": { "max": 2 } }), &json!({}));
    let rig = &unruly.rig;
    let note = "note: jobs: its command names no {port}";
    let same = rig.run(&["apply", rig.manifest()]);
    assert!(same.code == 0 && !same.err.contains("note:"), "{}", same.err);
    let text = std::fs::read_to_string(rig.manifest()).expect("it is there");
    let changed = text.replacen("\"EXAMPLE\":", "\"NOTE\":\"two\",\"EXAMPLE\":", 1);
    assert_ne!(changed, text);
    std::fs::write(rig.manifest(), changed).expect("it can be written");
    let other = rig.run(&["apply", rig.manifest(), "--dry-run"]);
    assert!(other.code == 0 && other.err.contains(note), "{}", other.err);
    unruly.end();
}
