//! What an instance is started from: the revision of its app that the register says, as it was when that was brought up or
//! applied. What is no part of how a process is started holds as it stands now, also for those that run.

use super::Node;
use crate::AgentError;
use paracloud_core::ids::{Placement, Revision, StartId};
use paracloud_core::register::{Operation, Record};
use paracloud_substrate::config::{App, Cloud, ConfigError};

impl Node {
    /// The app that a process is to be started as; `None`: its instance is not configured.
    ///
    /// # Errors
    /// What that revision is cannot be read.
    pub(super) fn to_start(&self, name: &str, start: StartId) -> Result<Option<App>, ConfigError> {
        let Some(instance) = self.instances.get(name) else { return Ok(None) };
        let app = &instance.app;
        let told = instance.machine.machine().record().into_iter().chain(&instance.remembered);
        let operation = instance.operation.as_ref().map(|(_, operation)| operation);
        let placed = told.filter_map(|record| named(record, start)).next();
        let placed = placed.or_else(|| moved(operation?, start)).unwrap_or(Revision(app.revision));
        let revision = app.started_from(placed);
        if revision == app.revision {
            return Ok(Some(app.clone()));
        }
        let was = Cloud::revision(&self.layout.cloud(), &app.name, revision)?;
        Ok(Some(app.started_as(&was)))
    }

    /// Reads the configuration, and goes by it from now on. What cannot be read leaves it as it was.
    ///
    /// # Errors
    /// What an agent before this one kept of an instance that is new cannot be read.
    pub(super) fn configure(&mut self) -> Result<(), AgentError> {
        let cloud = match Cloud::load(&self.layout.cloud()) {
            Ok(cloud) if cloud == self.cloud => return Ok(()),
            Ok(cloud) => cloud,
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the configuration stays as it was"
                );
                return Ok(());
            }
        };
        self.cloud = cloud;
        let mut looked_at_anew = Vec::new();
        for (name, instance) in &mut self.instances {
            let Some(app) = self.cloud.app_of(name) else { continue };
            if app.readiness != instance.app.readiness {
                let own = self.starts.iter().filter(|(_, start)| start.instance == *name);
                looked_at_anew.extend(own.map(|(id, _)| *id));
            }
            instance.app = app.clone();
        }
        looked_at_anew.into_iter().for_each(|start| self.probe_anew(start));
        let only = self.cloud.apps.iter().filter(|app| app.scale.is_none()).map(|app| app.name.clone());
        for name in only.collect::<Vec<_>>() {
            self.hear_of(&name)?;
        }
        tracing::info!("the configuration was changed");
        Ok(())
    }
}

/// The revision of a process that a record names.
fn named(record: &Record, start: StartId) -> Option<Revision> {
    let owns = |place: &Placement| (place.start == start).then_some(place.revision);
    owns(&record.owner).or_else(|| moved(record.operation.as_ref()?, start))
}

/// That of a process that takes part in a move.
fn moved(operation: &Operation, start: StartId) -> Option<Revision> {
    let moving = operation.moving()?;
    let places = [moving.source, moving.target];
    places.into_iter().find(|place| place.start == start).map(|place| place.revision)
}
