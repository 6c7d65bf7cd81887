//! What an instance does before it has a record to act by, and when what nodes know is newer.

use super::{Gathering, Instance, NO_SPACE_RETRY_MS};
use crate::journal;
use crate::operations::Tracker;
use crate::recovery::{self, Verdict};
use crate::register::{Gone, swapped};
use crate::store::Swap;
use paracloud_core::ids::{NodeId, Placement, Revision};
use paracloud_core::migration::coordinator::{Input, Nodes};
use paracloud_core::migration::message::FromAgent;
use paracloud_core::register::Record;
use paracloud_substrate::fresh_start_id;
use paracloud_substrate::message::Known;
use paracloud_substrate::person::What;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the journal calls the record of one that nobody knew.
const FIRST: &str = "first";

impl Instance {
    /// Goes on from a record that is in the register.
    pub(super) async fn recover(&mut self, record: Record) -> Result<(), Gone> {
        if record.operation.is_some() {
            self.tracker = Some(Tracker::recovered(record.last_operation, self.history.open.take()));
            if let Err(full) = self.control.register.reserve(&self.app.name).await? {
                tracing::warn!(instance = self.app.name, %full, "no room is reserved for the open operation");
            }
        }
        self.take(Input::Recovered(record)).await?;
        Ok(())
    }

    /// An agent connected.
    pub(super) async fn learn(&mut self, node: NodeId, known: Known) -> Result<(), Gone> {
        if let Some(gathering) = &mut self.gathering {
            gathering.known.insert(node, known);
            return self.judge().await;
        }
        let Some(own) = self.machine.machine().record() else { return Ok(()) };
        let is_newer = known.record.as_ref().is_some_and(|record| record.order() > own.order());
        if !is_newer && known.operation <= own.last_operation {
            self.bury_proved(node, &known).await?;
            return self.find(node, &known).await;
        }
        // The store gave an older record back than one it acknowledged: everybody is asked afresh.
        tracing::error!(instance = self.app.name, %node, "the register is behind what this node knows");
        self.gathering = Some(Gathering { own: Some(own.clone()), ..Gathering::default() });
        self.begin_anew();
        self.control.peers.hear_agents_again();
        Ok(())
    }

    /// With a machine that knows nothing.
    pub(super) fn begin_anew(&mut self) {
        self.machines += 1;
        self.machine = Self::machine(&self.control, &self.app, self.life, self.machines);
        self.nodes = Nodes::default();
        self.timers.clear();
        self.stuck = None;
        self.tracker = None;
    }

    /// Deaths that an agent has proof of, and may have told when nobody heard it.
    async fn bury_proved(&mut self, node: NodeId, known: &Known) -> Result<(), Gone> {
        for start in &known.dead {
            self.take(Input::Agent(node, FromAgent::Dead { start: *start })).await?;
        }
        Ok(())
    }

    /// Whether what nodes know is enough to go on.
    pub(super) async fn judge(&mut self) -> Result<(), Gone> {
        let control = Arc::clone(&self.control);
        let Some(gathering) = &mut self.gathering else { return Ok(()) };
        gathering.no_space = None;
        if gathering.unknown.is_some() {
            return Ok(());
        }
        let cloud = control.cloud();
        let nodes = cloud.nodes.iter().map(|node| node.id);
        let (record, change) =
            match recovery::judge(nodes, gathering.own.as_ref(), &gathering.known, &control.lost()) {
                Verdict::Wait(_) => return Ok(()),
                Verdict::Unknown(why) => {
                    gathering.unknown = Some(why.clone());
                    self.publish();
                    let what = What::Note(journal::kept(journal::remark(format!("unknown: {why}"))));
                    return control.register.keep(journal::event(&self.app.name, None, what)).await;
                }
                Verdict::First => {
                    let owner = Placement::new(self.app.node, fresh_start_id());
                    let owner = owner.running(Revision(self.app.revision));
                    (Record::first(owner), FIRST)
                }
                Verdict::Newest(record) => (record, "found"),
            };
        let mut events = vec![swapped(&self.app.name, change.to_owned(), (None, &record))];
        if let Some(start) = control.ordered.of(&self.app.name) {
            let why = What::Note(journal::kept(journal::remark(start.why)));
            events.push(journal::event(&self.app.name, None, why));
        }
        match control.register.swap(&self.app.name, gathering.own.as_ref(), &record, events).await? {
            Ok(Swap::Applied) => {
                control.ordered.done(&self.app.name);
                if change == FIRST {
                    self.history.ordered(journal::now_unix_ms());
                }
            }
            Ok(Swap::Refused(_)) => {
                tracing::error!(instance = self.app.name, "somebody else writes this register");
                return Err(Gone);
            }
            Err(full) => {
                tracing::error!(instance = self.app.name, %full, "it cannot be started yet");
                let again = Instant::now() + Duration::from_millis(NO_SPACE_RETRY_MS);
                gathering.no_space = Some((again, full.to_string()));
                return Ok(());
            }
        }
        let known = self.gathering.take().map(|gathering| gathering.known).unwrap_or_default();
        self.recover(record).await?;
        for (node, known) in &known {
            self.bury_proved(*node, known).await?;
        }
        self.publish();
        self.control.register.tell().await
    }

    pub(super) async fn reconsider(&mut self) -> Result<(), Gone> {
        let Some(gathering) = &mut self.gathering else { return Ok(()) };
        gathering.unknown = None;
        gathering.known.clear();
        self.control.peers.hear_agents_again();
        self.judge().await
    }

    /// A person gave a node up. A coordinator with a record hears of it as of any change of nodes.
    pub(super) async fn node_lost(&mut self) -> Result<(), Gone> {
        if let Some(gathering) = &mut self.gathering {
            gathering.unknown = None;
            return self.judge().await;
        }
        Ok(())
    }

    pub(super) fn why_undecided(&self, gathering: &Gathering) -> String {
        if let Some(why) = &gathering.unknown {
            return why.clone();
        }
        if let Some((_, why)) = &gathering.no_space {
            return why.clone();
        }
        let lost = self.control.lost();
        let cloud = self.control.cloud();
        let silent: Vec<_> = cloud
            .nodes
            .iter()
            .filter(|node| !gathering.known.contains_key(&node.id) && !lost.contains(&node.id))
            .map(|node| node.name.as_str())
            .collect();
        format!("not decided before every node has answered: waiting for {}", silent.join(", "))
    }
}
