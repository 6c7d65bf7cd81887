//! An owner that leaves: what it is asked, what its answers mean, and that it may be called back.

use crate::rig::{N1, Puppet, Rig, kill};
use paracloud_core::ids::{OperationNumber, Placement, StartId};
use paracloud_core::migration::agent::Timer;
use paracloud_core::migration::cause::Cause;
use paracloud_core::migration::message::{FromAgent, Offer};
use paracloud_core::register::{Change, Proposer, Record};
use paracloud_substrate::message::{FromAgentLine, Note};
use rustix::process::Signal;
use serde_json::{Value, json};

const OPERATION: OperationNumber = OperationNumber(1);
const BOTH: &[&str] = &["drain", "drain.reversible"];

/// An owner that serves.
struct Owner {
    rig: Rig,
    start: StartId,
    shop: Puppet,
    record: Record,
}

impl Owner {
    fn start() -> Self {
        let mut rig = Rig::new();
        rig.agent(N1);
        let (start, shop) = rig.owner(N1);
        let first = Record::first(Placement::new(N1, start));
        let record = first.apply(&Change::Serve(shop.address), Proposer::Coordinator).unwrap();
        Self { rig, start, shop, record }
    }

    /// The register says so from now on, and the agent hears of it.
    fn swap(&mut self, change: &Change) {
        self.record = self.record.apply(change, Proposer::Coordinator).unwrap();
        self.tell();
    }

    fn tell(&mut self) {
        let record = self.record.clone();
        self.rig.agents.last_mut().unwrap().own(&record);
    }

    /// The next word of its agent on this operation.
    fn word(&mut self) -> FromAgent {
        self.rig.agents.last_mut().unwrap().hear("a word", |message| match message {
            FromAgent::Drained { operation: OPERATION, .. }
            | FromAgent::Offered { operation: OPERATION, .. }
            | FromAgent::Failed { operation: OPERATION, .. }
            | FromAgent::Undone { operation: OPERATION, .. } => Some(message.clone()),
            _ => None,
        })
    }

    fn drained(&self) -> FromAgent {
        FromAgent::Drained { operation: OPERATION, start: self.start }
    }

    fn answer(&self, upcall: &Value, answer: Value) {
        assert_eq!(self.shop.answer(upcall, answer).0, 200);
    }
}

#[test]
fn an_owner_that_leaves_is_drained_and_may_be_called_back() {
    let mut owner = Owner::start();
    owner.shop.hello(BOTH);
    owner.swap(&Change::Leave);
    let upcall = owner.shop.next();
    assert_eq!((&upcall["drain"], &upcall["operation"]), (&json!({"reversible": true}), &json!(1)));
    assert_eq!((&upcall["budgetMs"], &upcall["dryRun"]), (&json!(300_000), &json!(false)));
    assert_eq!(upcall["message"], "a person asks for its leave");
    owner.answer(&upcall, json!({"verdict": "IN_PROGRESS", "inFlight": 2}));
    owner.answer(&upcall, json!({"verdict": "DONE", "inFlight": 0}));
    assert_eq!(owner.word(), owner.drained());
    owner.tell();
    assert_eq!(owner.word(), owner.drained(), "it is not asked again");
    owner.swap(&Change::Return(Cause::Cancelled));
    let back = owner.shop.next();
    assert_eq!((&back["abort"], &back["operation"]), (&json!({}), &json!(1)));
    owner.answer(&back, json!({"verdict": "DONE"}));
    assert_eq!(owner.word(), FromAgent::Undone { operation: OPERATION, start: owner.start });
}

#[test]
fn who_cannot_be_called_back_is_asked_nothing_and_who_speaks_no_paci_neither() {
    for claims in [Some(&["drain"][..]), Some(&[]), None] {
        let mut owner = Owner::start();
        if let Some(claims) = claims {
            owner.shop.hello(claims);
            owner.shop.ready();
        }
        owner.swap(&Change::Leave);
        assert_eq!(owner.word(), owner.drained(), "{claims:?}");
        owner.swap(&Change::Return(Cause::Cancelled));
        assert_eq!(owner.word(), FromAgent::Undone { operation: OPERATION, start: owner.start });
    }
}

#[test]
fn who_holds_or_refuses_or_cannot_be_drained_is_said_to_with_its_words() {
    let refusals = [
        (json!({"verdict": "REFUSE", "code": "APP_LEADER", "message": "it leads"}), "APP_LEADER", false),
        (json!({"verdict": "DEFER", "retryAfterMs": 900, "message": "payroll"}), "DEFER", false),
        (json!({"verdict": "FAILED", "code": "APP_DRAIN", "message": "no"}), "APP_DRAIN", true),
        (json!({"verdict": "UNSUPPORTED"}), "UNSUPPORTED", true),
    ];
    for (answer, code, has_failed) in refusals {
        let mut owner = Owner::start();
        owner.shop.hello(BOTH);
        owner.swap(&Change::Leave);
        let upcall = owner.shop.next();
        owner.answer(&upcall, answer);
        let said = owner.rig.agents[0].hear_note("why", |note| match note {
            Note::Failure { code, .. } => Some(code.clone()),
            _ => None,
        });
        assert_eq!(said, code);
        let refused = FromAgent::Offered { operation: OPERATION, offer: Offer::Refuse };
        let failed = FromAgent::Failed { operation: OPERATION, start: owner.start };
        assert_eq!(owner.word(), if has_failed { failed } else { refused });
    }
    let mut owner = Owner::start();
    owner.shop.hello(BOTH);
    let hold = r#"{"ops":["drain"],"ttlMs":60000,"reason":"until noon"}"#;
    assert_eq!(owner.shop.call("PUT", "/v1/holds/noon", hold).0, 200);
    owner.swap(&Change::Leave);
    let held = owner.word();
    assert!(matches!(held, FromAgent::Offered { offer: Offer::Hold { remaining_ms: 1.. }, .. }), "{held:?}");
}

#[test]
fn an_agent_that_is_started_anew_asks_again_and_an_answer_that_breaks_the_contract_drains_nobody() {
    let mut owner = Owner::start();
    owner.shop.hello(BOTH);
    owner.swap(&Change::Leave);
    let first = owner.shop.next();
    let (status, error) = owner.shop.answer(&first, json!({"verdict": "DONE", "quote": {"costMs": 1}}));
    assert_eq!((status, &error["next"]), (400, &json!("FIX")), "{error}");
    owner.rig.kill_agent(0);
    owner.rig.agent(N1);
    owner.tell();
    owner.shop.hello(BOTH);
    let again = owner.shop.next();
    assert_eq!((&again["drain"], &again["operation"]), (&first["drain"], &first["operation"]));
    assert!(again["attempt"].as_u64() > first["attempt"].as_u64(), "{again}");
    owner.answer(&again, json!({"verdict": "DONE"}));
    assert_eq!(owner.word(), owner.drained());
}

#[test]
fn who_is_killed_while_it_is_drained_is_dead_and_nobody_is_started_in_its_place() {
    let mut owner = Owner::start();
    owner.shop.hello(BOTH);
    owner.swap(&Change::Leave);
    let upcall = owner.shop.next();
    owner.answer(&upcall, json!({"verdict": "IN_PROGRESS", "inFlight": 1}));
    kill(owner.shop.pid(), Signal::KILL);
    let (start, mut beats) = (owner.start, 0);
    assert!(owner.rig.agents[0].hear_death(start).contains("signal 9"));
    // It would be proposed after `RESTART_MS`, which is less than two beats.
    owner.rig.agents[0].hear_line("two beats, and no proposal", |line| match line {
        FromAgentLine::Machine { message: proposal @ FromAgent::Propose { .. }, .. } => {
            panic!("{proposal:?}, by its {:?} timer", Timer::Restart)
        }
        FromAgentLine::Beat => {
            beats += 1;
            (beats == 2).then_some(())
        }
        _ => None,
    });
    owner.swap(&Change::Depart);
    owner.swap(&Change::Gone);
    owner.rig.redial(0);
    let known = owner.rig.agents[0].known.iter().find(|known| known.record.is_some()).unwrap();
    assert!(known.alive.is_empty(), "{known:?}");
}
