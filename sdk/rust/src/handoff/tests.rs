//! Source and target over a socket pair, with the frames that cross a real channel.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use super::source::{self, Copy};
use super::target::{self, Load, Loaded};
use super::{HandoffError, items};
use crate::gate::Gate;
use crate::state::Map;
use crate::state::record::Record;
use crate::state::store::Store;
use paci::frame::{Encoder, FrameError};
use paci::proof::Sealed;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

struct Program {
    store: Arc<Store>,
    accounts: Map,
    sessions: Map,
}

fn program() -> Program {
    let (store, gate) = (Arc::new(Store::default()), Arc::new(Gate::new(true)));
    let map = |name| Map::new(store.table(name).unwrap(), gate.clone());
    Program { accounts: map("accounts"), sessions: map("sessions"), store: store.clone() }
}

fn start_source(stream: UnixStream, of: &Program) -> (Arc<Copy>, JoinHandle<Result<Sealed, HandoffError>>) {
    let (copy, store) = (Arc::new(Copy::default()), of.store.clone());
    let thread = std::thread::spawn({
        let copy = copy.clone();
        move || source::run(stream, &store, &copy)
    });
    (copy, thread)
}

fn start_target(stream: UnixStream, of: &Program) -> (Arc<Load>, JoinHandle<Result<Loaded, HandoffError>>) {
    let (load, store) = (Arc::new(Load::default()), of.store.clone());
    let thread = std::thread::spawn({
        let load = load.clone();
        move || target::run(stream, &store, &load)
    });
    (load, thread)
}

/// Waits until the source has nothing left to send.
fn converged(copy: &Copy) {
    let started = Instant::now();
    while copy.progress().is_none_or(|it| it.sent_bytes == 0 || it.remaining_records > 0) {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "the copy does not converge: {:?}",
            copy.progress()
        );
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

fn content(map: &Map) -> std::collections::BTreeMap<Vec<u8>, Vec<u8>> {
    let mut all = std::collections::BTreeMap::new();
    map.for_each(|key, value| {
        all.insert(key.to_vec(), value.to_vec());
    })
    .unwrap();
    all
}

#[test]
fn what_is_loaded_is_what_the_source_held_when_it_was_sealed() {
    let (source, target) = (program(), program());
    for number in 0..5_000_u32 {
        source.accounts.put(number.to_be_bytes(), vec![7; (number % 1_500) as usize]).unwrap();
    }
    source.accounts.put("large", vec![3; 1_000_000]).unwrap();
    source.sessions.put("only here", "").unwrap();
    let (near, far) = UnixStream::pair().unwrap();
    let (_load, filled) = start_target(far, &target);
    let (copy, copied) = start_source(near, &source);
    for number in 0..5_000_u32 {
        match number % 3 {
            0 => source.accounts.delete(number.to_be_bytes()).unwrap(),
            1 => source.accounts.put(number.to_be_bytes(), number.to_be_bytes()).unwrap(),
            _ => source.sessions.put(number.to_be_bytes(), "new").unwrap(),
        }
    }
    converged(&copy);
    source.accounts.put("last", "word").unwrap();
    copy.ship();
    let sealed = copied.join().unwrap().unwrap();
    let loaded = filled.join().unwrap().unwrap();
    assert_eq!(loaded.stated, sealed);
    assert_eq!(Sealed::new(loaded.staged.position, &loaded.digest.to_be_bytes()), sealed);
    assert_eq!(target.accounts.len(), Ok(0), "what is staged is not served");

    target.store.install(loaded.staged);
    assert_eq!(content(&target.accounts), content(&source.accounts));
    assert_eq!(content(&target.sessions), content(&source.sessions));
    assert_eq!(target.store.held().position, source.store.held().position, "the count goes on");
    assert_eq!(target.store.held().digest, source.store.held().digest);
    target.accounts.put("after", "move").unwrap();
    assert_eq!(target.store.held().position, source.store.held().position + 1);
    copy.forget();
}

#[test]
fn what_was_loaded_can_be_moved_on() {
    let programs = [program(), program(), program()];
    programs[0].accounts.put("alice", "100").unwrap();
    for pair in programs.windows(2) {
        let (near, far) = UnixStream::pair().unwrap();
        let (_load, filled) = start_target(far, &pair[1]);
        let (copy, copied) = start_source(near, &pair[0]);
        copy.ship();
        copied.join().unwrap().unwrap();
        pair[1].store.install(filled.join().unwrap().unwrap().staged);
        pair[1].accounts.put("bob", "1").unwrap();
    }
    assert_eq!(programs[2].accounts.get("alice").unwrap().unwrap(), "100");
    assert_eq!(programs[2].store.held().position, 3);
}

#[test]
fn a_move_that_failed_can_be_tried_again_from_the_same_source() {
    let (source, target) = (program(), program());
    (0..1_000_u32).for_each(|number| source.accounts.put(number.to_be_bytes(), "1").unwrap());
    let (near, far) = UnixStream::pair().unwrap();
    let (copy, copied) = start_source(near, &source);
    drop(far);
    copy.ship();
    assert!(matches!(copied.join().unwrap(), Err(HandoffError::Broken(_))));
    source.accounts.put("between", "1").unwrap();
    assert_eq!(source.store.held().remaining, 0, "nothing is remembered for a copy that failed");

    let (near, far) = UnixStream::pair().unwrap();
    let (_load, filled) = start_target(far, &target);
    let (copy, copied) = start_source(near, &source);
    copy.ship();
    copied.join().unwrap().unwrap();
    target.store.install(filled.join().unwrap().unwrap().staged);
    assert_eq!(content(&target.accounts), content(&source.accounts));
}

#[test]
fn a_copy_that_is_forgotten_leaves_the_channel() {
    let (source, target) = (program(), program());
    source.accounts.put("alice", "100").unwrap();
    let (near, far) = UnixStream::pair().unwrap();
    let (_load, filled) = start_target(far, &target);
    let (copy, copied) = start_source(near, &source);
    converged(&copy);
    copy.forget();
    assert!(matches!(copied.join().unwrap(), Err(HandoffError::Forgotten)));
    assert!(filled.join().unwrap().is_err(), "the end of the stream is no end record");
}

#[test]
fn a_target_that_is_told_to_forget_stops_waiting() {
    let target = program();
    let (_near, far) = UnixStream::pair().unwrap();
    let (load, filled) = start_target(far, &target);
    load.forget();
    assert!(filled.join().unwrap().is_err());
}

/// What a source sends that holds one record.
fn recorded() -> Vec<u8> {
    let source = program();
    source.accounts.put("alice", "100").unwrap();
    let (near, mut far) = UnixStream::pair().unwrap();
    let (copy, copied) = start_source(near, &source);
    copy.ship();
    copied.join().unwrap().unwrap();
    copy.forget();
    let mut sent = Vec::new();
    far.read_to_end(&mut sent).unwrap();
    sent
}

fn load(sent: &[u8]) -> Result<Loaded, HandoffError> {
    let target = program();
    let (mut near, far) = UnixStream::pair().unwrap();
    let (_load, filled) = start_target(far, &target);
    // A target that has seen enough closes its end.
    let _closed_early = near.write_all(sent);
    let _closed_early = near.shutdown(Shutdown::Write);
    filled.join().unwrap()
}

#[test]
fn a_stream_that_is_cut_anywhere_is_not_loaded() {
    let sent = recorded();
    assert!(load(&sent).is_ok());
    for cut in 0..sent.len() {
        assert!(load(&sent[..cut]).is_err(), "cut after {cut} of {} bytes", sent.len());
    }
}

#[test]
fn the_end_of_the_stream_between_two_frames_is_no_end_record() {
    let mut sent = Vec::new();
    Encoder::new().data(b"", &mut sent).unwrap();
    assert!(matches!(load(&sent), Err(HandoffError::Frame(FrameError::EndMissing { frames: 1, bytes: 0 }))));
}

#[test]
fn a_bit_that_falls_over_is_noticed() {
    let sent = recorded();
    for place in 0..sent.len() {
        let mut damaged = sent.clone();
        damaged[place] ^= 0x10;
        assert!(load(&damaged).is_err(), "byte {place} of {}", sent.len());
    }
}

/// A stream of well-formed frames with these items.
fn framed(items: &[u8], sealed: &Sealed) -> Vec<u8> {
    let (mut encoder, mut sent) = (Encoder::new(), Vec::new());
    encoder.data(items, &mut sent).unwrap();
    encoder.end(sealed, &mut sent).unwrap();
    sent
}

#[test]
fn a_target_computes_its_own_digest_and_position() {
    let mut stream = Vec::new();
    items::write_table(0, 1, "accounts", &mut stream);
    items::write_put(0, &Record::new(b"alice", b"100", &mut Vec::new()).unwrap(), &mut stream);
    items::write_mark(1, &mut stream);
    let loaded = load(&framed(&stream, &Sealed::new(9, &[0xab; 16]))).unwrap();
    assert_eq!(loaded.stated, Sealed::new(9, &[0xab; 16]));
    assert_ne!(loaded.digest.to_be_bytes(), [0xab; 16]);
    assert_eq!(loaded.staged.position, 1);
}

#[test]
fn items_that_make_no_sense_are_refused() {
    let record = Record::new(b"alice", b"100", &mut Vec::new()).unwrap();
    let sealed = Sealed::new(0, &[0; 16]);
    let stream = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut items = Vec::new();
        write(&mut items);
        load(&framed(&items, &sealed))
    };
    assert!(stream(&|out| items::write_table(0, 0, "accounts", out)).is_ok());
    let unknown = stream(&|out| items::write_table(0, 0, "ledger", out));
    assert!(matches!(unknown, Err(HandoffError::ContainerUnknown(name)) if name == "ledger"));
    assert!(matches!(stream(&|out| items::write_put(0, &record, out)), Err(HandoffError::Items(_))));
    assert!(matches!(stream(&|out| out.push(1)), Err(HandoffError::Items(_))), "the stream ends in an item");
    assert!(matches!(stream(&|out| out.push(77)), Err(HandoffError::Items(_))));
    let twice = stream(&|out| {
        items::write_table(0, 0, "accounts", out);
        items::write_table(1, 0, "accounts", out);
    });
    assert!(matches!(twice, Err(HandoffError::Items(_))));
}
