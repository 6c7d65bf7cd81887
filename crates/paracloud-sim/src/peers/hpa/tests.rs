use super::*;

const NOW_MS: u64 = 10_000_000;

fn ready(used_permille: u64) -> Pod {
    let sample = Sample { at_ms: NOW_MS - 1_000, window_ms: 30_000, used_permille };
    Pod { phase: Phase::Running, started_ms: 0, ready: Some((true, 1_000)), sample: Some(sample) }
}

fn missing() -> Pod {
    Pod { sample: None, ..ready(0) }
}

fn pending() -> Pod {
    Pod { phase: Phase::Pending, sample: None, ready: None, ..ready(0) }
}

fn spec(target_permille: u32) -> Spec {
    Spec::usual(1, 100, target_permille, 1)
}

fn pods(target_permille: u32, pods: &[Pod]) -> u32 {
    let current = u32::try_from(pods.iter().filter(|pod| pod.phase != Phase::Gone).count()).unwrap();
    match recommend(&spec(target_permille), NOW_MS, current, pods) {
        Recommended::Pods(pods) => pods,
        Recommended::Nothing => panic!("nothing is recommended"),
    }
}

// The figures of these are those of the controller's own table of cases for its replica calculator.
#[test]
fn it_goes_up_by_the_ratio() {
    assert_eq!(pods(300, &[ready(300), ready(500), ready(700)]), 5);
}

#[test]
fn unready_pods_slow_it_on_the_way_up() {
    assert_eq!(pods(300, &[pending(), ready(500), ready(700)]), 4);
    assert_eq!(pods(300, &[pending(), pending(), ready(700)]), 3, "unready ones are taken for idle");
}

#[test]
fn unready_pods_are_left_out_on_the_way_down() {
    assert_eq!(pods(500, &[ready(300), pending(), pending(), ready(100)]), 1);
}

#[test]
fn missing_pods_are_taken_for_idle_on_the_way_up() {
    assert_eq!(pods(500, &[missing(), ready(900)]), 2);
    assert_eq!(pods(300, &[missing(), ready(900), ready(900)]), 6);
}

#[test]
fn missing_pods_are_taken_for_fully_used_on_the_way_down() {
    assert_eq!(pods(500, &[missing(), missing(), missing(), ready(100), ready(100)]), 5);
    assert_eq!(pods(900, &[missing(), ready(100), ready(100), ready(100)]), 2);
}

#[test]
fn by_a_metric_of_their_own_missing_pods_are_taken_for_used_as_aimed_at_and_running_ones_are_never_unready() {
    let own = |target_permille, pods: &[Pod]| {
        let spec = Spec { metric: Metric::Own, ..spec(target_permille) };
        recommend(&spec, NOW_MS, u32::try_from(pods.len()).unwrap(), pods)
    };
    let two = [missing(), missing(), ready(100), ready(100)];
    assert_eq!(own(500, &two), Recommended::Pods(3));
    assert_eq!(pods(500, &two), 4, "by processor time they are taken for fully used");
    let fresh = Pod { started_ms: NOW_MS, ready: Some((false, NOW_MS)), ..ready(900) };
    assert_eq!(own(300, &[fresh, fresh]), Recommended::Pods(6));
    assert_eq!(recommend(&spec(300), NOW_MS, 2, &[fresh, fresh]), Recommended::Nothing);
}

#[test]
fn it_goes_down_by_the_ratio() {
    assert_eq!(pods(500, &[ready(100), ready(300), ready(500), ready(250), ready(250)]), 3);
}

#[test]
fn a_tenth_off_the_target_is_left_alone() {
    assert_eq!(pods(1_000, &[ready(1_010), ready(1_030), ready(1_020)]), 3);
    assert_eq!(pods(1_000, &[ready(910), ready(950), ready(900)]), 3);
    assert_eq!(pods(1_000, &[ready(1_110), ready(1_110), ready(1_110)]), 4);
}

#[test]
fn deleted_and_failed_pods_are_left_out() {
    assert_eq!(pods(500, &[ready(800), ready(800), Pod { phase: Phase::Gone, ..ready(0) }]), 4);
}

#[test]
fn nothing_is_done_without_any_sample() {
    assert_eq!(recommend(&spec(500), NOW_MS, 3, &[missing(), missing(), pending()]), Recommended::Nothing);
    assert_eq!(Hpa::new(spec(500)).sync(NOW_MS, 3, &[missing()]), 3);
}

#[test]
fn a_pod_that_initialises_counts_once_a_whole_window_lies_after_its_readiness() {
    let started_ms = NOW_MS - 60_000;
    let young = |ready_ms| Pod { started_ms, ready: Some((true, ready_ms)), ..ready(9_000) };
    assert_eq!(pods(500, &[ready(500), young(NOW_MS - 20_000)]), 2, "unready");
    assert_eq!(pods(500, &[ready(500), young(NOW_MS - 40_000)]), 19);
}

#[test]
fn an_old_pod_is_unready_only_if_it_never_was_ready() {
    let old = |since_ms| Pod { started_ms: 0, ready: Some((false, since_ms)), ..ready(9_000) };
    assert_eq!(pods(500, &[ready(500), old(10_000)]), 2);
    assert_eq!(pods(500, &[ready(500), old(40_000)]), 19);
}

/// Runs it once each fifteen seconds at this usage of each pod.
fn run(hpa: &mut Hpa, current: &mut u32, syncs: u64, from: u64, used_permille: u64) -> Vec<u32> {
    let run = (from..from + syncs).map(|sync| {
        let now_ms = NOW_MS + sync * SYNC_MS;
        let sample = Some(Sample { at_ms: now_ms - 1_000, window_ms: 30_000, used_permille });
        let pods = vec![Pod { sample, ..ready(0) }; *current as usize];
        *current = hpa.sync(now_ms, *current, &pods);
        *current
    });
    run.collect()
}

#[test]
fn without_behavior_it_at_most_doubles_or_goes_to_four() {
    let mut current = 1;
    assert_eq!(run(&mut Hpa::new(spec(100)), &mut current, 4, 0, 1_000), [4, 8, 16, 32]);
}

#[test]
fn without_behavior_it_goes_down_only_five_minutes_after_the_last_higher_recommendation() {
    let (mut hpa, mut current) = (Hpa::new(spec(500)), 8);
    run(&mut hpa, &mut current, 1, 0, 500);
    let after = run(&mut hpa, &mut current, 21, 1, 100);
    assert_eq!((after[19], after[20]), (8, 2));
}

#[test]
fn the_usual_behavior_adds_four_pods_or_doubles_each_fifteen_seconds() {
    let behavior = Some(Behavior::usual());
    let mut current = 1;
    let mut hpa = Hpa::new(Spec { behavior, ..spec(100) });
    assert_eq!(run(&mut hpa, &mut current, 4, 0, 1_000), [5, 10, 20, 40]);
}

#[test]
fn behavior_takes_the_least_of_the_window_on_the_way_up_and_the_greatest_on_the_way_down() {
    let mut behavior = Behavior::usual();
    behavior.up.window_ms = 60_000;
    behavior.down.window_ms = 60_000;
    let (mut hpa, mut current) = (Hpa::new(Spec { behavior: Some(behavior), ..spec(500) }), 4);
    let up = run(&mut hpa, &mut current, 5, 0, 1_000);
    assert_eq!(up, [4, 4, 4, 4, 8], "the count it began with is a recommendation too");
    let down = run(&mut hpa, &mut current, 5, 5, 100);
    assert_eq!(down, [8, 8, 8, 2, 2]);
}

#[test]
fn a_rate_counts_what_was_changed_within_its_period() {
    let mut behavior = Behavior::usual();
    behavior.down = Scaling {
        window_ms: 0,
        rates: vec![Rate { change: Change::Pods(2), period_ms: 60_000 }],
        select: Select::Max,
    };
    let (mut hpa, mut current) = (Hpa::new(Spec { behavior: Some(behavior), ..spec(500) }), 10);
    assert_eq!(run(&mut hpa, &mut current, 6, 0, 100), [8, 8, 8, 8, 6, 6]);
}

#[test]
fn a_direction_that_is_disabled_is_not_taken() {
    let mut behavior = Behavior::usual();
    behavior.down.select = Select::Disabled;
    behavior.down.window_ms = 0;
    let (mut hpa, mut current) = (Hpa::new(Spec { behavior: Some(behavior), ..spec(500) }), 10);
    assert_eq!(run(&mut hpa, &mut current, 3, 0, 100), [10, 10, 10]);
}

#[test]
fn bounds_hold_whatever_the_metric_says() {
    let mut hpa = Hpa::new(Spec::usual(3, 6, 500, 1));
    assert_eq!(hpa.sync(NOW_MS, 2, &[]), 3);
    assert_eq!(hpa.sync(NOW_MS, 7, &[]), 6);
    assert_eq!(hpa.sync(NOW_MS, 5, &[ready(5_000); 5]), 6);
}
