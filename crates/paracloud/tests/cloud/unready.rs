//! What `ps` says beside its table: of a program that is not ready, which address was asked, how, and what came back; of
//! one that asks to be left alone, from what, for how long, and why.

use crate::rig::{Rig, wait_until};
use serde_json::{Value, json};

/// The instance, as `ps` tells it to programs.
fn instance(rig: &Rig) -> Value {
    rig.json(&["ps"])["instances"][0].clone()
}

/// Waits until `ps` says why it is not ready: how it was asked, and what came back.
fn why(rig: &Rig) -> (String, String) {
    let mut why = Value::Null;
    wait_until("it is said why it is not ready", || {
        why = instance(rig)["unready"].clone();
        !why.is_null()
    });
    let text = |field: &str| why[field].as_str().unwrap_or_default().to_owned();
    (text("asked"), text("answered"))
}

#[test]
fn a_program_that_listens_on_the_wrong_port_is_said_to_be_asked_in_vain() {
    let rig = Rig::with_program("os.environ['PORT'] = '0'\n", "");
    let mut up = rig.up(&[]);
    let refused = ": connection refused (nothing listens there)";
    up.says(refused);
    let (asked, answered) = why(&rig);
    assert!(asked.starts_with("TCP connect to 127.0.1.1:"), "{asked}");
    assert_eq!(format!(": {answered}"), refused);
    let ps = rig.run(&["ps"]).out;
    let line = ps.lines().find(|line| line.starts_with("web: not ready for ")).unwrap_or(&ps);
    assert!(line.ends_with(&format!(" s: {asked}{refused}")), "{line}");
    let told = " is not ready since ";
    let events = rig.run(&["events"]).out;
    let lines: Vec<_> = events.lines().filter(|line| line.contains(told)).collect();
    assert_eq!(lines.len(), 1, "the same reason is told once: {events}");
    assert!(lines[0].ends_with(&format!("Z: {asked}{refused}")), "{events}");
    // What `up` says as long as not everything serves.
    up.says("web: starting on n1, not ready for ");
    assert_eq!(rig.run(&["stop", "--yes"]).code, 0);
}

#[test]
fn a_program_that_answers_500_is_said_to_and_when_it_has_recovered_nothing_is_said_any_more() {
    let sick = "\
class Web(Web):
    def do_GET(self):
        self.send_response(200 if os.path.exists('recovered') else 500)
        self.send_header('content-length', '0')
        self.end_headers()
";
    let rig = Rig::with_program(sick, "readiness: {http: /healthz}");
    let mut up = rig.up(&[]);
    up.says("HTTP 500 Internal Server Error");
    let (asked, answered) = why(&rig);
    assert!(asked.starts_with("GET http://127.0.1.1:") && asked.ends_with("/healthz"), "{asked}");
    assert_eq!(answered, "HTTP 500 Internal Server Error");
    std::fs::write(rig.path().join("recovered"), "").expect("a file of our own");
    up.serving();
    wait_until("it is not said any more", || instance(&rig)["unready"].is_null());
    assert!(!rig.run(&["ps"]).out.contains("not ready"));
    assert_eq!(rig.run(&["stop", "--yes"]).code, 0);
}

#[test]
fn a_program_that_ends_at_once_again_and_again_is_said_to_with_the_next_try() {
    let rig = Rig::of("quits", &json!(["sh", "-c", "exit 4"]), &[], &json!({}));
    let mut up = rig.up(&[]);
    up.says("ended: exited with status 4");
    let mut why = String::new();
    wait_until("it was started again and again", || {
        why = instance(&rig)["unready"]["answered"].as_str().unwrap_or_default().to_owned();
        why.starts_with("exited with status 4, started 3 times")
    });
    let ps = rig.run(&["ps"]).out;
    let line = ps.lines().find(|line| line.starts_with("quits: not ready for ")).unwrap_or(&ps);
    assert!(line.contains(": its process: exited with status 4, started "), "{line}");
    let moved = rig.run(&["move", "quits"]);
    assert!(moved.code == 1 && moved.err.contains("exited with status 4, started "), "{}", moved.err);
    up.says("exited with status 4, started ");
    let of_it = rig.run(&["events", "quits"]).out;
    assert!(of_it.contains("exited with status 4"), "{of_it}");
    let unknown = rig.run(&["events", "quit"]);
    assert!(unknown.code == 2 && unknown.err.contains("there are: quits"), "{}", unknown.err);
    assert_eq!(rig.run(&["stop", "--yes"]).code, 0);
}

#[test]
fn what_an_application_holds_off_is_seen_with_its_reason_and_how_long() {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cloud/misbehave.py");
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/python");
    let environment = json!({ "MISBEHAVE": "stays", "EXAMPLE": example });
    let rig = Rig::of("sinner", &json!(["python3", "-B", program]), &[], &environment);
    let mut up = rig.up(&[]);
    up.serving();
    let line = || {
        let ps = rig.run(&["ps"]).out;
        ps.lines().find(|line| line.starts_with("sinner: holds ")).map(str::to_owned)
    };
    wait_until("the hold is seen", || line().is_some());
    let line = line().expect("it stands for an hour");
    assert!(
        line.starts_with("sinner: holds `stop` off for ") && line.ends_with(": payroll: month end"),
        "{line}"
    );
    assert!(!line.contains(" ms"), "{line}");
    assert_eq!(rig.json(&["ps"])["holds"][0]["op"], "stop");
    assert_eq!(rig.run(&["stop", "--yes"]).code, 0);
}
