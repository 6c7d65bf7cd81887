//! Bad input in what an application says of itself, and in what it answers to a quote and a resize: every field, what is
//! refused, and by which name.

use paci::announcement::AnnounceRequest;
use paci::answer::{Answer, Verdict};
use paci::ask::AskRequest;
use paci::call::{Call, Drain, Quote};
use paci::error::{ErrorBody, ErrorCode, NextStep};
use paci::finding::{Finding, RemovalQuote};
use paci::hold::HoldRequest;
use paci::names::AnswerCode;
use paci::report::Report;
use paci::size::{Resize, Size};
use paci::state::StateChange;
use paci::upcall::Upcall;
use paci::wire::{Message, ReadError};
use proptest::prelude::*;

/// What a body is refused with.
fn refused<T: Message>(body: &str) -> ErrorBody {
    match T::read(body.as_bytes()) {
        Ok(_) => panic!("it is taken: {body}"),
        Err(error) => ErrorBody::from(error),
    }
}

/// Each body is refused by the name of its field, with what to do.
fn each_is_refused<T: Message>(bodies: &[(&str, &str)]) {
    for (body, why) in bodies {
        let error = refused::<T>(body);
        assert!(error.message.contains(why), "{body}: {error:?}, want {why}");
        assert_eq!((error.status(), error.next), (400, NextStep::Fix), "{body}");
        let is_known = matches!(error.code, ErrorCode::OutOfBounds | ErrorCode::Malformed);
        assert!(is_known, "{body}: {error:?}");
    }
}

#[test]
fn every_field_of_a_report_has_its_bound() {
    each_is_refused::<Report>(&[
        ("{}", "validForMs: missing or 0, must be at least 1"),
        (r#"{"validForMs":0}"#, "validForMs: missing or 0, must be at least 1"),
        (r#"{"validForMs":60001}"#, "validForMs: 60001, at most 60000"),
        (r#"{"validForMs":-1}"#, r#"validForMs: -1, want a whole number from 0 to 4294967295"#),
        (r#"{"validForMs":1.5}"#, r#"validForMs: 1.5, want a whole number from 0 to 4294967295"#),
        (r#"{"validForMs":"1000"}"#, r#"validForMs: "1000", want a whole number from 0 to 4294967295"#),
        (
            r#"{"validForMs":4294967296}"#,
            r#"validForMs: 4294967296, want a whole number from 0 to 4294967295"#,
        ),
        (r#"{"validForMs":1,"capacityMilliPerS":-4}"#, "capacityMilliPerS: -4, want a whole number"),
        (r#"{"validForMs":1,"capacityMilliPerS":1e300}"#, "capacityMilliPerS: 1e+300, want a whole number"),
        (r#"{"validForMs":1,"capacityMilliPerS":NaN}"#, "cannot be read as JSON at line 1, column 37: "),
        (r#"{"validForMs":1,"workUnit":"a b"}"#, "workUnit"),
        (r#"{"validForMs":1,"concurrency":0}"#, "concurrency: 0, must be at least 1"),
        (r#"{"validForMs":1,"backlogMs":2592000001}"#, "backlogMs: 2592000001, at most 2592000000"),
        (r#"{"validForMs":1,"oldestWaitMs":86400001}"#, "oldestWaitMs"),
        (r#"{"validForMs":1,"utilisationPermille":10001}"#, "utilisationPermille"),
        (r#"{"validForMs":1,"tightest":"cpu"}"#, "tightest: does not belong here"),
        (r#"{"validForMs":1,"utilisationPermille":1,"tightest":"c\u001b[2J"}"#, "tightest"),
        (r#"{"validForMs":1,"weightPermille":10001}"#, "weightPermille"),
        (r#"{"validForMs":1,"warmupMs":86400001}"#, "warmupMs"),
        (r#"{"validForMs":1,"coldPermille":1001}"#, "coldPermille"),
        (r#"{"validForMs":1,"queued":[1]}"#, "queued: a list, want a whole number"),
        (r#"{"validForMs":1,"metrics":{"a":1}}"#, "metrics: an object, want a list"),
        (r#"{"validForMs":1,"metrics":[{"valueMilli":1}]}"#, "metrics.name: missing"),
        (r#"{"validForMs":1,"metrics":[{"name":"a/b"}]}"#, "metrics.name"),
        (
            r#"{"validForMs":1,"metrics":[{"name":"a"},{"name":"a"}]}"#,
            "metrics.name: does not belong here: another figure has this name",
        ),
        ("[]", "the body is a list, want a JSON object"),
        ("", "the body is empty, want a JSON object"),
        (r#"{"validForMs":1,"queued":1,"queued":2}"#, "queued: given twice"),
        (r#"{"validForMs":1,"queued":{"a":1}}"#, "queued: an object, want a whole number"),
        (r#"{"validForMs":1,"queued":true}"#, "queued: true, want a whole number"),
    ]);
    let many: Vec<String> = (0..17).map(|at| format!(r#"{{"name":"m{at}"}}"#)).collect();
    let many = format!(r#"{{"validForMs":1,"metrics":[{}]}}"#, many.join(","));
    assert_eq!(refused::<Report>(&many).message, "metrics: 17 entries, at most 16");
    let long = format!(r#"{{"validForMs":1,"unheardOf":"{}"}}"#, "x".repeat(4_096));
    assert_eq!(refused::<Report>(&long).code, ErrorCode::BodyTooLarge);
}

#[test]
fn every_field_of_an_announcement_has_its_bound() {
    each_is_refused::<AnnounceRequest>(&[
        (r#"{"id":"a b"}"#, "id"),
        (r#"{"beginsInMs":86400001}"#, "beginsInMs"),
        (r#"{"lastsMs":86400001}"#, "lastsMs"),
        (r#"{"demandMilliPerS":-1}"#, "demandMilliPerS: -1, want a whole number"),
        (r#"{"lastsMs":1,"lastsMs":1}"#, "lastsMs: given twice"),
        (r#"{"workUnit":"\n"}"#, "workUnit"),
        (r#"{"confidencePermille":1001}"#, "confidencePermille: 1001, at most 1000"),
        (r#"{"reason":"two\nlines"}"#, "reason"),
    ]);
}

#[test]
fn every_field_of_a_hold_has_its_bound() {
    each_is_refused::<HoldRequest>(&[
        (r#"{"key":"a b"}"#, "key"),
        (r#"{"ops":["moves"]}"#, r#"ops: "moves", want one of drain, move, stop"#),
        (r#"{"ops":["move","resize"]}"#, r#"ops: "resize", want one of drain, move, stop"#),
        (r#"{"ops":["MOVE"]}"#, r#"ops: "MOVE", want one of drain, move, stop"#),
        (r#"{"ops":[""]}"#, "ops: missing"),
        (r#"{"ops":["a b"]}"#, "ops"),
        (r#"{"ops":"move"}"#, r#"ops: "move", want a list"#),
        (r#"{"ops":[7]}"#, "ops: 7, want a text"),
        (r#"{"ttlMs":3600001}"#, "ttlMs: 3600001, at most 3600000"),
        (r#"{"reason":"two\nlines"}"#, "reason"),
    ]);
    let many = format!(r#"{{"ops":[{}"move"]}}"#, r#""move","#.repeat(8));
    assert_eq!(refused::<HoldRequest>(&many).message, "ops: 9 entries, at most 8");
}

#[test]
fn every_field_of_an_ask_has_its_bound() {
    each_is_refused::<AskRequest>(&[
        ("{}", "wish: none of moveMe, replicas, size, retireMe is given, and one is needed"),
        (r#"{"validForMs":1,"unheardOf":{}}"#, "wish: none of moveMe, replicas"),
        (r#"{"validForMs":600001,"moveMe":{}}"#, "validForMs: 600001, at most 600000"),
        (r#"{"validForMs":1,"reason":"\u0007","moveMe":{}}"#, "reason"),
        (r#"{"validForMs":1,"moveMe":{},"replicas":{"count":1}}"#, "moveMe and replicas are both given"),
        (r#"{"validForMs":1,"replicas":{}}"#, "replicas.count: missing or 0, must be at least 1"),
        (r#"{"validForMs":1,"replicas":{"count":10001}}"#, "replicas.count: 10001, at most 10000"),
        (r#"{"validForMs":1,"replicas":3}"#, "replicas: 3, want an object"),
        (r#"{"validForMs":1,"replicas":{"count":1,"count":2}}"#, "replicas.count: given twice"),
        (r#"{"validForMs":1,"size":{}}"#, "size: none of memoryKib, cpuMillis is given, and one is needed"),
        (r#"{"validForMs":1,"size":{"memoryKib":0}}"#, "size.memoryKib: 0, must be at least 1"),
        (r#"{"validForMs":1,"size":{"cpuMillis":0}}"#, "size.cpuMillis: 0, must be at least 1"),
    ]);
}

#[test]
fn every_field_of_a_change_of_state_has_its_bound() {
    each_is_refused::<StateChange>(&[
        ("{}", "state: missing, want one of READY, NOT_READY, STOPPING, PAUSING, COLD, DRAINING"),
        (r#"{"state":"ready"}"#, r#"state: "ready", want one of READY, "#),
        (r#"{"state":"STATE_UNSPECIFIED"}"#, r#"state: "STATE_UNSPECIFIED", want one of READY, "#),
        (r#"{"state":7}"#, "state: 7, want a text"),
        (r#"{"state":"READY","state":"COLD"}"#, "state: given twice"),
        (r#"{"state":"PAUSING"}"#, "forMs: missing or 0, must be at least 1"),
        (r#"{"state":"PAUSING","forMs":-1}"#, "forMs: -1, want a whole number"),
        (r#"{"state":"PAUSING","forMs":60001}"#, "forMs: 60001, at most 60000"),
    ]);
}

#[test]
fn a_quote_and_a_fit_are_held_against_their_bounds() {
    let answer = |result: &str| format!(r#"{{"operation":1,"attempt":1,"verdict":"DONE",{result}}}"#);
    for (result, why) in [
        (r#""quote":{"costMs":2592000001}"#, "quote.costMs"),
        (r#""quote":{"drainMs":86400001}"#, "quote.drainMs"),
        (r#""quote":{"stateKib":-1}"#, "quote.stateKib: -1, want a whole number"),
        (r#""quote":{},"inFlight":1"#, "inFlight and quote are both given"),
        (r#""fit":{}"#, "fit: none of memoryKib, cpuMillis is given"),
        (r#""fit":{"memoryKib":0}"#, "fit.memoryKib"),
    ] {
        let error = refused::<Answer>(&answer(result));
        assert!(error.message.contains(why), "{result}: {error:?}");
    }
    let unknown = Answer::read(answer(r#""quote":{"preference":"WHATEVER"}"#).as_bytes()).unwrap();
    assert_eq!(unknown.result, Some(Finding::Quote(RemovalQuote::default())), "it does not mind");
}

#[test]
fn a_quote_and_a_fit_answer_their_own_calls_alone() {
    let upcall = Upcall { operation: 7, attempt: 1, ..Upcall::default() };
    let to = |verdict| Answer::to(&upcall, verdict);
    let (quote, resize) = (Call::Quote(Quote {}), Call::Resize(Resize::default()));
    let price = Finding::Quote(RemovalQuote::default());
    let fit = Finding::Fit(Size { memory_kib: Some(1), cpu_millis: None });
    assert_eq!(to(Verdict::Done).with(price.clone()).answers(&quote), Ok(()));
    assert!(to(Verdict::Done).answers(&quote).is_err(), "a price of nothing is said");
    assert!(to(Verdict::InProgress).with(price.clone()).answers(&quote).is_err());
    assert!(to(Verdict::Done).with(price).answers(&resize).is_err());
    assert_eq!(to(Verdict::Done).answers(&resize), Ok(()));
    assert_eq!(to(Verdict::Done).with(fit.clone()).answers(&resize), Ok(()));
    let refusal = to(Verdict::Refuse).because(AnswerCode::DoesNotFit).with(fit.clone());
    assert_eq!(refusal.answers(&resize), Ok(()));
    assert!(to(Verdict::InProgress).with(fit.clone()).answers(&resize).is_err());
    assert!(to(Verdict::Done).with(fit).answers(&Call::Drain(Drain::default())).is_err());
}

#[test]
fn an_upcall_for_another_size_names_one() {
    for (body, field) in [
        (r#"{"operation":1,"attempt":1,"resize":{}}"#, "resize"),
        (r#"{"operation":1,"attempt":1,"resize":{"memoryKib":0}}"#, "resize.memoryKib"),
        (r#"{"operation":1,"attempt":1,"resize":{"cpuMillis":1,"nowCpuMillis":0}}"#, "resize.nowCpuMillis"),
    ] {
        let error = Upcall::read(body.as_bytes()).unwrap_err();
        let ReadError::Invalid(invalid) = error else { panic!("{error:?}") };
        assert_eq!(invalid.field, field);
    }
    let dry = br#"{"operation":1,"attempt":1,"dryRun":true,"resize":{"memoryKib":65536}}"#;
    assert!(Upcall::read(dry).unwrap().dry_run);
}

/// A body that looks like one of ours: fields that there are, with values that there are not.
fn body() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        any::<u64>().prop_map(|number| number.to_string()),
        any::<i32>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| number.to_string()),
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("{}".to_owned()),
        Just("[{\"name\":\"a\",\"valueMilli\":1}]".to_owned()),
        "[a-z \u{1b}]{0,90}".prop_map(|text| format!("{text:?}")),
    ];
    const FIELDS: &[&str] = &[
        "validForMs",
        "workUnit",
        "capacityMilliPerS",
        "concurrency",
        "queued",
        "backlogMs",
        "tightest",
        "metrics",
        "id",
        "beginsInMs",
        "lastsMs",
        "demandMilliPerS",
        "confidencePermille",
        "reason",
        "moveMe",
        "replicas",
        "size",
    ];
    let field = (prop::sample::select(FIELDS), value).prop_map(|(name, value)| format!("\"{name}\":{value}"));
    prop::collection::vec(field, 0..6).prop_map(|fields| format!("{{{}}}", fields.join(",")))
}

/// What is taken is within its bounds, and comes back as it was.
fn taken_or_refused<T: Message + PartialEq + std::fmt::Debug>(body: &[u8]) {
    if let Ok(message) = T::read(body) {
        assert_eq!(message.validate(), Ok(()));
        assert_eq!(T::read(&message.write()).ok().as_ref(), Some(&message));
    }
}

proptest! {
    #[test]
    fn whatever_is_sent_is_taken_whole_or_refused(body in body(), noise in any::<Vec<u8>>()) {
        for body in [body.as_bytes(), &noise] {
            taken_or_refused::<Report>(body);
            taken_or_refused::<AnnounceRequest>(body);
            taken_or_refused::<AskRequest>(body);
            taken_or_refused::<StateChange>(body);
            taken_or_refused::<Answer>(body);
            taken_or_refused::<Upcall>(body);
        }
    }
}

#[test]
fn a_field_of_another_type_is_named_by_its_path() {
    let named = |error: ReadError| error.to_string();
    let of_report = |body: &str| named(Report::read(body.as_bytes()).unwrap_err());
    for (body, field) in [
        (r#"{"queued":-1,"validForMs":1}"#, "queued: "),
        (r#"{"unheardOf":{"queued":-1},"metrics":"x"}"#, "metrics: "),
        (r#"{"metrics":[{"name":"a"},{"name":"b","valueMilli":-1}]}"#, "metrics.valueMilli: "),
        (r#"{"metrics":[7]}"#, "metrics: "),
    ] {
        assert!(of_report(body).starts_with(field), "{body}: {}", of_report(body));
    }
    let answer = Answer::read(br#"{"operation":1,"quote":{"costMs":"1"}}"#).unwrap_err();
    assert!(named(answer).starts_with("quote.costMs: "));
    let both = AskRequest::read(br#"{"moveMe":{},"retireMe":{}}"#).unwrap_err();
    assert!(named(both).starts_with("moveMe and retireMe are both given"), "neither of them alone is wrong");
}
