//! Questions that nothing is done because of, under the number that the next operation will have.

use crate::contract::{estimate, owner};
use crate::rig::{APP, Agent, Puppet};
use paci::answer::{Answer, Verdict};
use paci::finding::{Finding, Preference};
use paci::size::{Resize, Size};
use paci::upcall::Reason;
use paracloud_substrate::message::{FromAgentLine, Question, ToAgentLine, Unasked};
use serde_json::json;

const ALL: &[&str] = &["move.estimate", "move.handoff", "scale.quote", "resize.memory"];

fn ask(agent: &mut Agent, question: u64, call: Question) {
    ask_within(agent, question, call, 30_000);
}

fn ask_within(agent: &mut Agent, question: u64, call: Question, budget_ms: u32) {
    let (instance, reason) = (APP.to_owned(), Reason::ScaleIn);
    agent.say(&ToAgentLine::Question { instance, question, call, reason, budget_ms });
}

fn answered(agent: &mut Agent, question: u64) -> Result<Answer, Unasked> {
    agent.hear_line("an answer", |line| match line {
        FromAgentLine::Answered { question: of, answer } if *of == question => Some(answer.clone()),
        _ => None,
    })
}

fn never(agent: &mut Agent, question: u64) -> String {
    match answered(agent, question) {
        Err(unasked @ (Unasked::Never(_) | Unasked::Unaware | Unasked::Lacks(_))) => unasked.to_string(),
        other => panic!("it was asked: {other:?}"),
    }
}

fn memory(memory_kib: u32) -> Question {
    Question::Resize(Resize { memory_kib: Some(memory_kib), ..Resize::default() })
}

#[test]
fn a_price_is_asked_for_without_an_operation_and_told_in_the_applications_own_words() {
    let (mut rig, _, shop) = owner();
    shop.hello(ALL);
    let agent = &mut rig.agents[0];
    ask(agent, 1, Question::Quote);
    let upcall = shop.next();
    assert_eq!((&upcall["dryRun"], &upcall["operation"]), (&json!(true), &json!(1)));
    assert_eq!((&upcall["quote"], &upcall["budgetMs"]), (&json!({}), &json!(30_000)));
    assert_eq!((&upcall["reason"]), &json!("SCALE_IN"));
    assert_eq!(upcall["message"], "the cloud asks what losing this instance would cost now");
    shop.answer(&upcall, json!({"verdict": "IN_PROGRESS"}));
    let price = json!({"costMs": 4200, "sessions": 0, "preference": "AVOID"});
    assert_eq!(shop.answer(&upcall, json!({"verdict": "DONE", "quote": price})).0, 200);
    let answer = answered(agent, 1).unwrap();
    let Some(Finding::Quote(quote)) = &answer.result else { panic!("no price: {answer:?}") };
    assert_eq!((quote.cost_ms, quote.drain_ms, quote.sessions), (Some(4_200), None, Some(0)));
    assert_eq!((answer.verdict, quote.preference), (Verdict::Done, Preference::Avoid));
    // What it cost then is no answer to what it costs now.
    ask(agent, 2, Question::Quote);
    let again = shop.next();
    assert_eq!((&again["operation"], &again["attempt"]), (&json!(1), &json!(2)));
    shop.answer(&again, json!({"verdict": "DEFER", "retryAfterMs": 900, "message": "payroll"}));
    let later = answered(agent, 2).unwrap();
    assert_eq!((later.verdict, later.retry_after_ms, &*later.message), (Verdict::Defer, 900, "payroll"));
    ask(agent, 3, Question::Quote);
    let refused = shop.next();
    shop.answer(&refused, json!({"verdict": "REFUSE", "code": "APP_LEADER"}));
    assert_eq!(answered(agent, 3).unwrap().code, "APP_LEADER");
}

#[test]
fn whether_it_would_fit_is_asked_dry_and_a_counter_offer_comes_back() {
    let (mut rig, _, shop) = owner();
    shop.hello(ALL);
    let agent = &mut rig.agents[0];
    ask(agent, 1, memory(65_536));
    let upcall = shop.next();
    assert_eq!((&upcall["dryRun"], &upcall["resize"]), (&json!(true), &json!({"memoryKib": 65_536})));
    let counter = json!({"verdict": "REFUSE", "code": "DOES_NOT_FIT", "fit": {"memoryKib": 131_072}});
    assert_eq!(shop.answer(&upcall, counter).0, 200);
    let fit = Size { memory_kib: Some(131_072), cpu_millis: None };
    assert_eq!(answered(agent, 1).unwrap().result, Some(Finding::Fit(fit)));
    ask(agent, 2, Question::Estimate);
    let upcall = shop.next();
    shop.answer(&upcall, json!({"verdict": "DONE", "estimate": {"stateKib": 3}}));
    let Some(Finding::Estimate(of)) = answered(agent, 2).unwrap().result else { panic!("no estimate") };
    assert_eq!(of.state_kib, Some(3));
}

#[test]
fn who_cannot_be_asked_is_said_to_be_with_the_reason() {
    let (mut rig, start, shop) = owner();
    let agent = &mut rig.agents[0];
    ask(agent, 1, Question::Quote);
    assert_eq!(never(agent, 1), "it does not speak PaCI");
    shop.hello(&["resize.memory", "move.handoff", "move.estimate"]);
    ask(agent, 2, Question::Quote);
    assert_eq!(never(agent, 2), "it does not claim the capability scale.quote");
    let cpu = Resize { memory_kib: Some(1), cpu_millis: Some(1), ..Resize::default() };
    ask(agent, 3, Question::Resize(cpu));
    assert_eq!(never(agent, 3), "it does not claim the capability resize.cpu");
    ask(agent, 4, Question::Resize(Resize::default()));
    assert_eq!(
        never(agent, 4),
        "no application can be asked that: resize: none of memoryKib, cpuMillis is given, and one is needed"
    );
    let (instance, reason) = ("unheard-of".to_owned(), Reason::Person);
    agent.say(&ToAgentLine::Question {
        instance,
        question: 5,
        call: Question::Quote,
        reason,
        budget_ms: 1_000,
    });
    assert_eq!(never(agent, 5), "it is not configured here");
    shop.hello(ALL);
    // One question at a time, and an operation comes before any.
    ask(agent, 6, Question::Quote);
    shop.next();
    ask(agent, 7, memory(65_536));
    assert_eq!(answered(agent, 7).unwrap_err(), Unasked::Busy);
    estimate(&mut rig, start, shop);
    assert_eq!(answered(&mut rig.agents[0], 6).unwrap_err(), Unasked::Busy);
}

#[test]
fn a_question_is_waited_for_as_long_as_it_says_and_an_answer_that_is_wrong_is_why_there_was_none() {
    let (mut rig, _, shop) = owner();
    shop.hello(ALL);
    let agent = &mut rig.agents[0];
    ask_within(agent, 1, Question::Quote, 300);
    assert_eq!(never(agent, 1), "the application did not answer within its budget");
    for (number, answer, status, why) in [
        (2, json!({"verdict": "DONE"}), 400, "result: does not belong here"),
        (3, json!({"verdict": "DONE", "quote": {"costMs": 2_592_000_001_u32}}), 400, "quote.costMs"),
        (4, json!({"verdict": "DONE", "fit": {"memoryKib": 1}}), 400, "result"),
        (5, json!({"verdict": "REFUSE"}), 400, "code: missing"),
    ] {
        let late = refused_once(agent, shop, number, &answer, status);
        assert!(late.contains("its last answer was refused: ") && late.contains(why), "{number}: {late}");
    }
    ask(agent, 9, Question::Quote);
    let upcall = shop.next();
    assert_eq!(shop.answer(&upcall, json!({"verdict": "DONE", "quote": {}})).0, 200);
    assert!(answered(agent, 9).is_ok(), "nothing is left of the others");
}

/// Asks, answers wrongly, and says why there is no answer.
fn refused_once(
    agent: &mut Agent,
    shop: Puppet,
    number: u64,
    answer: &serde_json::Value,
    status: u16,
) -> String {
    ask_within(agent, number, Question::Quote, 500);
    let upcall = shop.next();
    let (got, error) = shop.answer(&upcall, answer.clone());
    assert_eq!((got, &error["next"]), (status, &json!("FIX")), "{error}");
    never(agent, number)
}
