//! `core::scaling` in a closed loop with an app under load, beside what others would decide. Virtual time, seeded dice; the
//! figures are printed (`--nocapture`).

use paracloud_core::scaling::policy::{Policy, State};
use paracloud_sim::elastic::{Announced, App, Decider, Outcome, Says, Scenario, Service, Shape};
use paracloud_sim::peers::hpa::{SYNC_MS, Spec};

const SEEDS: std::ops::Range<u64> = 1..3;
const MINUTE_MS: u64 = 60_000;

/// Ready after half a minute, at full speed a minute later.
const SLOW_TO_START: App = App {
    slots: 4,
    service_ms: 200,
    service: Service::Exponential,
    long: None,
    boot_ms: 30_000,
    warm_ms: 60_000,
    cold_permille: 500,
    late_ms: 1_000,
    patience_ms: 10_000,
};

/// Ready after two seconds, at once at full speed.
const QUICK: App = App { boot_ms: 2_000, warm_ms: 0, cold_permille: 1_000, ..SLOW_TO_START };

fn policy() -> Policy {
    Policy { state: State::None, ..Policy::between(2, 40) }
}

fn scenario(app: App, load: Shape, minutes: u64, start: u32) -> Scenario {
    let length_ms = minutes * MINUTE_MS;
    Scenario {
        app,
        load,
        length_ms,
        start,
        choices: 2,
        policy: policy(),
        says: Says::Truth,
        announced: Vec::new(),
        seed: 0,
    }
}

/// At most so many percent more.
fn within(more_percent: u64, of: Outcome, than: Outcome) {
    assert!(of.instance_ms * 100 <= than.instance_ms * (100 + more_percent), "{of:?} {than:?}");
}

fn hpa() -> Decider {
    Decider::Hpa { spec: Spec::usual(2, 40, 600, 1), sync_ms: SYNC_MS }
}

/// Sums of a few runs that differ by their dice.
#[expect(clippy::print_stdout, reason = "the figures are what a person looks at")]
fn runs(name: &str, scenario: &Scenario, decider: &Decider) -> Outcome {
    let sum = Outcome::of(SEEDS, scenario, decider);
    assert!(sum.flap <= scenario.policy.flap.actions && sum.most <= 40 && sum.fewest >= 2, "{sum:?}");
    println!(
        "{name:<34} late {:>6} ppm  given up {:>6}  {:>7} instance-s  starts {:>4} stops {:>4} revokes {:>3} turns {:>3}  \
         {}..{}  flap {:>3}  trust {:?}  ordered {:?} ms",
        sum.late_ppm(),
        sum.given_up,
        sum.instance_ms / 1_000,
        sum.starts,
        sum.stops,
        sum.revokes,
        sum.turns,
        sum.fewest,
        sum.most,
        sum.flap,
        sum.trust_permille,
        sum.ordered_ms
    );
    sum
}

/// What is late though there is always enough.
fn floor(scenario: &Scenario) -> u64 {
    runs("  floor", &Scenario { start: 40, ..scenario.clone() }, &Decider::Nobody).late_ppm()
}

const FLASH: Shape = Shape::Step {
    low: 100_000,
    high: 500_000,
    at_ms: 5 * MINUTE_MS,
    for_ms: 10 * MINUTE_MS,
    ramp_ms: 10_000,
};

#[test]
fn with_reports_a_step_of_load_makes_fewer_late_than_without_them_or_by_hpa() {
    for (name, app, more_percent) in [("quick", QUICK, 5), ("slow to start", SLOW_TO_START, 6)] {
        println!("five times the load for ten minutes, {name}");
        let scenario = scenario(app, FLASH, 25, 5);
        let floor = floor(&scenario);
        let used = runs("  reports used", &scenario, &Decider::Plan);
        let silent = Scenario { says: Says::Nothing, ..scenario.clone() };
        let ignored = runs("  reports ignored", &silent, &Decider::Plan);
        let hpa = runs("  hpa", &scenario, &hpa());
        let excess = |of: Outcome| of.late_ppm().saturating_sub(floor);
        assert!(excess(used) <= excess(ignored) && excess(used) < excess(hpa));
        within(0, used, hpa);
        within(more_percent, used, ignored);
        assert!(used.ordered_ms < hpa.ordered_ms);
    }
}

#[test]
fn a_day_costs_no_more_than_by_hpa() {
    println!("a day");
    let load = Shape::Day { low: 30_000, high: 150_000, day_ms: 40 * MINUTE_MS };
    let day = scenario(SLOW_TO_START, load, 40, 4);
    let used = runs("  reports used", &day, &Decider::Plan);
    let ignored = runs("  reports ignored", &Scenario { says: Says::Nothing, ..day.clone() }, &Decider::Plan);
    let hpa = runs("  hpa", &day, &hpa());
    within(10, used, ignored);
    assert!(used.late_ppm() < ignored.late_ppm());
    assert!(used.instance_ms <= hpa.instance_ms && used.late_ppm() <= hpa.late_ppm() + 2_000);
}

#[test]
fn on_a_square_wave_that_is_as_long_as_starts_and_holds_fewer_are_late_than_by_others_at_about_the_least_cost()
 {
    println!("a square wave");
    let load = Shape::Square { low: 60_000, high: 130_000, half_ms: 120_000 };
    let square = scenario(SLOW_TO_START, load, 20, 5);
    let used = runs("  reports used", &square, &Decider::Plan);
    let ignored =
        runs("  reports ignored", &Scenario { says: Says::Nothing, ..square.clone() }, &Decider::Plan);
    let hpa = runs("  hpa", &square, &hpa());
    within(5, used, ignored);
    within(0, used, hpa);
    assert!(used.late_ppm() < ignored.late_ppm() && used.late_ppm() < hpa.late_ppm());
    // Whoever holds for as long as a few starts take turns with such a wave, within the budget.
    assert!(used.turns <= ignored.turns + 2);
}

#[test]
fn what_a_liar_costs_is_bounded() {
    println!("liars, the same load always");
    let steady = scenario(SLOW_TO_START, Shape::Constant(100_000), 25, 8);
    let say = |says: Says| runs(&format!("  {says:?}"), &Scenario { says, ..steady.clone() }, &Decider::Plan);
    let (truth, nothing) = (say(Says::Truth), say(Says::Nothing));
    let most_ms = truth.instance_ms.max(nothing.instance_ms);
    let says =
        [Says::Capacity(100), Says::Capacity(10_000), Says::NoQueue, Says::EndlessQueue, Says::Flapping];
    for says in says.into_iter().chain([Says::SilentAfter(2 * MINUTE_MS)]) {
        let liar = say(says);
        // A queue that is claimed doubles what there is, until it is known to be none.
        let claims_queue = matches!(says, Says::EndlessQueue | Says::Flapping);
        let most_ms = if claims_queue { most_ms * 5 / 4 } else { most_ms * 11 / 10 };
        assert!(liar.instance_ms <= most_ms, "{says:?}: {} of {most_ms}", liar.instance_ms);
        // One that is told ten times too large lets more leave, until those that stay are saturated.
        let more_ppm = if says == Says::Capacity(10_000) { 35_000 } else { 5_000 };
        assert!(liar.late_ppm() <= nothing.late_ppm() + more_ppm, "{says:?}");
    }
}

#[test]
fn what_was_announced_is_there_and_what_was_announced_falsely_costs_less_each_time() {
    println!("announced");
    let at = |start: u64, id: &str| Announced {
        id: id.into(),
        said_ms: start * MINUTE_MS - 4 * MINUTE_MS,
        start_ms: start * MINUTE_MS,
        end_ms: (start + 10) * MINUTE_MS,
        rate_milli: 250_000,
    };
    let flash = scenario(SLOW_TO_START, FLASH, 25, 5);
    let surprised = runs("  not announced", &flash, &Decider::Plan);
    let announced =
        runs("  announced", &Scenario { announced: vec![at(5, "sale")], ..flash.clone() }, &Decider::Plan);
    assert!(announced.late_ppm() * 100 < surprised.late_ppm() * 55);
    let quiet = scenario(SLOW_TO_START, Shape::Constant(50_000), 45, 5);
    let plain = runs("  nothing comes, nothing announced", &quiet, &Decider::Plan);
    let falsely = |count: u64| (0..count).map(|round| at(5 + round * 12, &format!("{round}"))).collect();
    let cost = [1, 2, 3].map(|count| {
        let announced = Scenario { announced: falsely(count), ..quiet.clone() };
        runs(&format!("  announced falsely {count} times"), &announced, &Decider::Plan).instance_ms
            - plain.instance_ms
    });
    assert!(cost[1] - cost[0] < cost[0] && cost[2] - cost[1] < cost[1] - cost[0], "{cost:?}");
}
