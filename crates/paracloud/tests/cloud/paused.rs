//! A pause that an application told of and does not come back from.

use crate::rig::wait_until;
use crate::scaling::explained;
use crate::unruly::Unruly;
use serde_json::json;
use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::Duration;

/// Requests that would not all go to one of two by chance.
const MANY: usize = 12;
/// A request without an answer for so long is in an instance that stands still, or it is answered later.
const SOON: Duration = Duration::from_millis(500);

fn begun(unruly: &Unruly, instance: &str) -> usize {
    unruly.did(instance).iter().filter(|line| line.starts_with("begun")).count()
}

fn is_answered(job: &mut TcpStream, wait: Duration) -> bool {
    job.set_read_timeout(Some(wait)).expect("a time");
    let mut answer = String::new();
    match job.read_to_string(&mut answer) {
        Ok(_) => {
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            true
        }
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
            assert!(answer.is_empty(), "{answer}");
            false
        }
    }
}

#[test]
fn a_pause_that_never_ends_counts_for_as_long_as_it_was_told_and_loses_nothing() {
    let unruly = Unruly::up(&json!({ "scale": { "min": 2, "max": 2 } }), &json!({}));
    // Its word is honoured: nobody is sent to it. It is said anew for each try, so that it is not over before a slow machine
    // is done with one.
    let (mut tries, mut pause) = (0, json!({}));
    wait_until("all go to the other one", || {
        tries += 1;
        pause = json!({ "state": "PAUSING", "inMs": 0, "forMs": 4_000 + tries });
        unruly.order("jobs.2", &json!({ "state": pause }));
        unruly.wait_did_times("jobs.2", "said /v1/state", tries);
        let before = begun(&unruly, "jobs.1");
        let all = (0..MANY).all(|_| is_answered(&mut unruly.begin(1), crate::rig::PATIENCE));
        all && begun(&unruly, "jobs.1") == before + MANY
    });
    unruly.order("jobs.2", &json!({ "state": pause, "stuck": true }));
    let before = begun(&unruly, "jobs.2");
    // Its word is over with its time, though it says nothing more: it is one among others again, and stands still.
    let mut waits = None;
    wait_until("one is sent to it again", || {
        let mut job = unruly.begin(1);
        let is_answered = is_answered(&mut job, SOON);
        waits = (!is_answered).then_some(job);
        !is_answered
    });
    let told = explained(&unruly.rig, &["jobs.2"]);
    let says = unruly.rig.json(&["explain", "jobs.2"])["says"].take();
    assert_eq!((&says["pause"], &says["lapsed"]["for_ms"]), (&json!(null), &pause["forMs"]), "{says}");
    assert!(told.contains("jobs.2 was to pause for 4.0"), "{told}");
    assert!(told.contains("and it has said nothing of its state since: it gets requests again"), "{told}");
    // From one that does not answer the others are kept away by what the gateway sees of it.
    assert!((0..MANY).all(|_| is_answered(&mut unruly.begin(1), crate::rig::PATIENCE)));
    unruly.order("jobs.2", &json!({}));
    assert!(is_answered(&mut waits.expect("one waits"), crate::rig::PATIENCE), "it was not lost");
    assert_eq!(begun(&unruly, "jobs.2"), before + 1);
    unruly.end();
}
