//! What processes use: measured beside the loop, told when there is news of it.
//!
//! A measurement reads a few files of each group, in a thread of its own, and the next one begins when the last one is
//! heard: so it costs the loop nothing, and however long it takes, there is one at a time.

use super::{Event, Node};
use crate::processes::ProcessDirectory;
use crate::shim::place::Place;
use paracloud_core::ids::StartId;
use paracloud_substrate::cgroup::{self, Group, Hierarchies, Site};
use paracloud_substrate::config::Size;
use paracloud_substrate::message::{FromAgentLine, Note, Speaker, Usage};
use std::time::Duration;
use tokio::time::Instant;

/// From one measurement to the next, in milliseconds.
const MEASURE_MS: u64 = 1_000;
/// What has not changed is told again after so long, in milliseconds.
const TELL_AGAIN_MS: u64 = 5_000;
/// A change is told if it is more than this share of what was told, in thousandths,
const NEWS_PERMILLE: u64 = 60;
/// and more than so much memory, in KiB,
const NEWS_KIB: u64 = 1_024;
/// or CPU time, in thousandths of a CPU.
const NEWS_CPU_MILLI: u64 = 20;

/// When it is measured again.
#[derive(Debug, Default)]
pub(super) struct Meter {
    began: Option<Instant>,
    /// One is under way.
    measures: bool,
}

/// What is known of one process's use.
#[derive(Debug, Default)]
pub(super) struct Measurement {
    /// Where it was put, once that is written down.
    place: Option<Place>,
    /// When it was measured last, and its CPU time until then, in microseconds.
    last: Option<(Instant, u64)>,
    newest: Option<Usage>,
    /// What was told, and when, in the node's milliseconds.
    told: Option<(Usage, u64)>,
}

/// One process, as it was measured.
#[derive(Debug)]
pub(crate) struct Measured {
    start: StartId,
    /// Where it was put, if that was not known before.
    place: Option<Place>,
    at: Instant,
    usage: cgroup::Usage,
}

impl Measurement {
    /// Its group, as far as it has one and that is known.
    pub(super) fn group(&self) -> Option<&Group> {
        self.place.as_ref().map(|place| &place.group)
    }

    /// Takes a measurement in. What is to be told, if there is news.
    fn take(&mut self, at: Instant, seen: &cgroup::Usage, now_ms: u64) -> Option<Usage> {
        let cpu_milli = match (self.last, seen.cpu_us) {
            (Some((before, then_us)), Some(now_us)) => {
                let elapsed_us = u64::try_from(at.duration_since(before).as_micros()).unwrap_or(u64::MAX);
                let milli = now_us.saturating_sub(then_us).saturating_mul(1_000).checked_div(elapsed_us);
                milli.map(|milli| u32::try_from(milli).unwrap_or(u32::MAX))
            }
            _ => None,
        };
        self.last = seen.cpu_us.map(|cpu_us| (at, cpu_us));
        let usage = Usage {
            memory_kib: seen.memory_bytes.map(|bytes| bytes / 1_024),
            memory_limit_kib: seen.memory_limit_bytes.map(|bytes| bytes / 1_024),
            cpu_milli,
            cpu_limit_milli: seen.cpu_limit_milli,
            memory_stalled_permille: seen.memory_stalled_permille,
            cpu_stalled_permille: seen.cpu_stalled_permille,
        };
        self.newest = Some(usage);
        let is_news = self.told.as_ref().is_none_or(|(told, told_ms)| {
            is_news(told, &usage) || now_ms.saturating_sub(*told_ms) >= TELL_AGAIN_MS
        });
        is_news.then(|| self.tell(usage, now_ms))
    }

    fn tell(&mut self, usage: Usage, now_ms: u64) -> Usage {
        self.told = Some((usage, now_ms));
        usage
    }
}

/// Whether it differs from what was told by so much that it matters.
fn is_news(told: &Usage, now: &Usage) -> bool {
    let differs = |told: Option<u64>, now: Option<u64>, least: u64| match (told, now) {
        (Some(told), Some(now)) => {
            let change = told.abs_diff(now);
            change > least && change > told.saturating_mul(NEWS_PERMILLE) / 1_000
        }
        (told, now) => told != now,
    };
    differs(told.memory_kib, now.memory_kib, NEWS_KIB)
        || differs(told.cpu_milli.map(u64::from), now.cpu_milli.map(u64::from), NEWS_CPU_MILLI)
        || (told.memory_limit_kib, told.cpu_limit_milli) != (now.memory_limit_kib, now.cpu_limit_milli)
}

impl Node {
    /// Removes what is left of the groups of this node's dead processes. Before anything is started: nobody's group is
    /// about to be entered, but those of processes that are known and not dead.
    pub(super) fn sweep_groups(&self) {
        let hierarchies = match Hierarchies::find() {
            Ok(hierarchies) => hierarchies,
            Err(error) => return tracing::warn!(%error, "whether there are control groups cannot be seen"),
        };
        let site = Site::of(&hierarchies, self.layout.root());
        let stay =
            site.sweep(&self.node.name, |start| self.starts.get(&start).is_some_and(|it| !it.is_dead()));
        if !stay.is_empty() {
            tracing::warn!(?stay, "somebody is in the groups of processes that are dead");
        }
    }

    /// Begins a measurement, if it is time for one.
    pub(super) fn measure(&mut self) {
        let pause = Duration::from_millis(MEASURE_MS);
        if self.meter.measures || self.meter.began.is_some_and(|began| began.elapsed() < pause) {
            return;
        }
        let running = self.starts.iter().filter(|(_, start)| start.runs());
        let of = |(id, start): (&StartId, &super::Start)| {
            (*id, start.process.clone(), start.measured.place.as_ref().map(|place| place.group.clone()))
        };
        let running: Vec<_> = running.map(of).collect();
        if running.is_empty() {
            return;
        }
        self.meter = Meter { began: Some(Instant::now()), measures: true };
        let events = self.events.clone();
        tokio::task::spawn_blocking(move || {
            let measured = running.into_iter().filter_map(|(id, process, group)| look(id, &process, group));
            let _ = events.blocking_send(Event::Measured(measured.collect()));
        });
    }

    /// Takes a measurement in, and tells what is news of it.
    pub(super) fn measured(&mut self, measured: Vec<Measured>) {
        self.meter.measures = false;
        let now_ms = self.now_ms();
        for Measured { start: id, place, at, usage } in measured {
            let Some(start) = self.starts.get_mut(&id).filter(|start| start.runs()) else { continue };
            let name = start.instance.clone();
            let told = start.measured.take(at, &usage, now_ms);
            let unenforced = place.as_ref().and_then(|place| place.unenforced.clone());
            if place.is_some() {
                start.measured.place = place;
            }
            if let Some(why) = unenforced {
                self.unenforced(&name, id, &why);
            }
            if let Some(usage) = told {
                self.say(FromAgentLine::Usage { instance: name, start: id, usage });
            }
        }
    }

    /// People should know that what the manifest limits is not limited.
    fn unenforced(&mut self, name: &str, id: StartId, why: &str) {
        tracing::warn!(start = %id, instance = name, why, "the limits of a process are not enforced");
        let limited = self.instances.get(name).is_some_and(|it| it.app.resources.start != Size::default());
        if limited {
            let what = format!("its limits (`resources`) are not enforced: {why}");
            self.note(name, None, Note::Remark { by: Speaker::Agent, what });
        }
    }

    /// Tells a controller that has just come what was measured last.
    pub(super) fn tell_usage_anew(&mut self, id: StartId) {
        let now_ms = self.now_ms();
        let Some(start) = self.starts.get_mut(&id).filter(|start| start.runs()) else { return };
        let Some(usage) = start.measured.newest else { return };
        let (instance, usage) = (start.instance.clone(), start.measured.tell(usage, now_ms));
        self.say(FromAgentLine::Usage { instance, start: id, usage });
    }
}

/// Measures one process. `None`: where it was put is not written down yet, or it was put nowhere.
fn look(start: StartId, process: &ProcessDirectory, known: Option<Group>) -> Option<Measured> {
    let (group, place) = match known {
        Some(group) => (group, None),
        None => {
            let place = process.place().ok()??;
            (place.group.clone(), Some(place))
        }
    };
    let usage = group.usage();
    Some(Measured { start, place, at: Instant::now(), usage })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(memory_mib: u64, cpu_us: u64) -> cgroup::Usage {
        let memory_bytes = Some(memory_mib << 20);
        cgroup::Usage { memory_bytes, cpu_us: Some(cpu_us), ..cgroup::Usage::default() }
    }

    #[test]
    fn cpu_time_is_a_share_of_the_time_between_two_looks_and_unknown_at_the_first() {
        let mut measurement = Measurement::default();
        let begin = Instant::now();
        let first = measurement.take(begin, &seen(64, 1_000_000), 0).unwrap();
        assert_eq!((first.memory_kib, first.cpu_milli), (Some(65_536), None));
        let second = begin + Duration::from_secs(2);
        assert_eq!(measurement.take(second, &seen(64, 4_000_000), 0).unwrap().cpu_milli, Some(1_500));
        let unknown = cgroup::Usage { cpu_us: None, ..seen(64, 0) };
        assert_eq!(measurement.take(second, &unknown, 0).unwrap().cpu_milli, None);
    }

    #[test]
    fn what_has_hardly_changed_is_not_told_until_some_seconds_are_over() {
        let mut measurement = Measurement::default();
        let begin = Instant::now();
        let mut cpu_us = 0;
        let mut at = |second: u64, memory_mib: u64, milli: u64| {
            cpu_us += milli * 1_000;
            let told = measurement.take(
                begin + Duration::from_secs(second),
                &seen(memory_mib, cpu_us),
                second * 1_000,
            );
            told.is_some()
        };
        assert!(at(0, 100, 0) && at(1, 100, 500));
        assert!(!at(2, 105, 510), "a little more");
        assert!(at(3, 110, 510), "more than that");
        assert!(at(4, 110, 700));
        assert!((5..9).all(|second| !at(second, 110, 700)));
        assert!(at(9, 110, 700), "it was told five seconds ago");
    }

    #[test]
    fn a_limit_that_changed_is_told_at_once() {
        let mut measurement = Measurement::default();
        let at = Instant::now();
        assert!(measurement.take(at, &cgroup::Usage::default(), 0).is_some());
        assert!(measurement.take(at, &cgroup::Usage::default(), 1).is_none());
        let limited = cgroup::Usage { memory_limit_bytes: Some(1 << 30), ..cgroup::Usage::default() };
        assert!(measurement.take(at, &limited, 2).is_some());
    }
}
