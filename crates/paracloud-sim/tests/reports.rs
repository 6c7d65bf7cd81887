//! What reports are worth: the same controller with reports and without them, and Kubernetes' autoscaler, on the very shape
//! of `cargo xtask bench scale` (`xtask/src/bench/scale/setting.rs`), in virtual time over many seeds; and on shapes that
//! nothing was made for. The figures are printed (`--nocapture`).

use paracloud_core::scaling::policy::{Flap, Hold, Policy, Quotes, State};
use paracloud_sim::elastic::{App, Decider, Long, Outcome, Says, Scenario, Service, Shape};
use paracloud_sim::peers::hpa::{Metric, SYNC_MS, Spec};

const SEEDS: std::ops::Range<u64> = 1..5;
/// Time goes so many times as fast as usual.
const FASTER: u32 = 10;
const INSTANCES: (u32, u32) = (2, 10);
const TARGET_PERMILLE: u32 = 700;

/// The example `worker`, as the bench starts it. It is looked each tenth of a second whether it listens.
const WORKER: App = App {
    slots: 4,
    service_ms: 20,
    service: Service::Fixed,
    long: Some(Long { rate_milli: 1_000, service_ms: 1_500 }),
    boot_ms: 1_100,
    warm_ms: 1_000,
    cold_permille: 500,
    late_ms: 100,
    patience_ms: 60_000,
};

/// What the controller makes of the bench's manifest.
fn policy() -> Policy {
    let hold_ms = 60_000 / FASTER;
    let (min, max) = INSTANCES;
    let between = Policy::between(min, max);
    Policy {
        period_ms: 1_000 / FASTER,
        target_permille: TARGET_PERMILLE,
        hold: Hold { unknown_ms: hold_ms, min_ms: hold_ms / 4, max_ms: hold_ms * 5, starts: 4 },
        flap: Flap { actions: 4 * max, per_ms: 600_000 / FASTER },
        quotes: Quotes { wait_ms: 500, ..between.quotes },
        state: State::None,
        ..between
    }
}

fn scenario(load: Shape, length_ms: u64) -> Scenario {
    Scenario {
        app: WORKER,
        load,
        length_ms,
        start: INSTANCES.0,
        choices: 16,
        policy: policy(),
        says: Says::Worker,
        announced: Vec::new(),
        seed: 0,
    }
}

/// The mean of a few runs that differ by their dice, in late requests of a million and seconds of instances.
#[expect(clippy::print_stdout, reason = "the figures are what a person looks at")]
fn runs(name: &str, scenario: &Scenario, decider: &Decider) -> Outcome {
    let sum = Outcome::of(SEEDS, scenario, decider);
    let runs = SEEDS.end - SEEDS.start;
    println!(
        "  {name:<24} late {:>6} ppm  {:>5} instance-s a run  starts {:>4} stops {:>4} revokes {:>3} turns {:>3} most {:>2}",
        sum.late_ppm(),
        sum.instance_ms / 1_000 / runs,
        sum.starts,
        sum.stops,
        sum.revokes,
        sum.turns,
        sum.most,
    );
    sum
}

/// Used, ignored, and by Kubernetes' way.
#[expect(clippy::print_stdout, reason = "the figures are what a person looks at")]
fn three(name: &str, scenario: &Scenario) -> [Outcome; 3] {
    println!("{name}");
    let used = runs("reports", scenario, &Decider::Plan);
    let ignored = runs("ignored", &Scenario { says: Says::Nothing, ..scenario.clone() }, &Decider::Plan);
    let (min, max) = INSTANCES;
    let spec = Spec { metric: Metric::Own, ..Spec::usual(min, max, TARGET_PERMILLE, FASTER.into()) };
    let hpa = runs("hpa", scenario, &Decider::Hpa { spec, sync_ms: SYNC_MS / u64::from(FASTER) });
    [used, ignored, hpa]
}

const BENCH: Shape = Shape::Step { low: 120_000, high: 600_000, at_ms: 10_000, for_ms: 30_000, ramp_ms: 0 };

/// At most so many percent more.
fn within(more_percent: u64, of: Outcome, than: Outcome) {
    assert!(of.instance_ms * 100 <= than.instance_ms * (100 + more_percent), "{of:?} {than:?}");
}

#[test]
fn on_the_bench_reports_make_fewer_late_than_both_others_at_about_the_least_instance_seconds() {
    let bench = scenario(BENCH, 80_000);
    let plain = Scenario { app: App { long: None, ..WORKER }, ..bench.clone() };
    for (name, scenario, more_percent) in
        [("the bench", &bench, 0), ("the bench without long jobs", &plain, 1)]
    {
        let [used, ignored, hpa] = three(name, scenario);
        assert!(used.late < ignored.late && used.late < hpa.late);
        within(more_percent, used, ignored);
        within(0, used, hpa);
    }
}

#[test]
fn a_worker_that_tells_too_small_a_capacity_costs_little_more() {
    let bench = scenario(BENCH, 80_000);
    let truth = runs("the truth", &bench, &Decider::Plan);
    for permille in [100, 500] {
        let liar = Scenario { says: Says::WorkerCapacity(permille), ..bench.clone() };
        within(15, runs(&format!("{permille} thousandths"), &liar, &Decider::Plan), truth);
    }
}

/// Two steps, one on the other.
const DOUBLE: Shape = Shape::Stairs(&[(0, 120_000), (10_000, 360_000), (25_000, 720_000), (40_000, 240_000)]);
/// Half a minute up.
const RAMP: Shape =
    Shape::Step { low: 120_000, high: 600_000, at_ms: 10_000, for_ms: 50_000, ramp_ms: 25_000 };
/// A quarter or so up or down each four seconds.
const WALK: Shape = Shape::Stairs(&[
    (0, 150_000),
    (4_000, 210_000),
    (8_000, 170_000),
    (12_000, 330_000),
    (16_000, 290_000),
    (20_000, 480_000),
    (24_000, 350_000),
    (28_000, 520_000),
    (32_000, 610_000),
    (36_000, 440_000),
    (40_000, 300_000),
    (44_000, 370_000),
    (48_000, 190_000),
    (52_000, 120_000),
    (56_000, 260_000),
    (60_000, 200_000),
    (64_000, 90_000),
    (68_000, 140_000),
    (72_000, 240_000),
    (76_000, 180_000),
]);

/// No rule was made for one of these. On the square wave, which is as long as a start and a hold, all of them turn round and
/// round.
#[test]
fn on_shapes_that_nothing_was_made_for_fewer_are_late_with_reports_than_without() {
    let day = Shape::Day { low: 60_000, high: 600_000, day_ms: 120_000 };
    let square = Shape::Square { low: 120_000, high: 480_000, half_ms: 12_000 };
    let shapes = [
        ("two steps", DOUBLE, 70_000),
        ("a ramp", RAMP, 90_000),
        ("a random walk", WALK, 80_000),
        ("a day of two minutes", day, 120_000),
        ("a square wave", square, 96_000),
    ];
    for (name, shape, length_ms) in shapes {
        let [used, ignored, _] = three(name, &scenario(shape, length_ms));
        assert!(used.late < ignored.late, "{name}");
        within(12, used, ignored);
    }
}
