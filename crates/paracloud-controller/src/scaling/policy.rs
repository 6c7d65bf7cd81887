//! From what a manifest says of scaling to what the core is told of it.

use paracloud_core::scaling::Policy;
use paracloud_core::scaling::policy::{
    ACTIONS_MAX, Flap, Hold, Quotes, Shape, SizeBounds, State, TIME_MS_MAX, Work,
};
use paracloud_substrate::config::{self, App, Resources, Scale};

/// The shortest time from one decision to the next, in milliseconds.
pub(super) const PERIOD_MS_MIN: u32 = 100;
const PERIOD_MS_MAX: u32 = 60_000;
/// The shortest window of a budget of starts and stops, in milliseconds.
const FLAP_MS_MIN: u32 = 1_000;
/// The longest that candidates are waited for that were asked what losing them costs, in milliseconds.
const QUOTE_MS_MAX: u32 = 2_000;
const QUOTE_MS_MIN: u32 = 500;

/// How an app is scaled; `None`: it is not.
pub(super) fn of(app: &App) -> Option<Policy> {
    let scale = app.scale?;
    let Scale { min, max, start, .. } = scale;
    let period_ms = scale.period_ms.clamp(PERIOD_MS_MIN, PERIOD_MS_MAX);
    let wait_ms = period_ms.saturating_mul(2).clamp(QUOTE_MS_MIN, QUOTE_MS_MAX);
    let between = Policy::between(min, max);
    Some(Policy {
        start,
        period_ms,
        target_permille: scale.target_permille.clamp(100, 1_000),
        hold: scale.hold_ms.map_or(between.hold, hold),
        flap: Flap {
            actions: scale.flap.actions.clamp(1, ACTIONS_MAX),
            per_ms: scale.flap.per_ms.clamp(FLAP_MS_MIN, TIME_MS_MAX),
        },
        quotes: Quotes { wait_ms, ..between.quotes },
        state: match app.state {
            config::State::Stateful => State::Stateful,
            config::State::Session => State::Session,
            config::State::None => State::None,
        },
        accepts_loss: app.accept_loss,
        shape: match scale.shape {
            config::Shape::Out => Shape::Out,
            config::Shape::Up => Shape::Up,
            config::Shape::Both => Shape::Both,
        },
        size: size(&app.resources),
        work: match scale.work {
            config::Work::Requests => Work::Requests,
            config::Work::Queue => Work::Queue,
        },
        ..between
    })
}

/// What the manifest says holds, whatever a start takes.
fn hold(hold_ms: u32) -> Hold {
    let hold_ms = hold_ms.clamp(1, TIME_MS_MAX);
    Hold { unknown_ms: hold_ms, min_ms: hold_ms, max_ms: hold_ms, starts: 1 }
}

fn size(resources: &Resources) -> Option<SizeBounds> {
    let base_cpu_m = resources.start.cpu_milli?;
    let min_cpu_m = resources.least.cpu_milli.unwrap_or(base_cpu_m);
    let max_cpu_m = resources.most.cpu_milli.unwrap_or(base_cpu_m);
    Some(SizeBounds { base_cpu_m, min_cpu_m, max_cpu_m })
}

#[cfg(test)]
mod tests {
    use super::*;
    use paracloud_substrate::config::Size;
    use paracloud_substrate::names::INSTANCES_PER_APP_MAX;

    fn app(scale: Scale) -> App {
        App { scale: Some(scale), ..App::new("worker", Vec::new()) }
    }

    #[test]
    fn every_manifest_makes_a_policy_that_can_be_used() {
        let most = Scale {
            max: INSTANCES_PER_APP_MAX,
            start: INSTANCES_PER_APP_MAX,
            period_ms: u32::MAX,
            hold_ms: Some(u32::MAX),
            target_permille: 1_000,
            flap: config::Flap { actions: u32::MAX, per_ms: u32::MAX },
            drain_ms: u32::MAX,
            manual_hold_ms: u32::MAX,
            ..Scale::default()
        };
        let least = Scale {
            period_ms: 1,
            hold_ms: Some(1),
            target_permille: 1,
            flap: config::Flap { actions: 1, per_ms: 1 },
            ..Scale::default()
        };
        let cpu = |cpu_milli| Size { cpu_milli: Some(cpu_milli), memory_bytes: None };
        for scale in [Scale::default(), most, least] {
            assert_eq!(of(&app(scale)).unwrap().check(), Ok(()), "{scale:?}");
            let resources = Resources { start: cpu(10), least: cpu(10), most: cpu(1_024_000) };
            let sized = App { resources, ..app(Scale { shape: config::Shape::Up, ..scale }) };
            assert_eq!(of(&sized).unwrap().check(), Ok(()), "{sized:?}");
        }
        assert_eq!(of(&App::new("web", Vec::new())), None, "without scale there is one");
    }

    #[test]
    fn the_hold_of_a_manifest_holds_as_it_is_and_without_one_it_follows_what_a_start_takes() {
        let hold = |hold_ms| of(&app(Scale { hold_ms, ..Scale::default() })).unwrap().hold;
        let exactly = Hold { unknown_ms: 90_000, min_ms: 90_000, max_ms: 90_000, starts: 1 };
        assert_eq!(hold(Some(90_000)), exactly);
        assert_eq!(hold(None), Hold { unknown_ms: 60_000, min_ms: 15_000, max_ms: 300_000, starts: 4 });
    }

    #[test]
    fn sizes_are_bounded_by_what_the_manifest_bounds() {
        let cpu = |cpu_milli| Size { cpu_milli, memory_bytes: None };
        let resources = Resources { start: cpu(Some(500)), least: cpu(None), most: cpu(Some(2_000)) };
        let scaled = App { resources, ..app(Scale { shape: config::Shape::Both, ..Scale::default() }) };
        let size = SizeBounds { base_cpu_m: 500, min_cpu_m: 500, max_cpu_m: 2_000 };
        assert_eq!(of(&scaled).unwrap().size, Some(size));
    }
}
