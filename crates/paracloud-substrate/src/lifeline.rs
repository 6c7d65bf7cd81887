//! When a shell is to end: it was told to, or whoever supervises it is gone.

use std::fmt;
use std::future::pending;
use std::io::{self, Read};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// The variable that makes standard input a lifeline: `1`. Who reads it ends when its standard input does.
pub const VARIABLE: &str = "PARACLOUD_LIFELINE";

/// What ends a shell in good order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// SIGTERM, SIGINT or SIGHUP.
    Told,
    /// Whoever started it is gone. Said once.
    Cut,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Told => "told to",
            Self::Cut => "whoever started it is gone",
        })
    }
}

/// Hears of everything that is to end this process.
#[derive(Debug)]
pub struct Ends {
    signals: [Signal; 3],
    lifeline: Option<oneshot::Receiver<()>>,
}

impl Ends {
    /// Listens from now on.
    ///
    /// # Errors
    /// The system gives no signals, or no thread.
    pub fn listen() -> io::Result<Self> {
        let has_lifeline = std::env::var_os(VARIABLE).is_some_and(|value| value == "1");
        let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
        let [terminate, interrupt, hangup] = kinds.map(signal);
        let lifeline = has_lifeline.then(|| lifeline(io::stdin())).transpose()?;
        Ok(Self { signals: [terminate?, interrupt?, hangup?], lifeline })
    }

    /// The next one. It may be dropped and called again.
    pub async fn next(&mut self) -> End {
        let [terminate, interrupt, hangup] = &mut self.signals;
        let lifeline = self.lifeline.as_mut();
        let cut = async {
            match lifeline {
                Some(lifeline) => drop(lifeline.await),
                None => pending().await,
            }
        };
        tokio::select! {
            _ = terminate.recv() => End::Told,
            _ = interrupt.recv() => End::Told,
            _ = hangup.recv() => End::Told,
            () = cut => {
                self.lifeline = None;
                End::Cut
            }
        }
    }
}

/// A thread of its own: a read of standard input cannot be given up, and must not keep the runtime from ending.
fn lifeline(mut input: impl Read + Send + 'static) -> io::Result<oneshot::Receiver<()>> {
    let (cut, lifeline) = oneshot::channel();
    std::thread::Builder::new().name("lifeline".to_owned()).spawn(move || {
        let mut passed_over = [0; 64];
        loop {
            match input.read(&mut passed_over) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        let _ = cut.send(());
    })?;
    Ok(lifeline)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[tokio::test]
    async fn a_lifeline_is_cut_by_the_end_of_its_input_and_by_nothing_that_comes_before() {
        let (input, mut output) = io::pipe().unwrap();
        let mut lifeline = lifeline(input).unwrap();
        output.write_all(b"still here\n").unwrap();
        assert_eq!(lifeline.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        drop(output);
        assert_eq!(lifeline.await, Ok(()));
    }
}
