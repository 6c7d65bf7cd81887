//! A node that a person gives up, and that comes back.

use super::{Party, Setting, World};
use paci::participant;
use paracloud_core::ids::{NodeId, StartId};
use paracloud_core::migration::coordinator::{self, Doubt, Found, Nodes};

impl World {
    /// How far the application of a process is, if it lives.
    pub fn phase_of(&self, start: StartId) -> Option<&participant::Phase> {
        Some(self.processes.get(&start)?.app.as_ref()?.participant.phase())
    }

    /// The controller hears that a node is lost: whoever the record names there counts as dead.
    pub(super) fn give_up(&mut self, setting: &Setting, node: NodeId) {
        if self.coordinator.is_none() || self.is_up(Party::Agent(node)) {
            return;
        }
        self.lost.insert(node);
        self.tell_of_nodes(setting);
    }

    /// An agent is back, and says what lives on its node.
    pub(super) fn find(&mut self, setting: &Setting, node: NodeId, alive: &[StartId]) {
        if self.coordinator.is_none() {
            return;
        }
        // Another node may be what a given up instance waits for.
        if self.lost.remove(&node) || !self.lost.is_empty() {
            self.tell_of_nodes(setting);
        }
        for start in alive.iter().copied() {
            let is_sealed = matches!(self.phase_of(start), Some(participant::Phase::Sealed(..)));
            let doubt = is_sealed.then_some(Doubt::Sealed);
            self.coordinate(setting, coordinator::Input::Found(Found { node, start, doubt }));
        }
    }

    fn tell_of_nodes(&mut self, setting: &Setting) {
        let is_up = |node: &NodeId| self.agents.get(node).is_some_and(|agent| agent.machine.is_some());
        let connected = self.agents.keys().copied().filter(is_up).collect();
        let nodes = Nodes { lost: self.lost.clone(), connected };
        self.coordinate(setting, coordinator::Input::Nodes(nodes));
    }
}
