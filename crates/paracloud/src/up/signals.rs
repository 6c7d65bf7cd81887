//! When a command that stays is to end: a signal, or whoever started it is gone.

use super::supervisor::LIFELINE;
use std::io::{self, Read};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// SIGINT, SIGTERM, SIGHUP, and once the end of standard input, if [`LIFELINE`] is `1`.
#[derive(Debug)]
pub struct Signals {
    signals: [Signal; 3],
    lifeline: Option<oneshot::Receiver<()>>,
}

impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    /// The system does not let it.
    pub fn listen() -> io::Result<Self> {
        let has_lifeline = std::env::var_os(LIFELINE).is_some_and(|value| value == "1");
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [interrupt, terminate, hangup] = kinds.map(signal);
        Ok(Self {
            signals: [interrupt?, terminate?, hangup?],
            lifeline: has_lifeline.then(lifeline).transpose()?,
        })
    }

    /// The next one. It may be dropped and called again.
    pub async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.signals;
        let lifeline = self.lifeline.as_mut();
        let cut = async {
            match lifeline {
                Some(lifeline) => drop(lifeline.await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
            () = cut => self.lifeline = None,
        }
    }
}

/// A thread of its own: a read of standard input cannot be given up, and must not keep the runtime from ending.
fn lifeline() -> io::Result<oneshot::Receiver<()>> {
    let (sender, receiver) = oneshot::channel();
    std::thread::Builder::new().name("lifeline".to_owned()).spawn(move || {
        let mut passed_over = [0; 64];
        while !matches!(io::stdin().read(&mut passed_over), Ok(0) | Err(_)) {}
        let _ = sender.send(());
    })?;
    Ok(receiver)
}
