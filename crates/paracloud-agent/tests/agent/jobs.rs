//! The queue in plain Python, under a real agent: what it says by hand arrives as it means it.

use crate::rig::{APP, N1, Rig, WAIT};
use paci::answer::Answer;
use paci::finding::Finding;
use paci::size::{Resize, Size};
use paci::state::State;
use paci::upcall::Reason;
use paracloud_substrate::advice::Advice;
use paracloud_substrate::message::{FromAgentLine, Question, ToAgentLine};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

fn told<T>(rig: &mut Rig, what: &str, look: impl Fn(&Advice) -> Option<T>) -> T {
    rig.agents[0].hear_line(what, |line| match line {
        FromAgentLine::Advice { advice, .. } => look(advice),
        _ => None,
    })
}

fn asked(rig: &mut Rig, question: u64, call: Question) -> Answer {
    let (instance, reason) = (APP.to_owned(), Reason::ScaleIn);
    let agent = &mut rig.agents[0];
    agent.say(&ToAgentLine::Question { instance, question, call, reason, budget_ms: 20_000 });
    agent.hear_line("an answer", |line| match line {
        FromAgentLine::Answered { question: of, answer } if *of == question => Some(answer.clone().unwrap()),
        _ => None,
    })
}

/// Sends a request and does not wait for the answer.
fn post(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(WAIT)).unwrap();
    stream.write_all(format!("POST {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
    stream
}

#[test]
fn a_program_of_the_standard_library_reports_announces_pauses_and_answers_what_it_would_cost() {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/python/jobs.py");
    let mut rig = Rig::with(|app| app.command = ["python3", "-B", program].map(str::to_owned).to_vec());
    rig.agent(N1);
    let (_, jobs) = rig.owner(N1);
    let idle = told(&mut rig, "a report", |advice| advice.report.clone());
    assert_eq!((idle.said.queued, idle.said.backlog_ms, idle.said.unit()), (Some(0), Some(0), "job"));
    let free = asked(&mut rig, 1, Question::Quote);
    let Some(Finding::Quote(free)) = free.result else { panic!("no price: {free:?}") };
    assert_eq!((free.cost_ms, free.drain_ms), (Some(0), Some(0)));
    let _at_work: Vec<_> = (0..6).map(|_| post(jobs.address, "/jobs/60000")).collect();
    let busy = told(&mut rig, "work that waits", |advice| {
        advice.report.clone().filter(|report| report.said.queued == Some(2))
    });
    assert_eq!((busy.said.backlog_ms, busy.said.in_flight), (Some(120_000), Some(4)));
    let dear = asked(&mut rig, 2, Question::Quote);
    let Some(Finding::Quote(dear)) = dear.result else { panic!("no price: {dear:?}") };
    assert!(dear.cost_ms > Some(0) && dear.drain_ms > Some(30_000), "{dear:?}");
    let small = Resize { memory_kib: Some(1_024), ..Resize::default() };
    let counter = asked(&mut rig, 3, Question::Resize(small));
    assert_eq!(counter.code, "DOES_NOT_FIT");
    assert_eq!(counter.result, Some(Finding::Fit(Size { memory_kib: Some(32_768), cpu_millis: None })));
    let mut announced = post(jobs.address, "/announce/sale/500");
    let sale = told(&mut rig, "an announcement", |advice| advice.announcements.first().cloned());
    assert_eq!((&*sale.said.id, sale.said.demand_milli_per_s), ("sale", 500_000));
    assert!(announced.read(&mut [0; 64]).unwrap() > 0);
    let _pausing = post(jobs.address, "/pause/150");
    let (pause, state) =
        told(&mut rig, "a pause", |advice| advice.pause.map(|pause| (pause, advice.state.clone())));
    assert!(pause.in_ms <= 20 && pause.for_ms <= 150, "{pause:?}");
    assert_eq!(state.map(|state| state.said), Some(State::Ready), "it is what it was, beside that");
    told(&mut rig, "that it is over", |advice| advice.pause.is_none().then_some(()));
}
