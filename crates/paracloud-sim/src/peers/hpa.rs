//! Kubernetes' HorizontalPodAutoscaler, v2, on one metric: the decision its controller makes at each sync.
//!
//! The rules, in the order in which they are applied:
//! 1. Pods are grouped: deleted and failed ones are left out, pending ones are *unready*, those without a sample are
//!    *missing*; for processor time, a pod within its initialisation period is unready while it is not ready or its sample
//!    began before it became ready, and later if it was never ready.
//! 2. `ratio = usage / target` over the rest. With nothing missing, and nothing unready on the way up: within the
//!    tolerance keep, else `ceil(ratio × ready)`.
//! 3. Else missing pods are taken for fully used on the way down (by a metric of their own: for used as aimed at) and for
//!    idle on the way up, unready ones for idle on the way up; keep if that is within the tolerance or turns the
//!    direction; else `ceil(ratio × counted)`, never against the direction.
//! 4. Without `behavior`: the greatest recommendation of the stabilisation window, then at most `max(2 × current, 4)`.
//!    With it: the least of the window on the way up, the greatest on the way down, then the policies' rates.
//! 5. `min` and `max`.
//!
//! Times are in milliseconds, so that a faster clock is as faithful as the usual one.

/// What an autoscaler is set to.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// Fewest pods.
    pub min: u32,
    /// Most pods.
    pub max: u32,
    /// What is measured.
    pub metric: Metric,
    /// Usage aimed at, in thousandths of what a pod requests.
    pub target_permille: u32,
    /// How far usage may be off, as a share of the target.
    pub tolerance: f64,
    /// How long a recommendation counts where there is no `behavior`.
    pub stabilisation_ms: u64,
    /// For so long after its start a pod may still be initialising.
    pub initialisation_ms: u64,
    /// A pod that became unready within this time of its start was never ready.
    pub readiness_delay_ms: u64,
    /// Rates and windows, if any are given.
    pub behavior: Option<Behavior>,
}

impl Spec {
    /// As the controller comes, on a clock that runs so many times as fast.
    #[must_use]
    pub fn usual(min: u32, max: u32, target_permille: u32, faster: u64) -> Self {
        Self {
            min,
            max,
            metric: Metric::Processor,
            target_permille,
            tolerance: 0.1,
            stabilisation_ms: 300_000 / faster,
            initialisation_ms: 300_000 / faster,
            readiness_delay_ms: 30_000 / faster,
            behavior: None,
        }
    }
}

/// What is measured of each pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Processor time, by the share of what a pod requests.
    Processor,
    /// A figure of its own, by the share of a value per pod.
    Own,
}

/// How often its loop runs by default, in milliseconds.
pub const SYNC_MS: u64 = 15_000;

/// Rates and windows of both directions.
#[derive(Debug, Clone, PartialEq)]
pub struct Behavior {
    /// On the way up.
    pub up: Scaling,
    /// On the way down.
    pub down: Scaling,
}

impl Behavior {
    /// What the API server fills in.
    #[must_use]
    pub fn usual() -> Self {
        let percent = Rate { change: Change::Percent(100), period_ms: 15_000 };
        let pods = Rate { change: Change::Pods(4), period_ms: 15_000 };
        Self {
            up: Scaling { window_ms: 0, rates: vec![pods, percent], select: Select::Max },
            down: Scaling { window_ms: 300_000, rates: vec![percent], select: Select::Max },
        }
    }
}

/// Rates and window of one direction.
#[derive(Debug, Clone, PartialEq)]
pub struct Scaling {
    /// The stabilisation window.
    pub window_ms: u64,
    /// How fast.
    pub rates: Vec<Rate>,
    /// Which of the rates counts.
    pub select: Select,
}

/// One policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How much.
    pub change: Change,
    /// Within how long.
    pub period_ms: u64,
}

/// How much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// So many pods.
    Pods(u32),
    /// So many of a hundred.
    Percent(u32),
}

/// Which policy counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Select {
    /// The one that allows most change.
    Max,
    /// The one that allows least change.
    Min,
    /// No change in this direction.
    Disabled,
}

/// A pod, as the controller sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pod {
    /// How far it is.
    pub phase: Phase,
    /// When it was started.
    pub started_ms: u64,
    /// Whether it is ready, and since when it is or is not.
    pub ready: Option<(bool, u64)>,
    /// Its usage, if there is any sample.
    pub sample: Option<Sample>,
}

/// How far a pod is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not running yet.
    Pending,
    /// Running.
    Running,
    /// Failed, or being deleted.
    Gone,
}

/// Usage over a window, in thousandths of what the pod requests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// The end of the window.
    pub at_ms: u64,
    /// Its length.
    pub window_ms: u64,
    /// How much.
    pub used_permille: u64,
}

/// An autoscaler with what it remembers, which is all lost when its controller restarts.
#[derive(Debug, Clone)]
pub struct Hpa {
    spec: Spec,
    recommendations: Vec<(u64, u32)>,
    ups: Vec<(u64, u32)>,
    downs: Vec<(u64, u32)>,
}

/// What the metric recommends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recommended {
    /// So many pods.
    Pods(u32),
    /// Nothing: no pod has a sample that counts.
    Nothing,
}

impl Hpa {
    /// One that has not decided anything yet.
    #[must_use]
    pub fn new(spec: Spec) -> Self {
        Self { spec, recommendations: Vec::new(), ups: Vec::new(), downs: Vec::new() }
    }

    /// One sync: how many pods there are to be.
    pub fn sync(&mut self, now_ms: u64, current: u32, pods: &[Pod]) -> u32 {
        if self.recommendations.is_empty() {
            self.recommendations.push((now_ms, current));
        }
        if current > self.spec.max {
            return self.spec.max;
        }
        if current < self.spec.min {
            return self.spec.min;
        }
        let Recommended::Pods(recommended) = recommend(&self.spec, now_ms, current, pods) else {
            return current;
        };
        let desired = match self.spec.behavior.clone() {
            None => self.without_behavior(now_ms, current, recommended),
            Some(behavior) => self.with_behavior(now_ms, current, recommended, &behavior),
        };
        match desired {
            more if more > current => self.ups.push((now_ms, more - current)),
            fewer if fewer < current => self.downs.push((now_ms, current - fewer)),
            _ => {}
        }
        desired
    }

    fn without_behavior(&mut self, now_ms: u64, current: u32, recommended: u32) -> u32 {
        let stable = self.stabilise(now_ms, recommended, self.spec.stabilisation_ms);
        let limit = current.saturating_mul(2).max(4);
        stable.min(limit).clamp(self.spec.min, self.spec.max)
    }

    /// The greatest recommendation of the window, this one included.
    fn stabilise(&mut self, now_ms: u64, recommended: u32, window_ms: u64) -> u32 {
        self.recommendations.retain(|(at_ms, _)| at_ms + window_ms >= now_ms);
        self.recommendations.push((now_ms, recommended));
        self.recommendations.iter().map(|(_, pods)| *pods).max().unwrap_or(recommended)
    }

    fn with_behavior(&mut self, now_ms: u64, current: u32, recommended: u32, behavior: &Behavior) -> u32 {
        let kept_ms = behavior.up.window_ms.max(behavior.down.window_ms);
        self.recommendations.retain(|(at_ms, _)| at_ms + kept_ms > now_ms);
        let within = |window_ms: u64| {
            self.recommendations
                .iter()
                .filter(move |(at_ms, _)| at_ms + window_ms > now_ms)
                .map(|(_, pods)| *pods)
        };
        let up = within(behavior.up.window_ms).min().map_or(recommended, |least| least.min(recommended));
        let down = within(behavior.down.window_ms).max().map_or(recommended, |most| most.max(recommended));
        self.recommendations.push((now_ms, recommended));
        let stable = current.max(up).min(down);
        if stable > current {
            let limit = self.limit_up(now_ms, current, &behavior.up).max(current);
            stable.min(limit).min(self.spec.max)
        } else {
            let limit = self.limit_down(now_ms, current, &behavior.down).min(current);
            stable.max(limit).max(self.spec.min)
        }
    }

    fn limit_up(&self, now_ms: u64, current: u32, scaling: &Scaling) -> u32 {
        let limits = scaling.rates.iter().map(|rate| {
            let start = self.at_start(now_ms, current, rate.period_ms);
            match rate.change {
                Change::Pods(pods) => start.saturating_add(pods),
                Change::Percent(percent) => {
                    (u64::from(start) * u64::from(100 + percent)).div_ceil(100).try_into().unwrap_or(u32::MAX)
                }
            }
        });
        match scaling.select {
            Select::Max => limits.max().unwrap_or(u32::MAX),
            Select::Min => limits.min().unwrap_or(u32::MAX),
            Select::Disabled => current,
        }
    }

    fn limit_down(&self, now_ms: u64, current: u32, scaling: &Scaling) -> u32 {
        let limits = scaling.rates.iter().map(|rate| {
            let start = self.at_start(now_ms, current, rate.period_ms);
            match rate.change {
                Change::Pods(pods) => start.saturating_sub(pods),
                Change::Percent(percent) => (u64::from(start) * u64::from(100_u32.saturating_sub(percent))
                    / 100)
                    .try_into()
                    .unwrap_or(0),
            }
        });
        match scaling.select {
            Select::Max => limits.min().unwrap_or(0),
            Select::Min => limits.max().unwrap_or(0),
            Select::Disabled => current,
        }
    }

    /// How many there were when the period began.
    fn at_start(&self, now_ms: u64, current: u32, period_ms: u64) -> u32 {
        let within = |events: &[(u64, u32)]| {
            events.iter().filter(|(at_ms, _)| at_ms + period_ms > now_ms).map(|(_, pods)| *pods).sum::<u32>()
        };
        (current + within(&self.downs)).saturating_sub(within(&self.ups))
    }
}

/// What the metric recommends, before any limit.
#[must_use]
pub fn recommend(spec: &Spec, now_ms: u64, current: u32, pods: &[Pod]) -> Recommended {
    let (mut used, mut unready, mut missing) = (Vec::new(), 0_u32, 0_u32);
    for pod in pods {
        match (pod.phase, pod.sample) {
            (Phase::Gone, _) => {}
            (Phase::Pending, _) => unready += 1,
            (Phase::Running, None) => missing += 1,
            (Phase::Running, Some(sample)) if is_unready(spec, now_ms, pod, &sample) => unready += 1,
            (Phase::Running, Some(sample)) => used.push(sample.used_permille),
        }
    }
    if used.is_empty() {
        return Recommended::Nothing;
    }
    let target = f64::from(spec.target_permille.max(1));
    let ratio = |sum: u64, count: usize| float(sum) / float(count as u64) / target;
    let (sum, ready) = (used.iter().sum::<u64>(), used.len());
    let seen = ratio(sum, ready);
    let goes_up_with_unready = unready > 0 && seen > 1.0;
    let keeps = |ratio: f64| (1.0 - ratio).abs() <= spec.tolerance;
    if !goes_up_with_unready && missing == 0 {
        return Recommended::Pods(if keeps(seen) { current } else { ceil(seen * float(ready as u64)) });
    }
    let (mut sum, mut counted) = (sum, ready);
    if missing > 0 && seen < 1.0 {
        let taken_for = match spec.metric {
            Metric::Processor => spec.target_permille.max(1_000),
            Metric::Own => spec.target_permille,
        };
        sum += u64::from(missing) * u64::from(taken_for);
        counted += missing as usize;
    } else if missing > 0 && seen > 1.0 {
        counted += missing as usize;
    }
    if goes_up_with_unready {
        counted += unready as usize;
    }
    let rebalanced = ratio(sum, counted);
    let turns = seen < 1.0 && rebalanced > 1.0 || seen > 1.0 && rebalanced < 1.0;
    if keeps(rebalanced) || turns {
        return Recommended::Pods(current);
    }
    let pods = ceil(rebalanced * float(counted as u64));
    let is_against = rebalanced < 1.0 && pods > current || rebalanced > 1.0 && pods < current;
    Recommended::Pods(if is_against { current } else { pods })
}

fn is_unready(spec: &Spec, now_ms: u64, pod: &Pod, sample: &Sample) -> bool {
    if spec.metric == Metric::Own {
        return false;
    }
    let Some((is_ready, since_ms)) = pod.ready else { return true };
    if pod.started_ms + spec.initialisation_ms > now_ms {
        return !is_ready || sample.at_ms < since_ms + sample.window_ms;
    }
    !is_ready && pod.started_ms + spec.readiness_delay_ms > since_ms
}

#[expect(clippy::cast_precision_loss, reason = "a sum of percentages of pods is far below 2^52")]
fn float(number: u64) -> f64 {
    number as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float that does not fit saturates"
)]
fn ceil(pods: f64) -> u32 {
    pods.ceil() as u32
}

#[cfg(test)]
mod tests;
