//! A decision with all that went into it: whoever has it can decide anew.

use super::BackendId;
use super::choice::{Decision, Regime, Rule, decide};
use super::fleet::Fleet;
use super::inputs::Inputs;
use super::judged::Judged;
use super::picture::Picture;
use super::policy::Setting;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Record {
    /// What the balancer is set to.
    pub setting: Setting,
    /// The random number.
    pub random: u32,
    /// Whose turn it was, for one after the other.
    pub turn: u32,
    /// Who was not to be chosen again.
    pub but: Option<BackendId>,
    /// All instances, as they were seen and heard. By another policy than [`Policy::Used`](super::Policy::Used) what they
    /// say of their load is not in it.
    pub inputs: Vec<Inputs>,
    /// What was ordinary among them.
    pub fleet: Fleet,
    /// What became of the inputs, in the same order.
    pub judged: Vec<Judged>,
    /// By what kind of knowledge it was decided.
    pub regime: Regime,
    /// By which rule.
    pub rule: Rule,
    /// Who was compared.
    pub compared: Vec<BackendId>,
    /// Who was chosen.
    pub chosen: BackendId,
    /// Who would have been, of those that were compared, without the one that was.
    pub alternative: Option<BackendId>,
}

impl Record {
    pub(super) fn of(
        setting: Setting,
        (but, random, turn): (Option<BackendId>, u32, u32),
        picture: &Picture,
        decision: &Decision,
    ) -> Self {
        let id = |position: u32| picture.inputs()[position as usize].id;
        let others = decision.compared.as_slice().iter().filter(|position| **position != decision.position);
        let alternative = others.min_by_key(|position| {
            let judged = picture.judged(**position);
            (judged.is_hot, judged.cost, **position)
        });
        Self {
            setting,
            random,
            turn,
            but,
            inputs: picture.inputs().to_vec(),
            fleet: *picture.fleet(),
            judged: picture.all_judged().to_vec(),
            regime: decision.regime,
            rule: decision.rule,
            compared: decision.compared.as_slice().iter().map(|position| id(*position)).collect(),
            chosen: id(decision.position),
            alternative: alternative.map(|position| id(*position)),
        }
    }

    /// Decides anew from what went in. `None` if nothing did, which no record of a balancer says.
    pub fn replay(&self) -> Option<Self> {
        let mut picture = Picture::default();
        picture.draw(self.inputs.iter().copied(), self.setting);
        let but = self.but.and_then(|but| self.inputs.iter().position(|inputs| inputs.id == but));
        if let Some(place) = but.and_then(|place| u32::try_from(place).ok()) {
            picture.leave_out(place);
        }
        let decision = decide(&picture, self.setting, self.random, self.turn)?;
        Some(Self::of(self.setting, (self.but, self.random, self.turn), &picture, &decision))
    }
}
