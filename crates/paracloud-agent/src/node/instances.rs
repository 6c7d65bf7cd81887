//! Which instances a node has parts for: those of apps that have one, those that it has a record or a process of, and those
//! that the controller speaks of.

use super::{Instance, Node};
use crate::AgentError;
use crate::channel::Ends;
use paci::upcall::Reason;
use paracloud_core::migration::agent::Input;
use paracloud_core::register::Record;
use paracloud_substrate::message::Terms;
use paracloud_substrate::trace::Traced;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

impl Node {
    /// Makes the parts of those that this node has heard of before, and of those that there are in any case.
    ///
    /// # Errors
    /// What an agent before this one kept cannot be read.
    pub(super) fn find_instances(&mut self) -> Result<(), AgentError> {
        let failed = |source| AgentError::Directory { path: self.layout.node(self.node.id), source };
        let only = self.cloud.apps.iter().filter(|app| app.scale.is_none()).map(|app| app.name.clone());
        let mut names: BTreeSet<_> = only.collect();
        let records = self.layout.record(self.node.id, "");
        let records = records.parent().map_or_else(|| Ok(Vec::new()), recorded).map_err(failed)?;
        names.extend(records);
        for name in names {
            self.know(&name)?;
        }
        Ok(())
    }

    /// Makes the part of an instance, if there is none. `false`: no such instance is configured.
    ///
    /// # Errors
    /// What an agent before this one kept of it cannot be read.
    pub(super) fn know(&mut self, name: &str) -> Result<bool, AgentError> {
        if self.instances.contains_key(name) {
            return Ok(true);
        }
        let Some(app) = self.cloud.app_of(name) else { return Ok(false) };
        let failed = |source| AgentError::Directory { path: self.layout.node(self.node.id), source };
        let remembered = self.records.recall(&self.layout.record(self.node.id, name)).map_err(failed)?;
        let trace = format!("{}-{name}", self.node.name);
        let instance = Instance {
            machine: Traced::new(app.agent_setting(self.node.id), &self.layout.trace(), &trace),
            timers: BTreeMap::new(),
            kept: remembered.as_ref().map(Record::order),
            size: remembered.as_ref().and_then(|record| record.size),
            remembered,
            operation: None,
            terms: Terms::default(),
            ordered_until_ms: None,
            reason: Reason::default(),
            ends: Ends::default(),
            failure: None,
            app: app.clone(),
        };
        self.instances.insert(name.to_owned(), instance);
        Ok(true)
    }

    /// The controller speaks of an instance: this node knows of it from now on, if it is configured.
    ///
    /// # Errors
    /// As of [`Self::know`].
    pub(super) fn hear_of(&mut self, name: &str) -> Result<(), AgentError> {
        if !self.instances.contains_key(name) && self.know(name)? {
            // What ran here would have been found when the agent started.
            let (generation, found) = (self.generation, Vec::new());
            self.inputs.push_back((name.to_owned(), Input::Started { generation, found }));
        }
        Ok(())
    }
}

/// Names of instances that something is kept of.
fn recorded(directory: &std::path::Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        // What is no name of an instance is not configured.
        let Ok(file) = entry?.file_name().into_string() else { continue };
        let name = file.strip_suffix(".json").or_else(|| file.strip_suffix(".slot"));
        names.extend(name.map(str::to_owned));
    }
    Ok(names)
}
