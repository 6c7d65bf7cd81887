//! The agent's end of the link to the controller. What is said while there is no link is lost, as the machines expect.

use crate::node::Event;
use paracloud_substrate::link::{self, REDIAL_MS};
use paracloud_substrate::message::{Caller, FromAgentLine, ToAgentLine};
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Lines that wait to be written. A controller that does not read them is dropped and dialled again.
const LINES_MAX: usize = 4_096;

/// The writing side of a link.
#[derive(Debug)]
pub(crate) struct Link(mpsc::Sender<(Said, Option<oneshot::Sender<()>>)>);

#[derive(Debug)]
enum Said {
    Caller(Box<Caller>),
    Line(Box<FromAgentLine>),
}

impl Link {
    /// Says who calls: the first line.
    pub(crate) fn introduce(&self, caller: Caller) {
        let _ = self.0.try_send((Said::Caller(Box::new(caller)), None));
    }

    /// Says a line. `false`: the link is of no use any more.
    pub(crate) fn say(&self, line: FromAgentLine) -> bool {
        self.0.try_send((Said::Line(Box::new(line)), None)).is_ok()
    }

    /// Says a line and returns when it was handed to the socket, or the link broke.
    pub(crate) async fn say_and_wait(&self, line: FromAgentLine) {
        let (written, wait) = oneshot::channel();
        if self.0.try_send((Said::Line(Box::new(line)), Some(written))).is_ok() {
            let _ = wait.await;
        }
    }
}

/// Dials the controller again and again, for as long as somebody listens to what it says.
pub(crate) async fn keep_dialling(socket: PathBuf, events: mpsc::Sender<Event>) {
    loop {
        let stream = link::dial(&socket).await;
        let (mut reader, mut writer) = link::halves(stream);
        let (lines, mut queue) = mpsc::channel::<(Said, Option<oneshot::Sender<()>>)>(LINES_MAX);
        if events.send(Event::Connected(Link(lines))).await.is_err() {
            return;
        }
        let writing = async {
            while let Some((said, written)) = queue.recv().await {
                match said {
                    Said::Caller(caller) => writer.write(&*caller).await?,
                    Said::Line(line) => writer.write(&*line).await?,
                }
                if let Some(written) = written {
                    let _ = written.send(());
                }
            }
            Ok(())
        };
        let reading = async {
            while let Some(line) = reader.read::<ToAgentLine>().await? {
                if events.send(Event::Line(Box::new(line))).await.is_err() {
                    break;
                }
            }
            Ok::<(), link::LinkError>(())
        };
        let ended = tokio::select! { ended = writing => ended, ended = reading => ended };
        match ended {
            Ok(()) => tracing::info!("the controller closed the link"),
            Err(error) => tracing::warn!(%error, "the link to the controller broke"),
        }
        if events.send(Event::Disconnected).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(REDIAL_MS.0)).await;
    }
}
