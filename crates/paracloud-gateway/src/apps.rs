//! The apps of a gateway, and the instances of each.

use crate::backends::Backends;
use crate::choice::{Place, Unplaced, Wish};
use crate::control::{Control, ToController};
use crate::decided::Decided;
use crate::parked::Log;
use crate::upstream::Speaks;
use crate::workers::Loops;
use paracloud_core::ids::{GatewayId, StartId};
use paracloud_core::migration::gateway::Setting;
use paracloud_substrate::advice::Advice;
use paracloud_substrate::config::App;
use paracloud_substrate::names::InstanceName;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// What each control of a gateway is made with.
#[derive(Debug)]
pub(crate) struct Making {
    pub(crate) gateway: GatewayId,
    /// How many gateways there are.
    pub(crate) gateways: u32,
    pub(crate) trace: PathBuf,
    pub(crate) controller: ToController,
    pub(crate) log: Log,
    /// Where choices are kept with their reasons.
    pub(crate) decided: Decided,
    /// Where connections are opened before requests need them.
    pub(crate) loops: Loops,
}

/// What the controls of an app's instances are made with.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub(crate) setting: Setting,
    pub(crate) speaks: Speaks,
    /// How long nothing may be seen of a session that goes on; `None` if the app has none.
    pub(crate) idle: Option<Duration>,
}

impl Made {
    pub(crate) fn of(app: &App) -> Self {
        let idle = app.session.as_ref().map(|session| Duration::from_millis(session.idle_ms.into()));
        Self { setting: app.gateway_setting(), speaks: app.protocol.into(), idle }
    }
}

/// The instances of one app.
#[derive(Debug, Clone)]
pub(crate) enum Instances {
    /// There is one: nothing is chosen.
    One(Arc<Control>),
    /// There are several.
    Many(Arc<Backends>),
}

impl Instances {
    pub(crate) fn of(app: &App, making: &Arc<Making>) -> Self {
        match app.scale {
            None => Self::One(Control::new(making, &app.name, &Made::of(app))),
            Some(scale) => Self::Many(Backends::new(app, scale, Arc::clone(making))),
        }
    }

    /// What its instances speak.
    pub(crate) fn speaks(&self) -> Speaks {
        match self {
            Self::One(control) => control.pool.speaks(),
            Self::Many(backends) => backends.speaks(),
        }
    }

    /// Whether a request that came now would be sent on.
    pub(crate) fn is_open(&self) -> bool {
        match self {
            Self::One(control) => control.is_open(),
            Self::Many(backends) => backends.is_open(),
        }
    }

    /// Where a request goes. Where there are several instances and none of them is known, it waits for one, bounded.
    pub(crate) async fn place(&self, wish: Wish) -> Result<Place, Unplaced> {
        match self {
            Self::One(control) if control.drains() => Err(Unplaced::Nobody),
            Self::One(control) => Ok(Place::only(control)),
            Self::Many(backends) => backends.place(wish).await,
        }
    }

    fn control(&self, name: &InstanceName) -> Option<Heard> {
        match (self, name.number()) {
            (Self::One(control), None) => Some(Heard { control: Arc::clone(control), is_new: false }),
            (Self::Many(backends), Some(number)) => Some(backends.hear_of(number)),
            (Self::One(_), Some(_)) | (Self::Many(_), None) => None,
        }
    }

    fn controls(&self) -> Vec<Arc<Control>> {
        match self {
            Self::One(control) => vec![Arc::clone(control)],
            Self::Many(backends) => backends.controls(),
        }
    }
}

/// An instance that the controller speaks of.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) control: Arc<Control>,
    /// For the first time.
    pub(crate) is_new: bool,
}

/// All apps of a gateway, by their names. There are never fewer.
#[derive(Debug, Default)]
pub(crate) struct Apps(RwLock<BTreeMap<String, Instances>>);

impl Apps {
    pub(crate) fn add(&self, name: &str, instances: Instances) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), instances);
    }

    fn of(&self, name: &str) -> Option<Instances> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Whether there is an app of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.of(name).is_some()
    }

    /// The control of an instance that the controller speaks of, made if there is none yet; `None` if that can be no
    /// instance of this cloud.
    pub(crate) fn hear_of(&self, instance: &str) -> Option<Heard> {
        let name: InstanceName = instance.parse().ok()?;
        self.of(name.app())?.control(&name)
    }

    /// All that there are.
    pub(crate) fn controls(&self) -> Vec<Arc<Control>> {
        let apps = self.0.read().unwrap_or_else(PoisonError::into_inner);
        apps.values().flat_map(Instances::controls).collect()
    }

    /// Those of one app.
    pub(crate) fn controls_of(&self, app: &str) -> Vec<Arc<Control>> {
        self.of(app).map(|instances| instances.controls()).unwrap_or_default()
    }

    /// What a process says of itself.
    pub(crate) fn advise(&self, instance: &str, start: StartId, advice: Advice) {
        let Ok(name) = instance.parse::<InstanceName>() else { return };
        match (self.of(name.app()), name.number()) {
            (Some(Instances::Many(backends)), Some(number)) => backends.advise(number, start, advice),
            (Some(Instances::One(control)), None) => crate::said::tell_clients(&control, start, &advice),
            (Some(_) | None, _) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paracloud_substrate::config::Scale;

    async fn apps() -> (tempfile::TempDir, Apps) {
        let directory = tempfile::tempdir().unwrap();
        let scale = Some(Scale { max: 4, ..Scale::default() });
        let worker = App { scale, ..App::new("worker", vec!["worker".to_owned()]) };
        let (controller, _link) = ToController::new();
        let making = Arc::new(Making {
            gateway: GatewayId(1),
            gateways: 1,
            trace: directory.path().to_owned(),
            controller,
            log: Log::open(&directory.path().join("parked"), 1 << 20).await.unwrap(),
            decided: Decided::in_directory(directory.path()),
            loops: Loops::of_this_thread(),
        });
        let apps = Apps::default();
        for app in [App::new("web", vec!["web".to_owned()]), worker] {
            apps.add(&app.name, Instances::of(&app, &making));
        }
        (directory, apps)
    }

    #[tokio::test]
    async fn an_instance_is_made_when_the_controller_speaks_of_it_and_once() {
        let (_directory, apps) = apps().await;
        let is_new = |name: &str| apps.hear_of(name).map(|heard| heard.is_new);
        assert_eq!(is_new("web"), Some(false), "it is there from the beginning");
        assert_eq!([is_new("worker.3"), is_new("worker.3")], [Some(true), Some(false)]);
        assert_eq!(apps.controls().len(), 2);
    }

    #[tokio::test]
    async fn what_is_not_configured_is_not_heard_of() {
        let (_directory, apps) = apps().await;
        for name in ["worker", "web.1", "worker.65", "other", "../web", ""] {
            assert!(apps.hear_of(name).is_none(), "{name}");
        }
        assert_eq!(apps.controls().len(), 1);
    }
}
