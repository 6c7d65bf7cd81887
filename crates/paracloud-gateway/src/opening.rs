//! Apps whose clients are served: those of the beginning, and those that are applied while the gateway runs.

use crate::GatewayError;
use crate::Terms;
use crate::apps::{Apps, Instances, Making};
use crate::backends::Backends;
use crate::control::{Control, Outgoing};
use crate::listener::{self, Accepting};
use crate::proxy::Proxy;
use crate::room::Room;
use crate::upload::Waits;
use paracloud_substrate::config::{App, Cloud};
use paracloud_substrate::layout::Layout;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::MissedTickBehavior;

/// What each app is opened with.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) layout: Layout,
    /// Which of the addresses of an app is this gateway's.
    pub(crate) place: usize,
    pub(crate) making: Arc<Making>,
    pub(crate) terms: Terms,
    pub(crate) room: Arc<Room>,
    pub(crate) messages: Arc<Room>,
    pub(crate) places: Arc<Semaphore>,
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) ending: watch::Receiver<bool>,
    pub(crate) apps: Apps,
}

impl Opening {
    /// Listens where clients of an app connect to this gateway.
    ///
    /// # Errors
    /// It has no address here, or that cannot be listened on.
    pub(crate) fn listen(&self, app: &App) -> Result<TcpListener, GatewayError> {
        let gateway = self.making.gateway;
        let no_address = || GatewayError::NoAddress { app: app.name.clone(), gateway };
        let address = *app.listen.get(self.place).ok_or_else(no_address)?;
        let failed = |source| GatewayError::Listen { app: app.name.clone(), address, source };
        listener::listen(address).map_err(failed)
    }

    /// Serves the clients of an app from now on.
    pub(crate) fn open(&self, app: &App, listener: TcpListener) {
        let instances = Instances::of(app, &self.making);
        self.apps.add(&app.name, instances.clone());
        if let Instances::Many(backends) = &instances {
            let (backends, making, ending) =
                (Arc::clone(backends), Arc::clone(&self.making), self.ending.clone());
            tokio::spawn(measure(backends, making, ending));
        }
        let Terms { body_wait, body_wait_total, reply_wait, .. } = self.terms;
        let proxy = Proxy {
            instances,
            sticky: app.session.as_ref().map(|session| Arc::new(session.sticky.clone())),
            room: Arc::clone(&self.room),
            messages: Arc::clone(&self.messages),
            streams: Arc::clone(&self.streams),
            replay_bytes_max: app.parking.replay_bytes_max,
            waits: Waits { body: body_wait, body_total: body_wait_total, reply: reply_wait },
        };
        tracing::info!(app = app.name, address = ?listener.local_addr().ok(), "clients connect here");
        let accepting = Accepting {
            proxy: Arc::new(proxy),
            places: Arc::clone(&self.places),
            workers: self.making.loops.clone(),
            ending: self.ending.clone(),
        };
        tokio::spawn(accepting.accept(listener));
    }

    /// Opens what the configuration has that is not open yet, and says which instances that makes. What cannot be opened
    /// is tried again at the next look.
    pub(crate) fn look(&self) -> Vec<Arc<Control>> {
        let cloud = match Cloud::load(&self.layout.cloud()) {
            Ok(cloud) => cloud,
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, "the configuration stays as it was");
                return Vec::new();
            }
        };
        let mut made = Vec::new();
        for app in cloud.apps.iter().filter(|app| !self.apps.has(&app.name)) {
            match self.listen(app) {
                Ok(listener) => {
                    self.open(app, listener);
                    made.extend(self.apps.controls_of(&app.name));
                }
                Err(error) => tracing::error!(%error, "this app is not served here yet"),
            }
        }
        made
    }
}

/// Tells the controller what is measured of an app, once a period.
async fn measure(backends: Arc<Backends>, making: Arc<Making>, mut ending: watch::Receiver<bool>) {
    let mut tick = tokio::time::interval(backends.period());
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            _ = ending.wait_for(|ending| *ending) => return,
        }
        let _ = making.controller.send(Outgoing { line: backends.measured(), stand: None });
    }
}
