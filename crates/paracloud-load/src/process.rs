//! The clients as a process of their own: commands come as JSON lines on its standard input, replies go as JSON lines
//! to its standard output.
//!
//! ```text
//! → {"start":{"gateways":["127.0.0.1:8080"],"keys":1000,"requests_per_s":100}}   ← "started"
//! → {"begin":"move"}                                                             ← "begun"
//! → {"end":"move"}                                                               ← {"ended":{…}}
//! → "audit"                                                                      ← {"audited":{…}}
//! → "forge"                                                                      ← "falsified"
//! → "stop"                                                                       ← {"stopped":{…}}
//! ```
//!
//! Each command has one reply, in order. The end of the input ends the clients at once.

use crate::config::Config;
use crate::meter::Seen;
use crate::run::{self, Audited, Load, Summary};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

/// Longest command, in bytes.
pub const COMMAND_BYTES_MAX: u64 = 64 * 1024;

/// What whoever drives the clients says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Read the baseline and begin. The first command, given once.
    Start(Config),
    /// Open a window of this name.
    Begin(String),
    /// Close the window of this name.
    End(String),
    /// Tell what was seen so far.
    Seen,
    /// Pause, compare, go on.
    Audit,
    /// For a test of the audit: count a write of the first key as acknowledged, and never send it.
    Forge,
    /// For a test of the audit: write the first key, and have that applied once more, uncounted.
    Double,
    /// Compare and end.
    Stop,
}

/// What the clients answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// To `Start`.
    Started,
    /// To `Begin`.
    Begun,
    /// To `End`.
    Ended(Seen),
    /// To `Seen`.
    Seen(Seen),
    /// To `Audit`.
    Audited(Audited),
    /// To `Forge` and `Double`.
    Falsified,
    /// To `Stop`. Nothing follows.
    Stopped(Box<Summary>),
    /// The command was not carried out: why, with its causes.
    Refused(String),
}

/// Obeys commands until `Stop`, or the end of the input.
///
/// # Errors
/// A reply cannot be written, or the input cannot be read.
pub async fn serve(
    input: impl AsyncRead + Unpin,
    mut output: impl AsyncWrite + Unpin,
) -> Result<(), std::io::Error> {
    let mut input = BufReader::new(input);
    let mut load = None;
    loop {
        let mut line = Vec::new();
        (&mut input).take(COMMAND_BYTES_MAX).read_until(b'\n', &mut line).await?;
        if line.is_empty() {
            return Ok(());
        }
        let reply = match serde_json::from_slice(&line) {
            Ok(command) => obey(&mut load, command).await,
            Err(error) => Reply::Refused(format!("this is no command: {error}")),
        };
        let mut text = serde_json::to_vec(&reply).expect("a reply is numbers and text");
        text.push(b'\n');
        output.write_all(&text).await?;
        output.flush().await?;
        if matches!(reply, Reply::Stopped(_)) {
            return Ok(());
        }
    }
}

async fn obey(load: &mut Option<Load>, command: Command) -> Reply {
    match (command, load.as_mut()) {
        (Command::Start(_), Some(_)) => Reply::Refused("the clients have started already".to_owned()),
        (Command::Start(config), None) => match run::start(config).await {
            Ok(started) => {
                *load = Some(started);
                Reply::Started
            }
            Err(error) => refused(&error),
        },
        (_, None) => Reply::Refused("the clients have not started; the first command is `start`".to_owned()),
        (Command::Begin(window), Some(load)) => {
            load.begin(&window).map_or_else(|error| refused(&error), |()| Reply::Begun)
        }
        (Command::End(window), Some(load)) => {
            load.end(&window).map_or_else(|error| refused(&error), Reply::Ended)
        }
        (Command::Seen, Some(load)) => Reply::Seen(load.seen()),
        (Command::Audit, Some(load)) => {
            load.audit().await.map_or_else(|error| refused(&error), Reply::Audited)
        }
        (Command::Forge, Some(load)) => {
            load.forge();
            Reply::Falsified
        }
        (Command::Double, Some(load)) => {
            load.double().await.map_or_else(|error| refused(&error), |()| Reply::Falsified)
        }
        (Command::Stop, Some(_)) => match load.take() {
            Some(load) => load
                .stop()
                .await
                .map_or_else(|error| refused(&error), |summary| Reply::Stopped(Box::new(summary))),
            None => Reply::Refused("the clients have not started".to_owned()),
        },
    }
}

/// An error with its causes, in one line.
fn refused(error: &dyn std::error::Error) -> Reply {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    Reply::Refused(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn replies(input: &str) -> Vec<Reply> {
        let mut output = Vec::new();
        serve(input.as_bytes(), &mut output).await.unwrap();
        let text = String::from_utf8(output).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[tokio::test]
    async fn every_line_has_one_reply_and_the_end_of_the_input_ends_it() {
        let replies = replies("\"audit\"\noops\n{\"start\":{\"gateways\":[]}}\n").await;
        assert_eq!(replies.len(), 3);
        assert!(replies.iter().all(|reply| matches!(reply, Reply::Refused(_))), "{replies:?}");
        let Reply::Refused(why) = &replies[2] else { unreachable!("it was refused") };
        assert_eq!(why, "the configuration of the load: gateways: 0, want 1 to 64 addresses");
    }

    #[test]
    fn commands_have_the_form_that_is_documented() {
        let text = r#"{"start":{"gateways":["127.0.0.1:8080"],"keys":1000,"requests_per_s":100}}"#;
        let Command::Start(config) = serde_json::from_str(text).unwrap() else { unreachable!("it is start") };
        assert_eq!((config.keys, config.requests_per_s, config.writes_per_request), (1000, 100, 10));
        assert_eq!(serde_json::to_string(&Command::Begin("move".into())).unwrap(), r#"{"begin":"move"}"#);
    }
}
