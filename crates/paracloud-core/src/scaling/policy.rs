//! What a person allows: bounds, times and tolerances of one app's scaling.

use alloc::format;
use alloc::string::String;
use serde::{Deserialize, Serialize};

/// The most instances an app can have.
pub const INSTANCES_MAX: u32 = 1_000;
/// The longest time in a policy: one day, in milliseconds.
pub const TIME_MS_MAX: u32 = 86_400_000;
/// The most starts and stops that a flap budget can grant within its window.
pub const ACTIONS_MAX: u32 = 4_096;
/// The most candidates that are asked what losing them costs.
pub const CANDIDATES_MAX: u32 = 32;
/// The most that an instance can be given, in thousandths of a processor.
pub const CPU_M_MAX: u32 = 1_024_000;

/// How one app is scaled. [`Policy::check`] says whether it can be used; [`super::plan`] never panics on one that
/// cannot, but does nothing with it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Never fewer instances than this: 1 to [`INSTANCES_MAX`].
    pub min: u32,
    /// Never more instances than this, those that are leaving included: `min` to [`INSTANCES_MAX`].
    pub max: u32,
    /// So many at first: `min` to `max`.
    pub start: u32,
    /// How often it is planned, in milliseconds: 100 to 60 000.
    pub period_ms: u32,
    /// How busy an instance may be by the plan, in thousandths: 100 to 1000. What is left is for chance; where the slots
    /// of an instance are known, square-root staffing says how much that is, and this is the least of it.
    pub target_permille: u32,
    /// How much of a queue is to be worked off by additional capacity within how long, in milliseconds: 100 to
    /// [`TIME_MS_MAX`].
    pub catch_up_ms: u32,
    /// How long less is wanted before anything leaves.
    pub hold: Hold,
    /// Bounds starts and stops, whatever anybody says.
    pub flap: Flap,
    /// How candidates for leaving are asked.
    pub quotes: Quotes,
    /// How announcements are believed.
    pub announced: Announced,
    /// What an app's instances are when they leave.
    pub state: State,
    /// A person consents to losing what a stateful instance holds that leaves.
    #[serde(default)]
    pub accepts_loss: bool,
    /// More instances, larger ones, or both.
    pub shape: Shape,
    /// Bounds of an instance's size; `None`: it has one size.
    pub size: Option<SizeBounds>,
    /// Where work comes from, and so what a claimed queue is held against.
    pub work: Work,
    /// What an instance is taken for that says nothing about itself.
    pub assumed: Assumed,
}

/// How long the greatest need of the past still counts. It follows how long a start takes: an instance that is soon there
/// again may leave soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    /// While nothing is known of a start, in milliseconds: `min_ms` to `max_ms`.
    pub unknown_ms: u32,
    /// The least, in milliseconds: 1 to [`TIME_MS_MAX`].
    pub min_ms: u32,
    /// The most, in milliseconds: `min_ms` to [`TIME_MS_MAX`].
    pub max_ms: u32,
    /// Times a start, until it is ready: 1 to 100.
    pub starts: u32,
}

/// A budget of starts and stops within any window of this length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flap {
    /// Starts and stops: 1 to [`ACTIONS_MAX`]. Stops leave half of it to starts.
    pub actions: u32,
    /// The window, in milliseconds: 1000 to [`TIME_MS_MAX`].
    pub per_ms: u32,
}

/// How a scale-in asks what it would cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quotes {
    /// Candidates asked for each one that is to leave: 1 to [`CANDIDATES_MAX`].
    pub candidates: u32,
    /// How long their answers are waited for, in milliseconds: 1 to [`TIME_MS_MAX`].
    pub wait_ms: u32,
    /// How long an answer is good for, in milliseconds: `wait_ms` to [`TIME_MS_MAX`].
    pub valid_ms: u32,
}

/// How announced demand is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Announced {
    /// The grade of an app that announces for the first time, in thousandths: 0 to 1000.
    pub grade_permille: u32,
    /// How long after its beginning announced demand is waited for, in milliseconds: 1 to [`TIME_MS_MAX`].
    pub show_ms: u32,
}

/// What must be true of an instance that leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It holds what must not be lost: it leaves only if it said itself what that costs.
    Stateful,
    /// It owns sessions of clients: it leaves only without any.
    Session,
    /// It holds nothing.
    None,
}

/// Which way an app grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// By instances.
    Out,
    /// By the size of its instances; their number stays.
    Up,
    /// By instances; while they start, those that serve are larger.
    Both,
}

impl Shape {
    /// Whether instances are resized.
    pub fn resizes(self) -> bool {
        match self {
            Self::Up | Self::Both => true,
            Self::Out => false,
        }
    }
}

/// Sizes an instance can be given: thousandths of a processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SizeBounds {
    /// What it starts with and comes back to: `min_cpu_m` to `max_cpu_m`.
    pub base_cpu_m: u32,
    /// The least: 1 to [`CPU_M_MAX`].
    pub min_cpu_m: u32,
    /// The most: to [`CPU_M_MAX`].
    pub max_cpu_m: u32,
}

/// Where an app's work comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Through the gateways: they see what queues.
    Requests,
    /// From a queue that only the app sees: what instances say that they work on is the load, and what they say that waits
    /// adds as much again as serves, at most.
    Queue,
}

/// Figures in the place of those that nobody told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assumed {
    /// From the decision to the first served request, in milliseconds: 1 to [`TIME_MS_MAX`].
    pub boot_ms: u32,
    /// From ready to full capacity, in milliseconds: 0 to [`TIME_MS_MAX`].
    pub warm_ms: u32,
    /// What an instance can do until then, in thousandths of its capacity: 1 to 1000.
    pub cold_permille: u32,
}

/// Why a policy cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {value} is not possible: want {want}")]
pub struct Invalid {
    /// The field of the manifest, as it is written there: `scale.…` or `resources.…`; or the field of [`Policy`], where no
    /// manifest sets it.
    pub field: &'static str,
    /// What stands there.
    pub value: String,
    /// What may.
    pub want: &'static str,
}

impl Policy {
    /// A policy of which only the bounds are given.
    #[must_use]
    pub fn between(min: u32, max: u32) -> Self {
        Self {
            min,
            max,
            start: min,
            period_ms: 1_000,
            target_permille: 700,
            catch_up_ms: 5_000,
            hold: Hold { unknown_ms: 60_000, min_ms: 15_000, max_ms: 300_000, starts: 4 },
            flap: Flap { actions: max.saturating_mul(3).clamp(12, ACTIONS_MAX), per_ms: 600_000 },
            quotes: Quotes { candidates: 3, wait_ms: 2_000, valid_ms: 5_000 },
            announced: Announced { grade_permille: 800, show_ms: 60_000 },
            state: State::Stateful,
            accepts_loss: false,
            shape: Shape::Out,
            size: None,
            work: Work::Requests,
            assumed: Assumed { boot_ms: 5_000, warm_ms: 0, cold_permille: 500 },
        }
    }

    /// Whether every field is within its bounds.
    ///
    /// # Errors
    /// The first field that is not, and what may stand there.
    pub fn check(&self) -> Result<(), Invalid> {
        let time = "1 to 86400000 ms";
        within("scale.min", self.min, 1, INSTANCES_MAX, "1 to 1000")?;
        within("scale.max", self.max, self.min, INSTANCES_MAX, "scale.min to 1000")?;
        within("scale.start", self.start, self.min, self.max, "scale.min to scale.max")?;
        within("scale.period", self.period_ms, 100, 60_000, "100 to 60000 ms")?;
        within("scale.target", self.target_permille, 100, 1_000, "100 to 1000 thousandths")?;
        within("catch_up_ms", self.catch_up_ms, 100, TIME_MS_MAX, "100 to 86400000 ms")?;
        let Hold { unknown_ms, min_ms, max_ms, starts } = self.hold;
        within("scale.hold", min_ms, 1, TIME_MS_MAX, time)?;
        within("scale.hold", max_ms, min_ms, TIME_MS_MAX, "its least to 86400000 ms")?;
        within("scale.hold", unknown_ms, min_ms, max_ms, "its least to its most")?;
        within("hold.starts", starts, 1, 100, "1 to 100")?;
        within("scale.flap.actions", self.flap.actions, 1, ACTIONS_MAX, "1 to 4096")?;
        within("scale.flap.per", self.flap.per_ms, 1_000, TIME_MS_MAX, "1000 to 86400000 ms")?;
        let Quotes { candidates, wait_ms, valid_ms } = self.quotes;
        within("quotes.candidates", candidates, 1, CANDIDATES_MAX, "1 to 32")?;
        within("quotes.wait_ms", wait_ms, 1, TIME_MS_MAX, time)?;
        within("quotes.valid_ms", valid_ms, wait_ms, TIME_MS_MAX, "quotes.wait_ms to 86400000 ms")?;
        let Announced { grade_permille, show_ms } = self.announced;
        within("announced.grade_permille", grade_permille, 0, 1_000, "0 to 1000 thousandths")?;
        within("announced.show_ms", show_ms, 1, TIME_MS_MAX, time)?;
        let Assumed { boot_ms, warm_ms, cold_permille } = self.assumed;
        within("assumed.boot_ms", boot_ms, 1, TIME_MS_MAX, time)?;
        within("assumed.warm_ms", warm_ms, 0, TIME_MS_MAX, "0 to 86400000 ms")?;
        within("assumed.cold_permille", cold_permille, 1, 1_000, "1 to 1000 thousandths")?;
        self.check_size()
    }

    fn check_size(&self) -> Result<(), Invalid> {
        let Some(SizeBounds { base_cpu_m, min_cpu_m, max_cpu_m }) = self.size else {
            let shape = match self.shape {
                Shape::Out => return Ok(()),
                Shape::Up => "up",
                Shape::Both => "both",
            };
            let want = "out, or resources.cpu beside it";
            return Err(Invalid { field: "scale.shape", value: shape.into(), want });
        };
        within("resources.resizeMin.cpu", min_cpu_m, 1, CPU_M_MAX, "1m to 1024000m")?;
        within(
            "resources.resizeMax.cpu",
            max_cpu_m,
            min_cpu_m,
            CPU_M_MAX,
            "resources.resizeMin.cpu to 1024000m",
        )?;
        let between = "resources.resizeMin.cpu to resources.resizeMax.cpu";
        within("resources.cpu", base_cpu_m, min_cpu_m, max_cpu_m, between)
    }
}

fn within(field: &'static str, value: u32, least: u32, most: u32, want: &'static str) -> Result<(), Invalid> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    let unit = if field.ends_with(".cpu") { "m" } else { "" };
    Err(Invalid { field, value: format!("{value}{unit}"), want })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn the_bounds_alone_make_a_policy() {
        for (min, max) in [(1, 1), (1, 8), (40, INSTANCES_MAX)] {
            assert_eq!(Policy::between(min, max).check(), Ok(()));
        }
    }

    type Wrong = fn(&mut Policy);

    fn sized(base_cpu_m: u32, min_cpu_m: u32, max_cpu_m: u32) -> Option<SizeBounds> {
        Some(SizeBounds { base_cpu_m, min_cpu_m, max_cpu_m })
    }

    #[test]
    fn a_field_that_is_not_possible_is_named_as_a_manifest_writes_it_with_what_may_stand_there() {
        let refused = |change: Wrong| {
            let mut policy = Policy { size: sized(2, 1, 3), ..Policy::between(2, 8) };
            change(&mut policy);
            policy.check().unwrap_err().to_string()
        };
        let table: &[(Wrong, &str)] = &[
            (|it| it.min = 0, "scale.min: 0 is not possible: want 1 to 1000"),
            (|it| it.max = 1, "scale.max: 1 is not possible: want scale.min to 1000"),
            (|it| it.start = 9, "scale.start: 9 is not possible: want scale.min to scale.max"),
            (|it| it.period_ms = 0, "scale.period: 0 is not possible: want 100 to 60000 ms"),
            (|it| it.target_permille = 9, "scale.target: 9 is not possible: want 100 to 1000 thousandths"),
            (|it| it.hold.min_ms = 0, "scale.hold: 0 is not possible: want 1 to 86400000 ms"),
            (|it| it.hold.max_ms = 1, "scale.hold: 1 is not possible: want its least to 86400000 ms"),
            (|it| it.hold.unknown_ms = 1, "scale.hold: 1 is not possible: want its least to its most"),
            (|it| it.flap.actions = 0, "scale.flap.actions: 0 is not possible: want 1 to 4096"),
            (|it| it.flap.per_ms = 1, "scale.flap.per: 1 is not possible: want 1000 to 86400000 ms"),
            (
                |it| (it.shape, it.size) = (Shape::Up, None),
                "scale.shape: up is not possible: want out, or resources.cpu beside it",
            ),
            (
                |it| (it.shape, it.size) = (Shape::Both, None),
                "scale.shape: both is not possible: want out, or resources.cpu beside it",
            ),
            (
                |it| it.size = sized(2, 0, 3),
                "resources.resizeMin.cpu: 0m is not possible: want 1m to 1024000m",
            ),
            (
                |it| it.size = sized(2, 2, 1),
                "resources.resizeMax.cpu: 1m is not possible: want resources.resizeMin.cpu to 1024000m",
            ),
            (
                |it| it.size = sized(9, 1, 3),
                "resources.cpu: 9m is not possible: want resources.resizeMin.cpu to resources.resizeMax.cpu",
            ),
            // No manifest sets these.
            (|it| it.catch_up_ms = 0, "catch_up_ms: 0 is not possible: want 100 to 86400000 ms"),
            (|it| it.hold.starts = 0, "hold.starts: 0 is not possible: want 1 to 100"),
            (|it| it.quotes.candidates = 0, "quotes.candidates: 0 is not possible: want 1 to 32"),
            (|it| it.quotes.wait_ms = 0, "quotes.wait_ms: 0 is not possible: want 1 to 86400000 ms"),
            (
                |it| it.quotes.valid_ms = 0,
                "quotes.valid_ms: 0 is not possible: want quotes.wait_ms to 86400000 ms",
            ),
            (
                |it| it.announced.grade_permille = 1_001,
                "announced.grade_permille: 1001 is not possible: want 0 to 1000 thousandths",
            ),
            (|it| it.announced.show_ms = 0, "announced.show_ms: 0 is not possible: want 1 to 86400000 ms"),
            (|it| it.assumed.boot_ms = 0, "assumed.boot_ms: 0 is not possible: want 1 to 86400000 ms"),
            (
                |it| it.assumed.warm_ms = u32::MAX,
                "assumed.warm_ms: 4294967295 is not possible: want 0 to 86400000 ms",
            ),
            (
                |it| it.assumed.cold_permille = 0,
                "assumed.cold_permille: 0 is not possible: want 1 to 1000 thousandths",
            ),
        ];
        for (change, why) in table {
            assert_eq!(refused(*change), *why);
        }
    }
}
