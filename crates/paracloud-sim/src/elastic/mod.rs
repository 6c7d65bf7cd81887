//! An app of many instances under load, in virtual time: every request, every instance, one decider.
//!
//! Requests come by chance at a rate that follows a [`Shape`]; each goes to the least loaded of a few instances that serve,
//! waits there for one of its slots, and is late if it takes longer than it may. The decider is `paracloud-core`'s own
//! plan, or a policy of [`crate::peers`]; the data plane is the same for all of them. The same seed gives the same run.

mod app;
mod decider;
mod load;
mod says;

pub use app::Instance;
pub use decider::Decider;
pub use load::Shape;
pub use says::Says;

use app::{Phase, Request};
use decider::Deciding;
use paracloud_core::scaling::policy::Policy;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

/// Microseconds of a millisecond.
const MS: u64 = 1_000;

/// How long requests take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// By chance, with this mean: most are short.
    Exponential,
    /// All of them the same.
    Fixed,
}

/// Long jobs that come beside the requests, and are never late.
#[derive(Debug, Clone, Copy)]
pub struct Long {
    /// In thousandths of one a second.
    pub rate_milli: u64,
    /// How long one takes in a warm slot, in milliseconds.
    pub service_ms: u32,
}

/// What one instance of the app is.
#[derive(Debug, Clone, Copy)]
pub struct App {
    /// Requests it works on at once.
    pub slots: u32,
    /// How long one takes in a warm slot on average, in milliseconds.
    pub service_ms: u32,
    /// How they differ.
    pub service: Service,
    /// Long jobs beside them.
    pub long: Option<Long>,
    /// From its start to ready, in milliseconds.
    pub boot_ms: u32,
    /// From ready to full speed, in milliseconds.
    pub warm_ms: u32,
    /// Its speed until then, in thousandths.
    pub cold_permille: u32,
    /// A request that takes longer is late, in milliseconds.
    pub late_ms: u32,
    /// A request that waits longer is given up, in milliseconds.
    pub patience_ms: u32,
}

impl App {
    /// Requests that it can do, in thousandths of one a second, warm.
    pub fn capacity_milli(&self) -> u32 {
        self.slots * 1_000_000 / self.service_ms
    }

    /// How long a request takes in a warm slot on average, in microseconds.
    fn work_us(&self, request: Request) -> u64 {
        let long_ms = self.long.filter(|_| request.is_long).map(|long| long.service_ms);
        u64::from(long_ms.unwrap_or(self.service_ms)) * MS
    }
}

/// Demand that instances announce.
#[derive(Debug, Clone)]
pub struct Announced {
    /// Its id.
    pub id: String,
    /// When it is said, in milliseconds.
    pub said_ms: u64,
    /// When it begins.
    pub start_ms: u64,
    /// When it ends.
    pub end_ms: u64,
    /// Requests, in thousandths of one a second.
    pub rate_milli: u32,
}

/// One run.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// What an instance is.
    pub app: App,
    /// How requests come.
    pub load: Shape,
    /// How long, in milliseconds.
    pub length_ms: u64,
    /// Instances at first, all warm.
    pub start: u32,
    /// A request goes to the least loaded of so many instances, drawn by chance.
    pub choices: u32,
    /// What is allowed.
    pub policy: Policy,
    /// What instances say of themselves.
    pub says: Says,
    /// What they announce.
    pub announced: Vec<Announced>,
    /// The dice.
    pub seed: u64,
}

/// What came of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Requests that came.
    pub requests: u64,
    /// Those that were late or given up.
    pub late: u64,
    /// Those of them that were given up.
    pub given_up: u64,
    /// Time of all instances, those that start and drain included, in milliseconds.
    pub instance_ms: u64,
    /// Instances started.
    pub starts: u32,
    /// Instances that were sent away.
    pub stops: u32,
    /// Instances called back.
    pub revokes: u32,
    /// How often it went up after down, or down after up.
    pub turns: u32,
    /// Most instances at once.
    pub most: u32,
    /// Fewest that served or would.
    pub fewest: u32,
    /// Most starts and stops within any window of the flap budget.
    pub flap: u32,
    /// Least trust in any instance's word in any record, in thousandths.
    pub trust_permille: Option<u32>,
    /// The time at which so many instances as the end of a step takes were ordered, in milliseconds since its beginning.
    pub ordered_ms: Option<u64>,
}

impl Outcome {
    /// Late requests of a million.
    pub fn late_ppm(&self) -> u64 {
        (self.late * 1_000_000).checked_div(self.requests).unwrap_or(0)
    }

    /// What came of runs that differ by their dice: sums; of the greatest and the least, the greatest and the least of all.
    pub fn of(seeds: core::ops::Range<u64>, scenario: &Scenario, decider: &Decider) -> Self {
        let one = |seed| run(&Scenario { seed, ..scenario.clone() }, decider);
        seeds.map(one).reduce(Self::with).unwrap_or_default()
    }

    fn with(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            late: self.late + other.late,
            given_up: self.given_up + other.given_up,
            instance_ms: self.instance_ms + other.instance_ms,
            starts: self.starts + other.starts,
            stops: self.stops + other.stops,
            revokes: self.revokes + other.revokes,
            turns: self.turns + other.turns,
            most: self.most.max(other.most),
            fewest: self.fewest.min(other.fewest),
            flap: self.flap.max(other.flap),
            trust_permille: self.trust_permille.into_iter().chain(other.trust_permille).min(),
            ordered_ms: self.ordered_ms.max(other.ordered_ms),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrives,
    LongArrives,
    Ready(u32),
    Done(u32, Request),
    Decides,
}

/// The world while it runs.
pub(crate) struct World<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) now_us: u64,
    pub(crate) instances: BTreeMap<u32, Instance>,
    /// Requests for which there is no instance that serves.
    parked: VecDeque<Request>,
    pub(crate) arrivals: u32,
    pub(crate) outcome: Outcome,
    actions: VecDeque<(u64, u32)>,
    went_up: Option<bool>,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    said: u64,
    dice: Xoshiro256PlusPlus,
}

/// Runs it to its end.
pub fn run(scenario: &Scenario, decider: &Decider) -> Outcome {
    let instances = (1..=scenario.start).map(|number| (number, Instance::warm())).collect();
    let mut world = World {
        scenario,
        now_us: 0,
        instances,
        parked: VecDeque::new(),
        arrivals: 0,
        outcome: Outcome { fewest: scenario.start, most: scenario.start, ..Outcome::default() },
        actions: VecDeque::new(),
        went_up: None,
        events: BinaryHeap::new(),
        said: 0,
        dice: Xoshiro256PlusPlus::seed_from_u64(scenario.seed),
    };
    let mut deciding = Deciding::new(decider, scenario);
    world.after(0, Event::Arrives);
    if let Some(long) = scenario.app.long {
        world.long_comes(long);
    }
    world.after(deciding.period_ms() * MS, Event::Decides);
    while let Some(Reverse((at_us, _, event))) = world.events.pop() {
        if at_us > scenario.length_ms * MS {
            break;
        }
        world.pass(at_us);
        match event {
            Event::Arrives => world.arrives(),
            Event::LongArrives => world.long_arrives(),
            Event::Ready(number) => world.becomes_ready(number),
            Event::Done(number, request) => world.done(number, request),
            Event::Decides => {
                deciding.decide(&mut world);
                world.after(deciding.period_ms() * MS, Event::Decides);
            }
        }
    }
    world.outcome
}

impl World<'_> {
    pub(crate) fn now_ms(&self) -> u64 {
        self.now_us / MS
    }

    fn after(&mut self, wait_us: u64, event: Event) {
        self.said += 1;
        self.events.push(Reverse((self.now_us + wait_us, self.said, event)));
    }

    /// Time goes on.
    fn pass(&mut self, at_us: u64) {
        let passed_us = at_us - self.now_us;
        for instance in self.instances.values_mut() {
            instance.busy_us += passed_us * u64::from(instance.busy);
            instance.lived_us += passed_us;
        }
        let before_ms = self.now_us / MS;
        self.now_us = at_us;
        let there = u64::try_from(self.instances.len()).unwrap_or(u64::MAX);
        self.outcome.instance_ms += there * (at_us / MS - before_ms);
    }

    fn arrives(&mut self) {
        let rate_milli = self.scenario.load.rate_milli(self.now_ms());
        if rate_milli == 0 {
            self.after(10 * MS, Event::Arrives);
            return;
        }
        let wait_us = self.exponential(1_000_000_000 / rate_milli);
        self.after(wait_us, Event::Arrives);
        self.arrivals += 1;
        self.outcome.requests += 1;
        self.send(Request { came_us: self.now_us, sent_us: 0, is_long: false });
    }

    fn long_comes(&mut self, long: Long) {
        let wait_us = self.exponential(1_000_000_000 / long.rate_milli.max(1));
        self.after(wait_us, Event::LongArrives);
    }

    fn long_arrives(&mut self) {
        if let Some(long) = self.scenario.app.long {
            self.long_comes(long);
        }
        self.arrivals += 1;
        self.send(Request { came_us: self.now_us, sent_us: 0, is_long: true });
    }

    /// A length of time with this mean.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a positive time of at most hours"
    )]
    #[expect(clippy::cast_precision_loss, reason = "microseconds of at most hours")]
    fn exponential(&mut self, mean_us: u64) -> u64 {
        let chance: f64 = self.dice.random_range(f64::EPSILON..1.0);
        (-chance.ln() * mean_us as f64) as u64 + 1
    }

    /// To the least loaded of a few that serve.
    fn send(&mut self, request: Request) {
        let serving: Vec<u32> = self
            .instances
            .iter()
            .filter(|(_, it)| it.phase == Phase::Ready)
            .map(|(number, _)| *number)
            .collect();
        let drawn = (0..self.scenario.choices).filter_map(|_| {
            let place = self.dice.random_range(0..serving.len().max(1));
            serving.get(place).copied()
        });
        let drawn: Vec<u32> = drawn.collect();
        let Some(number) = drawn.into_iter().min_by_key(|number| self.instances[number].in_flight()) else {
            self.parked.push_back(request);
            return;
        };
        let request = Request { sent_us: self.now_us, ..request };
        let work_us = self.scenario.app.work_us(request);
        if let Some(instance) = self.instances.get_mut(&number) {
            instance.queue.push_back(request);
            instance.taken += 1;
            instance.taken_us += work_us;
        }
        self.work(number);
    }

    /// An instance takes what it has slots for.
    fn work(&mut self, number: u32) {
        let App { slots, service, warm_ms, cold_permille, patience_ms, .. } = self.scenario.app;
        while let Some(instance) = self.instances.get_mut(&number) {
            if instance.busy >= slots {
                return;
            }
            let Some(request) = instance.queue.pop_front() else { return };
            if self.now_us - request.came_us > u64::from(patience_ms) * MS {
                self.outcome.late += 1;
                self.outcome.given_up += 1;
                continue;
            }
            instance.busy += 1;
            let is_cold = instance.served_us(self.now_us) < u64::from(warm_ms) * MS;
            let mean_us = self.scenario.app.work_us(request);
            let mean_us = if is_cold { mean_us * 1_000 / u64::from(cold_permille) } else { mean_us };
            let takes_us = match service {
                Service::Exponential => self.exponential(mean_us),
                Service::Fixed => mean_us,
            };
            self.after(takes_us, Event::Done(number, request));
        }
    }

    fn done(&mut self, number: u32, request: Request) {
        let late_us = u64::from(self.scenario.app.late_ms) * MS;
        let Some(instance) = self.instances.get_mut(&number) else { return };
        instance.busy -= 1;
        instance.completions += 1;
        instance.service_us += self.now_us - request.sent_us;
        if !request.is_long && self.now_us - request.came_us > late_us {
            self.outcome.late += 1;
        }
        self.work(number);
        self.go_if_drained(number);
    }

    fn go_if_drained(&mut self, number: u32) {
        let is_over =
            self.instances.get(&number).is_some_and(|it| it.phase == Phase::Draining && it.in_flight() == 0);
        if is_over {
            self.instances.remove(&number);
        }
    }

    fn becomes_ready(&mut self, number: u32) {
        let Some(instance) = self.instances.get_mut(&number).filter(|it| it.phase == Phase::Starting) else {
            return;
        };
        instance.phase = Phase::Ready;
        (instance.since_us, instance.ready_us) = (self.now_us, self.now_us);
        for request in std::mem::take(&mut self.parked) {
            self.send(request);
        }
    }

    /// Requests that wait for an instance.
    pub(crate) fn waiting(&self) -> u32 {
        u32::try_from(self.parked.len()).unwrap_or(u32::MAX)
    }

    /// Instances that serve or will.
    pub(crate) fn live(&self) -> u32 {
        u32::try_from(self.instances.values().filter(|it| it.phase != Phase::Draining).count())
            .unwrap_or(u32::MAX)
    }

    pub(crate) fn start(&mut self, count: u32) {
        for _ in 0..count {
            let free = (1..).find(|number| !self.instances.contains_key(number)).unwrap_or(u32::MAX);
            self.instances.insert(free, Instance::starting(self.now_us));
            self.after(u64::from(self.scenario.app.boot_ms) * MS, Event::Ready(free));
        }
        self.outcome.starts += count;
        self.acts(count, true);
    }

    pub(crate) fn leave(&mut self, number: u32) {
        let Some(instance) = self.instances.get_mut(&number) else { return };
        instance.phase = Phase::Draining;
        instance.since_us = self.now_us;
        self.outcome.stops += 1;
        self.acts(1, false);
        self.go_if_drained(number);
    }

    pub(crate) fn revoke(&mut self, number: u32) {
        let Some(instance) = self.instances.get_mut(&number) else { return };
        instance.phase = Phase::Ready;
        instance.since_us = self.now_us;
        self.outcome.revokes += 1;
    }

    fn acts(&mut self, count: u32, goes_up: bool) {
        if count == 0 {
            return;
        }
        if self.went_up.replace(goes_up).is_some_and(|went_up| went_up != goes_up) {
            self.outcome.turns += 1;
        }
        let now_ms = self.now_ms();
        self.actions.push_back((now_ms, count));
        let per_ms = u64::from(self.scenario.policy.flap.per_ms);
        self.actions.retain(|(at_ms, _)| at_ms + per_ms > now_ms);
        self.outcome.flap = self.outcome.flap.max(self.actions.iter().map(|(_, count)| count).sum());
    }

    /// After each decision.
    pub(crate) fn count(&mut self) {
        let live = self.live();
        self.outcome.fewest = self.outcome.fewest.min(live);
        self.outcome.most = self.outcome.most.max(u32::try_from(self.instances.len()).unwrap_or(u32::MAX));
        let Some((at_ms, high_milli)) = self.scenario.load.step() else { return };
        let enough = high_milli.div_ceil(self.scenario.app.capacity_milli().into());
        if self.outcome.ordered_ms.is_none() && self.now_ms() >= at_ms && u64::from(live) >= enough {
            self.outcome.ordered_ms = Some(self.now_ms() - at_ms);
        }
    }
}
