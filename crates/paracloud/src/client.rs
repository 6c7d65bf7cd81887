//! Talking to the controller of a directory, as a person.

use crate::failure::{Exit, Failure};
use crate::up::lock;
use paracloud_substrate::config::Cloud;
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
/// How long one that is followed may say nothing before it is asked whether it lives, in milliseconds.
pub const QUIET_MS_MAX: u64 = 3_000;
/// The code of a controller that went away before it answered.
pub const INTERRUPTED: &str = "interrupted";
/// How often a controller that went away is asked again for what the next one goes on with, and listened to.
pub const AGAIN_MAX: u32 = 5;
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

    /// The next reply. It may be dropped and called again.
    ///
    /// # Errors
    /// There is none, and it says why.
    pub async fn hear(&mut self) -> Result<Reply, Cut> {
        match self.reader.read().await {
            Ok(Some(reply)) => Ok(reply),
            Ok(None) | Err(LinkError::Io(_)) => Err(Cut::Gone),
            Err(error @ (LinkError::TooLong | LinkError::Form(_))) => Err(Cut::Unreadable(error.to_string())),
        }
    }

    /// The same, waiting no longer than this.
    ///
    /// # Errors
    /// As [`Conversation::hear`].
    pub async fn hear_within(&mut self, within_ms: u64) -> Result<Reply, Cut> {
        let heard = timeout(Duration::from_millis(within_ms), self.hear()).await;
        heard.unwrap_or(Err(Cut::Silent(within_ms)))
    }

    /// The next reply, however long nothing happens, as long as the controller answers others: after each
    /// [`QUIET_MS_MAX`] of silence it is asked for a status. It may be dropped and called again.
    ///
    /// # Errors
    /// As [`Conversation::hear_within`]; a controller that cannot be dialled any more is gone.
    pub async fn hear_while_it_lives(&mut self, layout: &Layout) -> Result<Reply, Cut> {
        loop {
            match self.hear_within(QUIET_MS_MAX).await {
                Err(Cut::Silent(_)) => {}
                heard => return heard,
            }
            let Ok(mut probe) = Self::open(layout, &Request::Status).await else { return Err(Cut::Gone) };
            if let Err(silent @ Cut::Silent(_)) = probe.hear_within(ANSWER_MS_MAX).await {
                return Err(silent);
            }
        }
    }

    /// The next reply; `None` when there is none, for whatever reason. It may be dropped and called again.
    pub async fn next(&mut self) -> Option<Reply> {
        self.hear().await.ok()
    }
}

/// Why there is no reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cut {
    /// The controller is gone.
    Gone,
    /// It said what is no reply.
    Unreadable(String),
    /// It said nothing for so long, in milliseconds.
    Silent(u64),
}

impl Cut {
    /// What a person is told of it.
    pub fn failure(self, layout: &Layout) -> Failure {
        match self {
            Self::Gone => interrupted(layout),
            Self::Unreadable(what) => {
                let why = format!("the controller is not understood: {what}");
                let next = "use the same version of paracloud for both";
                Failure::new(Exit::Failed, "version", shown(layout), why, next)
            }
            Self::Silent(waited_ms) => {
                let why =
                    format!("the controller did not answer within {}", crate::figures::millis(waited_ms));
                Failure::new(Exit::Unreachable, "no_answer", shown(layout), why, log_hint(layout))
            }
        }
    }
}

/// How long the first word on a move of this instance may take, in milliseconds: the application is asked first, and has its
/// own time for that.
pub fn offer_ms_max(layout: &Layout, instance: &str) -> u64 {
    let cloud = Cloud::load(&layout.cloud()).ok();
    let budgets =
        cloud.as_ref().and_then(|cloud| cloud.app_of(instance)).map(|app| app.budgets).unwrap_or_default();
    u64::from(budgets.prepare_ms) + ANSWER_MS_MAX
}

/// Sends a request about `who` and takes its one reply.
///
/// # Errors
/// There is no cloud here, it does not answer in time, or it refuses.
pub async fn ask(layout: &Layout, who: &str, request: &Request, within_ms: u64) -> Result<Reply, Failure> {
    let mut conversation = Conversation::open(layout, request).await?;
    match conversation.hear_within(within_ms).await {
        Ok(Reply::Refused(refused)) => Err(refusal(&refused, who)),
        Ok(reply) => Ok(reply),
        Err(cut) => Err(cut.failure(layout)),
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
        "unknown_instance" | "several_instances" | "unknown_node" | "unknown_operation" | "bad_request"
        | "out_of_bounds" | "not_scaled" | "version" => Exit::Usage,
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
        INTERRUPTED,
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

/// There is no cloud in this directory, or its controller does not answer.
pub fn unreachable(layout: &Layout) -> Failure {
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::command::{Context, events, transfer};
    use crate::moving::history::tests::a_move;
    use crate::output::Format;
    use tempfile::TempDir;
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::UnixListener;

    /// A directory whose controller says this to whoever dials, and is gone then; without it, it stands still.
    pub(crate) fn controller(says: Option<String>) -> (TempDir, Context) {
        let goes = if says.is_some() { usize::MAX } else { 0 };
        played(std::iter::repeat_with(move || says.clone()), goes)
    }

    /// One that says the first of this to whoever dials first, and so on. From the last one on it stands still.
    pub(crate) fn stalling(says: impl IntoIterator<Item = Vec<Reply>>) -> (TempDir, Context) {
        played(lines(says), 0)
    }

    /// The same, but that it is gone once it has said the first of this.
    pub(crate) fn restarted(says: impl IntoIterator<Item = Vec<Reply>>) -> (TempDir, Context) {
        restarted_after(1, says)
    }

    /// The same, but that it is gone once it has said the first ones of this.
    pub(crate) fn restarted_after(
        first: usize,
        says: impl IntoIterator<Item = Vec<Reply>>,
    ) -> (TempDir, Context) {
        played(lines(says), first)
    }

    fn lines(
        says: impl IntoIterator<Item = Vec<Reply>>,
    ) -> impl Iterator<Item = Option<String>> + Send + 'static {
        let line = |reply: &Reply| serde_json::to_string(reply).unwrap() + "\n";
        let says: Vec<_> = says.into_iter().map(|says| Some(says.iter().map(line).collect())).collect();
        says.into_iter().chain(std::iter::repeat(None))
    }

    /// To the first `goes` who dial it hangs up.
    fn played(
        mut says: impl Iterator<Item = Option<String>> + Send + 'static,
        mut goes: usize,
    ) -> (TempDir, Context) {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path()).unwrap();
        let listener = UnixListener::bind(layout.controller_socket()).unwrap();
        tokio::spawn(async move {
            let mut standing = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                if let Some(says) = says.next().flatten() {
                    let (reading, mut writing) = stream.split();
                    let mut asked = BufReader::new(reading).lines();
                    // Who is it, and what does it want?
                    for _ in 0..2 {
                        asked.next_line().await.unwrap();
                    }
                    writing.write_all(says.as_bytes()).await.unwrap();
                }
                if goes == 0 {
                    standing.push(stream);
                }
                goes = goes.saturating_sub(1);
            }
        });
        (directory, Context { layout, format: Format::Json })
    }

    #[tokio::test(start_paused = true)]
    async fn a_controller_that_stands_still_keeps_no_command_waiting() {
        let (_directory, context) = controller(None);
        let silent = |done: Result<(), Failure>| {
            let failure = done.unwrap_err();
            assert_eq!(
                (failure.exit, failure.code.as_str()),
                (Exit::Unreachable, "no_answer"),
                "{failure:?}"
            );
            assert!(failure.why.contains("did not answer within"), "{failure:?}");
        };
        silent(status(&context.layout).await.map(|_| ()));
        silent(events::run(&context, None, 0, false).await);
        silent(events::run(&context, None, 0, true).await);
        for no_wait in [false, true] {
            silent(
                transfer::run(&context, "web", &transfer::Options { no_wait, ..Default::default() }).await,
            );
        }
        silent(transfer::preview(&context, "web", None).await);

        // It may stand still in the middle as well.
        let begun = || Reply::Event(a_move().remove(0));
        let status = Status {
            instances: Vec::new(),
            nodes: Vec::new(),
            gateways: Vec::new(),
            holds: Vec::new(),
            scales: Vec::new(),
            updating: Vec::new(),
        };
        let (_directory, context) = stalling([vec![Reply::Status(status)], vec![begun()]]);
        silent(events::run(&context, None, 0, true).await);
        let (_directory, context) = stalling([vec![begun()]]);
        silent(transfer::run(&context, "sessions", &transfer::Options::default()).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_that_follows_stays_while_the_controller_answers_however_long_nothing_happens() {
        let status = Status {
            instances: Vec::new(),
            nodes: Vec::new(),
            gateways: Vec::new(),
            holds: Vec::new(),
            scales: Vec::new(),
            updating: Vec::new(),
        };
        let first = Reply::Event(a_move().remove(0));
        let answers = std::iter::repeat_n(vec![Reply::Status(status)], 100);
        let (_directory, context) = stalling(std::iter::once(vec![first.clone()]).chain(answers));
        let request = Request::Events { from: 0, follow: true };
        let mut following = Conversation::open(&context.layout, &request).await.unwrap();
        assert_eq!(following.hear_while_it_lives(&context.layout).await, Ok(first));
        let began = Instant::now();
        let silent = following.hear_while_it_lives(&context.layout).await;
        assert_eq!(silent, Err(Cut::Silent(ANSWER_MS_MAX)), "when it had answered for so long");
        assert!(began.elapsed() >= Duration::from_millis(100 * QUIET_MS_MAX));
    }
}
