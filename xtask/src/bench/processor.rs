//! What of the processor was used, and by whom.

use anyhow::{Context, Result};
use procfs::process::Process;
use procfs::{CurrentSI, KernelStats};

/// Processor time, in seconds, of a process since it began: all of its threads, also those that have ended.
pub(super) fn of(pid: i32) -> Result<f64> {
    let stat =
        Process::new(pid).and_then(|it| it.stat()).with_context(|| format!("process {pid} is gone"))?;
    Ok(seconds(stat.utime + stat.stime))
}

/// The same of this process, and of all that it started and saw end.
fn of_own() -> Result<f64> {
    let stat = Process::myself()?.stat()?;
    let ended = u64::try_from(stat.cutime + stat.cstime).unwrap_or_default();
    Ok(seconds(stat.utime + stat.stime + ended))
}

#[expect(clippy::cast_precision_loss, reason = "ticks are far below 2^53")]
fn seconds(ticks: u64) -> f64 {
    ticks as f64 / procfs::ticks_per_second() as f64
}

/// The machine at one moment.
#[derive(Debug, Clone, Copy)]
struct Moment {
    /// Processor time that was used by anybody, that which other machines took included, in seconds.
    busy: f64,
    /// Processor time that there was.
    all: f64,
}

fn moment() -> Result<Moment> {
    let total = KernelStats::current()?.total;
    let idle = total.idle + total.iowait.unwrap_or(0);
    let busy = [total.user, total.nice, total.system].into_iter().sum::<u64>()
        + [total.irq, total.softirq, total.steal].into_iter().flatten().sum::<u64>();
    Ok(Moment { busy: seconds(busy), all: seconds(busy + idle) })
}

/// Looks on at the machine from its beginning to its end.
#[derive(Debug)]
pub(super) struct Watch {
    ours: Vec<i32>,
    began: Moment,
    used: f64,
}

/// What was used meanwhile.
#[derive(Debug, Clone, Copy)]
pub(super) struct Used {
    /// By everybody: percent of all processors.
    pub(super) machine_percent: f64,
    /// By others than this program, those that it started and the processes that were named: percent of all processors.
    pub(super) others_percent: f64,
}

impl Watch {
    /// `ours`: what belongs to the measurement beside this process and what it sees end.
    pub(super) fn begin(ours: Vec<i32>) -> Result<Self> {
        let used = used_by(&ours)?;
        Ok(Self { ours, began: moment()?, used })
    }

    pub(super) fn end(self) -> Result<Used> {
        let (now, used) = (moment()?, used_by(&self.ours)? - self.used);
        let all = (now.all - self.began.all).max(f64::MIN_POSITIVE);
        // The counters are not read all at one moment.
        let percent = |part: f64| (100.0 * part / all).clamp(0.0, 100.0);
        let busy = now.busy - self.began.busy;
        Ok(Used { machine_percent: percent(busy), others_percent: percent(busy - used) })
    }
}

fn used_by(ours: &[i32]) -> Result<f64> {
    ours.iter().try_fold(of_own()?, |sum, pid| Ok(sum + of(*pid)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_process_does_is_no_others_doing_and_a_process_that_is_gone_is_named() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let (before, watch) = (of(pid).unwrap(), Watch::begin(Vec::new()).unwrap());
        // Until the processor's clock, which is coarse, has counted some of it.
        while of(pid).unwrap() < before + 0.2 {
            std::hint::black_box((0..10_000).sum::<u64>());
        }
        let used = watch.end().unwrap();
        assert!(used.machine_percent > used.others_percent, "{used:?}");
        assert!(used.others_percent >= 0.0 && used.machine_percent <= 100.0, "{used:?}");
        let gone = of(i32::MAX).unwrap_err().to_string();
        assert!(gone.contains("is gone"), "{gone}");
    }
}
