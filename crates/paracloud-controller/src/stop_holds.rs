//! Which instances ask not to be stopped, as agents tell it. It decides nothing: who stops the cloud is told.

use crate::journal::cut;
use paracloud_core::ids::StartId;
use paracloud_substrate::message::StopHold;
use paracloud_substrate::person::HeldOff;
use std::collections::BTreeMap;

/// Of each instance at most one hold, and the process that asked for it.
#[derive(Debug, Default)]
pub(crate) struct StopHolds(BTreeMap<String, (StartId, StopHold)>);

impl StopHolds {
    /// A process asks, or asks no more. The word of one that was there before takes nothing from the one that is.
    pub(crate) fn put(&mut self, instance: &str, start: StartId, hold: Option<StopHold>) {
        match hold {
            Some(hold) => {
                let hold = StopHold { reason: cut(hold.reason), ..hold };
                self.0.insert(instance.to_owned(), (start, hold));
            }
            None => {
                if self.0.get(instance).is_some_and(|(holder, _)| *holder == start) {
                    self.0.remove(instance);
                }
            }
        }
    }

    /// Those that have not expired.
    pub(crate) fn at(&self, now_unix_ms: u64) -> Vec<HeldOff> {
        let held = |(instance, (_, hold)): (&String, &(StartId, StopHold))| {
            let remaining_ms = hold.until_unix_ms.checked_sub(now_unix_ms).filter(|left| *left > 0)?;
            Some(HeldOff { instance: instance.clone(), remaining_ms, reason: hold.reason.clone() })
        };
        self.0.iter().filter_map(held).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_on_the_stop_stands_until_it_expires_or_its_own_process_asks_no_more() {
        let mut holds = StopHolds::default();
        let hold = |until_unix_ms| Some(StopHold { until_unix_ms, reason: "month end".to_owned() });
        holds.put("web", StartId(1), hold(500));
        let held = HeldOff { instance: "web".to_owned(), remaining_ms: 100, reason: "month end".to_owned() };
        assert_eq!(holds.at(400), std::slice::from_ref(&held));
        assert_eq!(holds.at(500), []);
        holds.put("web", StartId(2), hold(700));
        holds.put("web", StartId(1), None);
        assert_eq!(holds.at(600), [held], "the one before it is dead");
        holds.put("web", StartId(2), None);
        assert_eq!(holds.at(600), []);
    }
}
