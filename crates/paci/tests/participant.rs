//! The application's machine: what it refuses, and what it answers again.

use paci::participant::{Act, Answer, Call, Outcome, Participant, Sealed, Side, Standing};

const PREPARE: Call = Call::Prepare(Side::Source);

fn sealed() -> Sealed {
    Sealed { position: 3, digest: vec![1; 16] }
}

fn resume(outcome: Outcome) -> Call {
    Call::Resume { incarnation: 8, outcome }
}

/// An owner that was told to prepare and to seal operation 41.
fn sealing() -> Participant {
    let mut participant = Participant::default();
    participant.welcome(Standing::Owner, 7);
    assert_eq!(participant.call(41, PREPARE), [Act::Copy(41)]);
    assert_eq!(participant.call(41, Call::Seal), [Act::Close, Act::Ship(41)]);
    participant
}

#[test]
fn a_lower_operation_than_one_that_was_seen_is_refused() {
    let mut participant = sealing();
    for call in [Call::Estimate, PREPARE, Call::Seal, resume(Outcome::RolledBack), Call::Abort] {
        let before = participant.clone();
        assert_eq!(participant.call(40, call), [Act::Answer(40, Answer::OperationClosed)], "{call:?}");
        assert_eq!(participant, before, "{call:?}");
    }
}

#[test]
fn what_is_over_is_refused() {
    let mut participant = sealing();
    participant.call(41, resume(Outcome::RolledBack));
    assert!(participant.is_open());
    for call in [Call::Estimate, PREPARE, Call::Seal] {
        assert_eq!(participant.call(41, call), [Act::Answer(41, Answer::OperationClosed)], "{call:?}");
        assert!(participant.is_open(), "{call:?}");
    }
    assert_eq!(participant.call(42, PREPARE), [Act::Copy(42)], "the next one is another matter");
}

#[test]
fn a_seal_has_one_answer() {
    let mut participant = sealing();
    assert_eq!(participant.call(41, Call::Seal), [], "it is answered when the guards ended");
    participant.shipped(41, sealed());
    for _ in 0..2 {
        assert_eq!(participant.call(41, Call::Seal), [Act::Answer(41, Answer::Sealed(sealed()))]);
    }
    let mut participant = sealing();
    participant.blocked(41);
    for _ in 0..2 {
        assert_eq!(participant.call(41, Call::Seal), [Act::Answer(41, Answer::Blocked)]);
    }
}

#[test]
fn only_resume_ends_a_seal() {
    let mut participant = sealing();
    participant.shipped(41, sealed());
    participant.channel_failed(41);
    for standing in [Standing::Owner, Standing::Staging, Standing::Outdated, Standing::Undecided] {
        assert_eq!(participant.welcome(standing, 9), [], "{standing:?}");
    }
    assert_eq!(participant.call(41, Call::Abort), [Act::Answer(41, Answer::Failed)]);
    assert_eq!(participant.call(41, Call::Serve { incarnation: 7 }), [Act::Answer(41, Answer::Failed)]);
    assert!(participant.is_sealed() && !participant.is_open());
    participant.call(41, resume(Outcome::RolledBack));
    assert!(participant.is_open());
    assert_eq!(participant.incarnation(), 8);
}

#[test]
fn a_source_that_was_left_never_serves_again() {
    let mut participant = sealing();
    participant.shipped(41, sealed());
    participant.call(41, resume(Outcome::Committed));
    assert!(!participant.is_open());
    participant.welcome(Standing::Owner, 9);
    for call in [resume(Outcome::RolledBack), Call::Serve { incarnation: 8 }, PREPARE, Call::Abort] {
        participant.call(42, call);
        assert!(!participant.is_open(), "{call:?}");
    }
}

#[test]
fn a_target_that_was_told_to_abort_takes_nothing_over() {
    let loaded = || {
        let mut participant = Participant::default();
        participant.welcome(Standing::Staging, 7);
        assert_eq!(participant.call(41, Call::Prepare(Side::Target)), [Act::Load(41)]);
        participant.loaded(41, sealed(), sealed());
        participant
    };
    let mut participant = loaded();
    for _ in 0..2 {
        let answers = participant.call(41, resume(Outcome::Committed));
        assert_eq!(answers, [Act::Answer(41, Answer::Resumed)], "told again it answers the same");
    }
    let mut participant = loaded();
    participant.call(41, Call::Abort);
    let answers = participant.call(41, resume(Outcome::Committed));
    assert_eq!(answers, [Act::Answer(41, Answer::Failed)], "what it loaded may be gone already");
}
