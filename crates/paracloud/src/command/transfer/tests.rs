use super::*;
use crate::client::tests::{restarted, stalling};
use crate::moving::history::tests::{a_move, event, record};
use paci::finding::MoveEstimate;
use paracloud_core::register::MoveStep;
use paracloud_substrate::person::Status;

/// What a follower says who heard of these swaps, and then of this note.
fn told(swaps: &[Event], note: Note) -> Option<Failure> {
    let mut history = History::new("sessions", None);
    swaps.iter().for_each(|swap| assert!(history.take(swap)));
    let noted = event(9, What::Note(note));
    history.take(&noted);
    undelivered("sessions", &history, &noted).map(|found| found.failure)
}

fn place(node: u64) -> StartId {
    StartId(0x1234_5678_0000_0000 + node)
}

/// A move that is to be undone, before it was sealed or after.
fn undone(incarnation: u32) -> Vec<Event> {
    let swapped = |change: &str, record| What::Swapped { change: change.to_owned(), record };
    let open = swapped("open", record(Some(MoveStep::Open), 1, 4));
    let undo = swapped("roll_back: cancelled", record(Some(MoveStep::Undo), 1, incarnation));
    vec![event(1, open), event(2, undo)]
}

#[test]
fn only_an_owner_that_does_not_do_what_was_decided_ends_the_command_early() {
    let silent =
        |node, call: &str| Note::Unresponsive { start: place(node), call: call.to_owned(), at_work: false };
    let failed = |node| Note::Failure {
        start: place(node),
        code: "WRONG_PHASE".to_owned(),
        message: "no\x1b".to_owned(),
    };
    let named = |found: Option<Failure>, why| {
        let failure = found.expect("the owner is named");
        assert_eq!((failure.exit, failure.code.as_str()), (Exit::Failed, "undelivered"));
        assert!(failure.why.contains(why), "{failure:?}");
        let next =
            "paracloud logs sessions shows why; if it stays so, end its process, and the state in it goes";
        assert!(failure.next.starts_with(next), "{failure:?}");
    };
    named(told(&undone(5), silent(1, "resume")), "its owner does not answer resume;");
    // The target is ended anyway, and what the source was asked before does not count any more.
    for other in [silent(2, "prepare"), silent(2, "resume"), silent(1, "prepare"), silent(1, "seal")] {
        assert_eq!(told(&undone(5), other.clone()), None, "{other:?}");
        assert_eq!(told(&undone(4), other.clone()), None, "{other:?}");
    }
    assert_eq!(told(&undone(4), silent(1, "abort")), None, "it counts as answered");
    let served = &a_move()[..8];
    named(told(served, silent(2, "serve")), "its owner does not answer serve;");
    assert_eq!(told(served, silent(1, "seal")), None);
    named(told(&undone(5), failed(1)), "its owner answered resume with WRONG_PHASE: no ");
    named(told(served, failed(2)), "its owner answered serve with WRONG_PHASE");
    assert_eq!(told(&undone(5), failed(2)), None, "it is ended anyway");
    assert_eq!(told(&undone(4), failed(1)), None, "an abort that failed counts as answered");
    assert_eq!(told(served, failed(1)), None);
    assert_eq!(told(&served[..7], silent(2, "resume")), None, "nothing is decided for good");
}

#[test]
fn an_agent_that_is_away_ends_the_command_early_unless_only_a_copy_waits_for_it() {
    let duty = "to say that the target's process is dead".to_owned();
    let away = event(9, What::Note(Note::Awaited { node: "n2".to_owned(), silent_ms: 14_000, duty }));
    let heard = |phase| {
        let mut history = History::new("sessions", None);
        undone(5).iter().for_each(|event| assert!(history.take(event)));
        assert!(history.take(&event(8, What::Entered(phase))));
        history
    };
    assert!(unreachable("sessions", &heard(Phase::Copy), &away).is_none());
    let mut history = heard(Phase::Retire);
    let found = unreachable("sessions", &history, &away).expect("it is named");
    assert_eq!((found.failure.exit, found.failure.code.as_str()), (Exit::Failed, "node_unreachable"));
    let why = "the move is rolled back; it waits for the agent of n2, which is not connected and was not heard for 14.00 s: it is to say that the target's process is dead";
    assert_eq!(found.failure.why, why);
    assert!(found.what.is_awaited_in(&history));
    assert!(history.take(&event(10, What::Entered(Phase::Idle))));
    assert!(!found.what.is_awaited_in(&history), "it is not waited for any more");
}

#[test]
fn a_preview_exits_by_the_code_of_what_stands_in_the_way_and_not_by_its_words() {
    let refused = |code: &str, message: &str| Refused {
        code: code.to_owned(),
        message: message.to_owned(),
        next: "consent with --accept-loss".to_owned(),
    };
    let stopped = |refused: &Refused| stopped_by("web", None, NodeId(2), Some(refused)).unwrap();
    let held = stopped(&refused("held", "web holds on: waits for the consent of accept-loss, its peer"));
    assert_eq!((held.exit, held.code.as_str()), (Exit::Failed, "held"));
    let needed = stopped(&refused("consent_needed", "web holds state"));
    assert_eq!((needed.exit, needed.next.as_str()), (Exit::Consent, "consent with --accept-loss"));
    assert_eq!(stopped_by("web", Some(Mode::Handoff), NodeId(2), None), None);
    assert_eq!(stopped_by("web", None, NodeId(2), None).map(|it| it.exit), Some(Exit::Failed));
}

#[test]
fn who_followed_a_move_when_the_whole_cloud_died_is_told_what_becomes_of_it_and_where_to_read_that() {
    let gone = Failure::new(Exit::Unreachable, "no_cloud", "/d", "the cloud is not up", "start one");
    let mut history = History::new("sessions", None);
    let unknown = cut_off(gone.clone(), &history);
    assert!(unknown.why.contains("whether the move had begun is not known"), "{unknown:?}");
    assert!(history.take(&a_move()[0]));
    let begun = cut_off(gone.clone(), &history);
    assert_eq!((begun.exit, begun.code.as_str()), (Exit::Unreachable, "no_cloud"));
    let why = "the cloud is not up; the move had begun (op-3): the next `up` in this directory rolls it back";
    assert!(begun.why.starts_with(why), "{begun:?}");
    assert_eq!(begun.next, "start one; then paracloud events says how the move ended");
    let silent = Failure { code: "no_answer".to_owned(), ..gone };
    assert!(cut_off(silent, &history).why.contains("the move goes on without this command"));
}

#[test]
fn a_preview_says_mode_and_figures_and_leaves_out_what_is_unknown() {
    let estimate = MoveEstimate {
        state_kib: Some(204_800),
        shrinkable_kib: Some(1_024),
        pause_ms: Some(4),
        ..MoveEstimate::default()
    };
    let aware = Preview {
        hands_over: true,
        offer: Some(Offer::Accept),
        estimate: Some(estimate),
        reason: String::new(),
    };
    let held = Offer::Hold { remaining_ms: 90_000 };
    let held =
        Preview { hands_over: true, offer: Some(held), estimate: None, reason: "backup\x1b[2J".to_owned() };
    let unaware = Preview {
        hands_over: false,
        offer: None,
        estimate: None,
        reason: "it does not speak PaCI".to_owned(),
    };
    let obstacle =
        |code: &str| Refused { code: code.to_owned(), message: String::new(), next: String::new() };
    let restarts = "it does not offer the mode HANDOFF".to_owned();
    let restarts = Preview { hands_over: false, offer: None, estimate: None, reason: restarts };
    let shown = [
        previewed("sessions", Some(Mode::Handoff), NodeId(2), &aware, None),
        previewed("sessions", None, NodeId(2), &held, Some(&obstacle("held"))),
        previewed("web", Some(Mode::Restart), NodeId(2), &unaware, None),
        previewed("web", None, NodeId(2), &restarts, Some(&obstacle("consent_needed"))),
    ];
    insta::assert_snapshot!(shown.join("\n\n"));
}

#[tokio::test]
async fn who_hears_an_end_from_the_journal_hears_the_rest_of_it_or_that_it_is_not_known() {
    let events: Vec<_> = a_move().into_iter().map(Reply::Event).collect();
    let status = || Status {
        instances: Vec::new(),
        nodes: Vec::new(),
        gateways: Vec::new(),
        holds: Vec::new(),
        scales: Vec::new(),
        updating: Vec::new(),
    };
    for (last, carried_bytes, websockets_closed) in [(12, Some(200 << 20), 50), (11, None, 50), (10, None, 0)]
    {
        let says = [events[..7].to_vec(), events[..last].to_vec()];
        let statuses = std::iter::repeat_with(|| vec![Reply::Status(status())]).take(10);
        let (_directory, context) = restarted(says.into_iter().chain(statuses));
        let request =
            Request::Move { instance: "sessions".to_owned(), to: None, accept_loss: false, wait: true };
        let mut conversation = Conversation::open(&context.layout, &request).await.unwrap();
        let mut history = History::new("sessions", None);
        let mut view = View::new("sessions", Format::Json);
        let followed = follow(&context, "sessions", true, &mut conversation, &mut history, &mut view).await;
        let Ok(Followed::Ended(outcome)) = followed else { panic!("{followed:?}") };
        assert_eq!(
            (outcome.carried_bytes, outcome.websockets_closed, outcome.clients_known),
            (carried_bytes, websockets_closed, carried_bytes.is_some())
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_that_comes_soon_after_all_is_the_end_and_one_that_does_not_is_not_waited_for() {
    let note = Note::Failure { start: place(2), code: "WRONG_PHASE".to_owned(), message: String::new() };
    let mut heard = a_move();
    heard.truncate(10);
    let close = heard.pop().unwrap();
    heard.push(event(10, What::Note(note)));
    let outcome = {
        let mut history = History::new("sessions", None);
        heard.iter().for_each(|event| assert!(history.take(event)));
        assert!(history.take(&Event { number: 11, ..close.clone() }));
        history.outcome().unwrap()
    };
    let heard: Vec<_> = heard.into_iter().map(Reply::Event).collect();
    let ended = [vec![Reply::Event(Event { number: 11, ..close })], vec![Reply::Outcome(outcome)]].concat();
    let (_directory, context) = stalling([[heard.clone(), ended].concat()]);
    assert_eq!(run(&context, "sessions", &Options::default()).await, Ok(()));
    let (_directory, context) = stalling([heard]);
    let failure = run(&context, "sessions", &Options::default()).await.unwrap_err();
    assert_eq!((failure.exit, failure.code.as_str()), (Exit::Failed, "undelivered"), "{failure:?}");
}
