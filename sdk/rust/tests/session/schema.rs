//! A target says that it cannot read what the source will send, before anything is sent.

use super::{Agent, Paci, TOKEN, program, upcall};
use paci::answer::{Answer, Verdict};
use paci::call::{Abort, Call, Estimate, Mode, Prepare, Schema, Side};
use paci::finding::Finding;
use paci::instance::Standing;
use paci::names::AnswerCode;

fn schema(name: &str, version: u32) -> Option<Schema> {
    Some(Schema { name: name.into(), version })
}

fn ledger(paci: &Paci) {
    paci.schema("ledger", 3);
}

fn prepare(schema: Option<Schema>) -> Call {
    let channel_token = TOKEN.into();
    Call::Prepare(Prepare { side: Side::Target, mode: Mode::Handoff, channel_token, schema })
}

fn is_staged(answer: &Answer) -> bool {
    matches!(&answer.result, Some(Finding::Copy(copy)) if copy.staged)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_refuses_a_schema_that_it_cannot_read_before_it_joins() {
    for readable in [schema("ledger", 3), schema("ledger", 2), None] {
        let mut agent = Agent::start(Standing::Staging, 8);
        let (_paci, _map) = program(&agent, ledger).await;
        let unreadable = [schema("ledger", 4), schema("book", 3), schema("paracloud-state", 1)];
        for (attempt, of_source) in (1..).zip(unreadable) {
            agent.ask(upcall(41, attempt, prepare(of_source.clone())));
            let refused = agent.answer_when(41, |answer| answer.attempt == attempt).await;
            let said = (refused.verdict, &*refused.code);
            assert_eq!(said, (Verdict::Refuse, AnswerCode::SchemaUnknown.as_str()), "{of_source:?}");
            assert!(refused.message.ends_with("this program reads ledger up to 3"), "{refused:?}");
        }
        agent.ask(upcall(41, 4, Call::Abort(Abort {})));
        agent.done(41).await;
        agent.ask(upcall(41, 5, prepare(schema("book", 3))));
        let over = agent.answer_when(41, |answer| answer.attempt == 5).await;
        assert_eq!(over.code, AnswerCode::OperationClosed.as_str(), "what is over is not judged");

        agent.ask(upcall(42, 1, prepare(readable.clone())));
        agent.answer_when(42, is_staged).await;
        assert_eq!(agent.joined(), 1, "{readable:?}: only what can be read is loaded");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_source_says_of_its_schema_is_what_a_target_of_the_same_program_reads() {
    for named in [ledger, |_: &Paci| ()] {
        let (mut source, mut target) = (Agent::start(Standing::Owner, 7), Agent::start(Standing::Staging, 8));
        let (_left, _right) = (program(&source, named).await, program(&target, named).await);
        source.ask(upcall(41, 1, Call::Estimate(Estimate {})));
        let Some(Finding::Estimate(estimate)) = source.done(41).await.result else { panic!("no estimate") };
        assert!(estimate.schema.is_some());
        target.ask(upcall(41, 1, prepare(estimate.schema)));
        target.answer_when(41, is_staged).await;
    }
}
