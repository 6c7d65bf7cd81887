//! Control groups around real processes. Where this machine lets none be made, the tests say so and pass.

use crate::rig::{N1, Puppet, Rig, is_alive, kill, until};
use paracloud_core::ids::{Placement, StartId};
use paracloud_core::register::Record;
use paracloud_substrate::cgroup::{Group, Hierarchies, Site, VARIABLE};
use paracloud_substrate::config::Size;
use paracloud_substrate::message::{FromAgentLine, Note, Speaker};
use rustix::process::Signal;

const MIB: u64 = 1 << 20;

/// The group of a start, once it is written down, or why there is none.
fn group(rig: &Rig, start: StartId) -> Result<Group, String> {
    let path = rig.process_dir(N1, start).join("group.json");
    let place = until("where it was put", || {
        serde_json::from_slice::<serde_json::Value>(&std::fs::read(&path).ok()?).ok()
    });
    let group: Group = serde_json::from_value(place["group"].clone()).unwrap();
    if group.is_there() { Ok(group) } else { Err(format!("{:?}", group.memory)) }
}

/// The same, for a test that needs one.
pub(crate) fn needed(rig: &Rig, start: StartId) -> Option<Group> {
    group(rig, start).inspect_err(|why| eprintln!("skipped: there are no groups here: {why}")).ok()
}

#[test]
fn who_left_session_and_environment_is_ended_before_the_death_is_told_and_the_group_goes_too() {
    let mut rig = Rig::new();
    rig.agent(N1);
    let (start, shop) = rig.owner(N1);
    let Some(group) = needed(&rig, start) else { return };
    let lost: i32 = shop.say("lost").trim().parse().unwrap();
    assert!(group.members().unwrap().iter().any(|member| member.pid == lost));
    kill(shop.pid(), Signal::KILL);
    let how = rig.agents[0].hear_death(start);
    assert!(how.contains("signal 9"), "{how}");
    assert!(!is_alive(lost));
    until("the group is removed", || (!group.directories().iter().any(|path| path.exists())).then_some(()));
}

#[test]
fn who_left_both_is_ended_too_when_a_later_shim_finds_the_program_dead() {
    let mut rig = Rig::new();
    rig.agent(N1);
    let (start, shop) = rig.owner(N1);
    let Some(group) = needed(&rig, start) else { return };
    let lost: i32 = shop.say("lost").trim().parse().unwrap();
    let (pid, shim) = (shop.pid(), rig.shim(N1, start));
    rig.kill_agent(0);
    kill(shim, Signal::KILL);
    kill(pid, Signal::KILL);
    until("the program is dead", || (!is_alive(pid)).then_some(()));
    assert!(is_alive(lost));
    let record = Record::first(Placement::new(N1, start));
    rig.agent(N1).own(&record);
    rig.agents[0].hear_death(start);
    assert!(!is_alive(lost));
    until("the group is removed", || (!group.directories().iter().any(|path| path.exists())).then_some(()));
}

#[test]
fn a_process_has_its_limits_from_its_first_instruction_on() {
    let size = Size { memory_bytes: Some(512 * MIB), cpu_milli: Some(750) };
    let mut rig = Rig::with(|app| app.resources.start = size);
    rig.agent(N1);
    let (start, shop) = rig.owner(N1);
    let Some(group) = needed(&rig, start) else { return };
    if let (Err(why), _) | (_, Err(why)) = (&group.memory, &group.cpu) {
        return eprintln!("skipped: {why}");
    }
    let usage = group.usage();
    assert_eq!((usage.memory_limit_bytes, usage.cpu_limit_milli), (size.memory_bytes, size.cpu_milli));
    shop.say(&format!("hold {}", 64 * MIB));
    assert!(group.memory_bytes().is_some_and(|bytes| bytes > 64 * MIB));
    // It is within the limit, whatever it started: the whole group is one.
    let pid = shop.pid();
    assert!(group.members().unwrap().iter().any(|member| member.pid == pid));
}

#[test]
fn without_groups_a_process_runs_as_ever() {
    let mut rig = Rig::new();
    rig.set(VARIABLE, "off");
    rig.agent(N1);
    let (start, shop) = rig.owner(N1);
    assert!(group(&rig, start).unwrap_err().contains("Off"));
    let left: i32 = shop.say("daemon").trim().parse().unwrap();
    kill(shop.pid(), Signal::KILL);
    rig.agents[0].hear_death(start);
    assert!(!is_alive(left));
}

#[test]
fn what_is_left_of_the_groups_of_dead_starts_is_swept_by_the_next_agent_and_others_are_not() {
    let mut rig = Rig::new();
    rig.agent(N1);
    let (start, shop) = rig.owner(N1);
    let Some(own) = needed(&rig, start) else { return };
    let site = Site::of(&Hierarchies::find().unwrap(), rig.layout.root());
    let (dead, elsewhere) = (site.make("n1", StartId(0xdead)), site.make("n2", StartId(0xdead)));
    rig.kill_agent(0);
    rig.agent(N1);
    let is_there = |group: &Group| group.directories().iter().all(|path| path.exists());
    assert!(is_there(&own) && is_there(&elsewhere) && !is_there(&dead));
    assert!(Puppet { address: shop.address }.pid() > 0);
}

#[test]
fn what_a_process_uses_is_told_and_told_again_to_a_controller_that_comes() {
    let size = Size { memory_bytes: Some(512 * MIB), cpu_milli: None };
    let mut rig = Rig::with(|app| app.resources.start = size);
    rig.agent(N1);
    let (start, shop) = rig.owner(N1);
    let Some(group) = needed(&rig, start) else { return };
    if let Err(why) = group.memory {
        return eprintln!("skipped: {why}");
    }
    shop.say(&format!("hold {}", 64 * MIB));
    let is_held = |line: &FromAgentLine| match line {
        FromAgentLine::Usage { start: of, usage, .. } if *of == start => {
            assert_eq!(usage.memory_limit_kib, Some(512 * 1_024));
            usage.memory_kib.filter(|kib| *kib > 64 * 1_024)
        }
        _ => None,
    };
    rig.agents[0].hear_line("that it holds much", is_held);
    rig.redial(0);
    rig.agents[0].hear_line("the same again", is_held);
    shop.say("free");
    rig.agents[0].hear_line("that it holds little", |line| match line {
        FromAgentLine::Usage { start: of, usage, .. } if *of == start => {
            usage.memory_kib.filter(|kib| *kib < 64 * 1_024)
        }
        _ => None,
    });
}

#[test]
fn limits_that_are_not_enforced_are_said_to_be_so() {
    let mut rig =
        Rig::with(|app| app.resources.start = Size { memory_bytes: Some(512 * MIB), cpu_milli: None });
    rig.set(VARIABLE, "off");
    rig.agent(N1);
    rig.owner(N1);
    let said = rig.agents[0].hear_note("a remark", |note| match note {
        Note::Remark { by: Speaker::Agent, what } => Some(what.clone()),
        _ => None,
    });
    assert_eq!(
        said,
        "its limits (`resources`) are not enforced: no limit can be enforced: PARACLOUD_CGROUPS=off"
    );
}

#[test]
fn a_program_that_needs_more_memory_than_it_may_have_is_said_to_have_been_killed_for_it() {
    let mut rig =
        Rig::with(|app| app.resources.start = Size { memory_bytes: Some(64 * MIB), cpu_milli: None });
    rig.agent(N1);
    let (start, shop) = rig.owner(N1);
    let Some(group) = needed(&rig, start) else { return };
    if let Err(why) = group.memory {
        return eprintln!("skipped: {why}");
    }
    let holding = shop.begin(&format!("hold {}", 1_024 * MIB));
    let how = rig.agents[0].hear_death(start);
    assert_eq!(how, "killed by signal 9; its limit on memory was reached");
    assert!(!holding.join().is_ok_and(|said| said == "held"));
}
