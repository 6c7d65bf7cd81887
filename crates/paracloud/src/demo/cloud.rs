//! The cloud of a demo: `paracloud up` as a process, and what a person would do with it.

use super::place::{APP, Place};
use crate::client::{self, Conversation};
use crate::command::Context;
use crate::command::transfer::{self, Followed};
use crate::failure::{Exit, Failure};
use crate::moving::history::History;
use crate::moving::view::View;
use crate::output::Format;
use crate::processes;
use crate::up::roster::{self, ask_to_end};
use paracloud_core::ids::NodeId;
use paracloud_core::migration::promises::{Point, Promise};
use paracloud_substrate::failpoint;
use paracloud_substrate::layout::Layout;
use paracloud_substrate::lifeline::{self, Ends};
use paracloud_substrate::person::{Outcome, Request, Status};
use paracloud_substrate::process::signal;
use rustix::process::Signal;
use serde_json::Value;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{Instant, sleep, timeout};

/// How long the app may take to be filled and to serve, in milliseconds.
const SERVING_MS_MAX: u64 = 60_000;
/// How long a move may take, in milliseconds.
const MOVE_MS_MAX: u64 = 60_000;
/// How long everybody may take to be connected again, in milliseconds.
const SETTLED_MS_MAX: u64 = 30_000;
/// How long `up` may take to end everything; then it is killed, and all that it ran.
const END_MS_MAX: u64 = 20_000;
/// How often a state is looked at, in milliseconds.
const LOOK_MS: u64 = 5;

/// See the module. When it is dropped, `up` loses its lifeline and ends everything.
#[derive(Debug)]
pub(super) struct Cloud {
    layout: Layout,
    up: Child,
    failpoints: PathBuf,
    /// What `up` says, until everything serves.
    said: Option<Lines<BufReader<ChildStdout>>>,
}

impl Cloud {
    /// Starts `up`.
    ///
    /// # Errors
    /// As the system says.
    pub(super) fn start(place: &Place) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::machine("paracloud up", &error);
        let layout = Layout::new(&place.cloud()).map_err(failed)?;
        let mut command = Command::new(&place.program);
        command.arg("up").arg(place.manifest()).arg("--dir").arg(layout.root()).args(["--output", "json"]);
        command.env(lifeline::VARIABLE, "1").env(failpoint::DIRECTORY, place.failpoints());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(File::create(place.log()).map_err(failed)?);
        // Of its own: Ctrl-C is for the demo, which ends it.
        let mut up = command.process_group(0).spawn().map_err(failed)?;
        let said = up.stdout.take().map(|said| BufReader::new(said).lines());
        Ok(Self { layout, up, failpoints: place.failpoints(), said })
    }

    /// Its directory.
    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Waits until everything serves.
    ///
    /// # Errors
    /// `up` ends, or it takes too long.
    pub(super) async fn serving(&mut self) -> Result<(), Failure> {
        let late = || Failure::new(Exit::Failed, "late", APP, "it does not serve in time", "");
        let Some(mut said) = self.said.take() else { return Ok(()) };
        let serving = async {
            let mut last = Value::Null;
            while let Ok(Some(line)) = said.next_line().await {
                last = serde_json::from_str(&line).unwrap_or_default();
                if last["event"] == "serving" {
                    return Ok(());
                }
            }
            Err(ended(&last["error"]))
        };
        timeout(Duration::from_millis(SERVING_MS_MAX), serving).await.unwrap_or_else(|_| Err(late()))?;
        // A pipe that nobody reads would make `up` wait.
        tokio::spawn(async move { while let Ok(Some(_)) = said.next_line().await {} });
        Ok(())
    }

    /// Moves the app, and follows the move to its end, also over an end of the controller.
    ///
    /// # Errors
    /// The move is refused, or its end is not heard in time.
    pub(super) async fn moved(&self, to: NodeId) -> Result<Outcome, Failure> {
        let context = Context { layout: self.layout.clone(), format: Format::Json };
        let request =
            Request::Move { instance: APP.to_owned(), to: Some(to), accept_loss: false, wait: true };
        let followed = async {
            let mut conversation = Conversation::open(&self.layout, &request).await?;
            let (mut history, mut view) = (History::new(APP, None), View::new(APP, Format::Json));
            transfer::follow(&context, APP, true, &mut conversation, &mut history, &mut view).await
        };
        let late = || Failure::new(Exit::Failed, "late", APP, "its move does not end", "");
        let followed = timeout(Duration::from_millis(MOVE_MS_MAX), Box::pin(followed)).await;
        match followed.map_err(|_| late())?? {
            Followed::Ended(outcome) => Ok(*outcome),
            Followed::Begun(_) => Err(late()),
        }
    }

    /// Makes the controller stand still where it makes this promise next.
    ///
    /// # Errors
    /// As the file system says.
    pub(super) fn arm(&self, promise: Promise, point: Point) -> Result<Armed, Failure> {
        let path = self.failpoints.join(format!("{promise}.{point}"));
        std::fs::write(&path, "").map_err(|error| Failure::machine(path.display().to_string(), &error))?;
        let fired = path.with_file_name(format!("{promise}.{point}.fired"));
        Ok(Armed { fired })
    }

    /// Kills the controller with SIGKILL.
    ///
    /// # Errors
    /// It is not there.
    pub(super) fn kill_controller(&self) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::machine("controller", &error);
        let controller = roster::read(&self.layout).remove("controller");
        let controller = controller.map(|identity| identity.open()).transpose().map_err(failed)?.flatten();
        let controller = controller.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
        signal(&controller, Signal::KILL).map_err(failed)
    }

    /// Waits until the app serves, nothing is open, and everybody is connected.
    ///
    /// # Errors
    /// It takes too long.
    pub(super) async fn settled(&self) -> Result<(), Failure> {
        let deadline = Instant::now() + Duration::from_millis(SETTLED_MS_MAX);
        while !client::status(&self.layout).await.is_ok_and(|status| is_settled(&status)) {
            if Instant::now() >= deadline {
                return Err(Failure::new(Exit::Failed, "late", APP, "it does not come to rest", ""));
            }
            sleep(Duration::from_millis(LOOK_MS)).await;
        }
        Ok(())
    }

    /// Ends everything, as Ctrl-C of `up` would; one more signal kills everything at once.
    ///
    /// # Errors
    /// Something was left behind.
    pub(super) async fn end(mut self, ends: &mut Ends) -> Result<(), Failure> {
        let ask = |up: &Child| up.id().map(ask_to_end);
        ask(&self.up);
        let orderly = tokio::select! {
            ended = timeout(Duration::from_millis(END_MS_MAX), self.up.wait()) => {
                ended.ok().and_then(Result::ok).is_some_and(|status| status.success())
            }
            _ = ends.next() => false,
        };
        if !orderly {
            // Killed by its handle: it is our child, so the pid is still its own.
            let _ = self.up.kill().await;
            roster::end_leftovers(&self.layout).await?;
        }
        if processes::end(&processes::all(&self.layout), Duration::ZERO).await {
            return Ok(());
        }
        let why = "a process was killed and is still there: it waits in the kernel";
        Err(Failure::new(Exit::Failed, "left_behind", "demo", why, ""))
    }
}

/// A point at which the controller will stand still.
#[derive(Debug)]
pub(super) struct Armed {
    fired: PathBuf,
}

impl Armed {
    /// Waits until it does.
    pub(super) async fn fired(&self) {
        while !self.fired.exists() {
            sleep(Duration::from_millis(LOOK_MS)).await;
        }
    }
}

fn is_settled(status: &Status) -> bool {
    let serves = status.instances.iter().filter_map(|it| it.record.as_ref());
    serves.clone().count() > 0
        && serves.clone().all(|record| record.operation.is_none() && record.served.is_some())
        && status.nodes.iter().all(|node| node.connected)
        && status.gateways.iter().all(|(_, connected)| *connected)
}

/// `up` ended before everything served: what it said of that.
fn ended(error: &Value) -> Failure {
    let text = |name: &str, otherwise: &str| error[name].as_str().unwrap_or(otherwise).to_owned();
    let why = text("why", "it ended before everything served");
    Failure::new(Exit::Failed, &text("code", "machine"), text("who", "paracloud up"), why, text("next", ""))
}
