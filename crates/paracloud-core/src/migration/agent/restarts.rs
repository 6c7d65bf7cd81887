//! A dead owner, replaced by swap, and only where the record permits it.

use super::{Agent, Effect, Life, Setting, Timer};
use crate::ids::StartId;
use crate::migration::message::FromAgent;
use crate::register::Record;
use alloc::vec::Vec;

impl Agent {
    /// The record, if it names a dead owner that this agent may replace.
    fn restartable(&self, setting: &Setting) -> Option<&Record> {
        let record = self.record.as_ref()?;
        let dead = self.processes.get(&record.owner.start).is_some_and(|process| process.life == Life::Dead);
        (dead && record.owner.node == setting.node && record.agent_may_restart()).then_some(record)
    }

    pub(super) fn arm_restart(&mut self, setting: &Setting, effects: &mut Vec<Effect>) {
        if !self.restart_armed && self.restartable(setting).is_some() {
            self.restart_armed = true;
            let factor = 1_u32.checked_shl(self.restarts).unwrap_or(u32::MAX);
            let wait_ms = setting.restart_ms.saturating_mul(factor).min(setting.restart_ms_max);
            effects.push(Effect::SetTimer(Timer::Restart, wait_ms));
        }
    }

    pub(super) fn propose(&mut self, setting: &Setting, fresh: StartId, effects: &mut Vec<Effect>) {
        let Some(expected) = self.restartable(setting).cloned() else { return };
        let fresh = *self.proposal.get_or_insert_with(|| {
            self.restarts = self.restarts.saturating_add(1);
            fresh
        });
        effects.push(Effect::Coordinator(FromAgent::Propose { expected, fresh }));
        self.restart_armed = true;
        effects.push(Effect::SetTimer(Timer::Restart, setting.restart_ms_max));
    }
}
