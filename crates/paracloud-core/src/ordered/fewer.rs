//! Who leaves, where an app is to have fewer instances: whom to ask what losing it costs, whom to ask after those that did not
//! say that they can go, and who leaves when nobody is asked any more.
//!
//! Who says nothing leaves only if everybody was asked and too few others can go, or after so many rounds that a person would
//! wait too long for another one.

use crate::ids::NodeId;
use crate::scaling::fewer::{self, Asked, Chosen, Loss};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// For each that is to leave so many are asked; in each further round so many times as many as in the one before it.
const ASKED_PER_LEAVE: usize = 3;
/// The most that are asked in a round, and to choose among where fewer are to leave.
const ASKED_MAX: usize = 32;
/// The most rounds: each takes as long as the slowest answer of those that are asked in it.
const ROUNDS_MAX: usize = 4;

/// What is lost with who does not serve.
pub(super) const NOTHING: Loss = Loss {
    sessions: Some(0),
    cost_ms: Some(0),
    preference: fewer::Preference::Unspecified,
    drain_ms: Some(0),
    state_kib: Some(0),
};

/// What stands in the way of asking an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Obstacle {
    /// It is being started.
    Starts,
    /// Nothing can be decided about it.
    Unknown,
    /// Another operation of it is open.
    InOperation,
    /// It asks to be left alone, for so many milliseconds.
    Held(u64),
}

/// One of those that may leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// Its name.
    pub instance: String,
    /// Where it is. `None`: nowhere yet.
    pub node: Option<NodeId>,
    /// Requests in it, by its own word.
    pub in_flight: Option<u32>,
    /// Sessions that live in it, by its last word or as gateways see them. What it says when it is asked goes before.
    #[serde(default)]
    pub sessions: Option<u32>,
    /// Its process does not serve: nothing is lost with it, and nobody is there who could say so.
    #[serde(default)]
    pub is_down: bool,
    /// Why it is not asked.
    pub obstacle: Option<Obstacle>,
}

/// Some that were asked together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Round {
    /// Who, by their places among the candidates.
    pub asked: Vec<usize>,
    /// What each of them said. `None`: nothing that can be compared.
    pub said: Vec<Option<Loss>>,
}

/// What is to be done by what is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// These are asked, by their places among the candidates.
    Ask(Vec<usize>),
    /// Nobody is asked any more, and this came of each that was, by its place among the candidates; those that leave first.
    Leave(Vec<(usize, Chosen)>),
}

/// Who leaves, where an app is to have fewer instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fewer {
    /// Its name.
    pub app: String,
    /// So many it has that stay.
    pub from: u32,
    /// So many it is to have.
    pub to: u32,
    /// All that may leave, those first that are taken where nothing else decides.
    pub candidates: Vec<Candidate>,
    /// What they hold may be lost: they hold nothing that counts, or somebody consented.
    pub may_lose: bool,
    /// Those that were asked what losing them costs, and what they said.
    pub rounds: Vec<Round>,
    /// What came of each that was asked, by its place among the candidates; those that leave first.
    pub chosen: Vec<(usize, Chosen)>,
}

impl Candidate {
    /// Its sessions, and what it has to do, as far as they decide whom to ask first.
    fn rank(&self) -> (u32, u32) {
        if self.is_down {
            (0, 0)
        } else {
            (self.sessions.unwrap_or(u32::MAX), self.in_flight.unwrap_or(u32::MAX))
        }
    }
}

impl Fewer {
    /// Of these so many are to leave. Nobody was asked yet.
    #[must_use]
    pub fn of(app: &str, from: u32, to: u32, candidates: Vec<Candidate>, may_lose: bool) -> Self {
        let (rounds, chosen) = (Vec::new(), Vec::new());
        Self { app: app.into(), from, to, candidates, may_lose, rounds, chosen }
    }

    /// Whom to ask, as long as too few of those that were can go and others were not: who has the fewest sessions first, then who
    /// has least to do; who says nothing of that is not idle. At least as many as are missing, because who is not asked does not leave. Otherwise who
    /// leaves.
    #[must_use]
    pub fn next(&self) -> Next {
        let can_go = |said: &Option<Loss>| said.is_some_and(|loss| fewer::can_go(&loss, self.may_lose));
        let willing = self.heard().filter(|(_, said)| can_go(said)).count();
        let missing = self.excess().saturating_sub(willing);
        let able =
            self.candidates.iter().enumerate().filter(|(place, it)| {
                it.obstacle.is_none() && self.heard().all(|(asked, _)| asked != *place)
            });
        let mut able: Vec<_> = able.map(|(place, it)| (it.rank(), place)).collect();
        able.sort_unstable();
        if missing == 0 || able.is_empty() || self.rounds.len() >= ROUNDS_MAX {
            return Next::Leave(self.choose());
        }
        let each =
            (0..self.rounds.len()).fold(ASKED_PER_LEAVE, |each, _| each.saturating_mul(ASKED_PER_LEAVE));
        let most = missing.saturating_mul(each).min(ASKED_MAX).max(missing);
        Next::Ask(able.into_iter().take(most).map(|(_, place)| place).collect())
    }

    /// These were asked, and each of them said that, in their order.
    #[must_use]
    pub fn with(mut self, asked: Vec<usize>, mut said: Vec<Option<Loss>>) -> Self {
        said.resize(asked.len(), None);
        self.rounds.push(Round { asked, said });
        self
    }

    /// Keeps who leaves; as long as others are to be asked, nobody does.
    #[must_use]
    pub fn decided(self) -> Self {
        let chosen = match self.next() {
            Next::Leave(chosen) => chosen,
            Next::Ask(_) => Vec::new(),
        };
        Self { chosen, ..self }
    }

    /// The same, made again from what is known of them and from what they said.
    pub(super) fn replay(self) -> Self {
        let Self { app, from, to, candidates, may_lose, rounds, .. } = self;
        let mut again = Self::of(&app, from, to, candidates, may_lose);
        for round in rounds {
            let Next::Ask(asked) = again.next() else { break };
            again = again.with(asked, round.said);
        }
        again.decided()
    }

    /// Those that were asked, by their places among the candidates, and what each said, in the order in which they were.
    fn heard(&self) -> impl Iterator<Item = (usize, Option<Loss>)> {
        self.rounds.iter().flat_map(|it| it.asked.iter().copied().zip(it.said.iter().copied()))
    }

    /// Chooses who leaves, by what those said that were asked.
    fn choose(&self) -> Vec<(usize, Chosen)> {
        let mut on = BTreeMap::new();
        for node in self.candidates.iter().filter_map(|it| it.node) {
            *on.entry(node).or_default() += 1;
        }
        let node = |place: usize| self.candidates.get(place).and_then(|it| it.node);
        // A person asks for a number, and not for one that would go.
        let loss = |place, said| self.loss(place, said);
        let asked = self.heard().map(|(place, said)| Asked {
            node: node(place),
            loss: loss(place, said),
            sessions: self.candidates.get(place).and_then(|it| it.sessions),
            retires: false,
        });
        let asked: Vec<_> = asked.collect();
        let chosen = fewer::choose(&asked, self.excess(), self.may_lose, on).into_iter();
        chosen.filter_map(|(at, chosen)| Some((self.heard().nth(at)?.0, chosen))).collect()
    }

    /// What is lost with one that said this: nothing, if it did not serve and so said nothing. Sessions that it does not say are
    /// those that are known.
    fn loss(&self, place: usize, said: Option<Loss>) -> Option<Loss> {
        let candidate = self.candidates.get(place);
        let known = candidate.and_then(|it| it.sessions);
        let said = said.map(|loss| Loss { sessions: loss.sessions.or(known), ..loss });
        said.or_else(|| candidate.filter(|it| it.is_down).map(|_| NOTHING))
    }

    /// So many are to leave.
    fn excess(&self) -> usize {
        usize::try_from(self.from.saturating_sub(self.to)).unwrap_or(usize::MAX)
    }

    /// What came of each that was asked, those that leave first: who it is, what is lost with it by its word, or nothing if it
    /// did not serve, and that.
    pub fn outcome(&self) -> impl Iterator<Item = (&Candidate, Option<Loss>, Chosen)> {
        self.chosen.iter().filter_map(|(place, chosen)| {
            let said = self.heard().find(|(asked, _)| asked == place).and_then(|(_, said)| said);
            Some((self.candidates.get(*place)?, self.loss(*place, said), *chosen))
        })
    }

    /// Whether one goes before another, which says the same, because fewer sessions are known to live in it: it was asked
    /// before, and is where no fewer are.
    #[must_use]
    pub fn is_by_known_sessions(&self, first: &Candidate, second: &Candidate) -> bool {
        let is_it = |(place, _): &&(usize, Chosen)| self.candidates.get(*place) != Some(first);
        let gone =
            || self.chosen.iter().take_while(is_it).filter_map(|(place, _)| self.candidates.get(*place));
        let on = |node: Option<NodeId>| {
            let there = self.candidates.iter().filter(|it| it.node == node).count();
            there.saturating_sub(gone().filter(|it| it.node == node).count())
        };
        on(first.node) == on(second.node) && first.rank().0 < second.rank().0
    }

    /// Those that were not asked, in their order.
    pub fn unasked(&self) -> impl Iterator<Item = &Candidate> {
        let all = self.candidates.iter().enumerate();
        all.filter(|(place, _)| self.heard().all(|(asked, _)| asked != *place))
            .map(|(_, candidate)| candidate)
    }

    /// Whether as many can go as are to leave, so that it needs nobody who was not asked.
    #[must_use]
    pub fn is_enough(&self) -> bool {
        self.chosen.iter().filter(|(_, chosen)| *chosen == Chosen::Goes).count() >= self.excess()
    }
}

#[cfg(test)]
mod tests;
