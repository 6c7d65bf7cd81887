//! The rules of the world: what must hold after every step, after every swap, and at rest.

use super::{Party, Violation, World};
use paci::participant::Phase;
use paracloud_core::ids::StartId;
use paracloud_core::migration::cause::Cause;
use paracloud_core::migration::gateway::Ticket;
use paracloud_core::register::{Change, Mode, MoveStep, Proposer, Record, Step};

impl World {
    pub(super) fn broken(&mut self, rule: &'static str, what: String) {
        self.violations.push(Violation { rule, what });
    }

    /// The rules of a swap, judged by who lives and by what is held when it reaches the disk.
    pub(super) fn check_swap(&mut self, before: &Record, change: &Change, proposer: Proposer) {
        let is_moving = matches!(
            before.step(),
            Some(Step::Sealing | Step::Switch | Step::Doomed | Step::Draining | Step::Leaving)
        );
        if proposer == Proposer::Agent && is_moving {
            self.broken(
                "I3",
                "an agent replaced an owner between sealing and served, or while it leaves".to_owned(),
            );
        }
        let commits = *change == Change::Commit;
        let by_restart = before.moving().is_some_and(|operation| operation.mode == Mode::Restart);
        let needs_death =
            matches!(change, Change::Restart { .. } | Change::Replace(_) | Change::Promote | Change::Gone)
                || (commits && by_restart);
        let old = before.owner.start;
        if needs_death && self.is_up(Party::App(old)) {
            let rule = if *change == Change::Promote { "I3" } else { "I1" };
            self.broken(rule, format!("{old} was replaced as owner and is not dead"));
        }
        if *change == Change::Promote && before.served.is_some() {
            self.broken("I3", format!("{old} has served and its source was promoted"));
        }
        if *change == Change::Depart {
            self.check_departure(before);
        }
        let owner = self.disk.owner.start;
        let committed =
            self.processes.get(&owner).and_then(|it| it.app.as_ref()).filter(|_| commits && !by_restart);
        if let Some(what) = committed.and_then(|app| self.ledger.check(&app.state)) {
            self.broken("I2", format!("{owner} owns by the commit, but {what}"));
        }
    }

    /// An instance that leaves alive, and has served, has nothing outstanding at any gateway, and its application said that
    /// it has nothing left.
    fn check_departure(&mut self, before: &Record) {
        let (victim, operation) = (before.owner.start, before.last_operation.0);
        let Some(app) = self.processes.get(&victim).and_then(|process| process.app.as_ref()) else { return };
        // What a person says of a node is taken for true.
        let is_given_up = self.lost.contains(&before.owner.node);
        if before.served.is_none() || is_given_up {
            return;
        }
        let has_more = app.is_aware() && *app.participant.phase() != Phase::Drained(operation);
        let machines = self.gateways.iter().filter_map(|(id, it)| Some((*id, it.machine.as_ref()?)));
        let sent = machines.filter(|(_, machine)| machine.outstanding_at(victim) > 0).map(|(id, _)| id);
        let sent: Vec<_> = sent.collect();
        if has_more {
            self.broken("I6", format!("{victim} leaves and has not said that it has nothing left"));
        }
        for id in sent {
            self.broken("I6", format!("{victim} leaves with requests of {id} outstanding"));
        }
    }

    /// Nothing that a client still waits for reaches an instance after it left.
    pub(super) fn check_request(&mut self, from: Party, start: StartId, ticket: Ticket) {
        let Party::Gateway(id) = from else { return };
        let is_waited_for = self.gateways.get(&id).is_some_and(|it| it.tickets.contains_key(&ticket));
        let has_left = self.disk.step() == Some(Step::Leaving) && self.disk.owner.start == start;
        if is_waited_for && has_left && self.disk.served.is_some() && self.is_up(Party::App(start)) {
            let given_up = self.lost.contains(&self.disk.owner.node);
            if !given_up {
                self.broken("I6", format!("{id} sent a request to {start}, which left"));
            }
        }
    }

    /// No copy is thrown away that may be the only one: a move by handoff that was sealed goes back only to a source that
    /// was seen alive, or that is not needed because the target has nothing.
    pub(super) fn check_copies(&mut self, before: &Record, change: &Change) {
        let Some(operation) = before.moving().filter(|it| it.mode == Mode::Handoff) else { return };
        let (source, target) = (operation.source.start, operation.target.start);
        // What a person says of a node is taken for true.
        let is_given_up = |start| self.node_of(start).is_some_and(|node| self.lost.contains(&node));
        if self.source_was_seen || is_given_up(source) || is_given_up(target) {
            return;
        }
        let late = matches!(change, Change::RollBack(Cause::Cancelled | Cause::Late(_)));
        let goes_back = match operation.step {
            MoveStep::Sealing => late,
            MoveStep::Switch => *change == Change::Doom,
            MoveStep::Open | MoveStep::Doomed | MoveStep::Retire | MoveStep::Undo => false,
        };
        if goes_back {
            self.broken("I2", format!("{change:?}: nobody has seen {source} alive"));
        }
        let drops = operation.step == MoveStep::Sealing
            && matches!(change, Change::RollBack(_) | Change::Restart { .. });
        let dead = self.processes.get(&source).filter(|process| process.app.is_none());
        let copy = self.processes.get(&target).and_then(|process| process.app.as_ref());
        if let (true, Some(dead), Some(copy)) = (drops, dead, copy)
            && matches!(copy.participant.phase(), Phase::Loaded(_, held, stated) if held == stated)
            && !dead.ended_early
            && dead.held.iter().all(|request| copy.state.contains_key(request))
        {
            let what = format!("{change:?} drops the whole state that {target} holds, and {source} is dead");
            self.broken("I2", what);
        }
    }

    /// The rules that must hold after every step.
    pub(super) fn check(&mut self) {
        let mut broken = Vec::new();
        let apps =
            || self.processes.iter().filter_map(|(start, process)| Some((*start, process.app.as_ref()?)));
        let mut open = apps().filter(|(_, app)| app.is_open());
        let first = open.next();
        let unserved = self.disk.moving().is_some_and(|operation| {
            operation.mode == Mode::Handoff && matches!(operation.step, MoveStep::Switch | MoveStep::Doomed)
        });
        if let (Some((start, _)), true) = (first, unserved) {
            broken
                .push(("I3", format!("{start} has its gate open after the commit and before it is served")));
        }
        if let (Some((first, _)), Some((second, _))) = (first, open.next()) {
            broken.push(("I1", format!("{first} and {second} both have their gate open")));
        }
        if let Some((start, app)) = first
            && let Some(what) = self.ledger.check(&app.state)
        {
            broken.push(("I2", format!("{start} serves, but {what}")));
        }
        for (start, app) in apps().filter(|(_, app)| !app.has_its_gate_as_told()) {
            let (gate, phase) = (if app.is_open() { "open" } else { "closed" }, app.participant.phase());
            broken.push(("G", format!("{start} has its gate {gate}, its machine says {phase:?}")));
        }
        broken.extend(self.other_revision().map(|what| ("R", what)));
        for (rule, what) in broken {
            self.broken(rule, what);
        }
    }

    /// Whether everything has come to rest as it should: no operation, one owner that serves and nothing else alive,
    /// gateways that know it, nobody waiting.
    ///
    /// # Errors
    /// What has not.
    pub fn converged(&self) -> Result<(), String> {
        if let Some(operation) = &self.disk.operation {
            return Err(format!("an operation is still open: {:?}", operation.step()));
        }
        if self.disk.served.is_none() && !self.disk.gone {
            return Err("the owner does not serve".to_owned());
        }
        let alive: Vec<_> = self
            .processes
            .iter()
            .filter(|(_, process)| process.app.is_some())
            .map(|(start, _)| *start)
            .collect();
        let owner = self.processes.get(&self.disk.owner.start).and_then(|process| process.app.as_ref());
        let phase = owner.map(|app| app.participant.phase());
        if let Some(Phase::Draining(_) | Phase::Drained(_)) = phase {
            return Err("the owner takes no work: it was drained, and not called back".to_owned());
        }
        let owners = if self.disk.gone { Vec::new() } else { vec![self.disk.owner.start] };
        if alive != owners {
            return Err(format!("alive are {alive:?}, the owner is {}", self.disk.owner.start));
        }
        for (id, gateway) in &self.gateways {
            let Some(machine) = &gateway.machine else { return Err(format!("{id} is down")) };
            if !self.disk.gone && machine.table().is_some_and(|table| table.drains) {
                return Err(format!("{id} still sends requests elsewhere"));
            }
            if machine.parked() + machine.outstanding() > 0 {
                return Err(format!("{id} still holds requests"));
            }
        }
        Ok(())
    }
}
