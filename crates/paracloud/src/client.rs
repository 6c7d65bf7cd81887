//! Talking to the controller of a directory, as a person.

use crate::failure::{Exit, Failure};
use crate::up::lock;
use paracloud_substrate::layout::Layout;
use paracloud_substrate::link::{self, LinkError, Reader, Writer};
use paracloud_substrate::message::Caller;
use paracloud_substrate::person::{Refused, Reply, Request, Status};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout};

/// How long a controller that is being started again is waited for, in milliseconds.
pub const CONNECT_MS_MAX: u64 = 5_000;
/// How long one answer may take, in milliseconds.
pub const ANSWER_MS_MAX: u64 = 10_000;
/// How long the answer of an application may take, in milliseconds.
pub const PREVIEW_MS_MAX: u64 = 60_000;
const CONNECT_AGAIN_MS: u64 = 50;

/// One request and its replies.
#[derive(Debug)]
pub struct Conversation {
    reader: Reader,
    // Kept open: a controller takes the end of the link for the person's end.
    _writer: Writer,
}

impl Conversation {
    /// Sends a request. A controller that does not answer is waited for, as long as an `up` lives that starts it.
    ///
    /// # Errors
    /// There is no cloud in this directory, or its controller does not answer.
    pub async fn open(layout: &Layout, request: &Request) -> Result<Self, Failure> {
        let deadline = Instant::now() + Duration::from_millis(CONNECT_MS_MAX);
        loop {
            if let Ok(conversation) = Self::try_open(layout, request).await {
                return Ok(conversation);
            }
            if lock::holder(layout).is_none() || Instant::now() >= deadline {
                return Err(unreachable(layout));
            }
            sleep(Duration::from_millis(CONNECT_AGAIN_MS)).await;
        }
    }

    async fn try_open(layout: &Layout, request: &Request) -> Result<Self, LinkError> {
        let (reader, mut writer) = link::halves(UnixStream::connect(layout.controller_socket()).await?);
        writer.write(&Caller::Person).await?;
        writer.write(request).await?;
        Ok(Self { reader, _writer: writer })
    }

    /// The next reply; `None` when there are no more, or the controller is gone. It may be dropped and called again.
    pub async fn next(&mut self) -> Option<Reply> {
        // A line that is no reply ends the conversation as a broken link does.
        self.reader.read().await.ok().flatten()
    }
}

/// Sends a request about `who` and takes its one reply.
///
/// # Errors
/// There is no cloud here, it does not answer in time, or it refuses.
pub async fn ask(layout: &Layout, who: &str, request: &Request, within_ms: u64) -> Result<Reply, Failure> {
    let mut conversation = Conversation::open(layout, request).await?;
    match timeout(Duration::from_millis(within_ms), conversation.next()).await {
        Ok(Some(Reply::Refused(refused))) => Err(refusal(&refused, who)),
        Ok(Some(reply)) => Ok(reply),
        Ok(None) => Err(interrupted(layout)),
        Err(_) => {
            let why = format!("the controller did not answer within {}", crate::figures::millis(within_ms));
            Err(Failure::new(Exit::Unreachable, "no_answer", shown(layout), why, log_hint(layout)))
        }
    }
}

/// How everything is.
///
/// # Errors
/// As [`ask`].
pub async fn status(layout: &Layout) -> Result<Status, Failure> {
    let reply = ask(layout, "paracloud", &Request::Status, ANSWER_MS_MAX).await?;
    let Reply::Status(status) = reply else { return Err(unexpected(layout, &reply)) };
    Ok(status)
}

/// A controller's refusal, about `who`.
pub fn refusal(refused: &Refused, who: &str) -> Failure {
    let exit = match refused.code.as_str() {
        "consent_needed" => Exit::Consent,
        "unknown_instance" | "unknown_node" | "version" => Exit::Usage,
        _ => Exit::Failed,
    };
    // Who it is about stands before it already.
    let message = refused.message.as_str();
    let rest =
        message.strip_prefix(who).and_then(|rest| rest.strip_prefix(": ").or_else(|| rest.strip_prefix(' ')));
    Failure::new(exit, &refused.code, who, rest.unwrap_or(message), &refused.next)
}

/// The controller went away before it answered.
pub fn interrupted(layout: &Layout) -> Failure {
    let why = "the controller ended before it answered";
    Failure::new(
        Exit::Unreachable,
        "interrupted",
        shown(layout),
        why,
        "try again; paracloud events says what was done",
    )
}

/// A reply that this request does not have.
pub fn unexpected(layout: &Layout, reply: &Reply) -> Failure {
    let name = serde_json::to_value(reply).ok().and_then(|value| {
        let name = value.as_object().and_then(|object| object.keys().next().cloned());
        name.or_else(|| value.as_str().map(str::to_owned))
    });
    let why = format!("the controller answered {:?}, which is no answer to this", name.unwrap_or_default());
    Failure::new(Exit::Failed, "version", shown(layout), why, "use the same version of paracloud for both")
}

fn unreachable(layout: &Layout) -> Failure {
    if let Some(pid) = lock::holder(layout) {
        let why = format!("the controller does not answer, though `paracloud up` (pid {pid}) runs");
        return Failure::new(Exit::Unreachable, "no_answer", shown(layout), why, log_hint(layout));
    }
    let next = "start one: paracloud up app.yaml; or name its directory: --dir DIR";
    let why = if layout.cloud().exists() {
        "the cloud of this directory is not up"
    } else {
        "there is no cloud here"
    };
    Failure::new(Exit::Unreachable, "no_cloud", shown(layout), why, next)
}

fn log_hint(layout: &Layout) -> String {
    format!("see {}", layout.log().join("controller.log").display())
}

fn shown(layout: &Layout) -> String {
    layout.root().display().to_string()
}
