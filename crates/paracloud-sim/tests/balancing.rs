//! Eight instances behind gateways that choose as they do for real, in virtual time: what the rules are worth, beside each
//! other, on the same arrivals.

use paracloud_core::balancing::{BackendId, Balancer, Cold, End, Pause, Policy, Report, Sent, Setting};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// Requests that an instance works on at once.
const PLACES: u32 = 8;
/// What one takes on average, at full speed.
const SERVICE_US: u64 = 10_000;
const SECOND_US: u64 = 1_000_000;
/// How long arrivals go on.
const LASTS_US: u64 = 12 * SECOND_US;
/// What comes before is not counted.
const COUNTED_FROM_US: u64 = 2 * SECOND_US;
/// An application reports so often, and its words are on their way for so long.
const REPORT_US: u64 = 100_000;
const WAY_US: u64 = 5_000;
const SEEDS: u64 = 3;

/// What an instance is like.
#[derive(Debug, Clone, Copy)]
struct Kind {
    speed_permille: u64,
    /// It stands still for so long, so often.
    pause_us: Option<(u64, u64)>,
    /// It begins with so much of its speed, and has all of it after so long.
    cold: Option<(u64, u64)>,
    /// What it says of itself.
    word: Word,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    True,
    /// It has no work and endless room.
    Greedy,
    /// It is full, and always was.
    Lazy,
    None,
}

const ORDINARY: Kind = Kind { speed_permille: 1_000, pause_us: None, cold: None, word: Word::True };

/// One that pauses, one that is cold, one at half speed.
fn unequal() -> Vec<Kind> {
    let mut kinds = vec![ORDINARY; 8];
    kinds[1].pause_us = Some((200_000, 2 * SECOND_US));
    kinds[4].cold = Some((250, 20 * SECOND_US));
    kinds[6].speed_permille = 500;
    kinds
}

impl Kind {
    fn speed_permille(&self, now_us: u64) -> u64 {
        let Some((begins, lasts_us)) = self.cold else { return self.speed_permille };
        let warmth = begins + (1_000 - begins) * now_us.min(lasts_us) / lasts_us;
        self.speed_permille * warmth / 1_000
    }

    /// When what begins then ends.
    fn end_us(&self, begins_us: u64, work_us: u64) -> u64 {
        let mut left_us = work_us * 1_000 / self.speed_permille(begins_us);
        let Some((pause_us, every_us)) = self.pause_us else { return begins_us + left_us };
        let mut now_us = begins_us;
        loop {
            let phase_us = now_us % every_us;
            let runs_us = (every_us - pause_us).saturating_sub(phase_us);
            if left_us <= runs_us && runs_us > 0 {
                return now_us + left_us;
            }
            left_us -= runs_us.min(left_us);
            now_us += every_us - phase_us;
        }
    }
}

/// An instance: first come, first served, at its places.
struct Instance {
    kind: Kind,
    /// When each place is free.
    free_us: Vec<u64>,
    /// When what is here begins and ends.
    here: Vec<(u64, u64)>,
}

impl Instance {
    fn take(&mut self, now_us: u64, work_us: u64) -> u64 {
        let place = self.free_us.iter_mut().min().expect("it has places");
        let begins_us = now_us.max(*place);
        *place = self.kind.end_us(begins_us, work_us);
        self.here.push((begins_us, *place));
        *place
    }

    fn report(&mut self, now_us: u64) -> Option<Report> {
        self.here.retain(|(_, ends_us)| *ends_us > now_us);
        let begun = self.here.iter().filter(|(begins_us, _)| *begins_us <= now_us).count();
        let report = Report {
            valid_for_ms: 2_000,
            age_ms: u32::try_from(WAY_US / 1_000).ok()?,
            concurrency: Some(PLACES),
            in_flight: u32::try_from(begun).ok(),
            queued: u32::try_from(self.here.len() - begun).ok(),
            ..Report::default()
        };
        match self.kind.word {
            Word::None => None,
            Word::True => Some(report),
            Word::Greedy => Some(Report {
                concurrency: Some(1_000_000),
                in_flight: Some(0),
                queued: Some(0),
                weight_permille: Some(10_000),
                ..report
            }),
            Word::Lazy => Some(Report {
                concurrency: Some(1),
                in_flight: Some(1_000_000),
                utilisation_permille: Some(10_000),
                backlog_ms: Some(1_000_000),
                weight_permille: Some(0),
                ..report
            }),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrives,
    Ends { gateway: usize, request: u64 },
    Reports { instance: usize },
    Announces { instance: usize },
}

/// What came of a run.
#[derive(Debug, Default)]
struct Outcome {
    took_us: Vec<u64>,
    /// Requests that each instance got.
    got: BTreeMap<usize, u64>,
    /// Of requests to one that paused: how many it still had when it began to.
    caught: u64,
}

impl Outcome {
    fn quantile_us(&mut self, permyriad: usize) -> u64 {
        self.took_us.sort_unstable();
        self.took_us[(self.took_us.len() * permyriad / 10_000).min(self.took_us.len() - 1)]
    }

    fn share_permille(&self, instance: usize) -> u64 {
        self.got.get(&instance).copied().unwrap_or(0) * 1_000 / self.got.values().sum::<u64>().max(1)
    }
}

struct Town {
    instances: Vec<Instance>,
    balancers: Vec<Balancer>,
    sent: BTreeMap<u64, (Sent, u64)>,
    events: BinaryHeap<Reverse<(u64, Event)>>,
    dice: StdRng,
}

fn id(instance: usize) -> BackendId {
    BackendId(u32::try_from(instance).expect("a few"))
}

impl Town {
    fn new(kinds: &[Kind], policy: Policy, gateways: u32, seed: u64) -> Self {
        let mut balancers = Vec::new();
        for _ in 0..gateways {
            let mut balancer = Balancer::new(Setting { policy, balancers: gateways });
            (0..kinds.len()).for_each(|instance| balancer.add(id(instance), 0));
            balancers.push(balancer);
        }
        let places = PLACES as usize;
        let instance = |kind: &Kind| Instance { kind: *kind, free_us: vec![0; places], here: Vec::new() };
        let dice = StdRng::seed_from_u64(seed);
        let instances = kinds.iter().map(instance).collect();
        let mut town = Self { instances, balancers, sent: BTreeMap::new(), events: BinaryHeap::new(), dice };
        for (instance, kind) in kinds.iter().enumerate() {
            let offset_us = REPORT_US * instance as u64 / kinds.len() as u64;
            town.at(offset_us + WAY_US, Event::Reports { instance });
            if let Some((pause_us, every_us)) = kind.pause_us.filter(|_| kind.word == Word::True) {
                town.at(every_us - pause_us - REPORT_US, Event::Announces { instance });
            }
            let said = kind.cold.filter(|_| kind.word == Word::True);
            let Some((begins, lasts_us)) = said else { continue };
            let cold = Cold { ends_in_us: lasts_us, capacity_permille: u32::try_from(begins).ok() };
            town.balancers.iter_mut().for_each(|it| it.cold(id(instance), Some(cold), 0));
        }
        town.at(0, Event::Arrives);
        town
    }

    fn at(&mut self, at_us: u64, event: Event) {
        self.events.push(Reverse((at_us, event)));
    }

    /// With so many requests a second, on average.
    fn run(mut self, per_second: u64) -> Outcome {
        let mut outcome = Outcome::default();
        let mut requests = 0;
        while let Some(Reverse((now_us, event))) = self.events.pop() {
            match event {
                Event::Arrives => {
                    requests += 1;
                    self.arrives(now_us, requests, &mut outcome);
                    let gap_us = self.gap_us(per_second);
                    if now_us + gap_us < LASTS_US {
                        self.at(now_us + gap_us, Event::Arrives);
                    }
                }
                Event::Ends { gateway, request } => {
                    let Some((sent, _)) = self.sent.remove(&request) else { continue };
                    self.balancers[gateway].ended(sent, End::Answered { at_us: now_us }, now_us);
                }
                Event::Reports { instance } => {
                    let report = self.instances[instance].report(now_us - WAY_US);
                    if let Some(report) = report {
                        self.balancers.iter_mut().for_each(|it| it.report(id(instance), report, now_us));
                    }
                    if now_us < LASTS_US {
                        self.at(now_us + REPORT_US, Event::Reports { instance });
                    }
                }
                Event::Announces { instance } => {
                    let Some((pause_us, every_us)) = self.instances[instance].kind.pause_us else { continue };
                    let begins_in_us = REPORT_US;
                    let pause = Pause { begins_in_us, ends_in_us: begins_in_us + pause_us };
                    self.balancers.iter_mut().for_each(|it| it.pause(id(instance), Some(pause), now_us));
                    if now_us < LASTS_US {
                        self.at(now_us + every_us, Event::Announces { instance });
                    }
                }
            }
        }
        outcome
    }

    /// Until the next one comes: exponential, from one of a million equal parts.
    #[expect(clippy::cast_possible_truncation, reason = "a part of a second, in microseconds")]
    fn gap_us(&mut self, per_second: u64) -> u64 {
        let part = f64::from(self.dice.random_range(1..=1_000_000_u32)) / 1e6;
        (-part.ln() * SECOND_US as f64 / per_second as f64) as u64
    }

    fn arrives(&mut self, now_us: u64, request: u64, outcome: &mut Outcome) {
        let gateway = self.dice.random_range(0..self.balancers.len());
        // Between half of the average and one and a half.
        let work_us = self.dice.random_range(SERVICE_US / 2..=SERVICE_US * 3 / 2);
        let random = self.dice.random();
        let balancer = &mut self.balancers[gateway];
        let chosen = balancer.choose(None, now_us, random).expect("there are instances");
        let sent = balancer.sent(chosen.id, now_us).expect("it is one of them");
        let instance = chosen.id.0 as usize;
        let ends_us = self.instances[instance].take(now_us, work_us);
        self.sent.insert(request, (sent, now_us));
        self.at(ends_us, Event::Ends { gateway, request });
        if now_us >= COUNTED_FROM_US {
            outcome.took_us.push(ends_us - now_us);
            *outcome.got.entry(instance).or_default() += 1;
            let paused = self.instances[instance].kind.pause_us.is_some();
            outcome.caught += u64::from(paused && ends_us - now_us > 100_000);
        }
    }
}

/// All seeds together.
fn run(kinds: &[Kind], policy: Policy, gateways: u32, load_percent: u64) -> Outcome {
    let mut all = Outcome::default();
    for seed in 0..SEEDS {
        let speed: u64 = kinds.iter().map(|kind| kind.speed_permille(0)).sum();
        let per_second = u64::from(PLACES) * speed * SECOND_US / SERVICE_US / 1_000 * load_percent / 100;
        let mut outcome = Town::new(kinds, policy, gateways, seed).run(per_second);
        all.took_us.append(&mut outcome.took_us);
        outcome.got.into_iter().for_each(|(instance, got)| *all.got.entry(instance).or_default() += got);
        all.caught += outcome.caught;
    }
    all
}

const OTHERS: [Policy; 4] = [Policy::Random, Policy::RoundRobin, Policy::LeastInFlight, Policy::Ignored];

/// Prints what came of it, and gives the 99.9th percentile in microseconds.
#[expect(clippy::print_stdout, reason = "the figures are what one runs this for")]
fn p999_us(title: &str, kinds: &[Kind], policy: Policy, gateways: u32) -> u64 {
    let mut outcome = run(kinds, policy, gateways, 70);
    let [p50, p99, p999] = [5_000, 9_900, 9_990].map(|permyriad| outcome.quantile_us(permyriad));
    println!(
        "{title:<10} {gateways} gateway(s) {policy:<14?} p50 {p50:>7} p99 {p99:>7} p99.9 {p999:>7} us, n {}, caught {}, shares {:?}",
        outcome.took_us.len(),
        outcome.caught,
        (0..kinds.len()).map(|it| outcome.share_permille(it)).collect::<Vec<_>>(),
    );
    p999
}

#[test]
fn what_applications_say_takes_three_tenths_off_the_tail_of_unequal_instances() {
    for gateways in [1, 2] {
        let used = p999_us("unequal", &unequal(), Policy::Used, gateways);
        let best = OTHERS.map(|policy| p999_us("unequal", &unequal(), policy, gateways)).into_iter().min();
        let best = best.expect("there are others");
        assert!(used * 10 <= best * 7, "{used} {best}");
    }
}

#[test]
fn with_equal_instances_it_is_never_worse_than_the_least_in_flight() {
    for gateways in [1, 2] {
        let used = p999_us("equal", &[ORDINARY; 8], Policy::Used, gateways);
        let least = p999_us("equal", &[ORDINARY; 8], Policy::LeastInFlight, gateways);
        assert!(used * 100 <= least * 105, "{used} {least}");
    }
}

#[test]
fn an_instance_that_claims_endless_room_draws_little_more_than_its_peers() {
    let mut kinds = [ORDINARY; 8];
    let honest = p999_us("honest", &kinds, Policy::Used, 2);
    kinds[2].word = Word::Greedy;
    let with_it = p999_us("greedy", &kinds, Policy::Used, 2);
    assert!(with_it * 4 <= honest * 7, "{with_it} {honest}");
    let share = run(&kinds, Policy::Used, 2, 70).share_permille(2);
    assert!((100..=200).contains(&share), "{share}");
}

#[test]
fn an_instance_that_claims_to_be_full_does_a_fair_part_of_the_work_once_there_is_much() {
    let mut kinds = [ORDINARY; 8];
    kinds[2].word = Word::Lazy;
    for gateways in [1, 2] {
        let mut outcome = run(&kinds, Policy::Used, gateways, 70);
        let (share, p999) = (outcome.share_permille(2), outcome.quantile_us(9_990));
        assert!(share >= 125 / 4, "{gateways} gateway(s): {share}");
        assert!(p999 <= 5 * SERVICE_US, "{p999}");
    }
}

#[test]
fn where_nobody_reports_it_is_as_if_reports_were_ignored() {
    let silent = [Kind { word: Word::None, ..ORDINARY }; 8];
    let used = p999_us("silent", &silent, Policy::Used, 2);
    let ignored = p999_us("silent", &silent, Policy::Ignored, 2);
    assert_eq!(used, ignored);
}

#[test]
fn where_one_in_four_says_nothing_all_are_used_alike() {
    let mut kinds = [ORDINARY; 8];
    [1, 5].into_iter().for_each(|silent| kinds[silent].word = Word::None);
    let outcome = run(&kinds, Policy::Used, 2, 70);
    for instance in 0..8 {
        let share = outcome.share_permille(instance);
        assert!((100..=150).contains(&share), "{instance}: {share}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let one = run(&unequal(), Policy::Used, 2, 70);
    let other = run(&unequal(), Policy::Used, 2, 70);
    assert_eq!((one.took_us, one.got), (other.took_us, other.got));
}
