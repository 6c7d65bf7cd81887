//! What applications say of themselves for a time: kept for gateways that dial later, and for whoever decides by it.

use paracloud_core::ids::StartId;
use paracloud_substrate::advice::Advice;
use paracloud_substrate::message::ToGatewayLine;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// The last of each instance. There are as many as the configuration allows instances.
#[derive(Debug, Default)]
pub(crate) struct Advised(Mutex<BTreeMap<String, (StartId, Advice, Instant)>>);

impl Advised {
    /// An agent passes on what a process says.
    pub(crate) fn hear(&self, instance: &str, start: StartId, advice: &Advice) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(instance.to_owned(), (start, advice.clone(), Instant::now()));
    }

    /// What is said of all, as it counts now.
    pub(crate) fn lines(&self) -> Vec<ToGatewayLine> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let line = |(instance, (start, advice, at)): (&String, &(StartId, Advice, Instant))| {
            let aged_ms = u32::try_from(at.elapsed().as_millis()).unwrap_or(u32::MAX);
            let advice = Box::new(advice.clone().aged(aged_ms));
            ToGatewayLine::Advice { instance: instance.clone(), start: *start, advice }
        };
        all.iter().map(line).collect()
    }
}
