//! What is kept of a WebSocket session, and its rules: sequences of both directions, each message once.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Messages of the server that wait for their acknowledgement.
pub const WAITING_MAX: usize = 256;
/// Longest text of a message, in bytes.
pub const TEXT_BYTES_MAX: usize = 4096;

/// A session. It is part of the state that moves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Talk {
    received: u32,
    crc32: u32,
    sent: u32,
    acked: u32,
    /// Messages of the server that the client has not acknowledged.
    waiting: VecDeque<FromServer>,
}

/// A message of the client.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum FromClient {
    /// A message with its sequence.
    Message {
        /// From 1, without gaps.
        seq: u32,
        /// What it says.
        text: String,
    },
    /// All of the server's messages up to here have come.
    Ack {
        /// The last of them.
        ack: u32,
    },
}

/// A message of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FromServer {
    /// A message with its sequence.
    Message {
        /// From 1, without gaps.
        seq: u32,
        /// What it says.
        text: String,
    },
    /// All of the client's messages up to here are kept.
    Ack {
        /// The last of them.
        ack: u32,
    },
}

/// A client that broke a rule. The session is as before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A sequence is missing before this one.
    #[error("a sequence was left out")]
    Gap,
    /// What was acknowledged was never sent.
    #[error("a sequence was acknowledged that was never sent")]
    AckUnsent,
    /// The text is too long.
    #[error("a text has at most {TEXT_BYTES_MAX} bytes")]
    TextTooLong,
    /// Too many of the server's messages wait for their acknowledgement.
    #[error("{WAITING_MAX} messages wait for their acknowledgement")]
    Unacknowledged,
}

/// What is told of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    received: u32,
    crc32: String,
    sent: u32,
    acked: u32,
}

impl Talk {
    /// A new connection of a client that has everything up to `ack`: what to tell it first.
    ///
    /// # Errors
    /// It was never sent so much.
    pub fn greet(&mut self, ack: u32) -> Result<Vec<FromServer>, Fault> {
        self.ack(ack)?;
        let first = FromServer::Ack { ack: self.received };
        Ok(std::iter::once(first).chain(self.waiting.iter().cloned()).collect())
    }

    /// A message came: what to answer.
    ///
    /// # Errors
    /// The client broke a rule.
    pub fn hear(&mut self, message: FromClient) -> Result<Vec<FromServer>, Fault> {
        match message {
            FromClient::Ack { ack } => self.ack(ack).map(|()| Vec::new()),
            FromClient::Message { text, .. } if text.len() > TEXT_BYTES_MAX => Err(Fault::TextTooLong),
            FromClient::Message { seq, .. } if seq <= self.received => {
                Ok(vec![FromServer::Ack { ack: self.received }])
            }
            FromClient::Message { seq, .. } if seq - self.received > 1 => Err(Fault::Gap),
            FromClient::Message { .. } if self.waiting.len() >= WAITING_MAX => Err(Fault::Unacknowledged),
            FromClient::Message { seq, text } => {
                self.received = seq;
                let mut crc32 = crc32fast::Hasher::new_with_initial(self.crc32);
                crc32.update(text.as_bytes());
                crc32.update(b"\n");
                self.crc32 = crc32.finalize();
                self.sent += 1;
                let echo = FromServer::Message { seq: self.sent, text };
                self.waiting.push_back(echo.clone());
                Ok(vec![FromServer::Ack { ack: seq }, echo])
            }
        }
    }

    /// What is told of it.
    pub fn summary(&self) -> Summary {
        let Self { received, crc32, sent, acked, .. } = *self;
        Summary { received, crc32: format!("{crc32:08x}"), sent, acked }
    }

    fn ack(&mut self, ack: u32) -> Result<(), Fault> {
        if ack > self.sent {
            return Err(Fault::AckUnsent);
        }
        while self.acked < ack {
            self.acked += 1;
            self.waiting.pop_front();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(seq: u32) -> FromClient {
        FromClient::Message { seq, text: format!("text {seq}") }
    }

    fn echo(seq: u32) -> FromServer {
        FromServer::Message { seq, text: format!("text {seq}") }
    }

    fn kept(ack: u32) -> FromServer {
        FromServer::Ack { ack }
    }

    #[test]
    fn a_message_is_kept_once_and_acknowledged_as_often_as_it_comes() {
        let mut talk = Talk::default();
        assert_eq!(talk.hear(message(1)), Ok(vec![kept(1), echo(1)]));
        assert_eq!(talk.hear(message(1)), Ok(vec![kept(1)]));
        assert_eq!(talk.summary().crc32, format!("{:08x}", crc32fast::hash(b"text 1\n")));
        assert_eq!((talk.received, talk.sent), (1, 1));
    }

    #[test]
    fn what_the_client_has_not_acknowledged_is_sent_again_on_its_next_connection() {
        let mut talk = Talk::default();
        for seq in 1..=3 {
            talk.hear(message(seq)).unwrap();
        }
        talk.hear(FromClient::Ack { ack: 1 }).unwrap();
        assert_eq!(talk.greet(0), Ok(vec![kept(3), echo(2), echo(3)]), "an older word changes nothing");
        assert_eq!(talk.greet(2), Ok(vec![kept(3), echo(3)]));
        assert_eq!(talk.greet(3), Ok(vec![kept(3)]));
    }

    #[test]
    fn a_client_that_breaks_a_rule_changes_nothing() {
        let mut talk = Talk::default();
        talk.hear(message(1)).unwrap();
        let before = talk.clone();
        let long = FromClient::Message { seq: 2, text: "x".repeat(TEXT_BYTES_MAX + 1) };
        assert_eq!(talk.hear(message(3)), Err(Fault::Gap));
        assert_eq!(talk.hear(FromClient::Ack { ack: 2 }), Err(Fault::AckUnsent));
        assert_eq!(talk.greet(2), Err(Fault::AckUnsent));
        assert_eq!(talk.hear(long), Err(Fault::TextTooLong));
        assert_eq!(talk, before);
    }

    #[test]
    fn only_so_many_messages_wait_for_their_acknowledgement() {
        let mut talk = Talk::default();
        let last = u32::try_from(WAITING_MAX).unwrap();
        for seq in 1..=last {
            talk.hear(message(seq)).unwrap();
        }
        assert_eq!(talk.hear(message(last + 1)), Err(Fault::Unacknowledged));
        talk.hear(FromClient::Ack { ack: 1 }).unwrap();
        assert!(talk.hear(message(last + 1)).is_ok());
    }

    #[test]
    fn a_session_comes_back_from_its_record() {
        let mut talk = Talk::default();
        talk.hear(message(1)).unwrap();
        let text = serde_json::to_vec(&talk).unwrap();
        assert_eq!(serde_json::from_slice::<Talk>(&text).unwrap(), talk);
    }
}
