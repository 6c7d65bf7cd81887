//! The contract on the agent's socket: what is refused, with which code, and that a refusal changes nothing.

use crate::rig::{APP, N1, Puppet, Rig, moving, moving_in, read, sealed_at};
use paci::upcall::Reason;
use paracloud_core::ids::{OperationNumber, Placement, StartId};
use paracloud_core::migration::message::{FromAgent, Offer, ToAgent};
use paracloud_core::register::{Mode, MoveStep, Record};
use paracloud_substrate::message::{FromAgentLine, HeldOp, Note, Speaker, Terms, ToAgentLine};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

pub(crate) const OPERATION: OperationNumber = OperationNumber(1);
pub(crate) const CAPABILITIES: &[&str] = &["move.handoff", "move.estimate"];

pub(crate) fn owner() -> (Rig, StartId, Puppet) {
    let mut rig = Rig::new();
    rig.agent(N1);
    let (start, shop) = rig.owner(N1);
    (rig, start, shop)
}

/// Asks for the offer of an open move.
pub(crate) fn estimate(rig: &mut Rig, start: StartId, shop: Puppet) {
    let operation = moving(start, StartId(9), shop.address, MoveStep::Open).operation;
    let estimate = ToAgent::Estimate { operation: OPERATION, start, mode: Mode::Handoff };
    rig.agents[0].tell(estimate, operation);
}

/// A person asks what a move would cost.
pub(crate) fn asks(question: u64) -> ToAgentLine {
    ToAgentLine::Preview { instance: APP.to_owned(), question, reason: Reason::Person }
}

pub(crate) fn offer(rig: &mut Rig) -> Offer {
    rig.agents[0].hear("an offer", |message| match message {
        FromAgent::Offered { offer, .. } => Some(*offer),
        _ => None,
    })
}

#[test]
fn a_foreign_process_is_refused() {
    let (rig, start, _) = owner();
    let directory = rig.layout.socket_directory(N1, start);
    let mut stream = UnixStream::connect(directory.join("paci.sock")).unwrap();
    stream
        .write_all(b"GET /v1/instance HTTP/1.1\r\nHost: x\r\nPaci: 1\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 403") && reply.contains("PEER_NOT_ALLOWED"), "{reply}");
    let mut stream = UnixStream::connect(directory.join("channel")).unwrap();
    stream.write_all(format!("PACI-CHANNEL 1 {}\n", "0".repeat(32)).as_bytes()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    assert_eq!(reply, "NO TOKEN_UNKNOWN\n");
}

#[test]
fn what_breaks_the_contract_gets_its_code_and_changes_nothing() {
    let (mut rig, start, shop) = owner();
    let head = "HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n";
    let long = "y".repeat(9_000);
    for (request, bytes, status, code) in [
        (format!("GET /v1/instance {head}\\r\\n"), 0, 403, "HEADER_MISSING"),
        (format!("GET /v1/nothing {head}Paci: 1\\r\\n\\r\\n"), 0, 404, "PATH_UNKNOWN"),
        (format!("DELETE /v1/state {head}Paci: 1\\r\\n\\r\\n"), 0, 405, "METHOD_NOT_ALLOWED"),
        (format!("GET /v1/instance {head}Paci: 1\\r\\nX: {long}\\r\\n\\r\\n"), 0, 431, "HEAD_TOO_LARGE"),
        (format!("PUT /v1/state {head}Paci: 1\\r\\nContent-Length: 9\\r\\n\\r\\n"), 9, 400, "MALFORMED"),
        (
            format!("PUT /v1/state {head}Paci: 1\\r\\nContent-Length: 10485760\\r\\n\\r\\n"),
            10 << 20,
            413,
            "BODY_TOO_LARGE",
        ),
        (format!("GET /v1/upcalls/next?waitMs=0 {head}Paci: 1\\r\\n\\r\\n"), 0, 409, "HELLO_REQUIRED"),
        (format!("GET /v1/upcalls/next?waitMs=99999 {head}Paci: 1\\r\\n\\r\\n"), 0, 400, "OUT_OF_BOUNDS"),
    ] {
        let (got, body) = read(&shop.say(&format!("raw {request} {bytes}")));
        assert_eq!((got, body["code"].as_str()), (status, Some(code)), "{request}: {body}");
    }
    assert!(shop.say("raw hello?\\r\\n\\r\\n 0").starts_with("400"), "what is no HTTP at all");
    let strange = shop.call("POST", "/v1/hello", r#"{"versions":["v9"]}"#);
    assert_eq!((strange.0, strange.1["code"].as_str()), (409, Some("VERSION_UNSUPPORTED")));
    let (status, described) = shop.call("GET", "/v1/instance", "");
    assert_eq!((status, described["standing"].as_str()), (200, Some("OWNER")));
    assert_eq!(described["instance"]["startId"], start.to_string());

    // Each is shown to people; the application may never tell.
    for what in [
        "GET /v1/instance: HEADER_MISSING: ",
        "GET /v1/nothing: PATH_UNKNOWN: ",
        "DELETE /v1/state: METHOD_NOT_ALLOWED: ",
        "GET /v1/instance: HEAD_TOO_LARGE: head: ",
        "PUT /v1/state: MALFORMED: ",
        "PUT /v1/state: BODY_TOO_LARGE: a body of 10.0 MiB, at most 16.0 KiB",
        "GET /v1/upcalls/next: OUT_OF_BOUNDS: ",
        "what it sent is no request of HTTP/1.1: ",
    ] {
        let told = breach(&mut rig);
        assert!(told.starts_with(what), "{told}, not {what}");
    }
}

fn breach(rig: &mut Rig) -> String {
    rig.agents[0].hear_note("a breach", |note| match note {
        Note::Breach { what, .. } => Some(what.clone()),
        _ => None,
    })
}

#[test]
fn who_breaks_the_contract_without_end_is_told_of_a_few_times_only() {
    let (mut rig, _, shop) = owner();
    for _ in 0..20 {
        assert_eq!(shop.call("GET", "/v1/nothing", "").0, 404);
    }
    // What is said after them is heard after them.
    shop.call("PUT", "/v1/holds/payroll", r#"{"ops":["stop"],"ttlMs":60000}"#);
    let mut told = 0;
    rig.agents[0].hear_line("the hold", |line| {
        told += u32::from(matches!(line, FromAgentLine::Note { note: Note::Breach { .. }, .. }));
        matches!(line, FromAgentLine::Held { hold: Some(_), .. }).then_some(())
    });
    assert_eq!(told, 8);
}

#[test]
fn every_call_of_a_move_says_who_asks_for_it_and_what_became_of_it() {
    let (mut rig, start, shop) = owner();
    shop.hello(CAPABILITIES);
    shop.ready();
    let why = |upcall: &Value| {
        let text = |name: &str| upcall[name].as_str().unwrap_or_default().to_owned();
        (text("reason"), text("message"))
    };
    rig.agents[0].say(&asks(1));
    let upcall = shop.next();
    let person = |message: &str| ("PERSON".to_owned(), message.to_owned());
    assert_eq!(why(&upcall), person("a person asks what a move would cost"));
    shop.answer(&upcall, json!({"verdict": "DONE", "estimate": {"modes": ["HANDOFF"]}}));
    estimate(&mut rig, start, shop);
    let upcall = shop.next();
    assert_eq!(why(&upcall), person("a person asks for the move from n1 to n2"));
    shop.answer(&upcall, json!({"verdict": "DONE", "estimate": {"modes": ["HANDOFF"]}}));
    rig.agents[0].own(&moving(start, StartId(9), shop.address, MoveStep::Sealing));
    let upcall = shop.next();
    assert!(upcall["seal"].is_object(), "{upcall}");
    assert_eq!(why(&upcall), person("a person asks for the move from n1 to n2"));
    let mut undone = moving(start, StartId(9), shop.address, MoveStep::Undo);
    undone.incarnation = undone.incarnation.next();
    rig.agents[0].own(&undone);
    let upcall = shop.next();
    assert!(upcall["resume"].is_object(), "{upcall}");
    assert_eq!(why(&upcall), person("a person asks for the move from n1 to n2; it was given up"));
}

#[test]
fn answers_that_were_not_asked_for_count_for_nothing() {
    let (mut rig, start, shop) = owner();
    shop.hello(CAPABILITIES);
    let stranger = json!({"operation": 7, "attempt": 1});
    let (status, error) = shop.answer(&stranger, json!({"verdict": "DONE"}));
    assert_eq!((status, error["code"].as_str()), (404, Some("OPERATION_UNKNOWN")));

    rig.agents[0].own(&moving(start, StartId(9), shop.address, MoveStep::Sealing));
    let seal = shop.next();
    let (status, error) = shop.answer(&seal, json!({"verdict": "DONE"}));
    assert_eq!((status, error["code"].as_str()), (400, Some("OUT_OF_BOUNDS")), "a digest is needed");
    let empty = json!({"position": "9", "digest": ""});
    assert_eq!(shop.answer(&seal, json!({"verdict": "DONE", "sealed": empty})).0, 400);
    assert_eq!(shop.answer(&seal, json!({"verdict": "DONE", "sealed": sealed_at(9)})).0, 200);
    assert_eq!(shop.answer(&seal, json!({"verdict": "DONE", "sealed": sealed_at(9)})).0, 200, "said again");
    let (status, error) = shop.answer(&seal, json!({"verdict": "DONE", "sealed": sealed_at(10)}));
    assert_eq!((status, error["code"].as_str()), (409, Some("ANSWER_DIFFERS")));
    let (mut sealed, mut breaches) = (Vec::new(), 0);
    rig.agents[0].hear_line("the breaches", |line| {
        match line {
            FromAgentLine::Machine { message: FromAgent::Sealed { sealed: held, .. }, .. } => {
                sealed.push(held.position);
            }
            FromAgentLine::Note { note: Note::Breach { .. }, .. } => breaches += 1,
            _ => {}
        }
        (breaches == 3).then_some(())
    });
    assert_eq!(sealed, [9]);

    let mut closed = moving(start, StartId(9), shop.address, MoveStep::Sealing);
    closed.operation = None;
    rig.agents[0].own(&closed);
    rig.agents[0].tell(ToAgent::Own(closed), None);
    crate::rig::until("the operation is over", || {
        let late = json!({"verdict": "FAILED", "code": "WRONG_PHASE"});
        (shop.answer(&seal, late).1["code"] == "OPERATION_CLOSED").then_some(())
    });
}

#[test]
fn an_upcall_without_answer_comes_again_and_still_has_its_answer_and_a_newer_poller_takes_over() {
    let (mut rig, start, shop) = owner();
    shop.hello(CAPABILITIES);
    let older = shop.begin("call GET /v1/upcalls/next?waitMs=30000");
    // Its place is taken by whichever of the two came first.
    let newer = shop.begin("call GET /v1/upcalls/next?waitMs=30000");
    crate::rig::until("one of them is superseded", || {
        (older.is_finished() || newer.is_finished()).then_some(())
    });
    estimate(&mut rig, start, shop);
    let (one, other) = (read(&older.join().unwrap()), read(&newer.join().unwrap()));
    let (told, superseded) = if one.0 == 200 { (one, other) } else { (other, one) };
    assert_eq!((superseded.0, superseded.1["code"].as_str()), (409, Some("SUPERSEDED")));
    let upcalls: Vec<_> = std::iter::once(told.1).chain((0..3).map(|_| shop.next())).collect();
    let attempts: Vec<_> = upcalls.iter().map(|upcall| upcall["attempt"].as_u64().unwrap()).collect();
    assert_eq!(attempts, [1, 2, 3, 4]);
    let call = rig.agents[0].hear_note("unresponsive", |note| match note {
        Note::Unresponsive { call, .. } => Some(call.clone()),
        _ => None,
    });
    assert_eq!(call, "estimate");
    assert_eq!(shop.answer(&upcalls[3], json!({"verdict": "DEFER", "retryAfterMs": 700})).0, 200);
    assert_eq!(offer(&mut rig), Offer::Hold { remaining_ms: 700 });
}

#[test]
fn who_is_asked_and_does_not_poll_is_said_not_to_answer_and_on_the_next_link_again() {
    let (mut rig, start, shop) = owner();
    shop.hello(CAPABILITIES);
    estimate(&mut rig, start, shop);
    for _ in 0..2 {
        let silent = rig.agents[0].hear_note("unresponsive", |note| match note {
            Note::Unresponsive { start, call, .. } => Some((*start, call.clone())),
            _ => None,
        });
        assert_eq!(silent, (start, "estimate".to_owned()));
        rig.redial(0);
    }
    let upcall = shop.next();
    assert_eq!(upcall["attempt"], 1, "what was not delivered has used no number up");
    assert_eq!(shop.answer(&upcall, json!({"verdict": "DEFER", "retryAfterMs": 700})).0, 200);
    assert_eq!(offer(&mut rig), Offer::Hold { remaining_ms: 700 });
}

#[test]
fn a_node_knows_the_number_of_an_operation_from_its_first_question_on_whoever_was_killed() {
    let (mut rig, start, shop) = owner();
    shop.hello(CAPABILITIES);
    shop.ready();
    estimate(&mut rig, start, shop);
    shop.next();
    rig.redial(0);
    let known = &rig.agents[0].known[0];
    let recorded = known.record.as_ref().map(|record| record.last_operation);
    assert_eq!((known.operation, recorded), (OPERATION, Some(OperationNumber(0))), "no record has it");
    rig.kill_agent(0);
    assert_eq!(rig.agent(N1).known[0].operation, OPERATION);
}

#[test]
fn after_a_restart_of_the_agent_a_session_goes_on() {
    let (mut rig, start, shop) = owner();
    shop.hello(CAPABILITIES);
    shop.ready();
    let record = moving(start, StartId(9), shop.address, MoveStep::Sealing);
    rig.agents[0].own(&record);
    let first = shop.next();
    rig.kill_agent(0);
    let agent = rig.agent(N1);
    assert_eq!(agent.known[0].alive, [(start, true)], "it may be sealed");
    let (status, error) = shop.call("GET", "/v1/upcalls/next?waitMs=0", "");
    assert_eq!((status, error["code"].as_str()), (409, Some("HELLO_REQUIRED")));
    assert_eq!(shop.hello(CAPABILITIES).1["standing"], "UNDECIDED", "nobody told the new agent yet");
    agent.own(&record);
    let again = crate::rig::until("owner", || {
        Some(shop.hello(CAPABILITIES).1).filter(|it| it["standing"] == "OWNER")
    });
    assert_eq!(again["instance"]["startId"], start.to_string());
    let second = shop.next();
    assert!(second["seal"].is_object() && second["attempt"].as_u64() > first["attempt"].as_u64(), "{second}");
    assert_eq!(
        shop.answer(&first, json!({"verdict": "DONE", "sealed": sealed_at(8)})).0,
        200,
        "counts for nothing"
    );
    shop.answer(&second, json!({"verdict": "DONE", "sealed": sealed_at(9)}));
    let position = rig.agents[0].hear("sealed", |message| match message {
        FromAgent::Sealed { sealed, .. } => Some(sealed.position),
        _ => None,
    });
    assert_eq!(position, 9);
}

#[test]
fn a_hold_is_the_offer_until_it_is_released() {
    let (mut rig, start, shop) = owner();
    shop.hello(CAPABILITIES);
    let (status, granted) = shop.call("PUT", "/v1/holds/payroll", r#"{"ops":["move"],"ttlMs":60000}"#);
    assert_eq!((status, granted["grantedTtlMs"].as_u64()), (200, Some(60_000)));
    let (status, error) = shop.call("PUT", "/v1/holds/payroll", r#"{"ops":["moves"],"ttlMs":1}"#);
    assert_eq!((status, error["code"].as_str()), (400, Some("OUT_OF_BOUNDS")));
    assert_eq!(
        error["message"], r#"ops: "moves", want one of drain, move, stop"#,
        "and the hold of before stands"
    );
    estimate(&mut rig, start, shop);
    assert!(matches!(offer(&mut rig), Offer::Hold { remaining_ms: 1..=60_000 }));
    for number in 1..32 {
        assert_eq!(shop.call("PUT", &format!("/v1/holds/k{number}"), r#"{"ttlMs":60000}"#).0, 200);
    }
    let (status, error) = shop.call("PUT", "/v1/holds/more", r#"{"ttlMs":60000}"#);
    assert_eq!((status, error["code"].as_str()), (429, Some("HOLDS_FULL")));
}

#[test]
fn who_asks_not_to_be_stopped_is_told_of_again_to_each_controller_until_it_is_dead() {
    let (mut rig, start, shop) = owner();
    let until = |rig: &mut Rig| {
        rig.agents[0].hear_line("a hold", |line| match line {
            FromAgentLine::Held { start: of, op: HeldOp::Stop, hold, .. } if *of == start => {
                Some(hold.clone())
            }
            _ => None,
        })
    };
    let hold = r#"{"ops":["stop"],"ttlMs":60000,"reason":"month end"}"#;
    assert_eq!(shop.call("PUT", "/v1/holds/payroll", hold).0, 200);
    let first = loop {
        // That it asks for nothing was said when it was started, perhaps.
        if let Some(hold) = until(&mut rig) {
            break hold;
        }
    };
    assert_eq!(first.reason, "payroll: month end");
    rig.redial(0);
    let again = until(&mut rig).unwrap();
    // When that is by the wall is worked out at each telling, from two clocks that are read one after the other.
    let apart_ms = again.until_unix_ms.abs_diff(first.until_unix_ms);
    assert!(again.reason == first.reason && apart_ms < 5_000, "{again:?}, {first:?}");
    assert_eq!(shop.call("PUT", "/v1/holds/payroll", r#"{"ttlMs":0}"#).0, 200);
    assert_eq!(until(&mut rig), None);
    assert_eq!(shop.call("PUT", "/v1/holds/payroll", hold).0, 200);
    assert!(until(&mut rig).is_some());
    shop.say("exit 0");
    assert_eq!(until(&mut rig), None);
}

#[test]
fn who_asks_to_be_left_alone_is_told_of_for_each_kind_of_operation() {
    let (mut rig, start, shop) = owner();
    let hold = r#"{"ops":["drain","move"],"ttlMs":60000,"reason":"until noon"}"#;
    assert_eq!(shop.call("PUT", "/v1/holds/backup", hold).0, 200);
    let told = rig.agents[0].hear_line("a hold on moves", |line| match line {
        FromAgentLine::Held { start: of, op: HeldOp::Move, hold: Some(hold), .. } if *of == start => {
            Some(hold.reason.clone())
        }
        _ => None,
    });
    assert_eq!(told, "backup: until noon");
    assert_eq!(shop.call("PUT", "/v1/holds/backup", r#"{"ttlMs":60000}"#).0, 200);
    let told = rig.agents[0].hear_line("a hold on everything", |line| match line {
        FromAgentLine::Held { op: HeldOp::Stop, hold: Some(hold), .. } => Some(hold.reason.clone()),
        _ => None,
    });
    assert_eq!(told, "backup");
}

#[test]
fn an_owner_that_is_not_ready_is_told_of_with_its_reason_to_each_controller_until_it_is() {
    let (mut rig, start, shop) = owner();
    shop.hello(CAPABILITIES);
    let told = |rig: &mut Rig| {
        rig.agents[0].hear_line("whether it is ready", |line| match line {
            FromAgentLine::Unready { start: of, unready, .. } if *of == start => Some(unready.clone()),
            _ => None,
        })
    };
    let state = r#"{"state":"NOT_READY","message":"it warms its cache"}"#;
    assert_eq!(shop.call("PUT", "/v1/state", state).0, 200);
    let unready = loop {
        // That there is nothing to say yet was said when the agent dialled, perhaps.
        if let Some(unready) = told(&mut rig) {
            break unready;
        }
    };
    assert_eq!(
        (unready.asked.as_str(), unready.answered.as_str()),
        ("PaCI SetState", "the application says NOT_READY: it warms its cache")
    );
    let noted = rig.agents[0].hear_note("why it is not ready", |note| match note {
        Note::Unready { start: of, unready } if *of == start => Some(unready.clone()),
        _ => None,
    });
    assert_eq!(noted, unready);
    rig.redial(0);
    assert_eq!(told(&mut rig), Some(unready));
    shop.ready();
    assert_eq!(told(&mut rig), None);
}

#[test]
fn a_state_that_changes_nothing_is_told_and_an_exit_that_was_said_before_is_expected() {
    let (mut rig, start, shop) = owner();
    shop.ready();
    let state = r#"{"state":"STOPPING","message":"its licence is over"}"#;
    assert_eq!(shop.call("PUT", "/v1/state", state).0, 200);
    let said = rig.agents[0].hear_note("its state", |note| match note {
        Note::Reason(said) => Some(said.clone()),
        _ => None,
    });
    assert_eq!(said, "it was ready, and is STOPPING: its licence is over");
    shop.say("exit 0");
    let how = rig.agents[0].hear_death(start);
    assert_eq!(how, "exited with status 0, as it had said that it would stop");
}

#[test]
fn an_upcall_that_is_there_is_had_without_waiting() {
    let (mut rig, start, shop) = owner();
    shop.hello(CAPABILITIES);
    assert_eq!(shop.call("GET", "/v1/upcalls/next", "").0, 204);
    rig.agents[0].own(&moving(start, StartId(9), shop.address, MoveStep::Sealing));
    crate::rig::until("it is noted as sealed", || {
        rig.process_dir(N1, start).join("sealed").exists().then_some(())
    });
    // The note is written just before the question is there, in the same turn of the agent's loop.
    let (status, seal) = shop.call("GET", "/v1/upcalls/next", "");
    assert_eq!(status, 200);
    assert!(seal["seal"].is_object(), "{seal}");
}

#[test]
fn a_program_that_does_not_claim_the_handoff_is_not_asked() {
    let (mut rig, start, shop) = owner();
    shop.hello(&["stop"]);
    estimate(&mut rig, start, shop);
    assert_eq!(offer(&mut rig), Offer::Refuse);
}

#[test]
fn one_that_claims_the_handoff_is_restarted_only_by_a_persons_word_on_this_move() {
    let (mut rig, start, shop) = owner();
    shop.hello(CAPABILITIES);
    let operation = moving_in(Mode::Restart, start, StartId(9), shop.address, MoveStep::Open).operation;
    let estimate = ToAgent::Estimate { operation: OPERATION, start, mode: Mode::Restart };
    rig.agents[0].tell(estimate, operation.clone());
    let why = rig.agents[0].hear_note("why", |note| match note {
        Note::Remark { by: Speaker::Agent, what } => Some(what.clone()),
        _ => None,
    });
    assert!(why.contains("no person consented"), "{why}");
    assert_eq!(offer(&mut rig), Offer::Refuse);

    let (mut rig, start, shop) = owner();
    shop.hello(CAPABILITIES);
    let estimate = ToAgent::Estimate { operation: OPERATION, start, mode: Mode::Restart };
    rig.agents[0].tell_on(Terms { loss_accepted: true, ..Terms::default() }, estimate, operation);
    assert_eq!(offer(&mut rig), Offer::Accept);
}

#[test]
fn an_application_that_exits_during_an_upcall_is_dead() {
    let (mut rig, start, shop) = owner();
    shop.hello(CAPABILITIES);
    estimate(&mut rig, start, shop);
    assert!(shop.next()["estimate"].is_object());
    shop.say("exit 4");
    let how = rig.agents[0].hear_death(start);
    assert!(how.contains("status 4"), "{how}");
}

#[test]
fn a_program_of_curl_and_sh_is_a_full_participant() {
    let curl = std::process::Command::new("curl").arg("--version").output();
    assert!(curl.is_ok_and(|curl| curl.status.success()), "README says that curl is needed");
    let script = r#"
        set -e
        socket="${PACI_ENDPOINT#unix://}"
        say() { curl -sS --unix-socket "$socket" -H 'Paci: 1' "$@"; }
        say -X POST -d '{"versions":["v1"],"capabilities":["move.estimate","move.handoff"]}' http://p/v1/hello
        say -X PUT -d '{"state":"READY"}' http://p/v1/state
        upcall=$(say 'http://p/v1/upcalls/next?waitMs=25000')
        operation=$(echo "$upcall" | sed 's/.*"operation":\([0-9]*\).*/\1/')
        attempt=$(echo "$upcall" | sed 's/.*"attempt":\([0-9]*\).*/\1/')
        say -d "{\"operation\":$operation,\"attempt\":$attempt,\"verdict\":\"DEFER\",\"retryAfterMs\":42}" \
            "http://p/v1/upcalls/$operation"
        sleep 600
    "#;
    let mut rig = Rig::with(|app| app.command = ["sh", "-c", script].map(str::to_owned).to_vec());
    rig.agent(N1);
    let (start, shop) = rig.owner(N1);
    estimate(&mut rig, start, shop);
    assert_eq!(offer(&mut rig), Offer::Hold { remaining_ms: 42 });
}

#[test]
fn what_names_no_owner_is_undecided() {
    let (mut rig, start, shop) = owner();
    rig.kill_agent(0);
    rig.agent(N1);
    let (status, described): (u16, Value) = shop.call("GET", "/v1/instance", "");
    assert_eq!((status, described["standing"].as_str()), (200, Some("UNDECIDED")));
    let other = Record::first(Placement::new(N1, StartId(0xabc)));
    let mut newer = other;
    newer.incarnation = newer.incarnation.next();
    rig.agents[0].own(&newer);
    crate::rig::until("outdated", || {
        let (_, hello) = shop.hello(&[]);
        (hello["standing"] != "OWNER" && hello["instance"]["startId"] == start.to_string()).then_some(())
    });
}
