//! Who says what is not so is bounded by what gateways see.

use super::*;

/// Seconds that a request takes alone.
const JOB_S: u32 = 4;
/// Requests that an instance works on at once.
const SLOTS: u32 = 4;

/// How many serve after so many seconds of 20 requests a second, which take long, to instances that all say this. They are
/// spread evenly, and of each what it does not work on waits.
fn serve_after(seconds: u32, says: &Report) -> u32 {
    let mut app = App::stateless(1, 8, 1);
    let mut outstanding = [0_u32; 9];
    for second in 0..seconds {
        app.seen.now_ms += 1_000;
        let ready = app.count(Phase::Ready).max(1);
        for (number, instance) in &mut app.seen.instances {
            instance.phase_ms = instance.phase_ms.saturating_add(1_000);
            if instance.phase == Phase::Starting && instance.phase_ms >= 2_000 {
                (instance.phase, instance.phase_ms) = (Phase::Ready, 0);
            }
            if instance.phase != Phase::Ready {
                continue;
            }
            let here = &mut outstanding[number.0 as usize];
            *here += 20 / ready;
            // What works on so many at once ends one of them a second.
            let completions = u32::from(second >= JOB_S) * (*here).min(SLOTS) / JOB_S;
            let took_s = (*here / (SLOTS / JOB_S)).clamp(JOB_S, second.max(JOB_S));
            *here -= completions;
            instance.report = Some(Told { value: *says, age_ms: 0, lease_ms: 3_000 });
            instance.measured = Some(Measured {
                age_ms: 0,
                over_ms: 1_000,
                completions,
                service_us_sum: u64::from(completions * took_s) * 1_000_000,
                in_flight: *here,
            });
        }
        app.seen.traffic = Some(Traffic { age_ms: 0, over_ms: 1_000, arrivals: 20, waiting: 0 });
        let (plan, memory, _) = plan(&app.policy, &app.seen, &app.memory);
        app.memory = memory;
        plan.actions.iter().for_each(|action| app.does(action));
    }
    app.count(Phase::Ready)
}

#[test]
fn a_capacity_a_hundred_times_too_large_hides_no_queue_that_gateways_see() {
    let report = |capacity_milli, slots| Report {
        capacity_milli: Some(capacity_milli),
        slots,
        backlog_ms: Some(0),
        warm_ms: Some(0),
        ..Report::default()
    };
    assert_eq!(serve_after(20, &report(1_000, Some(SLOTS))), 8, "the truth");
    assert_eq!(serve_after(30, &report(100_000, Some(SLOTS))), 8, "its slots contradict it");
    assert_eq!(serve_after(60, &report(100_000, None)), 8, "what it did contradicts it");
    assert_eq!(serve_after(60, &report(100_000, Some(400))), 8, "and so whatever it says of its slots");
}
