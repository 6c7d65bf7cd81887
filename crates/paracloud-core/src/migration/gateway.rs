//! A gateway's part: where the requests of one instance go, and which of them wait.
//!
//! Safety does not rest here: a gateway may be stale, cut off or dead, and the source's refusal still holds. What
//! rests here is that clients do not notice: requests are *parked* (held unread) while nobody may serve them, a
//! request that was refused untouched is parked and sent again, and none is parked longer than its bound.

use super::message::{FromGateway, ToGateway};
use crate::ids::{Incarnation, StartId};
use crate::register::{Record, RecordOrder, Step};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::SocketAddr;
use serde::{Deserialize, Serialize};

/// Where requests go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Route {
    /// The owner's incarnation.
    pub incarnation: Incarnation,
    /// The owner's process: an address belongs to one.
    pub start: StartId,
    /// Where it listens.
    pub address: SocketAddr,
}

/// What a coordinator tells a gateway.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Table {
    /// Of the record it was made from.
    pub order: RecordOrder,
    /// Start nothing new; wait for what is outstanding.
    pub parks: bool,
    /// The instance leaves, or has left: start nothing new that could go to another one.
    pub drains: bool,
    /// Where requests go, if anybody serves.
    pub route: Option<Route>,
}

impl Table {
    /// The table that follows from a record. With `waits`, the owner has not heard yet that it may serve.
    pub fn of(record: &Record, waits: bool) -> Self {
        let left = record.gone || record.step() == Some(Step::Leaving);
        let drains = left
            || match record.step() {
                Some(Step::Draining) => true,
                Some(Step::Returning) => waits,
                _ => false,
            };
        let route = record.served.filter(|_| !left).map(|address| Route {
            incarnation: record.incarnation,
            start: record.owner.start,
            address,
        });
        let moving = matches!(record.step(), Some(Step::Sealing | Step::Switch | Step::Doomed));
        let parks = !drains && (moving || waits || route.is_none());
        Self { order: record.order(), parks, drains, route }
    }

    /// Whether new requests go to the instance.
    pub fn is_open(&self) -> bool {
        !self.parks && !self.drains
    }

    /// Of one record, the table by which nothing is started comes first.
    pub fn is_newer_than(&self, other: &Self) -> bool {
        (self.order, self.is_open()) > (other.order, other.is_open())
    }
}

/// One request at a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ticket(pub u32);

/// What a gateway's machine is set to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Setting {
    /// Longest wait of one request, in milliseconds.
    pub parked_ms_max: u32,
    /// Requests waiting at once; one more is answered 503.
    pub parked_max: u32,
    /// While requests wait, ask for a newer table, and try the route in force again with those that it refused, this
    /// often, in milliseconds.
    pub ask_ms: u32,
    /// A route in force that refuses is tried again this soon the first time, in milliseconds; then every `ask_ms`.
    pub soon_ms: u32,
}

/// A gateway's timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    /// This request has waited as long as it may.
    Bound(Ticket),
    /// Ask for a newer table, and try the route in force again.
    Ask,
}

/// How an attempt to forward a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Answer {
    /// The application answered; its answer was passed on.
    Replied,
    /// Proved not applied: refused by a guard (421 with `Paci-Not-Applied`), or no byte could be sent.
    NotApplied,
    /// Refused, but the request can not be sent again: its body is no longer all here.
    Spent,
    /// A byte was sent and no answer came.
    Lost,
}

/// What a gateway answers by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Failure {
    /// 503, `outcome: not_applied`: nobody could serve it within the bound.
    NotApplied,
    /// 502, `outcome: unknown`: no answer came.
    Unknown,
    /// 503: too many requests wait already.
    Full,
}

/// What happens to a gateway.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Input {
    /// It starts, knowing nothing.
    Started,
    /// A request came.
    Arrived(Ticket),
    /// A request came of a session that lives at this instance: it goes there as long as the instance may still return.
    /// Once it was said that none is left there, it waits until that is taken back.
    Belongs(Ticket),
    /// The answer to [`Effect::Drain`]: no session lives at the instance any more, and no upload and no stream.
    Emptied(RecordOrder),
    /// An attempt ended.
    Answered(Ticket, Answer),
    /// The client went away.
    Left(Ticket),
    /// The coordinator speaks.
    Coordinator(ToGateway),
    /// The answer to [`Effect::Leave`]: no upload and no streaming reply is left.
    Drained(RecordOrder),
    /// A timer fired.
    Timer(Timer),
}

/// What a gateway wants done, in this order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Effect {
    /// Send the request there; answer with [`Input::Answered`].
    Forward(Ticket, Route),
    /// Answer the client.
    Fail(Ticket, Failure),
    /// Tell the coordinator.
    Coordinator(FromGateway),
    /// Arm a timer.
    SetTimer(Timer, u32),
    /// Disarm a timer.
    CancelTimer(Timer),
    /// Tell uploads and streaming replies to end; answer with [`Input::Drained`] when none is left. Those that are still
    /// there when a table parks are cut.
    Leave(RecordOrder),
    /// The instance leaves: whatever lives there beyond single requests is to end in its own time; answer with
    /// [`Input::Emptied`] when nothing does, as often as this is asked.
    Drain(RecordOrder),
    /// The instance leaves or has left: the request is to go to another one. Not a byte of it has been applied.
    Elsewhere(Ticket),
    /// The request waits from now on (for the log of parked times).
    Parked(Ticket),
}

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
mod tests {
    use super::*;
    use crate::ids::{NodeId, Placement};
    use crate::migration::cause::Cause;
    use crate::register::{Change, Mode, Proposer};

    const SETTING: Setting = Setting { parked_ms_max: 1_000, parked_max: 8, ask_ms: 100, soon_ms: 10 };

    /// An owner that serves, and the same under a move.
    fn records() -> (Record, Record) {
        let apply = |record: &Record, change| record.apply(&change, Proposer::Coordinator).unwrap();
        let first = Record::first(Placement::new(NodeId(1), StartId(1)));
        let served = apply(&first, Change::Serve(([127, 0, 0, 1], 80).into()));
        let target = Placement::new(NodeId(2), StartId(2));
        let sealing = apply(&apply(&served, Change::Open { mode: Mode::Handoff, target }), Change::Seal);
        (served, sealing)
    }

    fn told(gateway: &mut Gateway, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        gateway.step(&SETTING, input, &mut effects);
        effects
    }

    fn table(record: &Record) -> Input {
        Input::Coordinator(ToGateway::Table(Table::of(record, false)))
    }

    #[test]
    fn an_older_table_is_not_taken_up() {
        let (served, sealing) = records();
        let mut gateway = Gateway::default();
        told(&mut gateway, table(&sealing));
        assert!(told(&mut gateway, table(&served)).is_empty());
        assert!(gateway.table().is_some_and(|table| table.parks && table.order == sealing.order()));
    }

    #[test]
    fn a_request_that_the_route_in_force_refused_is_tried_again_after_a_pause_until_its_bound() {
        let (served, _) = records();
        let mut gateway = Gateway::default();
        told(&mut gateway, table(&served));
        let ticket = Ticket(1);
        let forwarded = |effects: &[Effect]| {
            effects.iter().filter(|effect| matches!(effect, Effect::Forward(of, _) if *of == ticket)).count()
        };
        assert_eq!(forwarded(&told(&mut gateway, Input::Arrived(ticket))), 1);
        for after_ms in [SETTING.soon_ms, SETTING.ask_ms, SETTING.ask_ms] {
            let refused = told(&mut gateway, Input::Answered(ticket, Answer::NotApplied));
            assert_eq!(forwarded(&refused), 0, "not at once: {refused:?}");
            assert!(refused.contains(&Effect::SetTimer(Timer::Ask, after_ms)), "{refused:?}");
            // The coordinator has nothing newer.
            assert_eq!(forwarded(&told(&mut gateway, table(&served))), 0);
            assert_eq!(forwarded(&told(&mut gateway, Input::Timer(Timer::Ask))), 1);
        }
        // The bound runs from the first wait, whatever is tried meanwhile.
        told(&mut gateway, Input::Timer(Timer::Bound(ticket)));
        let last = told(&mut gateway, Input::Answered(ticket, Answer::NotApplied));
        assert!(last.contains(&Effect::Fail(ticket, Failure::NotApplied)), "{last:?}");
        assert_eq!((gateway.parked(), gateway.outstanding()), (0, 0));
    }

    #[test]
    fn of_who_leaves_sessions_are_served_on_and_everything_else_goes_elsewhere_until_nothing_is_left() {
        let (served, _) = records();
        let draining = served.apply(&Change::Leave, Proposer::Coordinator).unwrap();
        let mut gateway = Gateway::default();
        told(&mut gateway, table(&served));
        told(&mut gateway, Input::Arrived(Ticket(1)));
        let obeyed = FromGateway::Obeyed { order: draining.order(), parks: true };
        let heard = told(&mut gateway, table(&draining));
        assert!(heard.contains(&Effect::Drain(draining.order())), "{heard:?}");
        assert!(heard.contains(&Effect::Coordinator(obeyed)), "at once: {heard:?}");
        assert_eq!(told(&mut gateway, Input::Arrived(Ticket(2))), [Effect::Elsewhere(Ticket(2))]);
        let belongs = told(&mut gateway, Input::Belongs(Ticket(3)));
        assert!(matches!(belongs.as_slice(), [Effect::Forward(Ticket(3), _)]), "{belongs:?}");
        assert_eq!(told(&mut gateway, Input::Emptied(draining.order())), [], "two are outstanding");
        assert_eq!(told(&mut gateway, Input::Answered(Ticket(1), Answer::Replied)), []);
        let refused = told(&mut gateway, Input::Answered(Ticket(3), Answer::NotApplied));
        let drained = Effect::Coordinator(FromGateway::Drained { order: draining.order() });
        assert_eq!(refused, [Effect::Elsewhere(Ticket(3)), drained]);
        let back = draining.apply(&Change::Return(Cause::Cancelled), Proposer::Coordinator).unwrap();
        told(&mut gateway, table(&back));
        let sent = told(&mut gateway, Input::Arrived(Ticket(5)));
        assert!(matches!(sent.as_slice(), [Effect::Forward(Ticket(5), _)]), "it serves again: {sent:?}");
    }

    #[test]
    fn a_session_that_comes_after_it_was_said_that_none_is_left_is_served_when_that_is_taken_back() {
        let (served, _) = records();
        let apply = |record: &Record, change| record.apply(&change, Proposer::Coordinator).unwrap();
        let draining = apply(&served, Change::Leave);
        let mut gateway = Gateway::default();
        told(&mut gateway, table(&served));
        told(&mut gateway, table(&draining));
        let drained = |record: &Record| Effect::Coordinator(FromGateway::Drained { order: record.order() });
        assert_eq!(told(&mut gateway, Input::Emptied(draining.order())), [drained(&draining)]);
        let wanted = Effect::Coordinator(FromGateway::Wanted { order: draining.order() });
        for ticket in [Ticket(1), Ticket(2)] {
            let waits = told(&mut gateway, Input::Belongs(ticket));
            assert!(waits.contains(&Effect::Parked(ticket)), "{waits:?}");
            assert_eq!(waits.contains(&wanted), ticket == Ticket(1), "{waits:?}");
        }
        assert!(told(&mut gateway, Input::Timer(Timer::Ask)).contains(&wanted), "it may have been lost");
        assert!(!told(&mut gateway, table(&draining)).contains(&Effect::Elsewhere(Ticket(1))), "nothing new");
        // Its bound ends the wait: nothing is sent there by a table by which that was excluded.
        assert_eq!(told(&mut gateway, Input::Timer(Timer::Bound(Ticket(2)))), [Effect::Elsewhere(Ticket(2))]);
        let again = apply(&draining, Change::DrainAgain);
        let heard = told(&mut gateway, table(&again));
        assert!(matches!(heard.as_slice(), [.., Effect::Forward(Ticket(1), _), _]), "{heard:?}");
        assert_eq!(told(&mut gateway, Input::Emptied(again.order())), [], "it is outstanding");
        // Who comes before it was said takes it back alone.
        let more = told(&mut gateway, Input::Belongs(Ticket(3)));
        assert!(matches!(more.as_slice(), [Effect::Drain(_), Effect::Forward(Ticket(3), _)]), "{more:?}");
        told(&mut gateway, Input::Answered(Ticket(1), Answer::Replied));
        assert_eq!(told(&mut gateway, Input::Answered(Ticket(3), Answer::Replied)), []);
        assert_eq!(told(&mut gateway, Input::Emptied(again.order())), [drained(&again)]);
        // Where its end was decided first, it finds its session elsewhere, or begins a new one.
        told(&mut gateway, Input::Belongs(Ticket(4)));
        let left = told(&mut gateway, table(&apply(&again, Change::Depart)));
        assert!(left.contains(&Effect::Elsewhere(Ticket(4))), "{left:?}");
        assert_eq!(told(&mut gateway, Input::Belongs(Ticket(5))), [Effect::Elsewhere(Ticket(5))]);
    }

    #[test]
    fn a_gateway_that_begins_while_an_instance_leaves_sends_nothing_there_that_an_earlier_life_excluded() {
        let (served, _) = records();
        let apply = |record: &Record, change| record.apply(&change, Proposer::Coordinator).unwrap();
        let draining = apply(&served, Change::Leave);
        let mut gateway = Gateway::default();
        told(&mut gateway, Input::Started);
        told(&mut gateway, table(&draining));
        let waits = told(&mut gateway, Input::Belongs(Ticket(1)));
        let wanted = Effect::Coordinator(FromGateway::Wanted { order: draining.order() });
        assert!(waits.contains(&wanted) && waits.contains(&Effect::Parked(Ticket(1))), "{waits:?}");
        let heard = told(&mut gateway, table(&apply(&draining, Change::DrainAgain)));
        assert!(heard.iter().any(|effect| matches!(effect, Effect::Forward(Ticket(1), _))), "{heard:?}");
    }

    #[test]
    fn what_waits_for_an_instance_that_has_left_is_handed_back() {
        let (served, sealing) = records();
        let mut gateway = Gateway::default();
        told(&mut gateway, table(&sealing));
        told(&mut gateway, Input::Arrived(Ticket(1)));
        let changes = [Change::RollBack(Cause::Cancelled), Change::Close, Change::Leave, Change::Depart];
        let apply = |record: Record, change: &Change| record.apply(change, Proposer::Coordinator).unwrap();
        let left = changes.iter().chain([&Change::Gone]).fold(sealing, apply);
        assert!(left.gone && served.order() < left.order());
        let heard = told(&mut gateway, table(&left));
        assert!(heard.contains(&Effect::Elsewhere(Ticket(1))), "{heard:?}");
        assert_eq!(
            (gateway.parked(), told(&mut gateway, Input::Arrived(Ticket(2)))),
            (0, [Effect::Elsewhere(Ticket(2))].into())
        );
    }

    #[test]
    fn a_park_is_answered_when_nothing_is_outstanding() {
        let (served, sealing) = records();
        let mut gateway = Gateway::default();
        told(&mut gateway, table(&served));
        let sent = told(&mut gateway, Input::Arrived(Ticket(1)));
        assert!(matches!(sent.as_slice(), [Effect::Forward(Ticket(1), _)]), "{sent:?}");
        assert!(told(&mut gateway, table(&sealing)).is_empty());
        let obeyed = FromGateway::Obeyed { order: sealing.order(), parks: true };
        let answered = told(&mut gateway, Input::Answered(Ticket(1), Answer::Replied));
        assert_eq!(answered, [Effect::Coordinator(obeyed)]);
    }
}
