//! The state channel: who may join which end, and how the two ends come together.
//!
//! The agent of the source does not carry anything: it hands the source's connected socket to the target's agent,
//! over that agent's own socket, and is out of it. So a channel lives and dies with the target's agent.

use crate::answers::fresh_token;
use crate::relay::Relay;
use paci::channel::{ChannelToken, JoinRefusal};
use paci::participant::Side;
use paracloud_core::ids::{OperationNumber, StartId};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;
use tokio::io::Interest;

/// Tokens that are remembered; those that were given first go first.
const TOKENS_MAX: usize = 64;
/// A line that names the channel of a socket that is passed on.
const PASSED_BYTES_MAX: usize = 512;
/// How long the target's agent may take to be reached.
const PASS_MS_MAX: u64 = 10_000;

/// The tokens of a node, in the order in which they were given. Numbers of operations say nothing about that: each
/// instance has its own.
#[derive(Debug, Default)]
pub(crate) struct Tokens(VecDeque<Token>);

#[derive(Debug)]
struct Token {
    operation: OperationNumber,
    owner: StartId,
    text: ChannelToken,
    side: Side,
    used: bool,
}

impl Tokens {
    /// The token of one end of one operation: the same one however often it is asked for.
    pub(crate) fn issue(&mut self, operation: OperationNumber, start: StartId, side: Side) -> ChannelToken {
        let given = self.0.iter().find(|token| (token.operation, token.owner) == (operation, start));
        if let Some(given) = given {
            return given.text.clone();
        }
        if self.0.len() == TOKENS_MAX {
            self.0.pop_front();
        }
        let text = ChannelToken::from(fresh_token());
        self.0.push_back(Token { operation, owner: start, text: text.clone(), side, used: false });
        text
    }

    /// Uses a token up. `closed` tells which operations are over.
    ///
    /// # Errors
    /// Nobody gave this process this token, or it was used, or its operation is over.
    pub(crate) fn redeem(
        &mut self,
        start: StartId,
        text: &str,
        closed: impl Fn(OperationNumber) -> bool,
    ) -> Result<(OperationNumber, Side), JoinRefusal> {
        let found = self.0.iter_mut().find(|token| token.owner == start && *token.text == *text);
        let Some(token) = found else { return Err(JoinRefusal::TokenUnknown) };
        if closed(token.operation) {
            return Err(JoinRefusal::OperationClosed);
        }
        if std::mem::replace(&mut token.used, true) {
            return Err(JoinRefusal::TokenUsed);
        }
        Ok((token.operation, token.side))
    }

    /// Forgets the tokens of a dead process.
    pub(crate) fn forget(&mut self, start: StartId) {
        self.0.retain(|token| token.owner != start);
    }
}

/// The ends of one instance's channel at the target's agent.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    operation: OperationNumber,
    source: Option<UnixStream>,
    target: Option<UnixStream>,
    relay: Option<Relay>,
    said: u64,
    over: bool,
}

impl Ends {
    /// The operation that they belong to.
    pub(crate) fn operation(&self) -> OperationNumber {
        self.operation
    }

    /// Takes one end. A newer operation's takes the place of all older ones; an older one's, or a second one for the
    /// same side, is dropped, and its process sees the end.
    pub(crate) fn take(&mut self, operation: OperationNumber, side: Side, end: UnixStream) -> io::Result<()> {
        if operation < self.operation {
            return Ok(());
        }
        if operation > self.operation {
            *self = Self { operation, ..Self::default() };
        }
        let place = match side {
            Side::Source => &mut self.source,
            Side::Target => &mut self.target,
        };
        if self.relay.is_some() || place.is_some() {
            return Ok(());
        }
        *place = Some(end);
        if let (Some(source), Some(target)) = (&self.source, &self.target) {
            self.relay = Some(Relay::join(source.try_clone()?, target.try_clone()?)?);
            // The relay has them now: a copy here would keep them open.
            (self.source, self.target) = (None, None);
        }
        Ok(())
    }

    /// Whoever listens now has heard nothing yet.
    pub(crate) fn say_anew(&mut self) {
        (self.said, self.over) = (0, false);
    }

    /// Bytes that crossed, if more have than were said before, or these are all.
    pub(crate) fn news(&mut self) -> Option<u64> {
        let (bytes, over) = self.relay.as_ref()?.carried();
        let news = bytes > self.said || (over && !self.over);
        (self.said, self.over) = (bytes, over);
        news.then_some(bytes)
    }
}

/// Which channel a socket belongs to that is handed on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Passed {
    pub(crate) instance: String,
    pub(crate) operation: OperationNumber,
}

/// Hands a source's connected socket to the agent of the target.
pub(crate) async fn pass(agent: &Path, passed: &Passed, end: &UnixStream) -> io::Result<()> {
    let reach = async {
        let stream = paracloud_substrate::link::dial(agent).await;
        let mut line = serde_json::to_vec(passed)?;
        line.push(b'\n');
        stream
            .async_io(Interest::WRITABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                let mut control = SendAncillaryBuffer::new(&mut space);
                let ends = [end.as_fd()];
                control.push(SendAncillaryMessage::ScmRights(&ends));
                // One small message: a socket takes it whole or not at all.
                Ok(sendmsg(&stream, &[IoSlice::new(&line)], &mut control, SendFlags::NOSIGNAL)?)
            })
            .await
    };
    let sent = tokio::time::timeout(Duration::from_millis(PASS_MS_MAX), reach).await;
    sent.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?.map(|_| ())
}

/// Takes a socket that another agent hands on.
pub(crate) async fn passed(stream: &tokio::net::UnixStream) -> io::Result<(Passed, UnixStream)> {
    let receive = stream.async_io(Interest::READABLE, || {
        let mut line = vec![0; PASSED_BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let read =
            recvmsg(stream, &mut [IoSliceMut::new(&mut line)], &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes;
        line.truncate(read);
        let end = control.drain().find_map(|message| {
            if let RecvAncillaryMessage::ScmRights(mut ends) = message { ends.next() } else { None }
        });
        Ok((line, end))
    });
    let received = tokio::time::timeout(Duration::from_millis(PASS_MS_MAX), receive).await;
    let (line, end): (Vec<u8>, Option<OwnedFd>) =
        received.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "no channel end came with it");
    Ok((serde_json::from_slice(&line)?, UnixStream::from(end.ok_or_else(wrong)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    const OPERATION: OperationNumber = OperationNumber(7);

    #[test]
    fn a_token_is_one_processes_and_used_once() {
        let mut tokens = Tokens::default();
        let token = tokens.issue(OPERATION, StartId(1), Side::Source);
        assert_eq!(tokens.issue(OPERATION, StartId(1), Side::Source), token, "asked again");
        let open = |_| false;
        assert_eq!(tokens.redeem(StartId(2), &token, open), Err(JoinRefusal::TokenUnknown));
        assert_eq!(tokens.redeem(StartId(1), &fresh_token(), open), Err(JoinRefusal::TokenUnknown));
        assert_eq!(tokens.redeem(StartId(1), &token, |_| true), Err(JoinRefusal::OperationClosed));
        assert_eq!(tokens.redeem(StartId(1), &token, open), Ok((OPERATION, Side::Source)));
        assert_eq!(tokens.redeem(StartId(1), &token, open), Err(JoinRefusal::TokenUsed));
        tokens.forget(StartId(1));
        assert_eq!(tokens.redeem(StartId(1), &token, open), Err(JoinRefusal::TokenUnknown));
    }

    /// The first move of an instance among the thousandth ones of others.
    #[test]
    fn the_token_that_goes_first_is_the_one_that_was_given_first() {
        let mut tokens = Tokens::default();
        let others: Vec<_> = (1..TOKENS_MAX as u64)
            .map(|start| (StartId(start), tokens.issue(OperationNumber(1_000), StartId(start), Side::Source)))
            .collect();
        let start = StartId(u64::MAX);
        let token = tokens.issue(OperationNumber(1), start, Side::Target);
        assert_eq!(
            tokens.issue(OperationNumber(1), start, Side::Target),
            token,
            "there is room for all of these"
        );
        tokens.issue(OperationNumber(1_000), StartId(0), Side::Source);
        let (first, oldest) = &others[0];
        assert_eq!(tokens.redeem(*first, oldest, |_| false), Err(JoinRefusal::TokenUnknown));
        assert_eq!(tokens.redeem(start, &token, |_| false), Ok((OperationNumber(1), Side::Target)));
        assert!(others[1..].iter().all(|(start, token)| tokens.redeem(*start, token, |_| false).is_ok()));
    }

    #[test]
    fn a_second_end_of_one_side_is_dropped_and_a_newer_operation_takes_over() {
        let mut ends = Ends::default();
        let (mut first, end) = UnixStream::pair().unwrap();
        ends.take(OPERATION, Side::Source, end).unwrap();
        let (mut second, end) = UnixStream::pair().unwrap();
        ends.take(OPERATION, Side::Source, end).unwrap();
        assert_eq!(second.read(&mut [0; 8]).unwrap(), 0, "dropped");
        let (mut target, end) = UnixStream::pair().unwrap();
        ends.take(OPERATION, Side::Target, end).unwrap();
        first.write_all(b"state").unwrap();
        let mut arrived = [0; 5];
        target.read_exact(&mut arrived).unwrap();
        assert_eq!(&arrived, b"state");
        let (_third, end) = UnixStream::pair().unwrap();
        ends.take(OperationNumber(8), Side::Source, end).unwrap();
        assert_eq!(target.read(&mut [0; 8]).unwrap(), 0, "the older channel is over");
    }

    #[tokio::test]
    async fn a_socket_is_handed_to_another_agent() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let (mut near, far) = UnixStream::pair().unwrap();
        let named = Passed { instance: "shop".to_owned(), operation: OPERATION };
        let (sent, accepted) = tokio::join!(pass(&path, &named, &far), listener.accept());
        sent.unwrap();
        let (got, mut end) = passed(&accepted.unwrap().0).await.unwrap();
        drop(far);
        assert_eq!(got, named);
        end.write_all(b"hello").unwrap();
        let mut arrived = [0; 5];
        near.read_exact(&mut arrived).unwrap();
        assert_eq!(&arrived, b"hello");
    }
}
