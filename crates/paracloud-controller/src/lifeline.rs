//! When a shell is to end: it was told to, or whoever supervises it is gone.

use std::io::{self, Read};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// The variable that makes standard input a lifeline: `1`. The shell ends when it does.
const LIFELINE: &str = "PARACLOUD_LIFELINE";

/// Completes at SIGTERM, SIGINT, or the end of the lifeline.
///
/// # Errors
/// The signals cannot be listened for.
pub(crate) fn ended() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let lifeline = std::env::var_os(LIFELINE).is_some_and(|value| value == "1").then(lifeline).transpose()?;
    Ok(async move {
        let cut = async move {
            match lifeline {
                Some(lifeline) => drop(lifeline.await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = cut => {}
        }
    })
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
