//! A move by handing over, told by a controller that is the test itself, with real agents, shims and programs.

use crate::rig::{N1, N2, Rig, kill, moving, puppet, sealed_at, until};
use paci::call::Schema;
use paci::participant::Side;
use paracloud_core::ids::OperationNumber;
use paracloud_core::migration::message::{FromAgent, Offer, ToAgent};
use paracloud_core::register::{Mode, MoveStep};
use paracloud_substrate::message::{Note, Terms};
use paracloud_substrate::trace;
use rustix::process::Signal;
use serde_json::json;

const OPERATION: OperationNumber = OperationNumber(1);
const CAPABILITIES: &[&str] = &["move.handoff", "move.estimate", "stop"];

#[test]
fn a_move_goes_from_estimate_to_serve_and_the_source_is_ended() {
    let mut rig = Rig::new();
    rig.set(trace::SWITCH, "1");
    rig.agent(N1);
    let (source, shop) = rig.owner(N1);
    let (status, hello) = shop.hello(CAPABILITIES);
    assert_eq!((status, hello["standing"].as_str()), (200, Some("OWNER")), "{hello}");
    assert_eq!(hello["instance"]["startId"], source.to_string());
    shop.ready();
    rig.agent(N2);
    let target = rig.fresh();
    let record = |step| moving(source, target, shop.address, step);
    let [n1, n2] = &mut rig.agents[..] else { panic!("two agents") };

    n1.tell(
        ToAgent::Estimate { operation: OPERATION, start: source, mode: Mode::Handoff },
        record(MoveStep::Open).operation,
    );
    let estimate = shop.next();
    assert_eq!(estimate["estimate"], json!({}));
    assert_eq!(shop.answer(&estimate, json!({"verdict": "DONE", "estimate": {"modes": ["HANDOFF"]}})).0, 200);
    n1.hear("the offer", |message| match message {
        FromAgent::Offered { operation: OPERATION, offer: Offer::Accept } => Some(()),
        _ => None,
    });

    let prepare = |start, side| ToAgent::Prepare { operation: OPERATION, start, side, mode: Mode::Handoff };
    n2.tell(prepare(target, Side::Target), record(MoveStep::Open).operation);
    let filled = puppet(&rig.layout, N2, target);
    assert_eq!(filled.hello(CAPABILITIES).1["standing"], "STAGING");
    let upcall = filled.next();
    assert_eq!(upcall["prepare"]["side"], "TARGET");
    assert_eq!(filled.say(&format!("join {}", upcall["prepare"]["channelToken"].as_str().unwrap())), "OK");
    filled.answer(&upcall, json!({"verdict": "IN_PROGRESS", "copy": {"staged": true}}));
    n2.hear("prepared", |message| match message {
        FromAgent::Prepared { start, .. } if *start == target => Some(()),
        _ => None,
    });

    n1.tell(prepare(source, Side::Source), record(MoveStep::Open).operation);
    let given = shop.next();
    assert_eq!(given["prepare"]["side"], "SOURCE");
    assert_eq!(shop.say(&format!("join {}", given["prepare"]["channelToken"].as_str().unwrap())), "OK");
    let copy = json!({"staged": true, "sentKib": 3, "remainingRecords": 2, "predictedPauseMs": 1});
    shop.answer(&given, json!({"verdict": "IN_PROGRESS", "copy": copy}));
    let pause_ms = n1.hear("progress", |message| match message {
        FromAgent::Progressed { progress, .. } => Some(progress.predicted_pause_ms),
        _ => None,
    });
    assert_eq!(pause_ms, 1);
    let received = filled.begin("receive");
    assert_eq!(shop.say("send 5000000"), "sent");
    assert_eq!(received.join().unwrap(), "5000000");

    n1.own(&record(MoveStep::Sealing));
    n2.own(&record(MoveStep::Sealing));
    let seal = shop.next();
    let noted = std::fs::read_to_string(rig.layout.process(N1, source).join("sealed")).unwrap();
    assert!(seal["seal"].is_object(), "{seal}");
    assert_eq!(noted.trim().parse().ok(), seal["operation"].as_u64());
    assert_eq!(shop.answer(&seal, json!({"verdict": "DONE", "sealed": sealed_at(9)})).0, 200);
    let position = n1.hear("sealed", |message| match message {
        FromAgent::Sealed { sealed, .. } => Some(sealed.position),
        _ => None,
    });
    assert_eq!(position, 9);
    let loaded =
        json!({"position": "9", "digest": "ab".repeat(16), "endPosition": "9", "endDigest": "ab".repeat(16)});
    assert_eq!(filled.answer(&upcall, json!({"verdict": "DONE", "loaded": loaded})).0, 200);
    let (held, stated) = n2.hear("loaded", |message| match message {
        FromAgent::Loaded { held, stated, .. } => Some((held.clone(), stated.clone())),
        _ => None,
    });
    assert_eq!(held, stated);

    n2.own(&record(MoveStep::Switch));
    let resume = filled.next();
    assert_eq!(resume["resume"], json!({"incarnation": 2, "outcome": "COMMITTED"}));
    filled.answer(&resume, json!({"verdict": "DONE"}));
    let incarnation = n2.hear("ready", |message| match message {
        FromAgent::Ready { start, incarnation, .. } if *start == target => Some(incarnation.0),
        _ => None,
    });
    assert_eq!(incarnation, 2);
    n2.own(&record(MoveStep::Retire));
    let serve = filled.next();
    assert_eq!(serve["serve"], json!({"incarnation": 2}));
    filled.answer(&serve, json!({"verdict": "DONE"}));
    n2.hear("serving", |message| match message {
        FromAgent::Serving { start, .. } if *start == target => Some(()),
        _ => None,
    });
    let order = record(MoveStep::Retire).order();
    n1.own(&record(MoveStep::Retire));
    n1.tell(ToAgent::End { operation: OPERATION, start: source, order }, record(MoveStep::Retire).operation);
    let how = n1.hear_death(source);
    assert!(how.contains("signal 15"), "{how}");
    assert!(!rig.layout.socket_directory(N1, source).exists(), "nobody speaks for a dead process");

    for agent in &mut rig.agents {
        kill(i32::try_from(agent.process.id()).unwrap(), Signal::TERM);
        until("an agent ends", || agent.process.try_wait().unwrap());
    }
    let logs: Vec<_> =
        std::fs::read_dir(rig.layout.trace()).unwrap().map(|log| log.unwrap().path()).collect();
    assert_eq!(logs.len(), 4, "two agents and two shims: {logs:?}");
    for log in logs {
        assert!(trace::replay(&log).unwrap().inputs > 2, "{log:?}");
    }
}

#[test]
fn a_target_is_told_what_the_source_sends_and_its_refusal_names_both_schemas() {
    let mut rig = Rig::new();
    rig.agent(N1);
    rig.agent(N2);
    let (source, target) = (rig.fresh(), rig.fresh());
    let open = moving(source, target, "127.0.0.1:1".parse().unwrap(), MoveStep::Open);
    let schema = Schema { name: "ledger".to_owned(), version: 3 };
    let terms = Terms { schema: Some(schema), ..Terms::default() };
    let prepare =
        ToAgent::Prepare { operation: OPERATION, start: target, side: Side::Target, mode: Mode::Handoff };
    rig.agents[1].tell_on(terms, prepare, open.operation.clone());
    let filled = puppet(&rig.layout, N2, target);
    assert_eq!(filled.hello(CAPABILITIES).1["standing"], "STAGING");
    let upcall = filled.next();
    assert_eq!(upcall["prepare"]["schema"], json!({"name": "ledger", "version": 3}), "{upcall}");
    let refusal =
        json!({"verdict": "REFUSE", "code": "SCHEMA_UNKNOWN", "message": "this reads ledger 1 and 2"});
    assert_eq!(filled.answer(&upcall, refusal).0, 200);
    let (code, message) = rig.agents[1].hear_note("the reason", |note| match note {
        Note::Failure { start, code, message } if *start == target => Some((code.clone(), message.clone())),
        _ => None,
    });
    assert_eq!(
        (code.as_str(), message.as_str()),
        ("SCHEMA_UNKNOWN", "the source has ledger 3: this reads ledger 1 and 2")
    );
    rig.agents[1].hear("that it failed", |message| match message {
        FromAgent::Failed { start, .. } if *start == target => Some(()),
        _ => None,
    });
}
