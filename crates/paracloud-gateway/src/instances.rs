//! The instances that this gateway has heard of, and which of them a request goes to.
//!
//! An app without `scale` has one, and its part is there from the beginning. One with `scale` has those that the controller
//! speaks of; where it has spoken of none yet, requests wait at the first.

use crate::control::{Control, ToController};
use crate::parked::Log;
use crate::proxy::Proxy;
use paracloud_core::ids::GatewayId;
use paracloud_substrate::config::{App, Cloud};
use paracloud_substrate::names::InstanceName;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

/// The control of each instance, in the order in which people count.
type Controls = BTreeMap<InstanceName, Arc<Control>>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Instances {
    gateway: GatewayId,
    cloud: Cloud,
    trace: PathBuf,
    to_controller: ToController,
    log: Log,
    controls: RwLock<Controls>,
}

impl Instances {
    /// Those that there are in any case.
    pub(crate) fn new(
        gateway: GatewayId,
        cloud: Cloud,
        trace: PathBuf,
        to_controller: ToController,
        log: Log,
    ) -> Arc<Self> {
        let controls = RwLock::default();
        let instances = Self { gateway, cloud, trace, to_controller, log, controls };
        for app in &instances.cloud.apps {
            instances.make(app, first(app));
        }
        Arc::new(instances)
    }

    fn make(&self, app: &App, name: Option<InstanceName>) -> Option<Arc<Control>> {
        let name = name?;
        let mut controls = self.controls.write().unwrap_or_else(PoisonError::into_inner);
        let control = controls.entry(name).or_insert_with_key(|name| {
            let (to_controller, log) = (self.to_controller.clone(), self.log.clone());
            let (name, setting) = (name.to_string(), app.gateway_setting());
            Control::new(self.gateway, &name, setting, app.protocol.into(), &self.trace, to_controller, log)
        });
        Some(Arc::clone(control))
    }

    fn read<T>(&self, read: impl FnOnce(&Controls) -> T) -> T {
        read(&self.controls.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// All that there are.
    pub(crate) fn all(&self) -> Vec<Arc<Control>> {
        self.read(|controls| controls.values().cloned().collect())
    }

    /// The one of this name, if it was heard of.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Control>> {
        let name = name.parse().ok()?;
        self.read(|controls| controls.get(&name).cloned())
    }

    /// The controller speaks of one for the first time. `None`: no such instance is configured.
    pub(crate) fn hear_of(&self, name: &str) -> Option<Arc<Control>> {
        self.make(self.cloud.app_of(name)?, name.parse().ok())
    }

    /// Where a request to an app goes: to the first of its instances that is open, or else it waits at the first.
    pub(crate) fn choose(&self, app: &str) -> Option<Arc<Control>> {
        self.read(|controls| {
            let own = || controls.iter().filter(|(name, _)| name.app() == app).map(|(_, control)| control);
            own().find(|control| control.is_open()).or_else(|| own().next()).cloned()
        })
    }
}

/// The instance that an app has from the beginning.
fn first(app: &App) -> Option<InstanceName> {
    let number = app.scale.map(|_| 1);
    number.map_or_else(|| InstanceName::only(&app.name), |it| InstanceName::numbered(&app.name, it)).ok()
}

/// What clients of one app are served by.
#[derive(Debug, Clone)]
pub(crate) struct Front {
    pub(crate) app: String,
    pub(crate) instances: Arc<Instances>,
    /// For an instance of it.
    pub(crate) proxy: Proxy,
}

impl Front {
    /// What serves the next request.
    pub(crate) fn next(&self) -> Proxy {
        let control = self.instances.choose(&self.app);
        control.map_or_else(|| self.proxy.clone(), |control| Proxy { control, ..self.proxy.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paracloud_core::ids::{Incarnation, NodeId, OperationNumber, Placement, StartId};
    use paracloud_core::migration::gateway::Table;
    use paracloud_core::migration::message::ToGateway;
    use paracloud_core::register::Record;
    use paracloud_substrate::config::Scale;

    async fn instances() -> (tempfile::TempDir, Arc<Instances>) {
        let directory = tempfile::tempdir().unwrap();
        let scale = Some(Scale { max: 4, ..Scale::default() });
        let worker = App { scale, ..App::new("worker", vec!["worker".to_owned()]) };
        let apps = vec![App::new("web", vec!["web".to_owned()]), worker];
        let cloud = Cloud { nodes: Vec::new(), gateways: vec![GatewayId(1)], apps };
        let log = Log::open(&directory.path().join("parked"), 1 << 20).await.unwrap();
        let (to_controller, _link) = ToController::new();
        let trace = directory.path().to_owned();
        (directory, Instances::new(GatewayId(1), cloud, trace, to_controller, log))
    }

    async fn serve(control: &Control) {
        let record = Record {
            incarnation: Incarnation(1),
            owner: Placement::new(NodeId(1), StartId(7)),
            served: Some(([127, 0, 1, 1], 20_000).into()),
            last_operation: OperationNumber(0),
            operation: None,
        };
        control.coordinator(ToGateway::Table(Table::of(&record, false))).await;
    }

    #[tokio::test]
    async fn a_request_goes_to_the_first_instance_that_is_open_or_waits_at_the_first() {
        let (_directory, instances) = instances().await;
        let chosen = |app: &str| instances.choose(app).map(|control| control.instance().to_owned());
        assert_eq!(chosen("web").as_deref(), Some("web"));
        assert_eq!(chosen("worker").as_deref(), Some("worker.1"), "nobody has spoken of any");
        for number in [3, 2] {
            serve(&instances.hear_of(&format!("worker.{number}")).unwrap()).await;
        }
        assert_eq!(chosen("worker").as_deref(), Some("worker.2"));
        serve(&instances.get("worker.1").unwrap()).await;
        assert_eq!(chosen("worker").as_deref(), Some("worker.1"));
        assert_eq!(chosen("other"), None);
    }

    #[tokio::test]
    async fn what_is_not_configured_is_not_heard_of() {
        let (_directory, instances) = instances().await;
        for name in ["worker", "web.1", "worker.65", "other", "../web", ""] {
            assert!(instances.hear_of(name).is_none(), "{name}");
        }
        assert_eq!(instances.all().len(), 2);
    }
}
