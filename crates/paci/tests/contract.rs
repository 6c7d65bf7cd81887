//! Holds the Rust messages against `proto/paci/v1/paci.proto`: same fields, same types, same names of values.

use paci::announcement::{AnnounceRequest, AnnounceResponse};
use paci::answer::{Answer, Verdict};
use paci::ask::{AskRequest, AskResponse, Became, MoveMe, Replicas, RetireMe, Wish};
use paci::call::{
    Abort, Call, Drain, Estimate, Mode, Outcome, Prepare, Quote, Resume, Schema, Seal, Serve, Side, Stop,
};
use paci::error::{ErrorBody, ErrorCode, NextStep};
use paci::finding::{Blocked, CopyProgress, Finding, Loaded, MoveEstimate, Preference, RemovalQuote};
use paci::hello::{HelloRequest, HelloResponse, Told};
use paci::hold::{HoldRequest, HoldResponse};
use paci::http::NextRequest;
use paci::instance::{DescribeRequest, DescribeResponse, Instance, Limits, Standing};
use paci::names::{AnswerCode, Kind, RESERVED};
use paci::proof::{Reached, Sealed};
use paci::report::{Metric, Report, ReportResponse};
use paci::size::{Resize, Size};
use paci::state::{Ack, State, StateChange};
use paci::upcall::{Reason, Upcall};
use paci::wire::Message;
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind as FieldKind, MessageDescriptor};
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

#[test]
fn every_message_has_exactly_the_fields_of_the_specification() {
    let pool = specification();
    let mut written: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, value) in samples() {
        let message = pool.get_message_by_name(&format!("paci.v1.{name}")).unwrap();
        collect(&message, &value, &mut written);
    }
    for message in messages(&pool) {
        let specified: BTreeSet<_> = message.fields().map(|field| field.json_name().to_owned()).collect();
        let found = written.remove(message.full_name());
        assert_eq!(found.as_ref(), Some(&specified), "{}", message.full_name());
    }
}

#[test]
fn every_enum_has_exactly_the_values_of_the_specification() {
    let pool = specification();
    let mut ours = BTreeMap::from([
        ("paci.v1.Standing", texts(Standing::ALL)),
        ("paci.v1.State", texts(State::ALL)),
        ("paci.v1.Reason", texts(Reason::ALL)),
        ("paci.v1.Became", texts(Became::ALL)),
        ("paci.v1.Side", texts(Side::ALL)),
        ("paci.v1.Mode", texts(Mode::ALL)),
        ("paci.v1.Outcome", texts(Outcome::ALL)),
        ("paci.v1.Verdict", texts(Verdict::ALL)),
        ("paci.v1.Error.Code", texts(ErrorCode::ALL)),
        ("paci.v1.NextStep", texts(NextStep::ALL)),
        ("paci.v1.Preference", texts(Preference::ALL)),
    ]);
    for specified in pool.all_enums().filter(|one| one.full_name().starts_with("paci.")) {
        let names: Vec<String> = specified.values().map(|value| value.name().to_owned()).collect();
        assert_eq!(ours.remove(specified.full_name()), Some(names), "{}", specified.full_name());
        assert_eq!(specified.default_value().number(), 0, "{}", specified.full_name());
    }
    assert!(ours.is_empty(), "not in the specification: {ours:?}");
}

#[test]
fn what_is_optional_is_absent_when_unknown() {
    let pool = specification();
    for (name, value) in [
        ("Answer", json(&Answer::default())),
        ("MoveEstimate", json(&MoveEstimate::default())),
        ("CopyProgress", json(&CopyProgress::default())),
        ("StateChange", json(&StateChange::default())),
        ("Report", json(&Report::default())),
        ("AnnounceRequest", json(&AnnounceRequest::default())),
        ("AskRequest", json(&AskRequest::default())),
        ("Size", json(&Size::default())),
        ("Resize", json(&Resize::default())),
        ("RemovalQuote", json(&RemovalQuote::default())),
    ] {
        let message = pool.get_message_by_name(&format!("paci.v1.{name}")).unwrap();
        let optional = message.fields().filter(|field| field.supports_presence());
        for field in optional {
            assert!(value.get(field.json_name()).is_none(), "{}", field.full_name());
        }
    }
}

#[test]
fn the_names_kept_for_later_are_reserved_in_the_specification() {
    let pool = specification();
    let of_enum = |name: &str| -> Vec<String> {
        pool.get_enum_by_name(name).unwrap().reserved_names().map(str::to_owned).collect()
    };
    let upcall = pool.get_message_by_name("paci.v1.Upcall").unwrap();
    for (kind, reserved) in [
        (Kind::State, of_enum("paci.v1.State")),
        (Kind::Mode, of_enum("paci.v1.Mode")),
        (Kind::Outcome, of_enum("paci.v1.Outcome")),
        (Kind::Upcall, upcall.reserved_names().map(str::to_owned).collect()),
    ] {
        let ours: Vec<_> = RESERVED.iter().filter(|name| name.kind == kind).map(|name| name.name).collect();
        assert_eq!(ours, reserved, "{kind}");
    }
}

#[test]
fn there_is_no_64_bit_integer_on_the_wire() {
    for field in fields(&specification()) {
        let small = matches!(
            field.kind(),
            FieldKind::Uint32
                | FieldKind::Bool
                | FieldKind::String
                | FieldKind::Message(_)
                | FieldKind::Enum(_)
        );
        assert!(small, "{}", field.full_name());
    }
}

#[test]
fn every_number_has_its_unit_in_its_name_or_counts() {
    const UNITS: &[&str] = &[
        "_ms",
        "_kib",
        "_permille",
        "_kib_per_s",
        "_milli_per_s",
        "_millis",
        "_milli",
        "_ms_max",
        "_bytes_max",
        "_records",
    ];
    const COUNTS: &[&str] = &[
        "operation",
        "attempt",
        "incarnation",
        "version",
        "in_flight",
        "holds_max",
        "concurrency",
        "queued",
        "sessions",
        "count",
    ];
    for field in fields(&specification()).filter(|field| field.kind() == FieldKind::Uint32) {
        let name = field.name();
        let known = UNITS.iter().any(|unit| name.ends_with(unit)) || COUNTS.contains(&name);
        assert!(known, "{}", field.full_name());
    }
}

#[test]
fn everything_in_the_specification_is_explained() {
    let pool = specification();
    let file = pool.get_file_by_name("paci/v1/paci.proto").unwrap();
    let source = file.file_descriptor_proto().source_code_info.clone().unwrap();
    let explained: BTreeSet<Vec<i32>> = source
        .location
        .iter()
        .filter(|location| location.leading_comments.is_some())
        .map(|location| location.path.clone())
        .collect();
    let check = |path: &[i32], name: &str| assert!(explained.contains(path), "{name} has no comment");
    for message in messages(&pool) {
        check(message.path(), message.full_name());
    }
    for field in fields(&pool) {
        check(field.path(), field.full_name());
    }
    for one in pool.all_enums().filter(|one| one.full_name().starts_with("paci.")) {
        check(one.path(), one.full_name());
        for value in one.values() {
            check(value.path(), value.full_name());
        }
    }
    for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
        check(method.path(), method.full_name());
    }
}

// ---- what the tests above stand on

fn specification() -> DescriptorPool {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../proto");
    let mut compiler = protox::Compiler::new([root]).expect("proto/ is there");
    compiler.include_source_info(true).include_imports(true);
    compiler.open_file("paci/v1/paci.proto").expect("the specification is well formed");
    compiler.descriptor_pool()
}

fn messages(pool: &DescriptorPool) -> impl Iterator<Item = MessageDescriptor> {
    pool.all_messages().filter(|message| message.full_name().starts_with("paci."))
}

fn fields(pool: &DescriptorPool) -> impl Iterator<Item = FieldDescriptor> {
    messages(pool).flat_map(|message| message.fields().collect::<Vec<_>>())
}

fn texts<T: ToString>(all: &[T]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

/// Walks a written message beside its specification: which fields each message has, and that each has its type.
fn collect(message: &MessageDescriptor, value: &Value, written: &mut BTreeMap<String, BTreeSet<String>>) {
    let object = value.as_object().unwrap_or_else(|| panic!("{} is no object", message.full_name()));
    let seen = written.entry(message.full_name().to_owned()).or_default();
    seen.extend(object.keys().cloned());
    for (name, value) in object {
        let field = message
            .get_field_by_json_name(name)
            .unwrap_or_else(|| panic!("{} has no field {name}", message.full_name()));
        let entries = value.as_array().map_or_else(|| std::slice::from_ref(value), Vec::as_slice);
        assert_eq!(value.is_array(), field.is_list(), "{}", field.full_name());
        for entry in entries {
            let fits = match (field.kind(), entry) {
                (FieldKind::Uint32, Value::Number(number)) => {
                    number.as_u64().is_some_and(|number| u32::try_from(number).is_ok())
                }
                (FieldKind::Bool, Value::Bool(_)) | (FieldKind::String, Value::String(_)) => true,
                (FieldKind::Enum(one), Value::String(text)) => one.get_value_by_name(text).is_some(),
                (FieldKind::Message(inner), entry) => {
                    collect(&inner, entry, written);
                    true
                }
                _ => false,
            };
            assert!(fits, "{}: {entry}", field.full_name());
        }
    }
}

fn json<T: Serialize>(message: &T) -> Value {
    serde_json::to_value(message).expect("a message has a form in JSON")
}

/// A message, every field of it set: it is valid, comes back as it was, and is held against the specification.
fn full<T: Message + PartialEq + Debug>(name: &'static str, message: &T) -> (&'static str, Value) {
    let reread = T::read(&message.write()).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(&reread, message, "{name}");
    (name, json(message))
}

fn samples() -> Vec<(&'static str, Value)> {
    let sealed = Sealed::new(9_007_199_254_740_993, &[0xab; 16]);
    let schema = Schema { name: "ledger".into(), version: 3 };
    let mut samples = vec![
        full("HelloRequest", &hello()),
        full("HelloResponse", &welcome()),
        full(
            "StateChange",
            &StateChange { in_ms: 40, for_ms: 200, ..StateChange::to(State::Pausing, "a collection") },
        ),
        full(
            "StateChange",
            &StateChange {
                warmup_ms: 60_000,
                capacity_permille: Some(500),
                ..StateChange::to(State::Cold, "caches are empty")
            },
        ),
        full("Ack", &Ack {}),
        full(
            "HoldRequest",
            &HoldRequest {
                key: "payroll".into(),
                ops: vec!["move".into()],
                ttl_ms: 60_000,
                reason: "monthly run".into(),
            },
        ),
        full("HoldResponse", &HoldResponse { granted_ttl_ms: 30_000, message: "policy caps holds".into() }),
        full("DescribeRequest", &DescribeRequest {}),
        full("DescribeResponse", &DescribeResponse { instance: instance(), standing: Standing::Owner }),
        full("NextRequest", &NextRequest { wait_ms: 25_000 }),
        full("Sealed", &sealed),
        full("Reached", &Reached { position: "12".into() }),
        full("Error", &ErrorBody::new(ErrorCode::HelloRequired, "no Hello of this process")),
    ];
    samples.extend(leases());
    let prepare = Prepare {
        side: Side::Target,
        mode: Mode::Handoff,
        channel_token: "0123456789abcdef0123456789abcdef".into(),
        schema: Some(schema.clone()),
    };
    samples.extend(
        [
            Call::Drain(Drain { reversible: true }),
            Call::Stop(Stop { grace_ms: 10_000 }),
            Call::Abort(Abort {}),
            Call::Estimate(Estimate {}),
            Call::Prepare(prepare),
            Call::Seal(Seal { pause_ms_max: 150, guard_wait_ms: 100 }),
            Call::Resume(Resume { incarnation: 8, outcome: Outcome::Committed }),
            Call::Serve(Serve { incarnation: 8 }),
            Call::Quote(Quote {}),
            Call::Resize(Resize {
                memory_kib: Some(131_072),
                cpu_millis: Some(500),
                now_memory_kib: Some(262_144),
                now_cpu_millis: Some(1_000),
            }),
        ]
        .map(|call| full("Upcall", &upcall(call))),
    );
    let loaded = Loaded::new((7, &[1; 16]), (7, &[1; 16]));
    let estimate = MoveEstimate {
        state_kib: Some(1_048_576),
        shrinkable_kib: Some(4_096),
        dirty_kib_per_s: Some(120),
        pause_ms: Some(40),
        warmup_ms: Some(0),
        modes: vec![Mode::Handoff, Mode::Restart],
        schema: Some(schema),
    };
    let copy = CopyProgress {
        sent_kib: 512,
        remaining_records: Some(90),
        predicted_pause_ms: Some(30),
        staged: true,
    };
    samples.extend(
        [
            (Verdict::Done, Finding::Estimate(estimate)),
            (Verdict::InProgress, Finding::Copy(copy)),
            (Verdict::Done, Finding::Sealed(sealed)),
            (Verdict::Done, Finding::Loaded(loaded)),
            (Verdict::Failed, Finding::Blocked(Blocked { route: "POST /transfer".into(), held_ms: 740 })),
            (Verdict::Done, Finding::InFlight(0)),
            (Verdict::Done, Finding::Quote(quote())),
            (Verdict::Refuse, Finding::Fit(size())),
        ]
        .map(|(verdict, finding)| full("Answer", &answer(verdict, finding))),
    );
    samples
}

/// What an application says of itself for a time.
fn leases() -> Vec<(&'static str, Value)> {
    let report = Report {
        valid_for_ms: 2_000,
        work_unit: "job".into(),
        capacity_milli_per_s: Some(20_000),
        concurrency: Some(4),
        in_flight: Some(4),
        queued: Some(17),
        backlog_ms: Some(8_500),
        oldest_wait_ms: Some(900),
        utilisation_permille: Some(1_200),
        tightest: "connections".into(),
        weight_permille: Some(1_000),
        warmup_ms: Some(30_000),
        cold_permille: Some(500),
        sessions: Some(0),
        metrics: vec![Metric { name: "eps".into(), value_milli: 0 }],
    };
    let announcement = AnnounceRequest {
        id: "sale".into(),
        begins_in_ms: 600_000,
        lasts_ms: 1_800_000,
        demand_milli_per_s: 500_000,
        work_unit: "request".into(),
        confidence_permille: Some(800),
        reason: "the sale begins".into(),
    };
    let ask = |wish| AskRequest { valid_for_ms: 60_000, reason: "as planned".into(), wish: Some(wish) };
    let wishes = [
        Wish::MoveMe(MoveMe {}),
        Wish::Replicas(Replicas { count: 3 }),
        Wish::Size(size()),
        Wish::RetireMe(RetireMe {}),
    ];
    let mut leases = vec![
        full("Report", &report),
        full("ReportResponse", &ReportResponse { granted_valid_for_ms: 1_000, message: "1 s".into() }),
        full("AnnounceRequest", &announcement),
        full("AnnounceResponse", &AnnounceResponse { stands: false, message: "not believed".into() }),
        full(
            "AskResponse",
            &AskResponse {
                granted_valid_for_ms: 1_000,
                message: "an operation of it is open".into(),
                became: Became::Pending,
                retry_after_ms: 1_000,
            },
        ),
    ];
    leases.extend(wishes.map(|wish| full("AskRequest", &ask(wish))));
    leases
}

fn quote() -> RemovalQuote {
    RemovalQuote {
        cost_ms: Some(4_200),
        drain_ms: Some(800),
        state_kib: Some(0),
        sessions: Some(0),
        preference: Preference::Avoid,
    }
}

fn size() -> Size {
    Size { memory_kib: Some(196_608), cpu_millis: Some(750) }
}

fn hello() -> HelloRequest {
    HelloRequest {
        versions: vec!["v1".into()],
        capabilities: vec!["move.handoff".into()],
        sdk: "paracloud-sdk 0.1.0".into(),
        app_version: "2026.05".into(),
        told: Some(Told {
            start_id: "9f86d081884c7d65".into(),
            incarnation: 7,
            operation: 41,
            sealed: true,
            position: "9007199254740993".into(),
            standing: Standing::Owner,
        }),
    }
}

fn welcome() -> HelloResponse {
    HelloResponse {
        version: "v1".into(),
        capabilities: vec!["move.handoff".into()],
        instance: instance(),
        standing: Standing::Undecided,
        limits: Limits::of_the_contract(),
    }
}

fn instance() -> Instance {
    Instance {
        app: "ledger".into(),
        id: "ledger-0".into(),
        start_id: "9f86d081884c7d65".into(),
        incarnation: 7,
        node: "n1".into(),
        substrate: "local".into(),
    }
}

fn upcall(call: Call) -> Upcall {
    Upcall {
        operation: 41,
        attempt: 2,
        budget_ms: 30_000,
        reason: Reason::Maintenance,
        dry_run: false,
        message: "node n1 is to be worked on".into(),
        call: Some(call),
    }
}

fn answer(verdict: Verdict, finding: Finding) -> Answer {
    let blocked = matches!(finding, Finding::Blocked(_));
    let code = if blocked { AnswerCode::SealBlocked.as_str() } else { "APP_FINE" };
    Answer {
        operation: 41,
        attempt: 2,
        verdict,
        eta_ms: Some(100),
        progress_permille: Some(900),
        retry_after_ms: 1_000,
        code: code.into(),
        message: "as planned".into(),
        result: Some(finding),
    }
}
