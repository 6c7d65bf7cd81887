//! What agents measured last of the processes of instances.

use crate::control::locked;
use paracloud_core::ids::StartId;
use paracloud_substrate::message::Usage;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;

/// What is older says nothing of now, in milliseconds.
const AGE_MS_MAX: u32 = 60_000;

/// Of each instance that is configured one.
#[derive(Debug, Default)]
pub(crate) struct Usages(Mutex<BTreeMap<String, (StartId, Usage, Instant)>>);

impl Usages {
    /// An agent says what a process of an instance that is configured uses.
    pub(crate) fn hear(&self, instance: &str, start: StartId, usage: Usage) {
        locked(&self.0).insert(instance.to_owned(), (start, usage, Instant::now()));
    }

    /// What a process uses, and how long ago that was measured, in milliseconds.
    pub(crate) fn of(&self, instance: &str, start: StartId) -> Option<(Usage, u32)> {
        let all = locked(&self.0);
        let (_, usage, at) = all.get(instance).filter(|(of, ..)| *of == start)?;
        let age_ms = u32::try_from(at.elapsed().as_millis()).unwrap_or(u32::MAX);
        (age_ms <= AGE_MS_MAX).then_some((*usage, age_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_that_of_the_process_that_is_asked_after() {
        let usages = Usages::default();
        let usage = Usage { cpu_milli: Some(120), ..Usage::default() };
        usages.hear("worker.1", StartId(1), usage);
        assert_eq!(usages.of("worker.1", StartId(1)).unwrap().0, usage);
        assert_eq!(usages.of("worker.1", StartId(2)), None);
        assert_eq!(usages.of("worker.2", StartId(1)), None);
    }

    #[test]
    fn what_was_measured_long_ago_says_nothing_of_now() {
        let usages = Usages::default();
        let ago_ms = |age_ms: u32| {
            let at = Instant::now().checked_sub(std::time::Duration::from_millis(age_ms.into())).unwrap();
            locked(&usages.0).insert("worker.1".to_owned(), (StartId(1), Usage::default(), at));
            usages.of("worker.1", StartId(1)).is_some()
        };
        assert_eq!((ago_ms(AGE_MS_MAX / 2), ago_ms(AGE_MS_MAX + 1)), (true, false));
    }
}
