//! The clients: a process of their own, so that they share no runtime with what they measure.

use super::place::Place;
use crate::failure::{Exit, Failure};
use paracloud_load::driver::{Driver, DriverError};
use paracloud_load::meter::Seen;
use paracloud_load::{Audited, Config};
use tokio::process::Command;

/// Requests a second, through both gateways together.
pub(super) const REQUESTS_PER_S: u32 = 200;
/// WebSockets, through both gateways together.
pub(super) const SOCKETS: u16 = 100;
/// How often each WebSocket sends a message, in milliseconds.
const SOCKET_MESSAGE_MS: u32 = 200;
/// Values of 1 KiB, as the app fills itself with.
const KEYS_PER_MIB: u32 = 1024;

/// See the module. When it is dropped, the process is killed.
#[derive(Debug)]
pub(super) struct Clients(Driver);

impl Clients {
    /// Starts the process, and its load.
    ///
    /// # Errors
    /// It cannot be started, or the app does not answer it.
    pub(super) async fn start(place: &Place, state_mib: u32) -> Result<Self, Failure> {
        let mut command = Command::new(&place.program);
        // Of its own: Ctrl-C is for whoever drives it.
        command.arg("load").process_group(0);
        let config = Config {
            gateways: place.gateways.to_vec(),
            keys: state_mib * KEYS_PER_MIB,
            requests_per_s: REQUESTS_PER_S,
            sockets: SOCKETS,
            socket_message_ms: SOCKET_MESSAGE_MS,
            ..Config::default()
        };
        Ok(Self(Driver::start(command, config).await.map_err(failed)?))
    }

    /// Opens a window.
    ///
    /// # Errors
    /// The clients are gone.
    pub(super) async fn begin(&mut self, window: &str) -> Result<(), Failure> {
        self.0.begin(window).await.map_err(failed)
    }

    /// Lets the clients finish what they have begun, compares, closes the window, and lets them go on. So whatever was
    /// sent in a window ends in it.
    ///
    /// # Errors
    /// The clients are gone, or cannot read what the app holds.
    pub(super) async fn end(&mut self, window: &str) -> Result<(Seen, Audited), Failure> {
        let audited = self.0.audit().await.map_err(failed)?;
        let seen = self.0.end(window).await.map_err(failed)?;
        Ok((seen, audited))
    }
}

fn failed(error: DriverError) -> Failure {
    match error {
        DriverError::Process(error) => Failure::machine("the demo's clients", &error),
        DriverError::Refused(why) => Failure::new(Exit::Failed, "clients", "the demo's clients", why, ""),
        otherwise @ DriverError::Otherwise(_) => {
            Failure::new(Exit::Failed, "clients", "the demo's clients", otherwise.to_string(), "")
        }
    }
}
