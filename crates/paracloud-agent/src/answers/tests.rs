use super::*;
use paci::finding::{Blocked, Loaded, MoveEstimate};
use paci::wire::Message;

const OPERATION: OperationNumber = OperationNumber(7);
const START: StartId = StartId(1);

fn asked(call: Call) -> Upcall {
    let token = fresh_token();
    let schema = Schema { name: "ledger".to_owned(), version: 3 };
    let upcall = Upcall {
        attempt: 1,
        ..upcall(OPERATION, call, &token, Some(&schema), &Budgets::default(), Why::default())
    };
    assert_eq!(upcall.validate(), Ok(()));
    upcall
}

fn hears(upcall: &Upcall, answer: &Answer, staged: bool) -> Heard {
    assert_eq!(answer.validate(), Ok(()));
    hear(START, OPERATION, upcall.call.as_ref().unwrap(), register::Mode::Handoff, answer, staged)
}

#[test]
fn an_estimate_is_an_offer_and_silence_is_none() {
    let upcall = asked(Call::Estimate);
    let estimate = |modes| Finding::Estimate(MoveEstimate { modes, ..MoveEstimate::default() });
    let done = |modes| Answer::to(&upcall, Verdict::Done).with(estimate(modes));
    for (answer, offer) in [
        (done(vec![Mode::Handoff]), Offer::Accept),
        (done(vec![]), Offer::Accept),
        (done(vec![Mode::Restart]), Offer::Refuse),
        (
            Answer { retry_after_ms: 900, ..Answer::to(&upcall, Verdict::Defer) },
            Offer::Hold { remaining_ms: 900 },
        ),
        (Answer::to(&upcall, Verdict::Refuse).because(AnswerCode::NoRoom), Offer::Refuse),
        (Answer::to(&upcall, Verdict::Unsupported), Offer::Refuse),
    ] {
        assert_eq!(hears(&upcall, &answer, false).inputs[0], FromApp::Offer(OPERATION, offer));
    }
    assert_eq!(hears(&upcall, &Answer::to(&upcall, Verdict::InProgress), false), Heard::default());
}

#[test]
fn staged_is_said_once_and_progress_each_time() {
    let upcall = asked(Call::Prepare(Side::Source));
    let copy =
        CopyProgress { staged: true, predicted_pause_ms: Some(4), remaining_records: Some(9), sent_kib: 1 };
    let answer = Answer::to(&upcall, Verdict::InProgress).with(Finding::Copy(copy));
    assert_eq!(hears(&upcall, &answer, false).inputs.len(), 2);
    let again = hears(&upcall, &answer, true).inputs;
    let progress = Progress { sent_kib: 1, remaining_records: 9, predicted_pause_ms: 4 };
    assert_eq!(again, [FromApp::Progress(OPERATION, progress)]);
    let unknown = Finding::Copy(CopyProgress { staged: true, ..CopyProgress::default() });
    let answer = Answer::to(&upcall, Verdict::InProgress).with(unknown);
    assert_eq!(hears(&upcall, &answer, true), Heard::default(), "an unknown pause is no pause of zero");
}

#[test]
fn a_target_states_what_it_holds_and_what_it_was_told() {
    let upcall = asked(Call::Prepare(Side::Target));
    let loaded = Finding::Loaded(Loaded::new((9, &[1; 16]), (8, &[2; 16])));
    let heard = hears(&upcall, &Answer::to(&upcall, Verdict::Done).with(loaded), true);
    let held = participant::Sealed { position: 9, digest: vec![1; 16] };
    let stated = participant::Sealed { position: 8, digest: vec![2; 16] };
    assert_eq!(heard.inputs, [FromApp::Answer(OPERATION, Told::Loaded { held, stated })]);
}

#[test]
fn who_blocks_a_seal_is_named() {
    let upcall = asked(Call::Seal);
    let blocked = Blocked { route: "POST /transfer".into(), held_ms: 740 };
    let answer =
        Answer::to(&upcall, Verdict::Failed).because(AnswerCode::SealBlocked).with(Finding::Blocked(blocked));
    let heard = hears(&upcall, &answer, false);
    assert_eq!(heard.inputs, [FromApp::Answer(OPERATION, Told::Blocked)]);
    assert!(matches!(&heard.notes[0], Note::Blocked { route, .. } if route == "POST /transfer"));
}

#[test]
fn every_refusal_but_a_closed_operation_is_a_failure() {
    for call in [
        Call::Seal,
        Call::Serve { incarnation: 2 },
        Call::Resume { incarnation: 2, outcome: Outcome::Committed },
    ] {
        let upcall = asked(call);
        let refuse = |code| Answer::to(&upcall, Verdict::Refuse).because(code);
        let closed = hears(&upcall, &refuse(AnswerCode::OperationClosed), false).inputs;
        assert_eq!(closed, [FromApp::Answer(OPERATION, Told::OperationClosed)]);
        let failed = hears(&upcall, &refuse(AnswerCode::WrongPhase), false).inputs;
        assert_eq!(failed, [FromApp::Answer(OPERATION, Told::Failed)]);
    }
}

#[test]
fn the_target_alone_is_told_the_sources_schema_and_its_refusal_names_both() {
    let schema = |upcall: &Upcall| match &upcall.call {
        Some(call::Call::Prepare(prepare)) => prepare.schema.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(schema(&asked(Call::Prepare(Side::Source))), None);
    let upcall = asked(Call::Prepare(Side::Target));
    assert_eq!(schema(&upcall).map(|schema| schema.version), Some(3));
    let refused = |message: &str| {
        let answer = Answer::to(&upcall, Verdict::Refuse).because(AnswerCode::SchemaUnknown).saying(message);
        let Heard { mut notes, inputs } = hears(&upcall, &answer, false);
        assert_eq!(inputs, [FromApp::Answer(OPERATION, Told::Failed)]);
        with_schema(upcall.call.as_ref().unwrap(), notes.remove(0))
    };
    for (own, said) in [
        ("this reads ledger 1 and 2", "the source has ledger 3: this reads ledger 1 and 2"),
        ("ledger 3 is too new", "ledger 3 is too new"),
    ] {
        let Note::Failure { message, .. } = refused(own) else { panic!("no failure") };
        assert_eq!(message, said);
    }
}

#[test]
fn whatever_is_final_ends_an_abort_and_what_is_not_does_not() {
    let upcall = asked(Call::Abort);
    let answer = |verdict| Answer::to(&upcall, verdict);
    let coded = |verdict, code| answer(verdict).because(code);
    for (answer, notes) in [
        (answer(Verdict::Done), 0),
        (coded(Verdict::Failed, AnswerCode::WrongPhase), 1),
        (coded(Verdict::Refuse, AnswerCode::OperationClosed), 1),
        (answer(Verdict::Unsupported), 1),
    ] {
        let heard = hears(&upcall, &answer, false);
        assert_eq!(heard.inputs, [FromApp::Answer(OPERATION, Told::Aborted)], "{answer:?}");
        assert_eq!(heard.notes.len(), notes, "{heard:?}");
    }
    let defer = Answer { retry_after_ms: 300, ..answer(Verdict::Defer) };
    for answer in [answer(Verdict::InProgress), defer] {
        assert_eq!(hears(&upcall, &answer, false), Heard::default());
    }
}
