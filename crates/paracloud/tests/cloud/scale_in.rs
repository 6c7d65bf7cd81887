//! Fewer instances by a person's word: the cheapest leaves by its own word, nothing is lost, and until it is decided it can be
//! called back.

use crate::instances::another_controller;
use crate::rig::{Rig, kill, wait_until};
use crate::scaling::{decided, explained};
use crate::unruly::Unruly;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::io::Read;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

/// Each instance that `ps` shows, and how its record is.
fn records(rig: &Rig) -> Vec<(String, Value)> {
    let ps = rig.json(&["ps"]);
    let all = ps["instances"].as_array().expect("a list").iter();
    let of = |it: &Value| (it["name"].as_str().expect("a name").to_owned(), it["record"].clone());
    let mut all: Vec<_> = all.map(of).collect();
    all.sort_by(|(left, _), (right, _)| left.cmp(right));
    all
}

fn names(rig: &Rig) -> Vec<String> {
    records(rig).into_iter().map(|(name, _)| name).collect()
}

/// Those that are served.
pub(crate) fn serving(rig: &Rig) -> Vec<String> {
    let served = |(name, record): (String, Value)| {
        let serves = !record["served"].is_null() && record["operation"].is_null();
        serves.then_some(name)
    };
    records(rig).into_iter().filter_map(served).collect()
}

fn record(rig: &Rig, name: &str) -> Value {
    records(rig).into_iter().find(|(it, _)| it == name).map_or(Value::Null, |(_, record)| record)
}

/// What came of each that was looked at.
fn standings(scaled: &Value) -> Vec<(String, String)> {
    let all = scaled["looked_at"].as_array().expect("a list").iter();
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let mut all: Vec<_> = all.map(|it| (text(&it["instance"]), text(&it["standing"]))).collect();
    all.sort();
    all
}

fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(name, standing)| ((*name).to_owned(), (*standing).to_owned())).collect()
}

/// Jobs through one gateway, one after the other, until it is over: what did not succeed.
pub(crate) fn work(rig: &Rig, gateway: usize, is_over: &AtomicBool) -> (u32, Vec<String>) {
    let (mut done, mut failed) = (0, Vec::new());
    while !is_over.load(Ordering::Relaxed) {
        let body = "{\"ms\":5}";
        let head = format!(
            "Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n",
            body.len()
        );
        let mut stream = rig.send(gateway, "POST /work", &head);
        let mut answer = String::new();
        let heard = std::io::Write::write_all(&mut stream, body.as_bytes());
        match heard.and_then(|()| stream.read_to_string(&mut answer)) {
            Ok(_) if answer.split(' ').nth(1) == Some("200") => done += 1,
            Ok(_) => failed.push(answer.lines().next().unwrap_or_default().to_owned()),
            Err(error) => failed.push(error.to_string()),
        }
    }
    (done, failed)
}

#[test]
fn of_three_workers_under_load_two_leave_and_no_job_is_lost_and_their_numbers_come_again() {
    let worker = Path::new(env!("CARGO_BIN_EXE_paracloud")).with_file_name("worker");
    let own = json!({
        "state": "none",
        "readiness": { "http": "/healthz" },
        "stopGrace": "2s",
        "scale": { "max": 4, "start": 3 },
    });
    let rig = Rig::of("worker", &json!([worker]), &[&own], &json!({}));
    let mut up = rig.up(&[]);
    up.serving();
    assert_eq!(serving(&rig), ["worker.1", "worker.2", "worker.3"]);
    let is_over = AtomicBool::new(false);
    let (scaled, all) = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|it| {
                scope.spawn({
                    let (rig, is_over) = (&rig, &is_over);
                    move || work(rig, it % 2, is_over)
                })
            })
            .collect();
        let before = rig.json(&["scale", "worker", "1", "--dry-run"]);
        assert_eq!(before["leaves"].as_array().map(Vec::len), Some(2), "{before}");
        assert_eq!(serving(&rig).len(), 3, "nothing was changed");
        let scaled = rig.json(&["scale", "worker", "1"]);
        is_over.store(true, Ordering::Relaxed);
        (scaled, workers.into_iter().map(|it| it.join().expect("it works")).collect::<Vec<_>>())
    });
    for leaf in scaled["leaves"].as_array().expect("a list") {
        let outcome = &leaf["outcome"];
        assert_eq!((&outcome["committed"], &outcome["kind"]), (&json!(true), &json!("leave")), "{scaled}");
        assert_eq!(outcome["state_lost"], false);
    }
    let (done, failed) = all.into_iter().fold((0, Vec::new()), |(done, mut failed), (more, lost)| {
        failed.extend(lost);
        (done + more, failed)
    });
    assert!(done > 0 && failed.is_empty(), "{done} done, and {failed:?}");
    let left = names(&rig);
    assert_eq!(left.len(), 1, "those that left are not shown: {left:?}");
    let told = rig.run(&["events", "worker"]).out;
    for words in
        ["leave: ", "depart: ", "gone: it has left n", "a person wants 1 instance of worker", "phase drain"]
    {
        assert!(told.contains(words), "{words}: {told}");
    }
    // The controller is killed: it knows from its register who left.
    another_controller(&rig);
    assert_eq!(names(&rig), left);
    let more = rig.json(&["scale", "worker", "2"]);
    let lowest = ["worker.1", "worker.2"].into_iter().find(|name| left[0] != *name).expect("one of two");
    assert_eq!(more["starts"][0]["instance"], lowest, "{more}");
    wait_until("it serves under its old name", || serving(&rig).contains(&lowest.to_owned()));
    let again = record(&rig, lowest);
    assert!(again["incarnation"].as_u64() > Some(1), "its numbers do not come again: {again}");
    (0..2).for_each(|gateway| assert!(rig.ask(gateway, "GET /ledger").contains("worker.")));
    for (arguments, code) in [
        (&["scale", "worker", "5"][..], "out_of_bounds"),
        (&["scale", "worker", "2", "--for", "8d"], "out_of_bounds"),
        (&["cancel", lowest], "nothing_open"),
    ] {
        let code_of = if code == "nothing_open" { 1 } else { 2 };
        assert_eq!(rig.json_of_refused(arguments, code_of)["error"]["code"], code, "{arguments:?}");
    }
    rig.json(&["stop", "--yes"]);
    assert_eq!(up.ended(), 0);
    assert!(rig.left().is_empty(), "{:?}", rig.left());
}

#[test]
fn the_cheapest_leaves_and_who_is_dear_holds_or_does_not_answer_stays_while_there_is_another() {
    let fields = json!({ "scale": { "max": 4, "start": 4, "drain": "20s" } });
    let unruly = Unruly::up(&fields, &json!({ "quote": { "costMs": 5_000, "drainMs": 900 } }));
    let hold = json!({ "hold": { "month": { "ops": ["drain"], "ttlMs": 60_000, "reason": "month end" } } });
    unruly.order("jobs.4", &hold);
    unruly.order("jobs.3", &json!({ "quote": "refuse" }));
    unruly.order("jobs.2", &json!({ "quote": { "costMs": 7, "drainMs": 40 } }));
    let rig = &unruly.rig;
    ["jobs.2", "jobs.3", "jobs.4"].iter().for_each(|name| unruly.wait_obeys(name));
    wait_until("the hold stands", || rig.run(&["holds"]).out.contains("month end"));
    let dry = rig.json(&["scale", "jobs", "3", "--dry-run"]);
    let expected =
        pairs(&[("jobs.1", "stays"), ("jobs.2", "leaves"), ("jobs.3", "silent"), ("jobs.4", "held")]);
    assert_eq!(standings(&dry), expected, "{dry}");
    assert_eq!((&dry["until_unix_ms"], serving(rig).len()), (&Value::Null, 4), "nothing was changed");
    let told = rig.run(&["scale", "jobs", "3"]);
    assert_eq!(told.code, 0, "{}{}", told.out, told.err);
    assert!(told.out.contains("jobs.2") && told.out.contains("costs less than jobs.1"), "{}", told.out);
    assert!(
        told.err.contains("jobs.2: gets no more requests") && told.err.contains("jobs.2: left n2 in"),
        "{}",
        told.err
    );
    // Of those that are left, who does not answer goes when too few others can.
    let last = rig.json(&["scale", "jobs", "1"]);
    assert_eq!(standings(&last), pairs(&[("jobs.1", "leaves"), ("jobs.3", "leaves"), ("jobs.4", "held")]));
    assert_eq!(names(rig), ["jobs.4"]);
    // And who holds does not go at all.
    unruly.order("jobs.1", &hold);
    rig.json(&["scale", "jobs", "2"]);
    wait_until("both hold", || rig.run(&["holds"]).out.matches("month end").count() == 2);
    let held = rig.json_of_refused(&["scale", "jobs", "1"], 1);
    assert_eq!(held["error"]["code"], "held", "{held}");
    assert_eq!(serving(rig), ["jobs.1", "jobs.4"]);
    unruly.end();
}

#[test]
fn who_is_called_back_serves_again_and_a_person_may_leave_meanwhile() {
    let fields = json!({ "scale": { "max": 3, "start": 2, "drain": "40s" } });
    let unruly = Unruly::up(&fields, &json!({ "drain": "never" }));
    let rig = &unruly.rig;
    let mut waiting = rig.start(&["scale", "jobs", "1"], Stdio::null());
    let draining = || records(rig).into_iter().find(|(_, it)| it["operation"]["leave"]["step"] == "draining");
    wait_until("one is drained", || draining().is_some());
    let (name, _) = draining().expect("it never ends by itself");
    waiting.signal(Signal::INT);
    assert_eq!(waiting.ended(), 1);
    assert!(rig.run(&["ps"]).out.contains("draining"), "it goes on");
    let busy = rig.json_of_refused(&["move", &name, "--accept-loss"], 1);
    assert_eq!(busy["error"]["code"], "busy", "{busy}");
    let least = rig.json_of_refused(&["scale", "jobs", "0"], 2);
    assert_eq!(least["error"]["code"], "usage", "{least}");
    rig.json(&["cancel", &name]);
    wait_until("it serves again", || serving(rig).len() == 2);
    let told = rig.run(&["events", &name]).out;
    assert!(told.contains("called back (a person called it back)"), "{told}");
    // And is to stay: by the number that was asked for it would leave again.
    let ps = rig.json(&["ps"]);
    assert_eq!(ps["scales"][0]["instances"], 2, "{ps}");
    // Who wants more while one is leaving has it called back.
    rig.json(&["scale", "jobs", "1", "--no-wait"]);
    wait_until("one is drained again", || draining().is_some());
    let (name, _) = draining().expect("it never ends by itself");
    let more = rig.json(&["scale", "jobs", "3"]);
    assert_eq!(
        (&more["called_back"], more["starts"][0]["instance"].as_str()),
        (&json!([name]), Some("jobs.3"))
    );
    wait_until("all serve", || serving(rig).len() == 3);
    unruly.end();
}

#[test]
fn a_command_whose_controller_was_killed_hears_how_the_leave_ended() {
    let fields = json!({ "scale": { "max": 3, "start": 2, "drain": "60s" } });
    let unruly = Unruly::up(&fields, &json!({ "drain": "never" }));
    let rig = &unruly.rig;
    let mut waiting = rig.start(&["scale", "jobs", "1"], Stdio::null());
    let draining = || records(rig).into_iter().find(|(_, it)| it["operation"]["leave"]["step"] == "draining");
    wait_until("one is drained", || draining().is_some());
    let (name, _) = draining().expect("it never ends by itself");
    let before = rig.processes("controller");
    before.iter().for_each(|pid| kill(*pid, Signal::KILL));
    wait_until("another controller is there", || {
        rig.processes("controller").iter().any(|pid| !before.contains(pid)) && rig.run(&["ps"]).code == 0
    });
    unruly.order(&name, &json!({ "drain": null }));
    let gone = || rig.events().into_iter().find(|event| event["what"]["swapped"]["change"] == "gone");
    wait_until("it has left", || gone().is_some());
    assert!(
        gone().is_some_and(|gone| gone["operation"].is_u64()),
        "its end is of the operation: {:?}",
        gone()
    );
    assert_eq!(waiting.ended(), 0, "it hears of the end");
    unruly.end();
}

#[test]
fn what_holds_state_leaves_only_with_a_consent_by_whosever_word() {
    let holds = json!({ "quote": { "costMs": 0, "stateKib": 4_096 },
                        "report": { "workUnit": "request", "capacityMilliPerS": 100_000, "backlogMs": 0 } });
    let scale = json!({ "min": 1, "max": 2, "start": 2, "hold": "100ms" });
    let unruly = Unruly::up(&json!({ "scale": scale, "state": "stateful" }), &holds);
    let rig = &unruly.rig;
    // One would do, and nobody says that it can go without what it holds.
    wait_until("who may go was looked at", || {
        let reasons = decided(rig, &["jobs"], "present").unwrap_or_default()["record"]["reasons"].take();
        let standings = reasons["standings"].as_object().cloned().unwrap_or_default();
        standings.len() == 2 && standings.values().all(|standing| standing["holds_state"] == 4_096)
    });
    let told = rig.run(&["explain", "jobs"]).out;
    assert!(told.contains("4096 KiB of state would be lost with it"), "{told}");
    let needs = rig.json_of_refused(&["scale", "jobs", "1"], 4);
    assert_eq!(needs["error"]["code"], "consent_needed", "{needs}");
    assert_eq!(serving(rig), ["jobs.1", "jobs.2"]);
    let left = rig.json(&["scale", "jobs", "1", "--accept-loss"]);
    assert_eq!(left["leaves"][0]["outcome"]["state_lost"], true, "{left}");
    unruly.end();
}

#[test]
fn who_does_not_leave_within_its_budget_serves_on_and_says_why() {
    let fields = json!({ "scale": { "max": 2, "start": 2, "drain": "700ms" } });
    let unruly = Unruly::up(&fields, &json!({ "drain": "never" }));
    let rig = &unruly.rig;
    let stays = rig.json_of_refused(&["scale", "jobs", "1"], 1);
    assert_eq!(stays["error"]["code"], "called_back", "{stays}");
    let why = stays["error"]["why"].as_str().expect("a text");
    assert!(why.contains("phase did not end within its budget"), "{why}");
    assert_eq!(stays["scaled"]["leaves"][0]["outcome"]["committed"], false);
    let told = unruly.budgets("jobs.2", "drain");
    assert!(told.iter().all(|ms| *ms == 700) && !told.is_empty(), "the manifest's: {told:?}");
    let sooner = rig.json_of_refused(&["scale", "jobs", "1", "--within", "300ms"], 1);
    let why = sooner["error"]["why"].as_str().expect("a text");
    assert!(why.contains("it had not left within 300 ms"), "{why}");
    let own = unruly.budgets("jobs.2", "drain").split_off(told.len());
    assert!(own.iter().all(|ms| *ms <= 300) && !own.is_empty(), "the order's: {own:?}");
    assert_eq!(serving(rig), ["jobs.1", "jobs.2"]);
    unruly.end();
}

/// Kills the process of whoever is drained, once one is, and says who that was.
fn kill_draining(rig: &Rig) -> String {
    let draining = || records(rig).into_iter().find(|(_, it)| it["operation"]["leave"]["step"] == "draining");
    let mut found = None;
    wait_until("one is drained", || {
        found = draining();
        found.is_some()
    });
    let (name, record) = found.expect("it was waited for");
    let start = record["owner"]["start"].as_str().expect("a start id").to_owned();
    let of_it = |pid: &i32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let words = String::from_utf8_lossy(&environment).into_owned();
        words.contains(&format!("PACI_INSTANCE={name}")) && words.contains(&start)
    };
    let all = rig.left().into_iter().map(|found| found.pid).filter(of_it);
    all.for_each(|pid| kill(pid, Signal::KILL));
    name
}

#[test]
fn that_the_process_of_one_that_leaves_died_while_it_was_drained_is_told_wherever_its_end_is() {
    let fields = json!({ "scale": { "max": 3, "start": 3, "drain": "60s", "hold": "10m" } });
    let unruly = Unruly::up(&fields, &json!({ "drain": "never" }));
    let rig = &unruly.rig;
    let died = "its process ended while it was drained: killed by signal 9";
    let mut waiting = rig.start_telling(&["scale", "jobs", "2"]);
    waiting.tells("finishes what it has");
    let name = kill_draining(rig);
    waiting.tells(died);
    assert_eq!(waiting.ended(), 0, "it has left");
    let events = rig.events();
    let leave = events.iter().find(|event| event["what"]["swapped"]["change"] == "leave").expect("it left");
    let told = explained(rig, &[&name, &format!("op-{}", leave["operation"])]);
    assert!(told.contains(&format!("it has left n1; {died}")), "{told}");
    assert_eq!(told.matches("signal 9").count(), 2, "and the entry is of the operation: {told}");
    for words in [&["ask", &name, "quote"][..], &["resize", &name, "--memory", "64MiB"], &["move", &name]] {
        let refused = rig.json_of_refused(words, 1);
        assert_eq!(refused["error"]["code"], "gone", "{words:?}: {refused}");
    }
    let outcome = std::thread::scope(|scope| {
        let scaled = scope.spawn(|| rig.json(&["scale", "jobs", "1"])["leaves"][0]["outcome"].take());
        kill_draining(rig);
        scaled.join().expect("it is told")
    });
    assert_eq!((&outcome["committed"], &outcome["cause"]), (&json!(true), &Value::Null), "{outcome}");
    assert_eq!(outcome["because"]["ended"]["how"], "killed by signal 9", "{outcome}");
    // Who leaves by its own word has died of nothing.
    rig.json(&["scale", "jobs", "2"]);
    wait_until("both serve", || serving(rig).len() == 2);
    serving(rig).iter().for_each(|name| unruly.order(name, &json!({ "drain": null })));
    serving(rig).iter().for_each(|name| unruly.wait_obeys(name));
    let left = rig.json(&["scale", "jobs", "1"]);
    assert_eq!(left["leaves"][0]["outcome"]["because"], Value::Null, "{left}");
    // And so it is where another one came in its place.
    let [last] = &serving(rig)[..] else { panic!("one is left") };
    unruly.order(last, &json!({ "drain": "never" }));
    unruly.wait_obeys(last);
    let shown = std::thread::scope(|scope| {
        let drained = scope.spawn(|| rig.run(&["drain-node", "n1"]));
        kill_draining(rig);
        drained.join().expect("it is told")
    });
    assert_eq!(shown.code, 0, "{}{}", shown.out, shown.err);
    assert!(shown.err.contains(died), "{}", shown.err);
    let table = shown.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(table.contains("killed by signal 9"), "{table}");
    unruly.end();
}

/// A session with a cookie, `/a` is of session a: each answer says at which address it was given, `/end` ends it.
const SESSIONS: &str = "\
def session(self):
    self.send_response(200)
    self.send_header('set-cookie', 'sid=; Max-Age=0' if self.path == '/end' else f'sid={self.path[1:]}; Path=/')
    body = f\"{os.environ['HOST']}:{os.environ['PORT']}\".encode()
    self.send_header('content-length', str(len(body)))
    self.end_headers()
    self.wfile.write(body)
Web.do_GET = session
";

/// What is answered to a request of a session, and the cookie that it has from then on.
fn visit(rig: &Rig, path: &str, cookie: Option<&str>) -> (String, String) {
    let line = cookie.map_or_else(String::new, |cookie| format!("Cookie: sid={cookie}\r\n"));
    let mut stream = rig.send(0, &format!("GET {path}"), &format!("{line}Connection: close\r\n"));
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert_eq!(head.split(' ').nth(1), Some("200"), "{head}");
    let cookie =
        head.lines().find_map(|line| line.to_lowercase().strip_prefix("set-cookie: sid=").map(str::to_owned));
    (body.to_owned(), cookie.unwrap_or_default().split(';').next().unwrap_or_default().to_owned())
}

/// So many sessions in the first and in the second instance, each with its path and its cookie, which are known to live there.
fn live(rig: &Rig, wanted: [usize; 2]) -> [Vec<(String, String)>; 2] {
    let mut all = [Vec::new(), Vec::new()];
    for path in (0..).map(|number| format!("/s{number}")) {
        let (_, cookie) = visit(rig, &path, None);
        let at = usize::from(cookie.starts_with("2~"));
        if all[at].len() < wanted[at] {
            all[at].push((path, cookie));
        } else {
            visit(rig, "/end", Some(&cookie));
        }
        if all.each_ref().map(Vec::len) == wanted {
            break;
        }
    }
    wait_until("it is seen how many live in each", || {
        let decided = decided(rig, &["web"], "present").unwrap_or_default();
        let sessions =
            |number: &str| decided["record"]["observation"]["instances"][number]["sessions"].as_u64();
        [sessions("1"), sessions("2")] == wanted.map(|count| u64::try_from(count).ok())
    });
    all
}

#[test]
fn who_has_the_fewest_sessions_as_gateways_see_them_leaves_by_the_word_of_a_person() {
    let rig = Rig::with_program(
        SESSIONS,
        "state: session\nsession: {cookie: sid, idle: 24h}\nstopGrace: 1s\n\
         scale: {min: 1, max: 2, start: 2, period: 200ms, hold: 10m, drain: 5m}",
    );
    let mut up = rig.up(&[]);
    up.serving();
    let [first, second] = live(&rig, [0, 1]);
    assert!(first.is_empty());
    let dry = rig.json(&["scale", "web", "1", "--dry-run"]);
    assert_eq!(
        (&dry["looked_at"][0]["instance"], &dry["looked_at"][0]["standing"]),
        (&json!("web.1"), &json!("leaves")),
        "{dry}"
    );
    rig.json(&["scale", "web", "1"]);
    // Of those that are alike in everything else it would be the second.
    assert_eq!(names(&rig), ["web.2"]);
    second.iter().for_each(|(path, at)| drop(visit(&rig, path, Some(at))));
    rig.json(&["stop", "--yes"]);
    assert_eq!(up.ended(), 0);
}

#[test]
fn who_has_the_fewest_sessions_leaves_by_itself_once_they_have_ended() {
    let rig = Rig::with_program(
        SESSIONS,
        "state: session\nsession: {cookie: sid, idle: 24h}\nstopGrace: 1s\n\
         scale: {min: 2, max: 2, period: 200ms, hold: 1s, drain: 5m}",
    );
    let mut up = rig.up(&[]);
    up.serving();
    let [first, second] = live(&rig, [1, 2]);
    let all_go_on = || first.iter().chain(&second).for_each(|(path, at)| drop(visit(&rig, path, Some(at))));
    wait_until("what one can do is seen", || {
        all_go_on();
        let decided = decided(&rig, &["web"], "present").unwrap_or_default();
        !decided["record"]["reasons"]["unit"].is_null()
    });
    let text = std::fs::read_to_string(rig.manifest()).expect("it is there");
    std::fs::write(rig.manifest(), text.replacen("min: 2", "min: 1", 1)).expect("it can be written");
    rig.json(&["apply", rig.manifest()]);
    // Of those that are alike in everything else it would be the second.
    wait_until("the first is drained", || record(&rig, "web.1")["operation"]["leave"]["step"] == "draining");
    all_go_on();
    visit(&rig, "/end", Some(&first[0].1));
    wait_until("it has left", || names(&rig) == ["web.2"]);
    second.iter().for_each(|(path, at)| drop(visit(&rig, path, Some(at))));
    rig.json(&["stop", "--yes"]);
    assert_eq!(up.ended(), 0);
}

#[test]
fn an_instance_that_no_client_came_to_leaves_at_once_however_long_a_session_may_be_idle() {
    let rig = Rig::with_program(
        SESSIONS,
        "state: session\nsession: {cookie: sid, idle: 24h}\nstopGrace: 1s\nscale: {max: 2, drain: 5m}",
    );
    let mut up = rig.up(&[]);
    up.serving();
    rig.json(&["scale", "web", "2"]);
    wait_until("both serve", || serving(&rig).len() == 2);
    rig.json(&["scale", "web", "1"]);
    assert_eq!(names(&rig), ["web.1"]);
    rig.json(&["stop", "--yes"]);
    assert_eq!(up.ended(), 0);
}

#[test]
fn who_has_a_session_leaves_when_it_has_ended_and_is_called_back_where_it_does_not_in_time() {
    let rig = Rig::with_program(
        SESSIONS,
        "state: session\nsession: {cookie: sid, idle: 24h}\nstopGrace: 1s\n\
         scale: {max: 2, start: 2, period: 200ms, hold: 10m, drain: 5m}",
    );
    let mut up = rig.up(&[]);
    up.serving();
    let [_, second] = live(&rig, [2, 1]);
    let (path, cookie) = second[0].clone();
    let at = visit(&rig, &path, Some(&cookie)).0;
    let stays = rig.json_of_refused(&["scale", "web", "1", "--within", "300ms"], 1);
    assert_eq!(stays["error"]["code"], "called_back", "{stays}");
    assert_eq!(stays["scaled"]["leaves"][0]["instance"], "web.2", "{stays}");
    assert_eq!((visit(&rig, &path, Some(&cookie)).0, serving(&rig).len()), (at.clone(), 2));
    rig.json(&["scale", "web", "1", "--no-wait"]);
    wait_until("it is drained", || record(&rig, "web.2")["operation"]["leave"]["step"] == "draining");
    assert_eq!(visit(&rig, &path, Some(&cookie)).0, at, "its session goes on there");
    assert_ne!(visit(&rig, "/mine", None).0, at, "and no new one begins");
    visit(&rig, "/end", Some(&cookie));
    wait_until("it has left", || names(&rig) == ["web.1"]);
    rig.json(&["stop", "--yes"]);
    assert_eq!(up.ended(), 0);
}
