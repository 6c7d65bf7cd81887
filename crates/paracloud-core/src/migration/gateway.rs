//! A gateway's part: where the requests of one instance go, and which of them wait.
//!
//! Safety does not rest here: a gateway may be stale, cut off or dead, and the source's refusal still holds. What
//! rests here is that clients do not notice: requests are *parked* (held unread) while nobody may serve them, a
//! request that was refused untouched is parked and sent again, and none is parked longer than its bound.

mod words;

pub use words::{Answer, Effect, Failure, Input, Route, Setting, Table, Ticket, Timer};

use super::message::{FromGateway, ToGateway};
use crate::ids::StartId;
use crate::register::RecordOrder;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};
/// A request that waits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Parked {
    /// The route that refused it, if one did.
    refused_by: Option<Route>,
    /// Its session lives at this instance.
    belongs: bool,
}

/// A request that was sent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Outstanding {
    route: Route,
    /// It had its one attempt at the bound.
    last_attempt: bool,
    /// It waited before.
    waited: bool,
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Gateway {
    table: Option<Table>,
    /// The last route it was ever given.
    last_route: Option<Route>,
    parked: BTreeMap<Ticket, Parked>,
    outstanding: BTreeMap<Ticket, Outstanding>,
    /// The coordinator waits to hear that nothing is outstanding.
    owes_answer: bool,
    /// Nothing but outstanding requests is left at an instance that leaves, by the table with this order.
    emptied: Option<RecordOrder>,
    /// It began while the instance was leaving by this table: whoever was here before may have said that nothing is left.
    may_have_said: Option<RecordOrder>,
    /// The coordinator waits to hear that nothing at all is.
    owes_drained: bool,
    /// The route that has had its soon second try: a new owner may not have heard yet that it serves.
    tried_soon: Option<Route>,
}

impl Gateway {
    /// Requests that wait.
    pub fn parked(&self) -> usize {
        self.parked.len()
    }

    /// Requests that were sent and not answered. Public for the simulation and the model, in which none may be left
    /// at rest.
    pub fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    /// Requests that were sent to a process and not answered. For the simulation and the model, in which an instance that
    /// leaves has none.
    pub fn outstanding_at(&self, start: StartId) -> usize {
        self.outstanding.values().filter(|sent| sent.route.start == start).count()
    }

    /// The table in force.
    pub fn table(&self) -> Option<&Table> {
        self.table.as_ref()
    }

    /// Takes one input in.
    pub fn step(&mut self, setting: &Setting, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Started => self.ask(setting, effects),
            Input::Arrived(ticket) => self.arrived(setting, ticket, false, effects),
            Input::Belongs(ticket) => self.belongs(setting, ticket, effects),
            Input::Emptied(order) => {
                if self.table.as_ref().is_some_and(|table| table.drains && table.order == order) {
                    self.emptied = Some(order);
                    self.answer_if_quiet(effects);
                }
            }
            Input::Answered(ticket, answer) => self.answered(setting, ticket, answer, effects),
            Input::Left(ticket) => self.left(ticket, effects),
            Input::Coordinator(ToGateway::Table(table)) => self.table_came(setting, table, effects),
            Input::Coordinator(ToGateway::Leave { order }) => effects.push(Effect::Leave(order)),
            Input::Drained(order) => effects.push(Effect::Coordinator(FromGateway::Drained { order })),
            Input::Timer(Timer::Bound(ticket)) => self.bound(ticket, effects),
            Input::Timer(Timer::Ask) => {
                if self.wants_table() {
                    self.ask(setting, effects);
                    self.say_wanted(effects);
                    self.try_again(effects);
                }
            }
        }
    }

    /// Whether it has reason to ask for a newer table, again and again until one comes. Public for the model, which
    /// drops timers that would find nothing to do.
    pub fn wants_table(&self) -> bool {
        // Who leaves may be called back, and who left may be started anew: no request waits for that, nor brings it to light.
        self.table.is_none() || !self.parked.is_empty() || self.drains()
    }

    #[expect(clippy::unused_self, reason = "a gateway asks for itself")]
    fn ask(&self, setting: &Setting, effects: &mut Vec<Effect>) {
        effects.push(Effect::Coordinator(FromGateway::Ask));
        effects.push(Effect::SetTimer(Timer::Ask, setting.ask_ms));
    }

    /// The route that may be used now.
    fn open_route(&self) -> Option<Route> {
        self.table.as_ref().filter(|table| table.is_open()).and_then(|table| table.route)
    }

    /// Where requests of sessions go while the instance leaves.
    fn draining_route(&self) -> Option<Route> {
        let table = self.table.as_ref().filter(|table| table.drains)?;
        let said = [self.emptied, self.may_have_said].contains(&Some(table.order));
        table.route.filter(|_| !said)
    }

    /// A request of a session that lives here. That none is left was said for good: only a newer table takes it back, and
    /// that does not come any more where the instance's end was decided first.
    fn belongs(&mut self, setting: &Setting, ticket: Ticket, effects: &mut Vec<Effect>) {
        let is_leaving = self.table.as_ref().is_some_and(|table| table.drains && table.route.is_some());
        if self.owes_drained
            && let Some(order) = self.emptied.take()
        {
            // It was not said yet.
            effects.push(Effect::Drain(order));
        }
        match self.draining_route() {
            Some(route) => self.forward(ticket, route, false, false, effects),
            None if is_leaving && self.parked.len() < setting.parked_max as usize => {
                let is_first = self.parked.is_empty();
                self.park(setting, ticket, Parked { refused_by: None, belongs: true }, false, effects);
                if is_first {
                    self.say_wanted(effects);
                }
            }
            None if is_leaving => effects.push(Effect::Fail(ticket, Failure::Full)),
            None => self.arrived(setting, ticket, true, effects),
        }
    }

    /// Those that wait while an instance leaves are of sessions that live there.
    fn say_wanted(&self, effects: &mut Vec<Effect>) {
        if let Some(table) = self.table.as_ref().filter(|table| table.drains && !self.parked.is_empty()) {
            effects.push(Effect::Coordinator(FromGateway::Wanted { order: table.order }));
        }
    }

    /// Whether a request is to go to another instance.
    fn drains(&self) -> bool {
        self.table.as_ref().is_some_and(|table| table.drains)
    }

    fn arrived(&mut self, setting: &Setting, ticket: Ticket, belongs: bool, effects: &mut Vec<Effect>) {
        match self.open_route() {
            Some(route) => self.forward(ticket, route, false, false, effects),
            None if self.drains() => effects.push(Effect::Elsewhere(ticket)),
            None if self.parked.len() >= setting.parked_max as usize => {
                effects.push(Effect::Fail(ticket, Failure::Full));
            }
            None => self.park(setting, ticket, Parked { refused_by: None, belongs }, false, effects),
        }
    }

    /// A request's bound runs from its first wait: it is not armed again when the request has to wait once more.
    fn park(
        &mut self,
        setting: &Setting,
        ticket: Ticket,
        parked: Parked,
        waited: bool,
        effects: &mut Vec<Effect>,
    ) {
        let refused_by = parked.refused_by;
        // Whoever was refused by the newest route there is asks at once, but one question is enough.
        let news = refused_by.is_some_and(|route| {
            self.open_route() == Some(route) && !self.parked.values().any(|it| it.refused_by == refused_by)
        });
        if news {
            effects.push(Effect::Coordinator(FromGateway::Ask));
            let soon = self.tried_soon != refused_by;
            self.tried_soon = refused_by;
            let after_ms = if soon { setting.soon_ms } else { setting.ask_ms };
            effects.push(Effect::SetTimer(Timer::Ask, after_ms));
        } else if self.parked.is_empty() {
            effects.push(Effect::SetTimer(Timer::Ask, setting.ask_ms));
        }
        self.parked.insert(ticket, parked);
        if !waited {
            effects.push(Effect::Parked(ticket));
            effects.push(Effect::SetTimer(Timer::Bound(ticket), setting.parked_ms_max));
        }
    }

    fn forward(
        &mut self,
        ticket: Ticket,
        route: Route,
        last_attempt: bool,
        waited: bool,
        effects: &mut Vec<Effect>,
    ) {
        self.outstanding.insert(ticket, Outstanding { route, last_attempt, waited });
        effects.push(Effect::Forward(ticket, route));
    }

    fn answered(&mut self, setting: &Setting, ticket: Ticket, answer: Answer, effects: &mut Vec<Effect>) {
        let Some(sent) = self.outstanding.remove(&ticket) else { return };
        let failure = match answer {
            Answer::Replied => None,
            Answer::Lost => Some(Failure::Unknown),
            Answer::Spent => Some(Failure::NotApplied),
            Answer::NotApplied if self.drains() && !sent.last_attempt => {
                if sent.waited {
                    effects.push(Effect::CancelTimer(Timer::Bound(ticket)));
                }
                effects.push(Effect::Elsewhere(ticket));
                return self.answer_if_quiet(effects);
            }
            Answer::NotApplied if sent.last_attempt || self.parked.len() >= setting.parked_max as usize => {
                Some(Failure::NotApplied)
            }
            Answer::NotApplied => {
                match self.open_route() {
                    // The route has changed meanwhile.
                    Some(route) if route != sent.route => {
                        self.forward(ticket, route, false, sent.waited, effects);
                    }
                    Some(_) | None => {
                        let parked = Parked { refused_by: Some(sent.route), belongs: false };
                        self.park(setting, ticket, parked, sent.waited, effects);
                    }
                }
                return self.answer_if_quiet(effects);
            }
        };
        if sent.waited {
            effects.push(Effect::CancelTimer(Timer::Bound(ticket)));
        }
        effects.extend(failure.map(|failure| Effect::Fail(ticket, failure)));
        self.answer_if_quiet(effects);
    }

    fn left(&mut self, ticket: Ticket, effects: &mut Vec<Effect>) {
        let parked = self.parked.remove(&ticket).is_some();
        let waited = self.outstanding.remove(&ticket).is_some_and(|sent| sent.waited);
        if parked || waited {
            effects.push(Effect::CancelTimer(Timer::Bound(ticket)));
        }
        self.answer_if_quiet(effects);
    }

    fn table_came(&mut self, setting: &Setting, table: Table, effects: &mut Vec<Effect>) {
        match &self.table {
            Some(known) if *known == table => {}
            // A late one.
            Some(known) if !table.is_newer_than(known) => return,
            Some(_) | None => {
                self.last_route = table.route.or(self.last_route);
                if table.drains {
                    effects.push(Effect::SetTimer(Timer::Ask, setting.ask_ms));
                    self.may_have_said = self.table.is_none().then_some(table.order);
                }
                self.table = Some(table);
            }
        }
        self.owes_answer = true;
        if let Some(table) = self.table.as_ref().filter(|table| table.drains) {
            // Nothing can be outstanding at who has left that is still worth waiting for.
            if table.route.is_some() {
                self.owes_drained = true;
                effects.push(Effect::Drain(table.order));
            }
            self.hand_on(effects);
        } else {
            self.owes_drained = false;
            self.emptied = None;
        }
        if let Some(route) = self.open_route() {
            let waiting: Vec<_> = self
                .parked
                .iter()
                .filter(|(_, parked)| parked.refused_by != Some(route))
                .map(|(ticket, _)| *ticket)
                .collect();
            for ticket in waiting {
                self.parked.remove(&ticket);
                self.forward(ticket, route, false, true, effects);
            }
        }
        self.answer_if_quiet(effects);
    }

    /// The instance leaves: what waits goes elsewhere, and what belongs there goes there, or waits on until that may be.
    fn hand_on(&mut self, effects: &mut Vec<Effect>) {
        let waits_on = self.table.as_ref().is_some_and(|table| table.route.is_some());
        let route = self.draining_route();
        for (ticket, parked) in core::mem::take(&mut self.parked) {
            match route {
                Some(route) if parked.belongs => self.forward(ticket, route, false, true, effects),
                None if parked.belongs && waits_on => drop(self.parked.insert(ticket, parked)),
                Some(_) | None => {
                    effects.push(Effect::CancelTimer(Timer::Bound(ticket)));
                    effects.push(Effect::Elsewhere(ticket));
                }
            }
        }
    }

    /// A route that refused and is in force all the same takes requests soon, or the register gets another one: no newer
    /// table need come, so the requests do not wait for one.
    fn try_again(&mut self, effects: &mut Vec<Effect>) {
        let Some(route) = self.open_route() else { return };
        for ticket in core::mem::take(&mut self.parked).into_keys() {
            self.forward(ticket, route, false, true, effects);
        }
    }

    /// The bound: one attempt on the last known route, and whoever is there decides.
    fn bound(&mut self, ticket: Ticket, effects: &mut Vec<Effect>) {
        if let Some(sent) = self.outstanding.get_mut(&ticket) {
            // It is on its way: that attempt is its last.
            sent.last_attempt = true;
            return self.answer_if_quiet(effects);
        }
        if self.parked.remove(&ticket).is_none() {
            return;
        }
        match self.open_route().or(self.last_route) {
            // It was said that nothing is sent there any more.
            Some(_) | None if self.drains() => effects.push(Effect::Elsewhere(ticket)),
            Some(route) => self.forward(ticket, route, true, true, effects),
            None => effects.push(Effect::Fail(ticket, Failure::NotApplied)),
        }
    }

    fn answer_if_quiet(&mut self, effects: &mut Vec<Effect>) {
        let Some(table) = &self.table else { return };
        let quiet = !table.parks || self.outstanding.values().all(|sent| sent.last_attempt);
        if self.owes_answer && quiet {
            self.owes_answer = false;
            let (order, parks) = (table.order, !table.is_open());
            effects.push(Effect::Coordinator(FromGateway::Obeyed { order, parks }));
        }
        let empty = self.emptied == Some(table.order) && self.outstanding.is_empty();
        if self.owes_drained && empty {
            self.owes_drained = false;
            effects.push(Effect::Coordinator(FromGateway::Drained { order: table.order }));
        }
    }
}

#[cfg(test)]
mod tests;
