//! What is decided when a person orders something, with all that it was made from: who leaves where fewer are wanted, who is
//! called back where more are, how each instance leaves a node, how one comes to another revision.
//!
//! Each record is made by the function that decides, before anything is done, and [`Record::replay`] makes it again.

mod fewer;
mod texts;

pub use fewer::{Candidate, Fewer, Next, Obstacle, Round};
pub use texts::{Of, explain};

use crate::draining::{self, Placed, Way};
use crate::ids::{NodeId, Revision};
use crate::register::Mode;
use crate::updating::{self, Standing};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// What was decided, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// What.
    pub decision: Decision,
}

/// What a person's order was made into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// An app is to have fewer instances.
    Fewer(Fewer),
    /// An app is to have as many instances as it has, or more.
    More(More),
    /// A node is drained.
    Drain(Drain),
    /// An instance is to run another revision of its app.
    Update(Update),
}

/// Who is called back and how many are started, where an app is to have more instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct More {
    /// Its name.
    pub app: String,
    /// So many it has that stay.
    pub from: u32,
    /// So many it is to have.
    pub to: u32,
    /// Those that leave and can be called back still, in the order in which they are.
    pub leaving: Vec<String>,
    /// Those that are called back.
    pub back: Vec<String>,
    /// So many are started.
    pub starts: u32,
}

impl More {
    /// Who leaves still is called back first, and the rest is started.
    #[must_use]
    pub fn of(app: &str, from: u32, to: u32, leaving: Vec<String>) -> Self {
        let more = to.saturating_sub(from);
        let back: Vec<_> =
            leaving.iter().take(usize::try_from(more).unwrap_or(usize::MAX)).cloned().collect();
        let starts = more.saturating_sub(u32::try_from(back.len()).unwrap_or(u32::MAX));
        Self { app: app.into(), from, to, leaving, back, starts }
    }
}

/// How each instance of a node leaves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drain {
    /// The node.
    pub node: NodeId,
    /// All instances, with the nodes of their owners.
    pub placed: Vec<Placed>,
    /// The nodes that take any.
    pub open: Vec<NodeId>,
    /// So many instances those apps may have of which each can be replaced.
    pub most: BTreeMap<String, u32>,
    /// Apps that hold state, by their manifests: none of theirs is replaced.
    #[serde(default)]
    pub stateful: BTreeSet<String>,
    /// Those of the node, each with its way. `None`: they have nowhere to go.
    pub ways: Option<Vec<(String, Way)>>,
}

impl Drain {
    /// See [`draining::plan`].
    #[must_use]
    pub fn of(node: NodeId, placed: Vec<Placed>, open: Vec<NodeId>, most: BTreeMap<String, u32>) -> Self {
        let ways = draining::plan(node, &placed, &open, &most);
        Self { node, placed, open, most, stateful: BTreeSet::new(), ways }
    }

    /// With the apps that hold state.
    #[must_use]
    pub fn with_state(self, stateful: BTreeSet<String>) -> Self {
        Self { stateful, ..self }
    }
}

/// How an instance comes to another revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Update {
    /// Its name.
    pub instance: String,
    /// What it is to run.
    pub revision: Revision,
    /// What is known of its app.
    pub standing: Standing,
    /// The mode that it offers. `None`: it was not asked, because there is one way.
    pub offered: Option<Mode>,
    /// Its way. `None`: a new process where it is, in the mode that it offers then.
    pub way: Option<updating::Way>,
}

impl Update {
    /// See [`Standing::way`].
    #[must_use]
    pub fn of(instance: &str, revision: Revision, standing: Standing, offered: Option<Mode>) -> Self {
        let way = offered.map(|mode| standing.way(mode));
        Self { instance: instance.into(), revision, standing, offered, way }
    }
}

impl Record {
    /// The same, made again from what went into it.
    #[must_use]
    pub fn replay(&self) -> Self {
        let decision = match self.decision.clone() {
            Decision::Fewer(fewer) => Decision::Fewer(fewer.replay()),
            Decision::More(More { app, from, to, leaving, .. }) => {
                Decision::More(More::of(&app, from, to, leaving))
            }
            Decision::Drain(Drain { node, placed, open, most, stateful, .. }) => {
                Decision::Drain(Drain::of(node, placed, open, most).with_state(stateful))
            }
            Decision::Update(Update { instance, revision, standing, offered, .. }) => {
                Decision::Update(Update::of(&instance, revision, standing, offered))
            }
        };
        Self { at_ms: self.at_ms, decision }
    }

    /// Whether something was decided about an instance: that it goes, stays, is called back, or how it comes to be another one.
    #[must_use]
    pub fn is_about(&self, instance: &str) -> bool {
        match &self.decision {
            Decision::Fewer(fewer) => fewer.candidates.iter().any(|it| it.instance == instance),
            Decision::More(more) => more.back.iter().any(|it| it == instance),
            Decision::Drain(drain) => drain.ways.iter().flatten().any(|(it, _)| it == instance),
            Decision::Update(update) => update.instance == instance,
        }
    }

    /// Whether something of this app was on the node that was drained.
    #[must_use]
    pub fn drains(&self, app: &str) -> bool {
        match &self.decision {
            Decision::Drain(drain) => drain.placed.iter().any(|it| it.node == drain.node && it.app == app),
            Decision::Fewer(_) | Decision::More(_) | Decision::Update(_) => false,
        }
    }
}

#[cfg(test)]
mod tests;
