//! What applications say of themselves for a time: kept for gateways that dial later, and for whoever decides by it.

use paci::report::Report;
use paracloud_core::ids::StartId;
use paracloud_core::scaling::observation::Told;
use paracloud_substrate::advice::{Advice, Leased};
use paracloud_substrate::message::ToGatewayLine;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Processes of an instance that speak at a time: its owner, and one that is to become it.
const PROCESSES_MAX: usize = 2;

/// The last of each process, of each instance those that were heard last. There are as many as the configuration allows
/// instances.
#[derive(Debug, Default)]
pub(crate) struct Advised(Mutex<BTreeMap<String, Vec<Word>>>);

#[derive(Debug)]
struct Word {
    start: StartId,
    advice: Advice,
    at: Instant,
    /// Its last report, which is not in its advice any more when its lease is over.
    report: Option<(Leased<Report>, Instant)>,
}

impl Advised {
    /// An agent passes on what a process says.
    pub(crate) fn hear(&self, instance: &str, start: StartId, advice: &Advice) {
        let (mut all, at) = (self.0.lock().unwrap_or_else(PoisonError::into_inner), Instant::now());
        let words = all.entry(instance.to_owned()).or_default();
        let before = words.iter().position(|word| word.start == start).map(|place| words.remove(place));
        let said = advice.report.clone().map(|report| (report, at));
        let report = said.or_else(|| before.and_then(|word| word.report));
        words.push(Word { start, advice: advice.clone(), at, report });
        let excess = words.len().saturating_sub(PROCESSES_MAX);
        words.drain(..excess);
    }

    /// What is said of all, as it counts now.
    pub(crate) fn lines(&self) -> Vec<ToGatewayLine> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let words = all.iter().flat_map(|(instance, words)| words.iter().map(move |word| (instance, word)));
        let line = |(instance, word): (&String, &Word)| {
            let advice = Box::new(word.advice.clone().aged(since_ms(word.at)));
            ToGatewayLine::Advice { instance: instance.clone(), start: word.start, advice }
        };
        words.map(line).collect()
    }

    /// What a process says of itself, as it counts now, and its last report, also once its lease is over.
    pub(crate) fn of(&self, instance: &str, start: StartId) -> Option<(Advice, Option<Told<Report>>)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let word = all.get(instance)?.iter().find(|word| word.start == start)?;
        let report = word.report.as_ref().map(|(leased, at)| {
            let age_ms = leased.age_ms.saturating_add(since_ms(*at));
            let lease_ms = leased.age_ms.saturating_add(leased.remaining_ms);
            Told { value: leased.said.clone(), age_ms, lease_ms }
        });
        Some((word.advice.clone().aged(since_ms(word.at)), report))
    }
}

fn since_ms(at: Instant) -> u32 {
    u32::try_from(at.elapsed().as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_report_of_a_process_outlives_its_lease_and_not_its_process() {
        let advised = Advised::default();
        let said = Report { valid_for_ms: 500, queued: Some(3), ..Report::default() };
        let report = Some(Leased { age_ms: 100, remaining_ms: 400, said: said.clone() });
        advised.hear("worker.1", StartId(1), &Advice { report, ..Advice::default() });
        advised.hear("worker.1", StartId(1), &Advice::default());
        let (advice, report) = advised.of("worker.1", StartId(1)).unwrap();
        assert_eq!(advice.report, None, "it is over");
        let report = report.unwrap();
        assert_eq!((report.value, report.lease_ms), (said, 500));
        assert!(report.age_ms >= 100);
        assert_eq!(advised.of("worker.1", StartId(2)), None);
        advised.hear("worker.1", StartId(2), &Advice::default());
        assert_eq!(advised.of("worker.1", StartId(2)), Some((Advice::default(), None)));
    }

    #[test]
    fn the_owner_is_heard_beside_the_one_that_is_to_become_it_and_nobody_from_before() {
        let advised = Advised::default();
        [1, 2, 1, 3].into_iter().for_each(|start| advised.hear("web", StartId(start), &Advice::default()));
        let known = [1, 2, 3].map(|start| advised.of("web", StartId(start)).is_some());
        assert_eq!((known, advised.lines().len()), ([true, false, true], 2));
    }
}
