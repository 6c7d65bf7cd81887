//! A person gives a node up, at every step of a move: rightly, when all of it is dead, and wrongly, when only its agent
//! is. The rest of the cloud goes on without it, and what comes back with it does not stay beside the new owner.

use paci::participant::Phase;
use paracloud_core::ids::{NodeId, StartId};
use paracloud_core::migration::coordinator::{Command, Timer as Coordinators};
use paracloud_core::register::{Mode, Step};
use paracloud_sim::heal::heal;
use paracloud_sim::model::setting;
use paracloud_sim::world::{Action, Envelope, Party, Setting, Timer, World};
use std::collections::{BTreeSet, VecDeque};

const NODES: [NodeId; 2] = [NodeId(1), NodeId(2)];
/// Steps within which a world must have come to rest.
const STEPS_MAX: usize = 3_000;
/// Timers that fire before a budget is taken to have run out.
const TIMERS_BEFORE_DEADLINES: u32 = 12;

/// A world in which one thing happens after the other, each message in its turn.
struct Course {
    setting: Setting,
    world: World,
    messages: VecDeque<Envelope>,
    timers: Vec<(Party, Timer)>,
    deadlines_wait: u32,
}

impl Course {
    /// An instance on the first node that is asked to move to the second one.
    fn moving(mode: Mode, has_a_past: bool) -> Self {
        let setting = setting(mode, 2, false);
        let world = World::new(&setting, 0);
        let world = if has_a_past { world.with_a_past() } else { world };
        let (messages, timers) = (VecDeque::new(), Vec::new());
        let mut course = Self { setting, world, messages, timers, deadlines_wait: TIMERS_BEFORE_DEADLINES };
        course.apply(Action::Command(Command::Move { to: NODES[1], mode, revision: None }));
        course
    }

    fn apply(&mut self, action: Action) {
        self.world.apply(&self.setting, action);
        self.messages.extend(self.world.sent.drain(..));
        for (party, timer, ms) in self.world.timers.drain(..) {
            self.timers.retain(|known| *known != (party, timer));
            if ms.is_some() {
                self.timers.push((party, timer));
            }
        }
    }

    /// The next thing happens, if any can.
    fn step(&mut self) {
        if self.world.is_swapping() {
            return self.apply(Action::Persist);
        }
        if let Some(start) = self.world.marking() {
            return self.apply(Action::Mark(start));
        }
        while let Some(envelope) = self.messages.pop_front() {
            if self.world.is_current(&envelope) {
                return self.apply(Action::Deliver(envelope));
            }
        }
        let world = &self.world;
        self.timers.retain(|(party, _)| world.is_up(*party));
        let is_deadline = |timer: &Timer| matches!(timer, Timer::Coordinator(Coordinators::Deadline));
        let waits = self.deadlines_wait > 0;
        let Some(due) = self.timers.iter().position(|(_, timer)| !(waits && is_deadline(timer))) else {
            return;
        };
        let (party, timer) = self.timers.remove(due);
        self.deadlines_wait =
            if is_deadline(&timer) { TIMERS_BEFORE_DEADLINES } else { self.deadlines_wait.saturating_sub(1) };
        self.apply(Action::Fire(party, timer));
    }

    fn until(&mut self, what: &str, reached: impl Fn(&World) -> bool) {
        for _ in 0..STEPS_MAX {
            if reached(&self.world) && self.messages.is_empty() && !self.world.is_swapping() {
                return;
            }
            self.step();
        }
        panic!("not within {STEPS_MAX} steps: {what}: {:#?}", self.world.disk);
    }

    /// Everything on a node dies.
    fn kill(&mut self, node: NodeId) {
        let starts: Vec<_> = self.world.processes_on(node).collect();
        for start in starts {
            self.apply(Action::Crash(Party::App(start)));
            self.apply(Action::Crash(Party::Shim(start)));
        }
        self.apply(Action::Crash(Party::Agent(node)));
    }

    fn heal(mut self) -> Result<(), String> {
        heal(&mut self.world, &self.setting, self.messages, self.timers.into_iter().collect::<BTreeSet<_>>())
    }
}

/// The instance serves on another node, and nothing is open.
fn serves_without(node: NodeId) -> impl Fn(&World) -> bool {
    move |world| {
        world.disk.operation.is_none() && world.disk.served.is_some() && world.disk.owner.node != node
    }
}

/// The source counts as dead, and the target may yet prove that it has all of the state: nothing but that is waited for.
fn waits_for_the_target(world: &World) -> bool {
    world.disk.step() == Some(Step::Sealing)
}

/// Processes that live with their gate closed for good, whatever they hold.
fn sealed(world: &World) -> BTreeSet<StartId> {
    let is_sealed = |start: &StartId| matches!(world.phase_of(*start), Some(Phase::Sealed(..)));
    NODES.iter().flat_map(|node| world.processes_on(*node)).filter(is_sealed).collect()
}

/// Whether every process that lives owns, or is one of these.
fn has_no_stray_but(world: &World, sealed: &BTreeSet<StartId>) -> bool {
    NODES.iter().flat_map(|node| world.processes_on(*node)).all(|start| {
        !world.is_up(Party::App(start)) || start == world.disk.owner.start || sealed.contains(&start)
    })
}

/// How many steps a move takes that nothing disturbs.
fn steps_of_a_move(mode: Mode) -> usize {
    let mut course = Course::moving(mode, false);
    let arrived = serves_without(NODES[0]);
    let mut steps = 0;
    while !(arrived(&course.world) && course.messages.is_empty()) {
        course.step();
        steps += 1;
        assert!(steps < STEPS_MAX, "{:#?}", course.world.disk);
    }
    steps
}

#[test]
fn whenever_a_node_is_gone_and_given_up_the_instance_serves_on_another_and_every_promise_holds() {
    for mode in [Mode::Handoff, Mode::Restart] {
        let all = steps_of_a_move(mode);
        assert!(all > 20, "{all}");
        for (node, steps) in NODES.into_iter().flat_map(|node| (0..=all).map(move |steps| (node, steps))) {
            let at = format!("{mode:?}: {node} after {steps} steps");
            let mut course = Course::moving(mode, true);
            (0..steps).for_each(|_| course.step());
            course.kill(node);
            course.apply(Action::GiveUp(node));
            course.until(&at, serves_without(node));
            assert_eq!(course.world.violations, [], "{at}");
            // And it comes back, with nothing alive.
            if let Err(wrong) = course.heal() {
                panic!("{at}: {wrong}");
            }
        }
    }
}

/// A living node that is given up, at every step of a move: which, at what step, and what came of it so far.
fn wrongly_given_up() -> impl Iterator<Item = (NodeId, String, Course)> {
    let moments = [Mode::Handoff, Mode::Restart].into_iter().flat_map(|mode| {
        let all = steps_of_a_move(mode);
        NODES.into_iter().flat_map(move |node| (0..=all).map(move |steps| (mode, node, steps)))
    });
    moments.map(|(mode, node, steps)| {
        let mut course = Course::moving(mode, false);
        (0..steps).for_each(|_| course.step());
        course.apply(Action::Crash(Party::Agent(node)));
        course.apply(Action::GiveUp(node));
        (node, format!("{mode:?}: {node} after {steps} steps"), course)
    })
}

#[test]
fn whenever_a_living_node_is_given_up_nothing_of_it_serves_on_once_its_agent_is_back() {
    for (node, at, mut course) in wrongly_given_up() {
        course.until(&at, |world| serves_without(node)(world) || waits_for_the_target(world));
        let owner = course.world.disk.owner;
        let took_over = owner.node != node;
        // Two served, for as long as the word was wrong: that is what it costs.
        let sealed = sealed(&course.world);
        course.apply(Action::Restart(Party::Agent(node)));
        course.until(&at, |world| world.disk.operation.is_none() && has_no_stray_but(world, &sealed));
        let owner = if took_over { owner } else { course.world.disk.owner };
        assert_eq!(course.world.disk.owner, owner, "{at}: who took over goes on");
        assert!(course.world.is_up(Party::App(owner.start)), "{at}");
        course.world.violations.clear();
        (0..50).for_each(|_| course.step());
        assert_eq!(course.world.violations, [], "{at}: one gate is open");
    }
}

#[test]
fn what_comes_back_with_a_node_before_its_move_is_closed_is_ended_too() {
    for (node, at, mut course) in wrongly_given_up() {
        // Until another one owns, and no longer.
        let is_over = |world: &World| {
            (world.disk.owner.node != node && !world.is_swapping()) || waits_for_the_target(world)
        };
        for _ in 0..STEPS_MAX {
            if is_over(&course.world) || serves_without(node)(&course.world) {
                break;
            }
            course.step();
        }
        let sealed = sealed(&course.world);
        course.apply(Action::Restart(Party::Agent(node)));
        course.until(&at, |world| {
            world.disk.operation.is_none() && world.disk.served.is_some() && has_no_stray_but(world, &sealed)
        });
    }
}
