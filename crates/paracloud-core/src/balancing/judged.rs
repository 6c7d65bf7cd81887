//! What one instance would cost a request: said, bounded by what was seen, and decided.

use super::fleet::{Fleet, own_milli};
use super::inputs::Inputs;
use super::latency::{forgotten, level};
use super::policy::Setting;
use super::standing::{Cold, Standing};
use super::{PAUSE_LEAD_US_MAX, TRUST, WEIGHT_PERMILLE};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// What was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clamp {
    /// Its weight is further from an ordinary one than it may be.
    Weight,
    /// It says that it works on more at once, or less, than its peers do by more than a factor of [`TRUST`].
    Places,
    /// It says that it has less in flight than the gateway has there: it counts as if it had not said how much.
    InFlight,
    /// It says that it has room, and is slow, or has more of the gateway's requests than its peers by that factor.
    Room,
    /// It says that it has none, is not slow, and has less of the gateway's requests than its peers by that factor.
    Full,
    /// Its cost by what it says is further from that by what was seen than it may be.
    Cost,
    /// More pause at once than may: it is avoided in proportion.
    Pause,
}

impl Clamp {
    const ALL: [Self; 7] =
        [Self::Weight, Self::Places, Self::InFlight, Self::Room, Self::Full, Self::Cost, Self::Pause];
}

/// A set of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "Vec<Clamp>", into = "Vec<Clamp>")]
pub struct Clamps(u8);

impl Clamps {
    fn add(&mut self, clamp: Clamp) {
        self.0 |= 1 << clamp as u8;
    }

    /// Whether this was cut.
    pub fn has(self, clamp: Clamp) -> bool {
        self.0 & (1 << clamp as u8) != 0
    }

    /// Nothing was.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl From<Vec<Clamp>> for Clamps {
    fn from(all: Vec<Clamp>) -> Self {
        let mut clamps = Self::default();
        all.into_iter().for_each(|clamp| clamps.add(clamp));
        clamps
    }
}

impl From<Clamps> for Vec<Clamp> {
    fn from(clamps: Clamps) -> Self {
        Clamp::ALL.into_iter().filter(|clamp| clamps.has(*clamp)).collect()
    }
}

/// See the module.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Judged {
    /// How it stands, its pauses included.
    pub standing: Standing,
    /// How far its report is believed, by its age and what came of it so far, in thousandths; 0 if there is none.
    pub trust_permille: u64,
    /// Its weight, bounded; by it one is drawn.
    pub weight_permille: u64,
    /// How many requests it works on at once: said, or as its peers, while it is cold less; 0 if nobody says.
    pub places: u64,
    /// What is in flight there: the gateway's own, its failures, and what others have, in thousandths.
    pub load_milli: u64,
    /// One more would wait.
    pub is_hot: bool,
    /// What it would cost if it said nothing, by what the gateway sees of it and its peers say.
    pub seen: u64,
    /// What it costs by what it says.
    pub raw: u64,
    /// That, within bounds of what was seen.
    pub bounded: u64,
    /// That, by how far it is believed.
    pub final_cost: u64,
    /// What is compared: the less the better, among those that are as hot.
    pub cost: u64,
    /// What was cut.
    pub clamps: Clamps,
}

/// A pause of those of whom nothing is known is kept to for so long before it begins, in microseconds.
const LEAD_UNKNOWN_US: u64 = 50_000;
/// A cost is cut to this.
const COST_MAX: u64 = 1_000_000_000_000;
/// Nothing is thought to take less, in microseconds.
const SERVICE_US_MIN: u64 = 1;

/// Whether a request that was sent there now would not end before a pause.
pub(super) fn pauses_soon(inputs: &Inputs, fleet: &Fleet) -> bool {
    let Some(pause) = inputs.pause else { return false };
    let lead_us = match inputs.measured {
        // RFC 6298 waits as long for what should have come.
        Some(measured) => measured.mean_us + 4 * measured.deviation_us,
        None if fleet.typical_us > 0 => 4 * fleet.typical_us,
        None => LEAD_UNKNOWN_US,
    };
    pause.begins_in_us <= lead_us.min(PAUSE_LEAD_US_MAX)
}

/// One instance, by one kind of knowledge.
#[derive(Debug, Clone, Copy)]
struct Sight {
    weight: u64,
    /// How many requests it works on at once; 0 if nobody says.
    places: u64,
    load_milli: u64,
    /// How long one takes there without a queue.
    service_us: u64,
    /// How long what waits there takes, by its own word.
    backlog_us: u64,
}

impl Sight {
    /// The time that one more takes, in microseconds, times one plus the share of its places that is taken, by its weight.
    /// Where nobody says how many places there are: what is in flight, by its weight.
    fn cost(&self) -> u64 {
        let weight = self.weight.max(1);
        if self.places == 0 {
            return ((self.load_milli + 1_000).saturating_mul(1_000) / weight).min(COST_MAX);
        }
        let waiting_milli = (self.load_milli + 1_000).saturating_sub(self.places * 1_000);
        let queue_us = self.service_us.saturating_mul(waiting_milli) / (self.places * 1_000);
        let time_us = self.service_us.saturating_add(queue_us.max(self.backlog_us)).min(COST_MAX);
        let share = (self.load_milli / self.places).min(1_000);
        (time_us * (1_000 + share) / weight).min(COST_MAX)
    }

    fn is_full(&self) -> bool {
        let waits = self.backlog_us > 0 && self.backlog_us >= self.service_us;
        self.places > 0 && (self.load_milli >= self.places * 1_000 || waits)
    }
}

pub(super) fn judge(inputs: &Inputs, fleet: &Fleet, setting: Setting) -> Judged {
    let mut clamps = Clamps::default();
    let (standing, avoided) = standing(inputs, fleet, &mut clamps);
    let warmth = inputs.cold.as_ref().map_or(1_000, Cold::permille);
    let weight = weight(inputs, &mut clamps);
    let seen = seen(inputs, fleet, setting);
    let said = said(inputs, fleet, setting, (seen, weight, warmth), &mut clamps);
    let trust_permille =
        inputs.claimed.map_or(0, |claimed| claimed.trust_permille() * 1_000 / (1_000 + inputs.doubt_milli));
    let mut judged = Judged {
        standing,
        trust_permille,
        weight_permille: (weight * warmth / 1_000).max(1),
        places: said.places,
        load_milli: said.load_milli,
        seen: seen.cost(),
        raw: said.cost(),
        ..Judged::default()
    };
    judged.bounded = judged.raw.clamp(judged.seen / TRUST, judged.seen * TRUST);
    if judged.bounded != judged.raw {
        clamps.add(Clamp::Cost);
    }
    // A warm-up and a failure hold without a report.
    let trust = if inputs.claimed.is_some() { trust_permille } else { 1_000 };
    judged.final_cost = (judged.bounded * trust + judged.seen * (1_000 - trust)) / 1_000;
    let is_used =
        inputs.claimed.and_then(|it| it.report.utilisation_permille).is_some_and(|used| used >= 1_000);
    judged.is_hot = if trust < 500 { seen.is_full() } else { said.is_full() || is_used && said.places > 0 };
    hold_against(inputs, fleet, &seen, &mut judged, &mut clamps);
    judged.is_hot |= inputs.answered < 255 && inputs.own > inputs.answered;
    judged.cost = judged.final_cost.saturating_mul(avoided) / 1_000;
    judged.clamps = clamps;
    judged
}

/// What it says is held against what the gateway gave it and what came of that.
fn hold_against(inputs: &Inputs, fleet: &Fleet, seen: &Sight, judged: &mut Judged, clamps: &mut Clamps) {
    if judged.places == 0 || inputs.claimed.is_none() {
        return;
    }
    let is_slow = inputs.measured.is_some_and(|measured| measured.mean_us > 2 * fleet.typical_us);
    let (own, ordinary) = (own_milli(inputs), fleet.own_milli);
    if is_slow && judged.final_cost < judged.seen {
        judged.final_cost = judged.seen;
        judged.is_hot |= seen.is_full();
        clamps.add(Clamp::Room);
    } else if !judged.is_hot && own > TRUST * ordinary.max(1_000) {
        judged.is_hot = true;
        clamps.add(Clamp::Room);
    } else if !is_slow
        && inputs.debt_milli < 1_000
        && judged.cost_is_claimed()
        && (own + 500) * TRUST <= ordinary
    {
        judged.final_cost = judged.final_cost.min(judged.seen);
        judged.is_hot = false;
        clamps.add(Clamp::Full);
    }
}

impl Judged {
    /// It is worse by what it says than by what was seen.
    fn cost_is_claimed(&self) -> bool {
        self.is_hot || self.final_cost > self.seen
    }
}

/// As the gateway would know it if it said nothing.
fn seen(inputs: &Inputs, fleet: &Fleet, setting: Setting) -> Sight {
    let typical = fleet.service_us.max(SERVICE_US_MIN);
    let service_us =
        inputs.measured.map_or(typical, |it| level(forgotten(it.service_us, typical, it.age_us), typical));
    let others_milli = if setting.balancers > 1 { fleet.others_milli } else { 0 };
    Sight {
        weight: WEIGHT_PERMILLE.into(),
        places: fleet.places,
        load_milli: u64::from(inputs.own) * 1_000 + inputs.debt_milli + others_milli,
        service_us: service_us.max(SERVICE_US_MIN),
        backlog_us: 0,
    }
}

/// As it says, within the bounds of each figure.
fn said(
    inputs: &Inputs,
    fleet: &Fleet,
    setting: Setting,
    (seen, weight, warmth): (Sight, u64, u64),
    clamps: &mut Clamps,
) -> Sight {
    let mut places = inputs.claimed.and_then(|claimed| claimed.places()).unwrap_or(fleet.places);
    if places > 0 {
        let bounded = places.clamp((fleet.places / TRUST).max(1), (fleet.places * TRUST).max(1));
        if bounded != places {
            clamps.add(Clamp::Places);
        }
        places = (bounded * warmth / 1_000).max(1);
    }
    let typical = fleet.service_us.max(SERVICE_US_MIN);
    let stated_us = inputs.claimed.and_then(|claimed| claimed.service_us());
    let mut service_us = match (inputs.measured, stated_us) {
        (None, Some(stated_us)) if fleet.service_us > 0 => stated_us.clamp(typical / TRUST, typical * TRUST),
        (None, Some(stated_us)) => stated_us,
        (Some(_), _) | (None, None) => seen.service_us,
    };
    if warmth < 1_000 {
        service_us = service_us.max(typical * 1_000 / warmth);
    }
    let backlog_ms = inputs.claimed.and_then(|claimed| claimed.report.backlog_ms).unwrap_or(0);
    Sight {
        // Where places are known, a warm-up is fewer of them.
        weight: if places == 0 { weight * warmth / 1_000 } else { weight },
        places,
        load_milli: load_milli(inputs, fleet, setting, clamps),
        service_us: service_us.max(SERVICE_US_MIN),
        backlog_us: u64::from(backlog_ms) * 1_000 / places.max(1),
    }
}

/// How it stands, and by how much it is avoided, in thousandths.
fn standing(inputs: &Inputs, fleet: &Fleet, clamps: &mut Clamps) -> (Standing, u64) {
    if inputs.standing != Standing::Open || !pauses_soon(inputs, fleet) {
        return (inputs.standing, 1_000);
    }
    if fleet.pausing <= fleet.pausing_max {
        return (Standing::Pausing, 1_000);
    }
    clamps.add(Clamp::Pause);
    let (pausing, kept_to) = (u64::from(fleet.pausing), u64::from(fleet.pausing_max));
    (Standing::Open, 1_000 * pausing / (pausing - kept_to))
}

fn weight(inputs: &Inputs, clamps: &mut Clamps) -> u64 {
    let ordinary = u64::from(WEIGHT_PERMILLE);
    let raw = inputs.claimed.and_then(|it| it.report.weight_permille).map_or(ordinary, u64::from);
    let bounded = raw.clamp(ordinary / TRUST, ordinary * TRUST);
    if bounded != raw {
        clamps.add(Clamp::Weight);
    }
    bounded
}

/// The gateway counts its own, and takes from a report what others have. That figure is of a moment that is over: what
/// sets it apart from its peers by less than half, or by less than one request, is noise.
fn load_milli(inputs: &Inputs, fleet: &Fleet, setting: Setting, clamps: &mut Clamps) -> u64 {
    let own_milli = u64::from(inputs.own) * 1_000 + inputs.debt_milli;
    let Some((claimed, said_milli)) = inputs.claimed.and_then(|it| Some((it, it.others_milli?))) else {
        // Whoever says nothing is taken to be as its peers.
        return own_milli + if setting.balancers > 1 { fleet.others_milli } else { 0 };
    };
    if said_milli.saturating_add(1_000) < 0 && said_milli.unsigned_abs() * 2 > claimed.own_milli {
        clamps.add(Clamp::InFlight);
        return own_milli + if setting.balancers > 1 { fleet.others_milli } else { 0 };
    }
    let others_milli = claimed.others_milli().unwrap_or(0);
    if setting.balancers <= 1 {
        // One alone would take its own of a moment ago for somebody else's.
        return own_milli + others_milli.saturating_sub(claimed.own_milli + 1_000);
    }
    let is_noise = others_milli.abs_diff(fleet.others_milli) <= 1_000;
    own_milli + if is_noise { fleet.others_milli } else { level(others_milli, fleet.others_milli) }
}

#[cfg(test)]
mod tests;
