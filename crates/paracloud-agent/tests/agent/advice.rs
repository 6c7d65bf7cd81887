//! What an application says of itself for a time: gated, bounded, told to the controller, and over with its lease.

use crate::contract::owner;
use crate::rig::{Agent, N1, Puppet, kill, until};
use paci::ask::Wish;
use paci::state::State;
use paracloud_core::ids::{Placement, StartId};
use paracloud_core::register::Record;
use paracloud_substrate::advice::Advice;
use paracloud_substrate::message::{FromAgentLine, Note};
use rustix::process::Signal;
use serde_json::{Value, json};

const ALL: &[&str] = &["report", "announce", "ask", "pausing", "cold", "scale.quote", "resize.memory"];

/// The next that is told of a process for which there is something here.
fn told<T>(agent: &mut Agent, what: &str, look: impl Fn(&Advice) -> Option<T>) -> T {
    agent.hear_line(what, |line| match line {
        FromAgentLine::Advice { advice, .. } => look(advice),
        _ => None,
    })
}

fn said(shop: Puppet, method: &str, target: &str, body: &Value) -> (u16, Value) {
    shop.call(method, target, &body.to_string())
}

#[test]
fn a_report_is_told_with_what_is_left_of_it_and_that_it_is_over() {
    let (mut rig, start, shop) = owner();
    shop.hello(ALL);
    let report = json!({"validForMs": 400, "workUnit": "job", "queued": 3, "backlogMs": 1500});
    let (status, granted) = said(shop, "PUT", "/v1/report", &report);
    assert_eq!((status, &granted["grantedValidForMs"]), (200, &json!(400)));
    let agent = &mut rig.agents[0];
    let report = agent.hear_line("a report", |line| match line {
        FromAgentLine::Advice { start: of, advice, .. } if *of == start => advice.report.clone(),
        _ => None,
    });
    assert_eq!((report.said.queued, report.said.capacity_milli_per_s), (Some(3), None));
    assert!((1..=400).contains(&report.remaining_ms), "{report:?}");
    told(agent, "that it is over", |advice| advice.report.is_none().then_some(()));
}

#[test]
fn a_pause_is_told_beside_the_state_and_a_cold_one_is_ready_when_it_is_warm() {
    let (mut rig, _, shop) = owner();
    shop.hello(ALL);
    shop.ready();
    let pausing = json!({"state": "PAUSING", "inMs": 50, "forMs": 200, "message": "a collection"});
    assert_eq!(said(shop, "PUT", "/v1/state", &pausing).0, 200);
    let agent = &mut rig.agents[0];
    let (state, pause) =
        told(agent, "a pause", |advice| advice.pause.map(|pause| (advice.state.clone(), pause)));
    assert_eq!(state.map(|state| state.said), Some(State::Ready));
    assert!(pause.in_ms <= 50 && pause.for_ms <= 200, "{pause:?}");
    told(agent, "that it is over", |advice| advice.pause.is_none().then_some(()));
    let cold = json!({"state": "COLD", "warmupMs": 300, "capacityPermille": 500});
    assert_eq!(said(shop, "PUT", "/v1/state", &cold).0, 200);
    let cold = told(agent, "that it is cold", |advice| advice.cold);
    assert_eq!(cold.capacity_permille, Some(500));
    let state = told(agent, "that it is warm", |advice| {
        advice.cold.is_none().then(|| advice.state.clone().unwrap().said)
    });
    assert_eq!(state, State::Ready);
}

#[test]
fn announcements_and_asks_are_told_until_they_are_taken_back_and_again_on_a_new_link() {
    let (mut rig, _, shop) = owner();
    shop.hello(ALL);
    let sale = json!({"beginsInMs": 60_000, "lasts_ms": 5, "lastsMs": 60_000, "demandMilliPerS": 500_000});
    let (status, stands) = said(shop, "PUT", "/v1/announcements/sale", &sale);
    assert_eq!((status, &stands["stands"]), (200, &json!(true)));
    let ask = json!({"validForMs": 60_000, "replicas": {"count": 3}, "reason": "the queue grows"});
    assert_eq!(said(shop, "PUT", "/v1/ask", &ask).1["grantedValidForMs"], 60_000);
    rig.redial(0);
    let agent = &mut rig.agents[0];
    let all = told(agent, "all of it again", |advice| Some(advice.clone()));
    assert_eq!(all.announcements[0].said.id, "sale");
    assert!(all.announcements[0].begins_in_ms() <= 60_000);
    assert_eq!(all.asks.len(), 1);
    assert_eq!(said(shop, "PUT", "/v1/announcements/sale", &json!({"lastsMs": 0})).1["stands"], false);
    let withdrawn = json!({"replicas": {}});
    assert_eq!(said(shop, "PUT", "/v1/ask", &withdrawn).1["grantedValidForMs"], 0);
    told(agent, "nothing", |advice| {
        (advice.announcements.is_empty() && advice.asks.is_empty()).then_some(())
    });
    for number in 0..16 {
        assert_eq!(said(shop, "PUT", &format!("/v1/announcements/a{number}"), &sale).0, 200);
    }
    let (status, full) = said(shop, "PUT", "/v1/announcements/more", &sale);
    assert_eq!((status, &full["code"], &full["next"]), (429, &json!("ANNOUNCEMENTS_FULL"), &json!("FIX")));
    assert_eq!(full["message"], "16 announcements stand already");
}

#[test]
fn one_ask_of_each_kind_stands_the_last_one_counts_and_each_ends_with_its_lease() {
    let (mut rig, _, shop) = owner();
    shop.hello(ALL);
    let asks = [
        json!({"validForMs": 60_000, "moveMe": {}, "reason": "the disk is slow"}),
        json!({"validForMs": 60_000, "replicas": {"count": 3}}),
        json!({"validForMs": 60_000, "size": {"memoryKib": 524_288}}),
        json!({"validForMs": 600_000, "retireMe": {}}),
        // In the place of the one before; it is over first.
        json!({"validForMs": 300, "size": {"memoryKib": 1_048_576}}),
    ];
    for ask in &asks {
        let (status, granted) = said(shop, "PUT", "/v1/ask", ask);
        assert_eq!((status, &granted["grantedValidForMs"]), (200, &ask["validForMs"]), "{ask}");
    }
    let agent = &mut rig.agents[0];
    let kinds = |advice: &Advice| {
        let names = advice.asks.iter().filter_map(|ask| Some(ask.said.wish.as_ref()?.name()));
        names.collect::<Vec<_>>()
    };
    let size = told(agent, "all four", |advice| {
        let size = advice.asks.iter().find_map(|ask| match &ask.said.wish {
            Some(Wish::Size(size)) if advice.asks.len() == 4 => Some(*size),
            _ => None,
        })?;
        (size.memory_kib == Some(1_048_576)).then_some(size)
    });
    assert_eq!(size.cpu_millis, None);
    let left = told(agent, "that one is over", |advice| (advice.asks.len() == 3).then(|| kinds(advice)));
    assert_eq!(left, ["moveMe", "replicas", "retireMe"]);
}

#[test]
fn each_call_needs_a_hello_to_this_agent_and_its_capability_and_says_which() {
    let (mut rig, _, shop) = owner();
    let pausing = json!({"state": "PAUSING", "forMs": 1});
    let cold = json!({"state": "COLD", "warmupMs": 1});
    let calls = [
        ("/v1/report", json!({"validForMs": 1}), "report"),
        ("/v1/announcements/a", json!({}), "announce"),
        ("/v1/ask", json!({"moveMe": {}}), "ask"),
        ("/v1/state", pausing, "pausing"),
        ("/v1/state", cold, "cold"),
    ];
    for (target, body, _) in &calls {
        let (status, error) = said(shop, "PUT", target, body);
        assert_eq!((status, &error["code"]), (409, &json!("HELLO_REQUIRED")), "{target}");
        assert_eq!(error["next"], "SAY_HELLO");
    }
    for (target, body, capability) in &calls {
        let others: Vec<_> = ALL.iter().copied().filter(|other| other != capability).collect();
        shop.hello(&others);
        let (status, error) = said(shop, "PUT", target, body);
        assert_eq!(
            (status, &error["code"], &error["next"]),
            (403, &json!("CAPABILITY_MISSING"), &json!("FIX"))
        );
        let why = format!("it needs the capability {capability}, which this process did not claim in Hello");
        assert_eq!(error["message"], why.as_str());
        // People hear of it: to the application it is an error like any other.
        rig.agents[0].hear_note("a breach", |note| match note {
            Note::Breach { what, .. } if what.contains(&why) => Some(()),
            _ => None,
        });
        shop.hello(&[capability]);
        assert_eq!(said(shop, "PUT", target, body).0, 200, "{target}");
    }
    // Without any capability it may say these.
    shop.hello(&[]);
    for state in ["READY", "DRAINING", "NOT_READY", "STOPPING"] {
        assert_eq!(said(shop, "PUT", "/v1/state", &json!({"state": state})).0, 200, "{state}");
    }
}

#[test]
fn what_is_wrong_is_refused_by_name_with_what_to_do_and_changes_nothing() {
    let (mut rig, _, shop) = owner();
    shop.hello(ALL);
    let stands = json!({"validForMs": 60_000, "queued": 7});
    assert_eq!(said(shop, "PUT", "/v1/report", &stands).0, 200);
    let long = format!(r#"{{"validForMs":1,"x":"{}"}}"#, "x".repeat(4_096));
    let longer = format!(r#"{{"lastsMs":1,"reason":"{}"}}"#, "x".repeat(16_384));
    for (method, target, body, status, code, why) in [
        ("PUT", "/v1/report", "{}", 400, "OUT_OF_BOUNDS", "validForMs: missing"),
        ("PUT", "/v1/report", r#"{"validForMs":60001}"#, 400, "OUT_OF_BOUNDS", "at most 60000"),
        (
            "PUT",
            "/v1/report",
            r#"{"validForMs":1,"queued":-1}"#,
            400,
            "MALFORMED",
            "queued: -1, want a whole number",
        ),
        (
            "PUT",
            "/v1/report",
            r#"{"validForMs":1,"queued":1,"queued":2}"#,
            400,
            "MALFORMED",
            "queued: given twice",
        ),
        (
            "PUT",
            "/v1/report",
            r#"{"validForMs":1,"concurrency":0}"#,
            400,
            "OUT_OF_BOUNDS",
            "concurrency: 0, must be at least 1",
        ),
        ("PUT", "/v1/report", r#"{"validForMs":1,"#, 400, "MALFORMED", "ends at line 1, column 16"),
        (
            "PUT",
            "/v1/report",
            r#"{"validForMs":1,"backlogMs":0.5}"#,
            400,
            "MALFORMED",
            "backlogMs: 0.5, want",
        ),
        ("PUT", "/v1/report", r#"{"validForMs":1,"tightest":"cpu"}"#, 400, "OUT_OF_BOUNDS", "tightest"),
        ("PUT", "/v1/report", "[]", 400, "MALFORMED", "the body is a list, want a JSON object"),
        ("PUT", "/v1/report", "", 400, "MALFORMED", "the body is empty"),
        ("PUT", "/v1/report", &long, 413, "BODY_TOO_LARGE", "at most 4096"),
        ("POST", "/v1/report", "{}", 405, "METHOD_NOT_ALLOWED", "/v1/report: \"POST\", want PUT"),
        ("PUT", "/v1/report/x", "{}", 404, "PATH_UNKNOWN", "\"/v1/report/x\" is no path"),
        ("PUT", "/v1/announcements/", "{}", 400, "OUT_OF_BOUNDS", "id: missing"),
        ("PUT", "/v1/announcements/a%2Fb", "{}", 400, "OUT_OF_BOUNDS", "id"),
        ("PUT", "/v1/announcements/a", r#"{"id":"b"}"#, 400, "OUT_OF_BOUNDS", "the path names another"),
        ("PUT", "/v1/announcements/a", r#"{"lastsMs":86400001}"#, 400, "OUT_OF_BOUNDS", "lastsMs"),
        ("PUT", "/v1/announcements/a", &longer, 413, "BODY_TOO_LARGE", "at most 16384"),
        ("PUT", "/v1/ask", "{}", 400, "OUT_OF_BOUNDS", "wish: none of moveMe, replicas, size, retireMe"),
        ("PUT", "/v1/ask", r#"{"validForMs":600001,"moveMe":{}}"#, 400, "OUT_OF_BOUNDS", "validForMs"),
        (
            "PUT",
            "/v1/ask",
            r#"{"moveMe":{},"retireMe":{}}"#,
            400,
            "MALFORMED",
            "moveMe and retireMe are both given",
        ),
        (
            "PUT",
            "/v1/ask",
            r#"{"validForMs":1,"replicas":{"count":0}}"#,
            400,
            "OUT_OF_BOUNDS",
            "replicas.count: missing or 0",
        ),
        (
            "PUT",
            "/v1/ask",
            r#"{"validForMs":1,"size":{"memoryKib":0}}"#,
            400,
            "OUT_OF_BOUNDS",
            "size.memoryKib: 0, must be",
        ),
        (
            "PUT",
            "/v1/ask",
            r#"{"validForMs":1,"size":{}}"#,
            400,
            "OUT_OF_BOUNDS",
            "size: none of memoryKib, cpuMillis",
        ),
        ("PUT", "/v1/state", r#"{"state":"PAUSING"}"#, 400, "OUT_OF_BOUNDS", "forMs: missing"),
        ("PUT", "/v1/state", r#"{"state":"PAUSING","forMs":60001}"#, 400, "OUT_OF_BOUNDS", "forMs"),
        ("PUT", "/v1/state", r#"{"state":"COLD"}"#, 400, "OUT_OF_BOUNDS", "warmupMs: missing"),
        ("PUT", "/v1/state", r#"{"state":"READY","inMs":1}"#, 400, "OUT_OF_BOUNDS", "it goes with PAUSING"),
        (
            "PUT",
            "/v1/state",
            r#"{"state":"DEGRADED"}"#,
            400,
            "OUT_OF_BOUNDS",
            "\"DEGRADED\", want one of READY, ",
        ),
    ] {
        let (got, error) = shop.call(method, target, body);
        let shown = &body[..body.len().min(60)];
        assert_eq!((got, error["code"].as_str()), (status, Some(code)), "{method} {target} {shown}: {error}");
        assert!(error["message"].as_str().unwrap().contains(why), "{target} {shown}: {error}");
        assert_eq!(error["next"], "FIX", "{target} {shown}");
    }
    rig.redial(0);
    let all = told(&mut rig.agents[0], "what stood before", |advice| Some(advice.clone()));
    assert_eq!(all.report.unwrap().said.queued, Some(7));
    assert!(all.announcements.is_empty() && all.asks.is_empty() && all.pause.is_none());
    assert_eq!(said(shop, "PUT", "/v1/report", &json!({"validForMs": 60_000, "queued": 8})).0, 200);
    told(&mut rig.agents[0], "a report that is right", |advice| {
        advice.report.clone().filter(|report| report.said.queued == Some(8))
    });
}

#[test]
fn of_an_agent_that_is_gone_only_the_state_is_left_and_the_application_hears_of_that() {
    let (mut rig, start, shop) = owner();
    shop.hello(ALL);
    shop.ready();
    let report = json!({"validForMs": 60_000, "queued": 7});
    assert_eq!(said(shop, "PUT", "/v1/report", &report).0, 200);
    told(&mut rig.agents[0], "a report", |advice| advice.report.clone());
    // It is not kept in the moment in which it is said: that could be in a pause.
    let session = rig.process_dir(N1, start).join("session.json");
    until("the state is kept", || {
        std::fs::read_to_string(&session).ok().filter(|kept| kept.contains("READY"))
    });
    rig.kill_agent(0);
    let agent = rig.agent(N1);
    agent.own(&Record::first(Placement::new(N1, start)));
    let left = told(agent, "what is left", |advice| Some(advice.clone()));
    assert_eq!((left.state.map(|state| state.said), left.report), (Some(State::Ready), None));
    let (status, error) = said(shop, "PUT", "/v1/report", &report);
    assert_eq!((status, &error["next"]), (409, &json!("SAY_HELLO")));
    shop.hello(ALL);
    assert_eq!(said(shop, "PUT", "/v1/report", &report).0, 200);
    told(agent, "the report again", |advice| advice.report.clone());
}

#[test]
fn nothing_counts_of_what_a_dead_process_said() {
    let (mut rig, start, shop) = owner();
    shop.hello(ALL);
    assert_eq!(said(shop, "PUT", "/v1/report", &json!({"validForMs": 60_000})).0, 200);
    told(&mut rig.agents[0], "a report", |advice| advice.report.clone());
    kill(shop.pid(), Signal::KILL);
    let of: StartId = rig.agents[0].hear_line("nothing", |line| match line {
        FromAgentLine::Advice { start, advice, .. } if **advice == Advice::default() => Some(*start),
        _ => None,
    });
    assert_eq!(of, start);
}
