//! Probes of programs that do not speak of themselves, on real processes.

use crate::rig::{Agent, N1, Rig, is_alive, moving_in, puppet, until};
use paci::state::State;
use paracloud_core::ids::{Incarnation, Placement, StartId};
use paracloud_core::migration::message::FromAgent;
use paracloud_core::register::{Change, Mode, MoveStep, Proposer, Record};
use paracloud_substrate::config::{App, Check, Probe};
use paracloud_substrate::message::{FromAgentLine, Note, Speaker};
use std::path::Path;

/// Looks often, and three failures count.
fn often(probe: Probe) -> Check {
    Check { period_ms: 20, timeout_ms: 5_000, ..Check::by(probe) }
}

fn http() -> Probe {
    Probe::Http("/healthz".to_owned())
}

fn shell(script: &str) -> Probe {
    Probe::Exec(["sh", "-c", script].map(str::to_owned).to_vec())
}

/// Hears why a process is ended, then that it is dead.
fn hear_end(agent: &mut Agent, start: StartId) -> String {
    let mut why = None;
    agent.hear_line("why, and that it is dead", |line| match line {
        FromAgentLine::Note { note: Note::Remark { by: Speaker::Agent, what }, .. } => {
            why = Some(what.clone());
            None
        }
        FromAgentLine::Machine { message: FromAgent::Dead { start: who }, .. } if *who == start => Some(()),
        _ => None,
    });
    why.expect("it is said why before")
}

/// What is said of a process that does not get ready.
fn hear_unready(agent: &mut Agent, start: StartId) -> (String, String) {
    agent.hear_note("why it is not ready", |note| match note {
        Note::Unready { start: who, unready } if *who == start => {
            Some((unready.asked.clone(), unready.answered.clone()))
        }
        _ => None,
    })
}

/// Orders an owner that will not get ready.
fn order_owner(rig: &mut Rig) -> StartId {
    let start = rig.fresh();
    rig.agents[0].own(&Record::first(Placement::new(N1, start)));
    start
}

/// Processes that a probe has written the number of.
fn noted(path: &Path) -> Vec<i32> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| line.trim().parse().ok()).collect()
}

#[test]
fn an_owner_that_is_not_alive_is_ended_and_another_one_proposed() {
    let mut rig = Rig::with(|app| app.liveness = Some(often(http())));
    rig.agent(N1);
    let (start, shop) = rig.owner(N1);
    shop.say("health 500");
    let why = hear_end(&mut rig.agents[0], start);
    let asked = format!("GET http://{}/healthz", shop.address);
    assert_eq!(
        why,
        format!("it is not alive, and is ended: {asked}: HTTP 500 Internal Server Error (3 times in a row)")
    );
    rig.agents[0].hear("a proposal", |message| matches!(message, FromAgent::Propose { .. }).then_some(()));
}

#[test]
fn a_probe_that_hangs_is_killed_with_what_it_has_started_and_counts_as_failed() {
    let mut rig = Rig::with(|app| {
        let script = "echo $$ >> probe.pids; sleep 600 & echo $! >> probe.pids; echo waits; sleep 600";
        app.liveness = Some(Check { timeout_ms: 300, failures: 2, ..often(shell(script)) });
    });
    rig.agent(N1);
    let (start, _) = rig.owner(N1);
    let why = hear_end(&mut rig.agents[0], start);
    assert!(why.contains("it did not end within 300 ms, and was killed: waits"), "{why}");
    let noted = noted(&rig.layout.root().join("probe.pids"));
    assert!(noted.len() >= 4 && !noted.iter().any(|pid| is_alive(*pid)), "{noted:?}");
}

#[test]
fn what_a_probe_leaves_in_the_background_ends_with_it() {
    let mut rig = Rig::with(|app| {
        app.readiness = often(shell("sleep 600 > /dev/null 2>&1 & echo $! >> probe.pids"));
    });
    rig.agent(N1);
    rig.owner(N1);
    let path = rig.layout.root().join("probe.pids");
    until("it was looked twice", || (noted(&path).len() >= 2).then_some(()));
    let first = noted(&path)[0];
    until("the first one's is dead", || (!is_alive(first)).then_some(()));
}

#[test]
fn a_probes_command_runs_as_and_where_the_program_does() {
    let mut rig = Rig::with(|app: &mut App| {
        app.env.insert("SHOP".to_owned(), "open".to_owned());
        let script = "test -f cloud.json && test \"$SHOP$PACI_INSTANCE\" = openshop && test {port} = \"$PORT\" \
                      && test -z \"$PARACLOUD_PROBE\" && cat /proc/self/cgroup > probe.groups";
        app.readiness = often(shell(script));
    });
    rig.agent(N1);
    let (start, _) = rig.owner(N1);
    let shop = puppet(&rig.layout, N1, start);
    let own = std::fs::read_to_string(format!("/proc/{}/cgroup", shop.pid())).unwrap();
    let probes = std::fs::read_to_string(rig.layout.root().join("probe.groups")).unwrap();
    assert_eq!(probes, own, "it is in the groups that {start} is in");
}

#[test]
fn what_is_wrong_with_a_command_is_said() {
    let endless = "yes paracloud; true";
    let missing = Probe::Exec(vec!["/no/such/program".to_owned()]);
    let failing = shell("echo not yet >&2; exit 3");
    let cases = [
        (missing, "/no/such/program: cannot be run: No such file or directory", 5_000),
        (failing, "exit status: 3: not yet", 5_000),
        (shell(endless), "it did not end within 200 ms, and was killed: ", 200),
    ];
    for (probe, expected, timeout_ms) in cases {
        let mut rig = Rig::with(|app| app.readiness = Check { timeout_ms, ..often(probe) });
        rig.agent(N1);
        let start = order_owner(&mut rig);
        let (asked, answered) = hear_unready(&mut rig.agents[0], start);
        assert!(asked.starts_with("exec "), "{asked}");
        assert!(answered.contains(expected), "{answered}");
        assert!(answered.len() < 500, "of endless words the end is told: {answered}");
    }
}

#[test]
fn a_program_that_is_not_ready_any_more_is_said_to_be_so() {
    let mut rig = Rig::with(|app| app.readiness = often(http()));
    rig.agent(N1);
    let (start, shop) = rig.owner(N1);
    shop.say("health 503");
    let (_, answered) = hear_unready(&mut rig.agents[0], start);
    assert_eq!(answered, "HTTP 503 Service Unavailable");
    shop.say("health 200");
    rig.agents[0].hear_line("that it is again", |line| {
        matches!(line, FromAgentLine::Unready { unready: None, start: who, .. } if *who == start)
            .then_some(())
    });
}

/// Hears which state is told to those who route.
fn hear_state(agent: &mut Agent, start: StartId) -> Option<State> {
    agent.hear_line("a state", |line| match line {
        FromAgentLine::Advice { start: who, advice, .. } if *who == start => {
            Some(advice.state.as_ref().map(|state| state.said))
        }
        _ => None,
    })
}

#[test]
fn what_a_probe_sees_is_told_to_those_who_route_until_the_program_speaks_for_itself() {
    let mut rig = Rig::with(|app| app.readiness = Check { successes: 2, ..often(http()) });
    rig.agent(N1);
    let start = order_owner(&mut rig);
    let shop = puppet(&rig.layout, N1, start);
    let agent = &mut rig.agents[0];
    assert_eq!(hear_state(agent, start), Some(State::Ready));
    for (status, state) in [("503", State::NotReady), ("200", State::Ready), ("500", State::NotReady)] {
        shop.say(&format!("health {status}"));
        assert_eq!(hear_state(agent, start), Some(state), "{status}");
    }
    rig.redial(0);
    assert_eq!(hear_state(&mut rig.agents[0], start), Some(State::NotReady), "a new controller hears it too");
    shop.hello(&[]);
    assert_eq!(hear_state(&mut rig.agents[0], start), None);
    shop.ready();
    assert_eq!(hear_state(&mut rig.agents[0], start), Some(State::Ready));
}

#[test]
fn liveness_is_not_looked_at_in_the_pause_of_a_move_and_again_after_it() {
    let mut rig = Rig::with(|app| app.liveness = Some(often(http())));
    rig.agent(N1);
    let (start, shop) = rig.owner(N1);
    let target = rig.fresh();
    let sealing = moving_in(Mode::Handoff, start, target, shop.address, MoveStep::Sealing);
    let agent = &mut rig.agents[0];
    agent.own(&sealing);
    // A beat that was said after the record was heard.
    for _ in 0..2 {
        agent.hear_line("a beat", |line| matches!(line, FromAgentLine::Beat).then_some(()));
    }
    shop.say("health 500");
    for _ in 0..2 {
        agent.hear_line("a beat, and nothing of its life", |line| {
            let is_told =
                matches!(line, FromAgentLine::Note { note: Note::Remark { .. } | Note::Ended { .. }, .. });
            assert!(!is_told, "{line:?}");
            matches!(line, FromAgentLine::Beat).then_some(())
        });
    }
    let mut over = sealing.clone();
    over.incarnation = Incarnation(2);
    over.operation = None;
    agent.own(&over);
    assert!(hear_end(agent, start).contains("HTTP 500"));
}

#[test]
fn an_aware_application_is_taken_by_its_word_but_for_its_life() {
    let mut rig = Rig::with(|app| {
        app.readiness = often(http());
        app.liveness = Some(often(http()));
        app.stop_grace_ms = 200;
    });
    rig.agent(N1);
    let start = order_owner(&mut rig);
    let shop = puppet(&rig.layout, N1, start);
    assert_eq!(shop.hello(&["stop"]).0, 200);
    shop.ready();
    rig.agents[0].hear("ready", |message| matches!(message, FromAgent::Ready { .. }).then_some(()));
    shop.say("health 500");
    let upcall = shop.next();
    assert!(upcall["stop"].is_object(), "it is told to stop first: {upcall}");
    assert_eq!(upcall["message"], "its liveness probe fails");
    assert!(hear_end(&mut rig.agents[0], start).contains("HTTP 500"));
}

#[test]
fn one_that_served_is_looked_after_under_the_next_agent_whatever_it_says_and_though_it_is_never_ready_again()
{
    let mut rig = Rig::with(|app| {
        app.readiness = often(http());
        app.liveness = Some(often(http()));
    });
    rig.agent(N1);
    let (start, shop) = rig.owner(N1);
    let served = Record::first(Placement::new(N1, start))
        .apply(&Change::Serve(shop.address), Proposer::Coordinator)
        .unwrap();
    rig.kill_agent(0);
    shop.say("health 500");
    rig.agent(N1);
    rig.agents[0].own(&served);
    assert!(hear_end(&mut rig.agents[0], start).contains("HTTP 500"));
}
