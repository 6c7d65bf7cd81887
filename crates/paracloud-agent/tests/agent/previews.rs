//! What a move would cost: asked without an operation.

use crate::contract::{CAPABILITIES, OPERATION, asks, estimate, offer, owner};
use crate::rig::{N1, Rig};
use paracloud_core::ids::{OperationNumber, Placement};
use paracloud_core::migration::message::Offer;
use paracloud_core::register::Record;
use paracloud_substrate::message::{FromAgentLine, Preview, Unasked};
use serde_json::json;

fn previewed(rig: &mut Rig, question: u64) -> Result<Preview, Unasked> {
    rig.agents[0].hear_line("a preview", |line| match line {
        FromAgentLine::Previewed { question: of, answer } if *of == question => Some(answer.clone()),
        _ => None,
    })
}

#[test]
fn a_preview_asks_without_an_operation() {
    let (mut rig, start, shop) = owner();
    let ask = asks;
    rig.agents[0].say(&ask(1));
    let unaware = previewed(&mut rig, 1).unwrap();
    assert_eq!((unaware.offer, unaware.reason.as_str()), (None, "it does not speak PaCI"));
    shop.hello(CAPABILITIES);
    rig.agents[0].say(&ask(2));
    let upcall = shop.next();
    assert_eq!((upcall["dryRun"].as_bool(), upcall["operation"].as_u64()), (Some(true), Some(1)));
    let figures = json!({"stateKib": 4096, "modes": ["HANDOFF"]});
    assert_eq!(shop.answer(&upcall, json!({"verdict": "DONE", "estimate": figures})).0, 200);
    let preview = previewed(&mut rig, 2).unwrap();
    assert_eq!(preview.offer, Some(Offer::Accept));
    assert_eq!(preview.estimate.unwrap().state_kib, Some(4_096));
    // The move itself asks anew, under the same number, and its figures may be others.
    estimate(&mut rig, start, shop);
    let upcall = shop.next();
    assert_eq!((upcall["dryRun"].as_bool(), upcall["attempt"].as_u64()), (Some(false), Some(2)));
    assert_eq!(shop.answer(&upcall, json!({"verdict": "DEFER", "retryAfterMs": 700})).0, 200);
    assert_eq!(offer(&mut rig), Offer::Hold { remaining_ms: 700 });
}

#[test]
fn a_preview_waits_for_as_long_as_it_says_and_no_progress_makes_that_longer() {
    let asked = |budget_ms| {
        let mut rig = Rig::with(|app| app.budgets.prepare_ms = budget_ms);
        rig.agent(N1);
        let (_, shop) = rig.owner(N1);
        shop.hello(CAPABILITIES);
        rig.agents[0].say(&asks(1));
        let upcall = shop.next();
        assert_eq!(upcall["budgetMs"].as_u64(), Some(u64::from(budget_ms)));
        (rig, shop, upcall)
    };
    // Each delivery comes a second after the one before.
    let (mut rig, shop, mut upcall) = asked(60_000);
    while upcall["attempt"].as_u64() < Some(7) {
        upcall = shop.next();
    }
    assert_eq!(shop.answer(&upcall, json!({"verdict": "DONE", "estimate": {"modes": ["HANDOFF"]}})).0, 200);
    assert_eq!(previewed(&mut rig, 1).unwrap().offer, Some(Offer::Accept));

    let (mut rig, shop, upcall) = asked(1_000);
    let (over, is_over) = std::sync::mpsc::channel::<()>();
    let working = std::thread::spawn(move || {
        crate::rig::until("it is not waited for any more", || {
            shop.answer(&upcall, json!({"verdict": "IN_PROGRESS"}));
            shop.call("GET", "/v1/upcalls/next?waitMs=100", "");
            (is_over.try_recv() == Err(std::sync::mpsc::TryRecvError::Disconnected)).then_some(())
        });
    });
    let why = previewed(&mut rig, 1).unwrap_err();
    let said = "the application did not answer within its budget (move.prepare)".to_owned();
    assert_eq!(why, Unasked::Never(said));
    drop(over);
    working.join().unwrap();
}

#[test]
fn an_answer_to_a_preview_that_was_refused_is_why_there_was_none() {
    let mut rig = Rig::with(|app| app.budgets.prepare_ms = 1_000);
    rig.agent(N1);
    let (_, shop) = rig.owner(N1);
    shop.hello(CAPABILITIES);
    rig.agents[0].say(&asks(1));
    let upcall = shop.next();
    let refused = shop.answer(&upcall, json!({"verdict": "DONE", "estimate": {"modes": "all of them"}}));
    assert_eq!(refused.0, 400, "{refused:?}");
    let Unasked::Never(why) = previewed(&mut rig, 1).unwrap_err() else { panic!("it was asked") };
    let said =
        "the application did not answer within its budget (move.prepare); its last answer was refused: ";
    assert!(why.starts_with(said) && why.contains("all of them"), "{why}");
}

#[test]
fn who_estimates_a_restart_alone_is_said_to_offer_no_handoff() {
    let (mut rig, _, shop) = owner();
    shop.hello(CAPABILITIES);
    rig.agents[0].say(&asks(1));
    let upcall = shop.next();
    let answer = json!({"verdict": "DONE", "estimate": {"modes": ["RESTART"]}, "message": "all is on disk"});
    assert_eq!(shop.answer(&upcall, answer).0, 200);
    let preview = previewed(&mut rig, 1).unwrap();
    let reason = "it does not offer the mode HANDOFF: all is on disk";
    assert_eq!((preview.offer, preview.reason.as_str()), (None, reason));
}

#[test]
fn a_hold_on_the_move_counts_also_of_one_that_cannot_hand_over() {
    let (mut rig, _, shop) = owner();
    let hold = r#"{"ops":["move"],"ttlMs":60000,"reason":"month end"}"#;
    assert_eq!(shop.call("PUT", "/v1/holds/payroll", hold).0, 200);
    for (question, capabilities) in [(1, None), (2, Some(&["stop"][..])), (3, Some(CAPABILITIES))] {
        if let Some(capabilities) = capabilities {
            shop.hello(capabilities);
        }
        rig.agents[0].say(&asks(question));
        let preview = previewed(&mut rig, question).unwrap();
        assert!(matches!(preview.offer, Some(Offer::Hold { remaining_ms: 1..=60_000 })), "{preview:?}");
        assert_eq!(preview.reason, "payroll: month end");
    }
}

#[test]
fn a_preview_is_no_operation_and_its_number_counts_once_an_operation_asks_under_it() {
    let (mut rig, start, shop) = owner();
    shop.hello(CAPABILITIES);
    shop.ready();
    rig.agents[0].say(&asks(1));
    let upcall = shop.next();
    assert_eq!(upcall["operation"].as_u64(), Some(OPERATION.0.into()));
    let estimate_of = json!({"verdict": "DONE", "estimate": {"modes": ["HANDOFF"]}});
    assert_eq!(shop.answer(&upcall, estimate_of).0, 200);
    rig.redial(0);
    assert_eq!(rig.agents[0].known[0].operation, OperationNumber(0));
    rig.kill_agent(0);
    assert_eq!(rig.agent(N1).known[0].operation, OperationNumber(0));

    shop.hello(CAPABILITIES);
    // It hears from nobody else who owns it.
    rig.agents[0].own(&Record::first(Placement::new(N1, start)));
    rig.agents[0].say(&asks(2));
    assert_eq!(shop.next()["dryRun"], true);
    estimate(&mut rig, start, shop);
    assert_eq!(shop.next()["dryRun"], false);
    rig.kill_agent(0);
    assert_eq!(rig.agent(N1).known[0].operation, OPERATION);
}
