//! The simulation runs clean, replays exactly, and finds what is broken on purpose.

use paracloud_sim::simulation::coverage::Coverage;
use paracloud_sim::simulation::sabotage::Sabotage;
use paracloud_sim::simulation::{Run, run, run_sabotaged};

/// Seeds tried until a broken world is noticed.
const SEEDS_UNTIL_NOTICED: u64 = 20;

#[test]
fn twenty_seeds_break_no_promise_and_come_to_rest() {
    for seed in 0..20 {
        let run = run(seed, false);
        assert!(run.is_clean(), "seed {seed}: {:?} {:?}", run.violations, run.unconverged);
    }
}

#[test]
fn a_run_is_not_idle() {
    let runs: Vec<_> = (0..20).map(|seed| run(seed, false)).collect();
    let mut coverage = Coverage::default();
    runs.iter().for_each(|run| coverage.add(&run.coverage));
    let sum = |of: fn(&Run) -> usize| runs.iter().map(of).sum::<usize>();
    assert!(sum(|run| run.commits as usize) > 100, "moves are committed");
    assert!(sum(|run| run.writes) > 2_000, "clients write");
    assert!(sum(|run| run.lost_by_crash) > 0, "owners die");
    assert!(sum(|run| run.damaged_refused as usize) > 0, "damaged disks are refused");
    assert!(sum(|run| run.mismatches as usize) > 0, "copies are spoilt, and digests differ");
    assert!(
        sum(|run| run.ended_early as usize) > 0,
        "sources end their stream before they are asked to seal"
    );
    assert!(sum(|run| run.given_up as usize) > 0, "nodes are given up");
    assert!(sum(|run| run.unseen as usize) > 0, "sources die and nobody sees it");
    assert!(sum(|run| run.declined as usize) > 0, "applications do not agree to a move");
    let meant = paracloud_sim::simulation::coverage::Cell::meant().len();
    assert!(coverage.missing().len() < meant / 2, "most faults are tried in most phases");
}

#[test]
fn a_seed_is_replayed_byte_for_byte() {
    for seed in [7, 1_234_567] {
        let (first, second) = (run(seed, true), run(seed, true));
        assert!(first.trace.len() > 500);
        assert_eq!(first, second);
    }
}

#[test]
fn being_watched_changes_nothing() {
    let (watched, alone) = (run(5, true), run(5, false));
    assert_eq!(Run { trace: Vec::new(), ..watched }, alone);
}

#[test]
fn other_seeds_are_other_runs() {
    assert_ne!(run(1, true).trace, run(2, true).trace);
}

/// The rules that were broken in the first seed in which anything was noticed.
fn noticed(sabotage: Sabotage) -> Vec<&'static str> {
    let mut runs = (0..SEEDS_UNTIL_NOTICED).map(|seed| run_sabotaged(seed, sabotage));
    let found = runs.find(|run| !run.is_clean());
    let found =
        found.unwrap_or_else(|| panic!("{sabotage:?} was not noticed in {SEEDS_UNTIL_NOTICED} seeds"));
    let unconverged = found.unconverged.map(|_| "I5");
    found.violations.iter().map(|violation| violation.rule).chain(unconverged).collect()
}

#[test]
fn two_open_gates_are_noticed() {
    assert!(noticed(Sabotage::SecondGate).contains(&"I1"));
}

#[test]
fn a_gate_that_turns_though_its_machine_did_not_say_so_is_noticed() {
    let noticed = noticed(Sabotage::OwnGate);
    assert!(["I3", "G"].iter().all(|rule| noticed.contains(rule)), "{noticed:?}");
}

#[test]
fn a_lost_write_is_noticed() {
    assert!(noticed(Sabotage::LostWrite).contains(&"I2"));
}

#[test]
fn a_doubled_write_is_noticed() {
    assert!(noticed(Sabotage::DoubledWrite).contains(&"I2"));
}

#[test]
fn a_request_that_is_parked_without_a_bound_is_noticed() {
    assert!(noticed(Sabotage::ForgottenBound).contains(&"I4"));
}

#[test]
fn a_world_that_cannot_come_to_rest_is_noticed() {
    assert_eq!(noticed(Sabotage::DeafAgents), ["I5"]);
}

#[test]
fn an_owner_of_another_revision_is_noticed() {
    assert!(noticed(Sabotage::OtherRevision).contains(&"R"));
}

#[test]
fn a_damaged_disk_that_is_taken_for_a_whole_one_is_noticed() {
    assert!(noticed(Sabotage::BlindDisk).contains(&"P"));
}
