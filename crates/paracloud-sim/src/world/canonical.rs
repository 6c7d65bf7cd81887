//! Forms of a world that no later step can tell apart, made one, so that a search meets each once.

use super::{Process, World};
use crate::ledger::{RequestId, Standing};
use paracloud_core::ids::GatewayId;
use paracloud_core::register::Step;
use std::hash::{Hash, Hasher};

impl World {
    /// Lets a request that is over be sent again as a new one, when it can decide nothing any more. Only while no
    /// digest is made of what is held; `is_travelling` says whether a message still carries it.
    ///
    /// - Nobody was told that it was applied: nothing is owed. (One that may be sent again is kept.)
    /// - It is owed, and held and lost wherever `past` is: what breaks the promise of one breaks that of the other.
    /// - It is owed, and `past` died with its owner: it takes the place of `past`, for which nothing is owed any more.
    pub(crate) fn fold(
        &mut self,
        past: RequestId,
        keeps_unknown: bool,
        is_travelling: impl Fn(RequestId) -> bool,
    ) {
        if !matches!(self.disk.step(), None | Some(Step::Open)) {
            return;
        }
        let is_open = |id: RequestId| {
            is_travelling(id) || self.gateways.values().any(|it| it.tickets.values().any(|of| *of == id))
        };
        let over: Vec<_> = [Standing::Acknowledged, Standing::Refused, Standing::Unknown]
            .into_iter()
            .flat_map(|standing| self.ledger.standing(standing).map(move |request| (request, standing)))
            .filter(|(request, _)| *request != past && !is_open(*request))
            .collect();
        for (request, standing) in over {
            let is_held = |process: &Process, id| {
                process.held.contains(&id)
                    || process.app.as_ref().is_some_and(|app| app.state.contains_key(&id))
            };
            let is_like_the_past = || {
                self.processes.values().all(|it| is_held(it, request) == is_held(it, past))
                    && self.ledger.is_lost_alike(request, past)
            };
            let is_past_gone = || !self.processes.values().any(|it| is_held(it, past));
            match standing {
                Standing::Unknown if keeps_unknown => {}
                Standing::Unknown => self.drop_request(request),
                Standing::Refused if !self.processes.values().any(|it| is_held(it, request)) => {
                    self.drop_request(request);
                }
                Standing::Acknowledged if is_like_the_past() => self.drop_request(request),
                Standing::Acknowledged if is_past_gone() => self.take_for_the_past(request, past),
                Standing::Acknowledged | Standing::Refused | Standing::Unsent | Standing::Sent => {}
            }
        }
        if self.gateways.values().all(|gateway| gateway.tickets.is_empty()) {
            self.ledger.restart_tickets();
        }
    }

    fn drop_request(&mut self, request: RequestId) {
        for process in self.processes.values_mut() {
            process.held.remove(&request);
            if let Some(app) = &mut process.app {
                app.state.remove(&request);
            }
        }
        self.ledger.forget(request);
    }

    fn take_for_the_past(&mut self, request: RequestId, past: RequestId) {
        for process in self.processes.values_mut() {
            if process.held.remove(&request) {
                process.held.insert(past);
            }
            if let Some(app) = &mut process.app
                && let Some(times) = app.state.remove(&request)
            {
                app.state.insert(past, times);
            }
        }
        self.ledger.rename(request, past);
    }

    /// Feeds a hasher what a gateway is, but for its number.
    pub(crate) fn hash_gateway<H: Hasher>(&self, id: GatewayId, hasher: &mut H) {
        self.gateways.get(&id).hash(hasher);
    }

    /// The same world with two gateways' numbers exchanged.
    #[must_use]
    pub(crate) fn exchanged(&self, exchange: impl Fn(GatewayId) -> GatewayId + Copy) -> Self {
        let mut world = self.clone();
        world.gateways = world.gateways.into_iter().map(|(id, gateway)| (exchange(id), gateway)).collect();
        if let Some(coordinator) = &mut world.coordinator {
            coordinator.rename_gateways(exchange);
        }
        world
    }
}
