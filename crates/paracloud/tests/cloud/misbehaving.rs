//! Applications that keep the contract badly: each has a clear error, or a consequence that is bounded and seen.

use crate::rig::{Answer, Rig, Up, wait_until};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};

/// A cloud around `misbehave.py`, in which `/a` was counted three times.
struct Scene {
    rig: Rig,
    up: Up,
}

impl Scene {
    fn of(sins: &str) -> Self {
        Self::with_little_time("guardWait", sins)
    }

    /// One of its budgets is short: the one that will be used up.
    fn with_little_time(budget: &str, sins: &str) -> Self {
        Self::with(budget, sins, &json!({}))
    }

    /// The same, with something more in its manifest.
    fn with(budget: &str, sins: &str, more: &Value) -> Self {
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cloud/misbehave.py");
        let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/python");
        let mut budgets = json!({ "copy": "20s", "park": "5s", "seal": "10s", "guardWait": "1s" });
        budgets[budget] = "1500ms".into();
        let short =
            json!({ "move": budgets, "stopGrace": "2s", "drain": "100ms", "parking": { "wait": "500ms" } });
        let environment = json!({ "MISBEHAVE": sins, "EXAMPLE": example });
        let rig = Rig::of("sinner", &json!(["python3", "-B", program]), &[&short, more], &environment);
        let mut up = rig.up(&[]);
        up.serving();
        let scene = Self { rig, up };
        assert_eq!(scene.counted(), "0\n");
        for expected in ["1\n", "2\n", "3\n"] {
            assert_eq!(scene.rig.ask(0, "POST /a"), expected);
        }
        scene
    }

    /// What is counted, once clients are served.
    fn counted(&self) -> String {
        let mut answer = String::new();
        wait_until("clients are served", || {
            answer = self.rig.try_ask(1, "GET /a");
            answer.starts_with("HTTP/1.1 200 ")
        });
        answer.split_once("\r\n\r\n").expect("an answer").1.to_owned()
    }

    fn moves(&self) -> Answer {
        self.rig.run(&["move", "sinner"])
    }

    /// A move that must fail, saying this.
    fn fails(&self, why: &str) -> Answer {
        let moved = self.moves();
        assert_eq!(moved.code, 1, "{}{}", moved.out, moved.err);
        let error = moved.err.lines().find(|line| line.starts_with("error: sinner: "));
        assert!(error.is_some_and(|error| error.contains(why)), "{why}: {}", moved.err);
        assert!(moved.err.contains("\nnext: "), "{}", moved.err);
        moved
    }

    /// It comes to rest on this node, with this counted: what was counted before, or nothing if its process died.
    fn rests(&self, node: u32, counted: &str) {
        wait_until("nothing is open", || {
            self.rig.record().is_some_and(|record| {
                record["operation"].is_null()
                    && !record["served"].is_null()
                    && record["owner"]["node"] == node
            })
        });
        assert_eq!(self.counted(), counted);
    }

    /// The journal has a note of this kind, with this in its text. It may come a moment after what it tells of.
    fn notes(&self, kind: &str, text: &str) {
        let has = |event: &Value| event["what"]["note"][kind].to_string().contains(text);
        wait_until(&format!("{kind} {text:?} is noted"), || self.rig.events().iter().any(has));
    }

    fn logged(&self) -> String {
        self.rig.run(&["logs", "sinner"]).out
    }
}

#[test]
fn a_call_that_is_never_answered_uses_its_budget_up_and_the_source_serves_on() {
    for (sin, budget, why) in [
        ("silent-estimate", "prepare", "did not answer within its budget (move.prepare)"),
        ("silent-prepare-source", "copy", "the copy phase did not end within its budget"),
        ("silent-prepare-target", "prepare", "the prepare phase did not end within its budget"),
        (
            "silent-resume-committed",
            "switch",
            "the target did not get ready within its budget, and was ended",
        ),
    ] {
        let scene = Scene::with_little_time(budget, sin);
        scene.fails(why);
        scene.rests(1, "3\n");
    }
}

#[test]
fn a_target_that_cannot_read_what_the_source_writes_costs_nothing_and_both_schemas_are_named() {
    let scene = Scene::of("older");
    scene.fails("SCHEMA_UNKNOWN: the source has counters 3: told of {'name': 'counters', 'version': 3}, reads counters 1 and 2");
    scene.rests(1, "3\n");
}

#[test]
fn what_a_manifest_consents_to_loses_nothing_of_an_application_that_could_hand_over() {
    let accepts = json!({ "acceptLoss": true });
    let scene = Scene::with("guardWait", "fails-estimate,saves", &accepts);
    scene.fails("refuses to be handed over: WRONG_PHASE");
    scene.rests(1, "3\n");
    let moved = scene.rig.run(&["move", "sinner", "--accept-loss"]);
    assert_eq!(moved.code, 0, "{}", moved.err);
    assert!(moved.out.starts_with("sinner moved to n2 by restart in "), "{}", moved.out);
    assert!(moved.out.contains("; its state was lost by consent\n"), "{}", moved.out);
    scene.rests(2, "0\n");
    let saved = std::fs::read_to_string(scene.rig.path().join("saved")).expect("it was told to stop");
    assert_eq!(saved, r#"[{"/a": 3}, "it is stopped here and started on n2"]"#);
    let open = scene.rig.run(&["events"]).out;
    assert!(open.contains("a move by restart is open"), "{open}");
}

#[test]
fn an_application_is_told_with_each_call_that_a_person_asks() {
    let scene = Scene::of("none");
    assert_eq!(scene.rig.run(&["move", "sinner", "--dry-run"]).code, 0);
    assert_eq!(scene.moves().code, 0);
    let logged = scene.logged();
    let asks = "PERSON a person asks";
    for told in [
        format!("asked estimate {asks} what a move would cost\n"),
        format!("asked estimate {asks} for the move from n1 to n2\n"),
        format!("asked prepare-source {asks} for the move from n1 to n2\n"),
        format!("asked prepare-target {asks} for the move from n1 to n2\n"),
        format!("asked seal {asks} for the move from n1 to n2\n"),
        format!("asked resume-committed {asks} for the move from n1 to n2; it is committed\n"),
        format!("asked serve {asks} for the move from n1 to n2; it is committed\n"),
    ] {
        assert!(logged.contains(&told), "{told}: {logged}");
    }
}

#[test]
fn a_source_that_never_says_that_it_is_sealed_keeps_what_it_has_whatever_its_target_loaded() {
    let scene = Scene::with_little_time("seal", "silent-seal");
    scene.fails("the seal phase did not end within its budget");
    scene.rests(1, "3\n");
}

#[test]
fn an_end_record_before_the_seal_ends_the_move_and_loses_nothing() {
    let scene = Scene::of("early-end");
    let over = AtomicBool::new(false);
    let written = std::thread::scope(|threads| {
        let end = AtEnd(&over);
        let client = threads.spawn(|| {
            let mut last = String::new();
            while !over.load(Ordering::Relaxed) {
                last = scene.rig.ask(0, "POST /a");
            }
            last
        });
        let moved = scene.moves();
        assert_eq!(moved.code, 1, "{}{}", moved.out, moved.err);
        // What its target loaded may be heard of before the seal, or only then.
        let why = ["the source ended its stream before", "the digests of source and target differ"];
        assert!(why.iter().any(|why| moved.err.contains(why)), "{}", moved.err);
        drop(end);
        client.join().expect("the client writes")
    });
    scene.rests(1, &written);
}

#[test]
fn an_owner_that_never_answers_what_was_decided_is_named_and_nobody_waits_for_it() {
    for (sins, call, node) in
        [("silent-serve", "serve", 2), ("empty-digest,silent-resume-rolled_back", "resume", 1)]
    {
        let scene = Scene::with_little_time("seal", sins);
        scene.fails(&format!("the move is decided, but its owner does not answer {call}"));
        scene.notes("unresponsive", call);
        let record = scene.rig.record().expect("the controller answers");
        assert_eq!(record["owner"]["node"], node, "{record}");
        assert_eq!(scene.counted(), "3\n", "it serves what it holds");
    }
}

#[test]
fn an_owner_that_polls_no_more_is_named_by_the_move_by_ps_and_by_cancel() {
    for (sins, call, node) in [
        ("hangs-seal", "resume", 1),
        ("empty-digest,hangs-resume-rolled_back", "resume", 1),
        ("hangs-serve", "serve", 2),
    ] {
        let scene = Scene::with_little_time("seal", sins);
        scene.fails(&format!("the move is decided, but its owner does not answer {call}"));
        scene.notes("unresponsive", call);
        let owner = scene.rig.record().expect("the controller answers")["owner"].clone();
        assert_eq!(owner["node"], node, "{owner}");
        let shown = scene.rig.run(&["ps"]).out;
        assert!(shown.contains(&format!(") does not answer {call}, for ")), "{shown}");
        let cancelled = scene.rig.run(&["cancel", "sinner"]);
        assert_eq!(cancelled.code, 1, "{}", cancelled.out);
        let why = format!("its owner does not answer {call}: it stays open until the owner does");
        assert!(cancelled.err.contains(&why), "{}", cancelled.err);
        assert!(
            cancelled.err.contains("end its process, and the state in it goes with it"),
            "{}",
            cancelled.err
        );
    }
}

#[test]
fn an_owner_that_is_at_work_on_what_was_decided_and_never_done_is_named_by_the_move_by_ps_and_by_cancel() {
    for (sins, call) in [("works-serve", "serve"), ("empty-digest,works-resume-rolled_back", "resume")] {
        let scene = Scene::with_little_time("switch", sins);
        scene.fails(&format!("its owner says that it is at work on {call}, and is not done in time"));
        let shown = scene.rig.run(&["ps"]).out;
        assert!(shown.contains(&format!(") answers {call} with IN_PROGRESS, for ")), "{shown}");
        let cancelled = scene.rig.run(&["cancel", "sinner"]);
        assert!(
            cancelled.err.contains(&format!("its owner answers {call} with IN_PROGRESS")),
            "{}",
            cancelled.err
        );
    }
}

#[test]
fn an_owner_that_was_stopped_when_it_had_sealed_is_named_and_ends_the_move_when_it_goes_on() {
    let scene = Scene::with_little_time("seal", "empty-digest,freezes-seal");
    let moved = scene.fails("the move is decided, but its owner does not answer resume");
    let refused = " broke the contract: its answer to seal was refused: POST /v1/upcalls/1: OUT_OF_BOUNDS: ";
    assert!(moved.err.contains(refused), "{}", moved.err);
    assert!(scene.rig.run(&["ps"]).out.contains(") does not answer resume, for "));
    let logged = scene.logged();
    let process =
        logged.split_once("frozen ").expect("it says who it is").1.lines().next().expect("a number");
    let goes_on = std::process::Command::new("kill").args(["-CONT", process]).status();
    assert!(goes_on.is_ok_and(|status| status.success()), "{process}");
    scene.rests(1, "3\n");
    assert!(!scene.rig.run(&["ps"]).out.contains("does not answer"), "it has answered");
}

#[test]
fn an_answer_that_is_no_answer_is_shown_at_once_and_the_right_one_still_counts() {
    for (sin, what) in [("wrong-seal", "seal"), ("wrong-prepare-source", "prepare")] {
        let scene = Scene::of(sin);
        let moved = scene.moves();
        assert_eq!(moved.code, 0, "{sin}: {}", moved.err);
        let refused = format!(" broke the contract: its answer to {what} was refused: POST /v1/upcalls/1: ");
        assert!(moved.err.contains(&refused), "{sin}: {}", moved.err);
        scene.rests(2, "3\n");
    }
}

/// Says that it is over, also when a test fails.
struct AtEnd<'a>(&'a AtomicBool);

impl Drop for AtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_move_that_is_called_off_ends_though_its_source_never_says_that_it_aborted_and_serves_all_through() {
    for (sin, noted) in
        [("silent", "ABORT_UNANSWERED"), ("works", "ABORT_UNANSWERED"), ("fails", "WRONG_PHASE")]
    {
        let scene = Scene::with_little_time("switch", &format!("works-prepare-source,{sin}-abort"));
        let over = AtomicBool::new(false);
        std::thread::scope(|threads| {
            let end = AtEnd(&over);
            let client = threads.spawn(|| {
                let mut answers = BTreeSet::new();
                while !over.load(Ordering::Relaxed) {
                    answers.insert(scene.rig.ask(0, "GET /a"));
                }
                answers
            });
            assert_eq!(scene.rig.run(&["move", "sinner", "--no-wait"]).code, 0);
            wait_until("it copies", || scene.logged().contains("asked prepare-source"));
            assert_eq!(scene.rig.run(&["cancel", "sinner"]).code, 0);
            wait_until("it was told", || scene.logged().contains("asked abort"));
            scene.rests(1, "3\n");
            drop(end);
            let answers = client.join().expect("every request is served");
            assert_eq!(answers, BTreeSet::from(["3\n".to_owned()]), "{sin}");
        });
        scene.notes("failure", noted);
        // What stands of the one that is over is not in the way of the next one.
        let next = scene.rig.run(&["move", "sinner", "--dry-run"]);
        assert_eq!(next.code, 0, "{sin}: {}", next.err);
    }
}

#[test]
fn the_first_of_two_answers_counts_and_the_second_is_shown_as_a_breach() {
    for call in ["estimate", "prepare-source", "seal", "prepare-target", "resume-committed", "serve"] {
        let scene = Scene::of(&format!("differs-{call}"));
        let moved = scene.moves();
        assert_eq!(moved.code, 0, "{call}: {}", moved.err);
        scene.rests(2, "3\n");
        let name = call.split('-').next().expect("a name");
        let (differs, closed) = ("409 {'code': 'ANSWER_DIFFERS'", "{'code': 'OPERATION_CLOSED'");
        let is_told = |code: &str| scene.logged().contains(code);
        // The first answer to the last call may end the operation before the second one comes, and a source may be
        // ended before it gives its second one: then the next move shows it.
        let is_over = || call == "serve" && is_told(closed);
        wait_until("it was told so", || is_told(differs) || is_over() || (scene.moves().code, false).1);
        if is_told(differs) {
            scene.notes("breach", &format!("{name} was answered DONE before; that counts"));
        }
    }
}

#[test]
fn a_hold_for_ever_is_refused_and_one_that_is_granted_is_named_and_expires() {
    let scene = Scene::of("holds");
    scene.fails("for ever");
    assert!(scene.moves().err.contains("next: ask again when the hold has expired"));
    scene.notes("breach", "ttlMs: 4294967295, at most 3600000");
    scene.notes("breach", "ttlMs: 3600001, at most 3600000");
    wait_until("the hold has expired", || scene.moves().code == 0);
    // The target has a hold of its own by then; nothing but that keeps it where it is.
    scene.rests(2, "3\n");
}

#[test]
fn a_drain_waits_for_a_hold_until_it_expires_and_says_which_where_it_may_not_wait() {
    let scene = Scene::of("holds");
    let held = scene.rig.json_of_refused(&["drain-node", "n1", "--wait", "1ms"], 1);
    let row = &held["instances"][0];
    assert_eq!((&row["code"], &row["moved"]), (&json!("held"), &json!(false)), "{held}");
    assert!(row["why"].as_str().is_some_and(|why| why.contains("for ever")), "{held}");
    let drained = scene.rig.json(&["drain-node", "n1"]);
    let row = &drained["instances"][0];
    assert_eq!((&row["mode"], &row["moved"]), (&json!("handoff"), &json!(true)), "{drained}");
}

#[test]
fn ten_mib_in_a_call_is_refused_by_its_bound_and_nothing_else_happens() {
    let scene = Scene::of("huge");
    wait_until("everything was sent", || scene.logged().matches("huge 413").count() == 3);
    let logged = scene.logged();
    scene.notes("breach", "POST /v1/hello: BODY_TOO_LARGE: a body of 10.0 MiB, at most ");
    scene.notes("breach", "PUT /v1/state: BODY_TOO_LARGE: a body of 10.0 MiB, at most ");
    assert!(logged.contains("{'code': 'BODY_TOO_LARGE', 'message': 'body: at most 8192 bytes'"), "{logged}");
    assert_eq!(scene.moves().code, 0);
    scene.rests(2, "3\n");
}

#[test]
fn garbage_on_either_socket_is_refused_and_what_was_understood_of_it_is_shown() {
    let scene = Scene::of("garbage");
    wait_until("everything was sent", || scene.logged().contains("garbage 404"));
    let logged = scene.logged();
    for answer in ["garbage b'HTTP/1.1 400 ", "garbage b'NO MALFORMED", "garbage 400 {'code': 'MALFORMED'"] {
        assert!(logged.contains(answer), "{answer}: {logged}");
    }
    scene.notes("breach", "POST /v1/hello: MALFORMED: the body is a list, want a JSON object");
    scene.notes("breach", "what it sent is no request of HTTP/1.1: ");
    scene.notes("breach", "channel: MALFORMED: ");
    assert_eq!(scene.moves().code, 0);
    scene.rests(2, "3\n");
}

#[test]
fn a_target_that_exits_when_it_is_asked_costs_nothing_before_it_serves() {
    for (sin, why) in [
        ("exit-prepare-target", "the target's process died (process "),
        ("exit-resume-committed", "the target died before it had served (process "),
    ] {
        let scene = Scene::of(sin);
        scene.fails(why);
        scene.fails("ended: exited with status 3); it serves on n1");
        scene.rests(1, "3\n");
    }
}

#[test]
fn an_owner_that_exits_when_it_is_asked_is_started_anew_and_the_move_says_so() {
    for (sins, why, node) in [
        ("exit-estimate", "its process ended: exited with status 3; the state that only it held is lost", 1),
        ("exit-prepare-source", "was started anew: what only it held is lost (process ", 1),
        ("exit-seal", "the move was rolled back: the source's process died, and was started anew", 1),
        (
            "empty-digest,exit-resume-rolled_back",
            "the move was rolled back: the source's process died, and was started anew",
            1,
        ),
        (
            "exit-serve",
            "it moved to n2, but the target's process died when it served, and was started anew: what only it held \
             is lost (process ",
            2,
        ),
    ] {
        let scene = Scene::with_little_time("seal", sins);
        let moved = scene.fails(why);
        // What could not even be asked was no move.
        let says = moved.out.contains("its state was lost with its process");
        assert_eq!(says, sins != "exit-estimate", "{sins}: {}{}", moved.out, moved.err);
        scene.rests(node, "0\n");
        scene.notes("ended", "exited with status 3");
        wait_until("its loss is told", || {
            let lost = |event: &Value| event["what"]["state_lost"].clone();
            scene
                .rig
                .events()
                .iter()
                .any(|event| lost(event) == json!({ "by": "death", "consent": "nobody" }))
        });
        assert_eq!(scene.rig.ask(0, "POST /a"), "1\n", "{sins}: the new one serves");
    }
}

#[test]
fn an_application_that_exits_when_it_is_told_to_stop_has_stopped() {
    let mut scene = Scene::of("exit-stop");
    assert_eq!(scene.rig.run(&["stop", "--yes"]).code, 0);
    assert_eq!(scene.up.ended(), 0);
    assert!(scene.rig.left().is_empty(), "{:?}", scene.rig.left());
}

#[test]
fn who_stops_a_cloud_is_told_which_application_asked_not_to_be_stopped() {
    for (state, what) in [("none", "stopping needs"), ("stateful", "stopping drops it, and needs")] {
        let mut scene = Scene::with("guardWait", "stays", &json!({ "state": state }));
        // A move is no stop, and the one that owns then asks for itself.
        assert_eq!(scene.moves().code, 0);
        let refused = scene.rig.run(&["stop"]);
        assert_eq!(refused.code, 4, "{}", refused.err);
        assert!(refused.err.contains("it asks not to be stopped for another "), "{}", refused.err);
        assert!(
            refused.err.contains(&format!("(payroll: month end); {what} a consent\n")),
            "{}",
            refused.err
        );
        assert_eq!(scene.counted(), "3\n", "nothing was stopped");
        assert_eq!(scene.rig.run(&["stop", "--yes"]).code, 0);
        assert_eq!(scene.up.ended(), 0);
    }
}

#[test]
fn an_empty_digest_proves_nothing_and_the_move_is_rolled_back() {
    let scene = Scene::with_little_time("seal", "empty-digest");
    scene.fails("sealed.digest: missing or empty, and it is needed");
    scene.rests(1, "3\n");
}

#[test]
fn only_a_process_of_a_start_is_heard_on_its_socket_and_nobody_after_its_end() {
    let scene = Scene::of("zombie");
    let record = scene.rig.record().expect("it serves");
    let address = record["served"].as_str().expect("an address").to_owned();
    let port = address.rsplit(':').next().expect("a port");
    let said = || {
        let said = std::fs::read_to_string(scene.rig.path().join(format!("zombie-{port}")));
        said.unwrap_or_default()
    };
    let seen = || said().lines().last().unwrap_or_default().to_owned();
    // One that left group, session and environment of its start is none of it any more, and neither is this test.
    wait_until("it was refused", || seen().contains("403, {'code': 'PEER_NOT_ALLOWED'"));
    let socket = walk(&scene.rig.path().join("cloud")).into_iter().find(|path| path.ends_with("paci.sock"));
    let mut socket = UnixStream::connect(socket.expect("its socket")).expect("it listens");
    let request = "GET /v1/instance HTTP/1.1\r\nHost: paci\r\nPaci: 1\r\nConnection: close\r\n\r\n";
    socket.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("PEER_NOT_ALLOWED"), "{answer}");

    assert_eq!(scene.moves().code, 0);
    // Where there are control groups it is ended with its start; elsewhere it lives on, and nobody listens.
    let pid = said().lines().next().unwrap_or_default().to_owned();
    let is_gone = || {
        let stat = std::fs::read_to_string(std::path::Path::new("/proc").join(&pid).join("stat"));
        stat.map_or(true, |stat| stat.contains(") Z "))
    };
    wait_until("its socket is gone, or it is", || seen() == "FileNotFoundError" || is_gone());
    scene.rests(2, "3\n");
}

fn walk(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}
