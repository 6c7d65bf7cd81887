//! The model in its smallest forms; `cargo xtask model` searches the rest.

use paracloud_core::ids::GatewayId;
use paracloud_core::register::Mode;
use paracloud_sim::ledger::RequestId;
use paracloud_sim::model::explorer::{Order, Outcome, Search, explore};
use paracloud_sim::model::walk::{Walks, walk};
use paracloud_sim::model::{Configuration, Extent, Fate, Faults, MoveModel, is_fault};
use paracloud_sim::world::{Action, Party};

const KEYED: &[RequestId] = &[RequestId(0)];

fn configuration(mode: Mode, gateways: u32, requests: &'static [RequestId], faults: Faults) -> Configuration {
    Configuration { heal_every: 32, ..Configuration::exhausted("test", mode, gateways, requests, faults) }
}

fn search(configuration: Configuration, order: Order, threads: usize) -> Outcome<(Action, Fate)> {
    explore(&MoveModel::new(configuration), Search { order, threads, unique_max: 1_000_000 }, &|| false)
}

fn assert_holds(outcome: &Outcome<(Action, Fate)>) {
    assert!(outcome.violations.is_empty(), "{:#?}", outcome.violations);
    assert!(outcome.missing.is_empty(), "never seen: {:?}", outcome.missing);
    assert!(outcome.exhausted);
}

const NONE: Faults = Faults::NONE;

#[test]
fn a_handoff_holds_with_clients_a_lost_message_and_a_blocked_seal() {
    let faults = Faults { losses: 1, hogs: 1, ..NONE };
    assert_holds(&search(configuration(Mode::Handoff, 1, KEYED, faults), Order::Depth, 2));
}

#[test]
fn a_handoff_holds_when_anybody_crashes_at_any_step() {
    assert_holds(&search(
        configuration(Mode::Handoff, 1, &[], Faults { crashes: 1, ..NONE }),
        Order::Depth,
        2,
    ));
}

#[test]
fn a_restart_holds_with_a_lost_and_a_doubled_message() {
    let faults = Faults { losses: 1, duplicates: 1, ..NONE };
    assert_holds(&search(configuration(Mode::Restart, 1, &[], faults), Order::Depth, 2));
}

#[test]
fn every_order_of_search_reaches_the_same_states() {
    let of = |order, threads| {
        let outcome = search(configuration(Mode::Handoff, 2, KEYED, NONE), order, threads);
        assert!(outcome.exhausted);
        (outcome.states, outcome.unique)
    };
    let first = of(Order::Breadth, 1);
    assert_eq!(of(Order::Depth, 1), first);
    assert_eq!(of(Order::Depth, 2), first);
}

#[test]
fn the_search_that_stops_early_is_not_called_exhausted() {
    let model = MoveModel::new(configuration(Mode::Handoff, 1, KEYED, Faults { crashes: 1, ..NONE }));
    let outcome = explore(&model, Search { order: Order::Depth, threads: 2, unique_max: 500 }, &|| false);
    assert!(!outcome.exhausted);
    let search = Search { order: Order::Depth, threads: 2, unique_max: 1_000_000 };
    assert!(!explore(&model, search, &|| true).exhausted);
}

#[test]
fn states_that_differ_in_the_numbers_of_two_gateways_are_one() {
    use stateright::Model;
    let model = MoveModel::new(configuration(Mode::Handoff, 2, KEYED, Faults { crashes: 1, ..NONE }));
    let first = model.init_states().remove(0);
    let after = |action| model.next_state(&first, (action, Fate::Plain));
    let sent = [1, 2].map(|id| after(Action::Send(RequestId(0), GatewayId(id))));
    let crashed = [1, 2].map(|id| after(Action::Crash(Party::Gateway(GatewayId(id)))));
    for [one, other] in [sent, crashed] {
        assert!(one.is_some() && one == other, "{one:#?} {other:#?}");
    }
}

#[test]
fn stateright_itself_finds_as_many_states() {
    use stateright::{Checker, Model};
    let (ours, theirs) =
        [(); 2].map(|()| configuration(Mode::Handoff, 1, KEYED, Faults { losses: 1, ..NONE })).into();
    let ours = search(ours, Order::Depth, 1);
    let theirs = MoveModel::new(theirs).checker().spawn_dfs().join();
    assert_eq!(u64::try_from(theirs.unique_state_count()).unwrap(), ours.unique);
}

const WALKS: Walks = Walks { count: 10, depth: 400 };

#[test]
fn a_walk_holds_and_is_never_called_exhausted() {
    let all = Configuration::all();
    let walked = all.into_iter().filter(|it| it.is_small && it.extent != Extent::Exhausted);
    for configuration in walked {
        let outcome = walk(&MoveModel::new(configuration), 7, WALKS, is_fault, || false);
        assert!(outcome.violations.is_empty(), "{:#?}", outcome.violations);
        assert!(!outcome.exhausted);
    }
}
