//! Another size for an owner, on real control groups. Where this machine lets none be made, the tests say so and pass.

use crate::rig::{N1, Puppet, Rig, kill, until};
use crate::sizes::needed;
use paci::answer::Verdict;
use paracloud_core::ids::{OperationNumber, Placement, StartId};
use paracloud_core::migration::cause::{Cause, Unfit};
use paracloud_core::migration::message::{FromAgent, ToAgent};
use paracloud_core::register::{Change, Mode, Proposer, Record, Size};
use paracloud_substrate::cgroup::{Group, VARIABLE};
use paracloud_substrate::config::{self, Cloud};
use paracloud_substrate::message::{FromAgentLine, Note, Sizing, ToAgentLine};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;
const ALL: &[&str] = &["resize.memory", "resize.cpu"];
const OPERATION: OperationNumber = OperationNumber(1);

fn size(memory_mib: u32, cpu_milli: u32) -> Size {
    Size { memory_kib: Some(memory_mib << 10), cpu_milli: Some(cpu_milli) }
}

/// An owner that has 256 MiB and half a processor, and the group that it is in. `None`: there are no groups here.
struct Owner {
    rig: Rig,
    start: StartId,
    shop: Puppet,
    group: Group,
    record: Record,
}

impl Owner {
    fn start() -> Option<Self> {
        Self::with_time(10_000)
    }

    /// The same, where another size may take so long, in milliseconds.
    fn with_time(prepare_ms: u32) -> Option<Self> {
        let mut rig = Rig::with(|app| {
            app.resources.start = config::Size { memory_bytes: Some(256 * MIB), cpu_milli: Some(500) };
            app.budgets.prepare_ms = prepare_ms;
        });
        rig.agent(N1);
        let (start, shop) = rig.owner(N1);
        let group = needed(&rig, start)?;
        if let (Err(why), _) | (_, Err(why)) = (&group.memory, &group.cpu) {
            eprintln!("skipped: {why}");
            return None;
        }
        let record =
            Record::first(Placement::new(N1, start)).apply(&Change::Serve(shop.address), COORDINATOR);
        Some(Self { rig, start, shop, group, record: record.unwrap() })
    }

    /// The register says so from now on, and the agent hears of it.
    fn swap(&mut self, change: &Change) {
        self.record = self.record.apply(change, COORDINATOR).unwrap();
        let record = self.record.clone();
        self.rig.agents.last_mut().unwrap().own(&record);
    }

    /// What the agent answers.
    fn outcome(&mut self) -> Result<(), Unfit> {
        self.outcome_of(OPERATION)
    }

    fn outcome_of(&mut self, number: OperationNumber) -> Result<(), Unfit> {
        let start = self.start;
        self.rig.agents.last_mut().unwrap().hear("an outcome", |message| match message {
            FromAgent::Resized { operation, start: of } if (*operation, *of) == (number, start) => {
                Some(Ok(()))
            }
            FromAgent::Unfit { operation, start: of, why } if (*operation, *of) == (number, start) => {
                Some(Err(*why))
            }
            _ => None,
        })
    }

    fn told(&mut self) -> Sizing {
        self.rig.agents.last_mut().unwrap().hear_note("how it went", |note| match note {
            Note::Sized(sizing) => Some(sizing.clone()),
            _ => None,
        })
    }

    /// The files of the kernel, not what somebody says of them: MiB and thousandths of a processor.
    fn limits(&self) -> (Option<u64>, Option<u32>) {
        (self.group.memory_limit_bytes().map(|bytes| bytes / MIB), self.group.usage().cpu_limit_milli)
    }

    fn hold(&self, mib: u64) {
        assert_eq!(self.shop.say(&format!("hold {}", mib * MIB)), "held");
    }

    fn answer(&self, upcall: &Value, verdict: Verdict) {
        assert_eq!(self.shop.answer(upcall, json!({"verdict": verdict.to_string()})).0, 200);
    }
}

/// So often something is done that two threads of an agent do at once.
const ROUNDS: u32 = 20;
const COORDINATOR: Proposer = Proposer::Coordinator;

#[test]
fn a_limit_is_raised_first_and_then_the_application_is_told() {
    let Some(mut owner) = Owner::start() else { return };
    owner.shop.hello(ALL);
    owner.swap(&Change::Resize(size(512, 1_500)));
    let upcall = owner.shop.next();
    assert_eq!(owner.limits(), (Some(512), Some(1_500)));
    let (from, to) = (262_144, 524_288);
    assert_eq!(
        upcall["resize"],
        json!({"memoryKib": to, "cpuMillis": 1_500, "nowMemoryKib": from, "nowCpuMillis": 500})
    );
    assert_eq!((&upcall["dryRun"], &upcall["operation"]), (&json!(false), &json!(1)));
    assert_eq!(upcall["message"], "a person asks for another size");
    owner.answer(&upcall, Verdict::Done);
    let told = owner.told();
    assert_eq!((told.from, told.to, told.limit), (size(256, 500), size(512, 1_500), size(512, 1_500)));
    assert_eq!((told.is_done(), &*told.why), (true, ""));
    assert_eq!(owner.outcome(), Ok(()));
    // Its record comes again until the register says so: it answers the same, and does nothing.
    owner.rig.agents[0].own(&owner.record.clone());
    assert_eq!(owner.outcome(), Ok(()));
}

#[test]
fn a_limit_is_lowered_with_consent_and_once_what_is_used_has_fallen() {
    let Some(mut owner) = Owner::start() else { return };
    owner.shop.hello(ALL);
    owner.hold(160);
    owner.swap(&Change::Resize(size(128, 500)));
    let upcall = owner.shop.next();
    assert_eq!(upcall["resize"]["cpuMillis"], Value::Null, "it does not change");
    owner.answer(&upcall, Verdict::InProgress);
    assert_eq!(owner.limits().0, Some(256), "nobody has consented");
    owner.answer(&upcall, Verdict::Done);
    owner.shop.say("free");
    assert_eq!(owner.outcome(), Ok(()));
    assert_eq!(owner.limits(), (Some(128), Some(500)));
}

#[test]
fn a_shrink_that_is_refused_leaves_the_limit_and_the_counter_offer_is_said() {
    let Some(mut owner) = Owner::start() else { return };
    owner.shop.hello(ALL);
    owner.hold(160);
    owner.swap(&Change::Resize(size(128, 500)));
    let upcall = owner.shop.next();
    let counter = json!({"verdict": "REFUSE", "code": "DOES_NOT_FIT", "message": "the index takes 180 MiB",
                         "fit": {"memoryKib": 196_608}});
    assert_eq!(owner.shop.answer(&upcall, counter).0, 200);
    let offered = Size { memory_kib: Some(196_608), cpu_milli: None };
    let told = owner.told();
    assert_eq!((told.offered, told.limit), (Some(offered), size(256, 500)));
    assert_eq!(told.why, "DOES_NOT_FIT: the index takes 180 MiB");
    assert!(told.used_kib.is_some_and(|kib| kib > 160 << 10) && !told.is_done(), "{told:?}");
    assert_eq!(owner.outcome(), Err(Unfit::Offers(offered)));
    assert_eq!(owner.limits(), (Some(256), Some(500)));
    owner.swap(&Change::Keep(Cause::Unfit(Unfit::Offers(offered))));
}

#[test]
fn a_shrink_that_is_accepted_and_not_kept_lowers_nothing() {
    let Some(mut owner) = Owner::with_time(500) else { return };
    owner.shop.hello(ALL);
    owner.hold(160);
    owner.swap(&Change::Resize(size(128, 400)));
    let upcall = owner.shop.next();
    owner.answer(&upcall, Verdict::Done);
    let told = owner.told();
    assert_eq!((told.to, told.limit, told.offered), (size(128, 400), size(256, 500), None));
    assert!(told.used_kib.is_some_and(|kib| kib > 160 << 10), "{told:?}");
    assert_eq!(told.why, "what it uses did not fall below the new limit and its margin in time");
    assert_eq!(owner.outcome(), Err(Unfit::Unmet));
    assert_eq!(owner.limits(), (Some(256), Some(500)), "memory and processors");
}

#[test]
fn what_was_kept_is_not_put_back_over_what_was_set_after_it() {
    let Some(mut owner) = Owner::start() else { return };
    for round in 1..=ROUNDS {
        // Nobody says Hello, so nobody is asked: it fits at once, or never.
        owner.swap(&Change::Resize(size(300 + round, 400)));
        owner.swap(&Change::Keep(Cause::Cancelled));
        owner.swap(&Change::Resize(size(400 + round, 600)));
        let number = owner.record.last_operation;
        assert_eq!(owner.outcome_of(number), Ok(()));
        assert_eq!(owner.limits(), (Some(u64::from(400 + round)), Some(600)), "round {round}");
        owner.swap(&Change::Resized);
    }
}

#[test]
fn who_cannot_be_asked_is_only_measured() {
    let Some(mut owner) = Owner::start() else { return };
    owner.hold(160);
    owner.swap(&Change::Resize(size(128, 400)));
    owner.shop.say("free");
    assert_eq!(owner.outcome(), Ok(()));
    assert_eq!(owner.limits(), (Some(128), Some(400)));
}

#[test]
fn who_says_nothing_keeps_its_size_and_is_asked_for_another_one_later() {
    let Some(mut owner) = Owner::with_time(300) else { return };
    owner.shop.hello(ALL);
    owner.swap(&Change::Resize(size(128, 500)));
    let late = owner.told();
    assert_eq!((&*late.why, late.limit), ("it did not say in time whether it fits", size(256, 500)));
    owner.swap(&Change::Keep(Cause::Cancelled));
    let late = json!({"operation": 1, "attempt": 1, "verdict": "DONE"});
    owner.shop.call("POST", "/v1/upcalls/1", &late.to_string());
    owner.swap(&Change::Resize(size(64, 500)));
    let upcall = owner.shop.next();
    assert_eq!((&upcall["operation"], &upcall["resize"]["memoryKib"]), (&json!(2), &json!(65_536)));
    assert_eq!(owner.limits(), (Some(256), Some(500)), "what it said too late counts for nothing");
}

#[test]
fn who_puts_it_off_is_asked_again_when_it_says_and_what_it_said_is_told() {
    let Some(mut owner) = Owner::with_time(1_500) else { return };
    owner.shop.hello(ALL);
    owner.swap(&Change::Resize(size(128, 500)));
    let upcall = owner.shop.next();
    let later = json!({"verdict": "DEFER", "message": "payroll is running", "retryAfterMs": 100});
    assert_eq!(owner.shop.answer(&upcall, later.clone()).0, 200);
    let said = owner.rig.agents[0].hear_note("why it is put off", |note| match note {
        Note::Reason(said) => Some(said.clone()),
        _ => None,
    });
    assert_eq!(said, "payroll is running");
    let again = owner.shop.next();
    assert_eq!((&again["operation"], &again["resize"]), (&upcall["operation"], &upcall["resize"]));
    assert!(again["attempt"].as_u64() > upcall["attempt"].as_u64(), "{again}");
    assert_eq!(owner.shop.answer(&again, later).0, 200);
    let late = owner.told();
    assert_eq!(late.why, "it did not say in time whether it fits; it said: payroll is running");
    assert_eq!(late.limit, size(256, 500));
}

#[test]
fn who_puts_it_off_and_consents_then_gets_its_size() {
    let Some(mut owner) = Owner::start() else { return };
    owner.shop.hello(ALL);
    owner.swap(&Change::Resize(size(128, 500)));
    let upcall = owner.shop.next();
    let later = json!({"verdict": "DEFER", "message": "payroll is running", "retryAfterMs": 100});
    assert_eq!(owner.shop.answer(&upcall, later).0, 200);
    let again = owner.shop.next();
    owner.answer(&again, Verdict::Done);
    assert_eq!(owner.outcome(), Ok(()));
    assert_eq!(owner.limits(), (Some(128), Some(500)));
}

#[test]
fn an_agent_that_is_started_anew_asks_again_and_holds_whoever_runs_to_its_size() {
    let Some(mut owner) = Owner::start() else { return };
    owner.shop.hello(ALL);
    owner.swap(&Change::Resize(size(128, 500)));
    owner.shop.next();
    owner.rig.kill_agent(0);
    owner.rig.agent(N1);
    let record = owner.record.clone();
    owner.rig.agents[0].own(&record);
    owner.shop.hello(ALL);
    let again = owner.shop.next();
    assert_eq!((&again["operation"], &again["resize"]["memoryKib"]), (&json!(1), &json!(131_072)));
    owner.answer(&again, Verdict::Done);
    assert_eq!(owner.outcome(), Ok(()));
    owner.swap(&Change::Resized);
    owner.rig.kill_agent(0);
    owner.group.raise_memory(Some(999 * MIB)).unwrap();
    owner.rig.agent(N1);
    owner.rig.agents[0].own(&owner.record.clone());
    until("it is held to its size again", || (owner.limits().0 == Some(128)).then_some(()));
    // Who comes after it has its size from the first instruction on.
    kill(owner.shop.pid(), Signal::KILL);
    owner.rig.agents[0].hear_death(owner.start);
    let fresh = owner.rig.fresh();
    owner.swap(&Change::Restart { fresh });
    let shop = owner.rig.agents[0].hear("ready", |message| match message {
        FromAgent::Ready { start, address, .. } if *start == fresh => Some(*address),
        _ => None,
    });
    owner.group = needed(&owner.rig, fresh).unwrap();
    assert_eq!(owner.limits(), (Some(128), Some(500)), "at {shop}");
}

#[test]
fn a_target_is_started_with_the_size_of_its_instance_before_a_record_names_it() {
    let Some(mut owner) = Owner::start() else { return };
    let target = owner.rig.fresh();
    owner.record.size = Some(size(320, 250));
    let open = Change::Open { mode: Mode::Handoff, target: Placement::new(N1, target) };
    let open = owner.record.apply(&open, COORDINATOR).unwrap();
    let prepare = ToAgent::Prepare {
        operation: OPERATION,
        start: target,
        side: paci::participant::Side::Target,
        mode: Mode::Handoff,
    };
    owner.rig.agents[0].tell_sized(open.size, prepare, open.operation);
    owner.group = needed(&owner.rig, target).unwrap();
    until("its limits", || (owner.limits() == (Some(320), Some(250))).then_some(()));
}

#[test]
fn limits_that_are_applied_hold_at_once_for_who_has_no_size_of_its_own() {
    let Some(mut owner) = Owner::start() else { return };
    owner.hold(160);
    let path = owner.rig.layout.cloud();
    let apply = |owner: &mut Owner, memory_mib: u64| {
        let mut cloud = Cloud::load(&path).unwrap();
        cloud.apps[0].resources.start =
            config::Size { memory_bytes: Some(memory_mib * MIB), cpu_milli: Some(750) };
        cloud.apps[0] = Cloud::add_revision(&path, &cloud.apps[0]).unwrap();
        cloud.save(&path).unwrap();
        owner.rig.agents[0].say(&ToAgentLine::Configured);
    };
    apply(&mut owner, 512);
    until("they are raised", || (owner.limits() == (Some(512), Some(750))).then_some(()));
    apply(&mut owner, 128);
    owner.shop.say("free");
    until("they are lowered", || (owner.limits() == (Some(128), Some(750))).then_some(()));
    owner.swap(&Change::Resize(size(256, 500)));
    assert_eq!(owner.outcome(), Ok(()));
    owner.swap(&Change::Resized);
    apply(&mut owner, 512);
    // Its limits are looked at before each beat.
    for _ in 0..2 {
        owner.rig.agents[0].hear_line("a beat", |line| matches!(line, FromAgentLine::Beat).then_some(()));
    }
    assert_eq!(owner.limits(), (Some(256), Some(500)), "it has a size of its own");
}

#[test]
fn where_nothing_can_be_limited_another_size_is_refused_with_the_reason() {
    let mut rig = Rig::new();
    rig.set(VARIABLE, "off");
    rig.agent(N1);
    let (start, shop) = rig.owner(N1);
    let record = Record::first(Placement::new(N1, start)).apply(&Change::Serve(shop.address), COORDINATOR);
    let record = record.unwrap().apply(&Change::Resize(size(128, 500)), COORDINATOR).unwrap();
    rig.agents[0].own(&record);
    let why = rig.agents[0].hear_note("how it went", |note| match note {
        Note::Sized(sizing) => Some(sizing.why.clone()),
        _ => None,
    });
    assert_eq!(why, "no limit can be enforced: PARACLOUD_CGROUPS=off");
    let unfit = rig.agents[0].hear("an outcome", |message| match message {
        FromAgent::Unfit { why, .. } => Some(*why),
        _ => None,
    });
    assert_eq!(unfit, Unfit::Unsupported);
}

#[test]
fn of_one_that_died_before_it_answered_nothing_is_said_when_its_time_is_over() {
    let Some(mut owner) = Owner::with_time(300) else { return };
    owner.shop.hello(ALL);
    owner.swap(&Change::Resize(size(128, 500)));
    owner.shop.next();
    let asked = Instant::now();
    kill(owner.shop.pid(), Signal::KILL);
    let agent = owner.rig.agents.last_mut().unwrap();
    agent.hear_death(owner.start);
    agent.hear_line("a beat after its time", |line| match line {
        FromAgentLine::Note { note: Note::Sized(sizing), .. } => panic!("{sizing:?}"),
        FromAgentLine::Beat => (asked.elapsed() > Duration::from_millis(600)).then_some(()),
        _ => None,
    });
}
