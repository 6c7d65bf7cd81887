//! A handler that never gives its guard back.

use crate::clients::Clients;
use crate::rig::{Rig, wait_until};
use serde_json::{Value, json};

const ROUTE: &str = "GET /faults/hold-guard";

fn held(note: &Value) -> u64 {
    assert_eq!(note["blocked"]["route"], ROUTE, "{note}");
    note["blocked"]["held_ms"].as_u64().expect("an age")
}

#[test]
fn a_guard_that_is_held_for_ever_is_named_with_its_age_and_the_source_serves_on() {
    let budgets = json!({ "park": "300ms", "guardWait": "200ms", "seal": "2s" });
    let rig =
        Rig::sessions(&json!({ "move": budgets, "drain": "100ms" }), &json!({ "SESSIONS_FAULTS": "1" }));
    let mut up = rig.up(&[]);
    up.serving();
    let owner = rig.record().expect("it serves")["owner"].clone();
    let mut clients = Clients::modest(&rig, 10);
    let _never_answered = rig.send(0, ROUTE, "");
    wait_until("the guard is held", || rig.ask(1, "GET /faults/held") == "1\n");

    let text = rig.run(&["move", "sessions"]);
    assert_eq!(text.code, 1, "{}{}", text.out, text.err);
    assert!(text.out.starts_with("sessions stays on n1: rolled back after"), "{}", text.out);
    let error = text.err.lines().find(|line| line.starts_with("error: sessions: ")).expect("an error");
    for part in ["SEAL_BLOCKED", ROUTE, "held for ", "it serves on n1"] {
        assert!(error.contains(part), "{part}: {error}");
    }

    let json = rig.run(&["move", "sessions", "--output", "json"]);
    let object: Value = serde_json::from_str(&json.out).expect("one object");
    assert_eq!((json.code, &object["error"]["code"]), (1, &"rolled_back".into()), "{object:#}");
    assert_eq!(object["outcome"]["committed"], false, "{object:#}");
    assert!(object["outcome"]["cause"].as_str().is_some_and(|it| it.contains("SEAL_BLOCKED")), "{object:#}");
    assert!(held(&object["outcome"]["because"]) >= 200, "it waited so long for the guard: {object:#}");
    let noted = rig.events();
    let noted: Vec<_> = noted.iter().filter(|event| !event["what"]["note"]["blocked"].is_null()).collect();
    assert_eq!(noted.len(), 2, "a note a move: {noted:#?}");
    noted.into_iter().for_each(|event| assert!(held(&event["what"]["note"]) >= 200, "{event}"));

    let record = rig.record().expect("the controller answers");
    assert_eq!((&record["owner"], &record["operation"]), (&owner, &Value::Null), "the same process owns");
    let sockets = clients.audit_clean().sockets;
    assert!(sockets.closes.is_empty(), "nobody moved: {sockets:?}");

    assert_eq!(rig.ask(1, "GET /faults/let-go"), "1 let go\n");
    assert_eq!(rig.json(&["move", "sessions"])["outcome"]["node"], 2);
    clients.audit_clean();
}
