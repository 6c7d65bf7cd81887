//! What one WebSocket session knows: sequences of both directions, and what was lost or repeated of them.

use crate::loss::Gap;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::net::SocketAddr;

/// Messages of the client that wait for their acknowledgement: the bound of the server.
pub(crate) const UNACKED_MAX: usize = 256;

/// A session, whatever connection it uses.
#[derive(Debug)]
pub(crate) struct Session {
    run: u64,
    number: u16,
    /// A session that the server has forgotten, as after a crash, begins anew under another id.
    generation: u32,
    /// Last sequence sent.
    sent: u32,
    /// Sequences sent and not acknowledged.
    unacked: VecDeque<u32>,
    /// Last sequence of the server's.
    received: u32,
    /// Messages acknowledged since [`Session::take_acknowledged`].
    acknowledged: u64,
    /// Over the texts sent, each with a newline.
    crc32: crc32fast::Hasher,
    pub(crate) faults: Faults,
    /// The faults, by who had the session before and who has it now.
    gaps: Vec<Gap>,
    /// Who is at the other end.
    by: Option<SocketAddr>,
    /// Who acknowledged or sent something last, of this generation.
    known_by: Option<SocketAddr>,
}

/// Messages that did not cross once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    pub(crate) lost: u64,
    pub(crate) repeated: u64,
}

/// A message of the server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum FromServer {
    /// A message with its sequence.
    Message { seq: u32, text: String },
    /// All of the client's messages up to here are kept.
    Ack { ack: u32 },
}

/// A message of the client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum ToServer {
    Message { seq: u32, text: String },
    Ack { ack: u32 },
}

/// What the server keeps of a session.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Kept {
    pub(crate) received: u32,
    pub(crate) crc32: String,
    pub(crate) sent: u32,
}

/// The server knows another history of the session: it has to begin anew.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Forgotten;

impl Session {
    pub(crate) fn new(run: u64, number: u16) -> Self {
        Self {
            run,
            number,
            generation: 0,
            sent: 0,
            unacked: VecDeque::new(),
            received: 0,
            acknowledged: 0,
            crc32: crc32fast::Hasher::new(),
            faults: Faults::default(),
            gaps: Vec::new(),
            by: None,
            known_by: None,
        }
    }

    /// A new connection, to this process.
    pub(crate) fn is_connected_to(&mut self, by: Option<SocketAddr>) {
        self.by = by;
    }

    pub(crate) fn id(&self) -> String {
        format!("{:016x}-{}-{}", self.run, self.number, self.generation)
    }

    /// Path and query of a connection.
    pub(crate) fn target(&self) -> String {
        format!("/ws?session={}&ack={}", self.id(), self.received)
    }

    /// The next message, if fewer than [`UNACKED_MAX`] wait.
    pub(crate) fn next(&mut self) -> Option<ToServer> {
        if self.unacked.len() >= UNACKED_MAX {
            return None;
        }
        self.sent += 1;
        self.unacked.push_back(self.sent);
        let text = self.text(self.sent);
        self.crc32.update(text.as_bytes());
        self.crc32.update(b"\n");
        Some(ToServer::Message { seq: self.sent, text })
    }

    /// The first message of the server on a connection: what it kept. What to send again.
    pub(crate) fn resume(&mut self, kept: u32) -> Result<Vec<ToServer>, Forgotten> {
        let acked = self.acked();
        if kept < acked {
            self.found(Faults { lost: (acked - kept).into(), repeated: 0 }, self.by);
            return Err(Forgotten);
        }
        self.ack(kept)?;
        let again = self.unacked.iter().map(|seq| ToServer::Message { seq: *seq, text: self.text(*seq) });
        Ok(again.collect())
    }

    /// All of the client's messages up to here are kept.
    pub(crate) fn ack(&mut self, kept: u32) -> Result<(), Forgotten> {
        if kept > self.sent {
            self.found(Faults { lost: 0, repeated: (kept - self.sent).into() }, self.by);
            return Err(Forgotten);
        }
        while self.unacked.front().is_some_and(|seq| *seq <= kept) {
            self.unacked.pop_front();
            self.acknowledged += 1;
            self.known_by = self.by;
        }
        Ok(())
    }

    /// A message of the server: each of ours comes back once, in order.
    pub(crate) fn receive(&mut self, seq: u32, text: &str) -> ToServer {
        let next = self.received + 1;
        if seq < next {
            self.found(Faults { lost: 0, repeated: 1 }, self.by);
        } else {
            let lost = u64::from(seq - next) + u64::from(text != self.text(seq));
            self.found(Faults { lost, repeated: 0 }, self.by);
            self.received = seq;
            self.known_by = self.by;
        }
        ToServer::Ack { ack: self.received }
    }

    /// A message of the server is none: what it was to say is lost.
    pub(crate) fn is_garbled(&mut self) {
        self.found(Faults { lost: 1, repeated: 0 }, self.by);
    }

    /// Everything was acknowledged, and everything has come back.
    pub(crate) fn is_settled(&self) -> bool {
        self.unacked.is_empty() && self.received >= self.sent
    }

    /// Compares with what the server keeps, as this process says. `None`: it keeps nothing. Where the two differ the
    /// session begins anew, so that a difference is counted once.
    pub(crate) fn compare(&mut self, kept: Option<&Kept>, by: Option<SocketAddr>) -> Result<(), Forgotten> {
        let mut faults = Faults::default();
        let (received, sent) = kept.map_or((0, 0), |kept| (kept.received, kept.sent));
        let crc32 = format!("{:08x}", self.crc32.clone().finalize());
        let is_other = received == self.sent && kept.is_some_and(|kept| kept.crc32 != crc32);
        faults.lost += u64::from(self.sent.saturating_sub(received)) + u64::from(is_other);
        faults.repeated += u64::from(received.saturating_sub(self.sent));
        faults.lost += u64::from(self.received.saturating_sub(sent));
        faults.repeated += u64::from(sent.saturating_sub(self.received));
        self.found(faults, by);
        if faults == Faults::default() { Ok(()) } else { Err(Forgotten) }
    }

    /// Counts what is wrong at a process.
    fn found(&mut self, faults: Faults, found_by: Option<SocketAddr>) {
        if faults == Faults::default() {
            return;
        }
        self.faults.lost += faults.lost;
        self.faults.repeated += faults.repeated;
        let known_by = self.known_by;
        let is_same = |gap: &&mut Gap| gap.known_by == known_by && gap.found_by == found_by;
        if let Some(gap) = self.gaps.iter_mut().find(is_same) {
            gap.lost += faults.lost;
            gap.repeated += faults.repeated;
        } else {
            self.gaps.push(Gap { known_by, found_by, lost: faults.lost, repeated: faults.repeated });
        }
    }

    /// Faults since it was last asked, and between whom.
    pub(crate) fn take_faults(&mut self) -> (Faults, Vec<Gap>) {
        (std::mem::take(&mut self.faults), std::mem::take(&mut self.gaps))
    }

    /// Begins anew, under another id.
    pub(crate) fn renew(&mut self) {
        let Self { run, number, generation, acknowledged, faults, .. } = *self;
        let gaps = std::mem::take(&mut self.gaps);
        *self = Self { generation: generation + 1, acknowledged, faults, gaps, ..Self::new(run, number) };
    }

    /// Messages acknowledged since it was last asked.
    pub(crate) fn take_acknowledged(&mut self) -> u64 {
        std::mem::take(&mut self.acknowledged)
    }

    pub(crate) fn has_sent(&self) -> bool {
        self.sent > 0
    }

    fn acked(&self) -> u32 {
        self.unacked.front().map_or(self.sent, |first| first - 1)
    }

    fn text(&self, seq: u32) -> String {
        format!("{} {seq}", self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(session: &mut Session, count: usize) {
        (0..count).for_each(|_| drop(session.next().unwrap()));
    }

    fn echo(session: &mut Session, seq: u32) {
        let text = session.text(seq);
        session.receive(seq, &text);
    }

    fn kept(session: &Session) -> Kept {
        let crc32 = format!("{:08x}", session.crc32.clone().finalize());
        Kept { received: session.sent, crc32, sent: session.sent }
    }

    #[test]
    fn what_was_not_acknowledged_is_sent_again() {
        let mut session = Session::new(1, 2);
        sent(&mut session, 3);
        session.ack(1).unwrap();
        let again = session.resume(2).unwrap();
        assert_eq!(again, [ToServer::Message { seq: 3, text: "0000000000000001-2-0 3".into() }]);
        assert_eq!((session.faults.lost, session.faults.repeated), (0, 0));
    }

    #[test]
    fn a_session_is_settled_when_every_message_was_kept_and_came_back_and_then_it_is_clean() {
        let mut session = Session::new(1, 2);
        sent(&mut session, 2);
        session.ack(2).unwrap();
        echo(&mut session, 1);
        assert!(!session.is_settled());
        echo(&mut session, 2);
        assert!(session.is_settled());
        session.compare(Some(&kept(&session)), None).unwrap();
        assert_eq!(session.faults, Faults::default());
    }

    #[test]
    fn a_message_of_the_server_that_is_missing_repeated_or_another_is_counted() {
        let mut session = Session::new(1, 2);
        sent(&mut session, 5);
        echo(&mut session, 1);
        echo(&mut session, 1);
        echo(&mut session, 3);
        session.receive(4, "another");
        assert_eq!(session.faults, Faults { lost: 2, repeated: 1 });
    }

    #[test]
    fn a_server_that_forgot_what_it_acknowledged_has_lost_it() {
        let mut session = Session::new(1, 2);
        sent(&mut session, 3);
        session.ack(2).unwrap();
        assert_eq!(session.resume(0), Err(Forgotten));
        assert_eq!(session.faults, Faults { lost: 2, repeated: 0 });
        session.renew();
        assert_eq!(session.target(), "/ws?session=0000000000000001-2-1&ack=0");
        assert_eq!(session.faults.lost, 2, "what was lost stays lost");
    }

    #[test]
    fn a_fault_is_told_with_who_had_the_session_and_who_has_it() {
        let at = |port| Some(([127, 0, 0, 1], port).into());
        let mut session = Session::new(1, 2);
        session.is_connected_to(at(1));
        sent(&mut session, 3);
        session.ack(2).unwrap();
        session.is_connected_to(at(2));
        assert_eq!(session.resume(0), Err(Forgotten));
        session.renew();
        session.is_connected_to(at(2));
        sent(&mut session, 1);
        session.ack(1).unwrap();
        session.is_connected_to(at(3));
        echo(&mut session, 1);
        assert_eq!(session.compare(None, at(4)), Err(Forgotten));
        let gap = |known_by, found_by, lost| Gap { known_by, found_by, lost, repeated: 0 };
        let (faults, gaps) = session.take_faults();
        assert_eq!(gaps, [gap(at(1), at(2), 2), gap(at(3), at(4), 2)]);
        assert_eq!(faults, Faults { lost: 4, repeated: 0 });
        assert_eq!(session.take_faults(), (Faults::default(), Vec::new()));
    }

    #[test]
    fn a_server_that_kept_a_message_twice_or_not_at_all_is_found() {
        let mut session = Session::new(1, 2);
        sent(&mut session, 2);
        let kept = kept(&session);
        session.received = 2;
        assert_eq!(session.compare(Some(&Kept { received: 3, ..kept.clone() }), None), Err(Forgotten));
        assert_eq!(session.faults, Faults { lost: 0, repeated: 1 });
        assert_eq!(session.compare(Some(&Kept { received: 1, ..kept.clone() }), None), Err(Forgotten));
        assert_eq!(session.faults, Faults { lost: 1, repeated: 1 });
        assert_eq!(session.compare(Some(&Kept { crc32: "00000000".into(), ..kept }), None), Err(Forgotten));
        assert_eq!(session.faults, Faults { lost: 2, repeated: 1 });
    }

    #[test]
    fn messages_have_the_form_that_the_server_reads() {
        let ack: FromServer = serde_json::from_str(r#"{"ack":3}"#).unwrap();
        assert_eq!(ack, FromServer::Ack { ack: 3 });
        let message: FromServer = serde_json::from_str(r#"{"seq":1,"text":"a"}"#).unwrap();
        assert_eq!(message, FromServer::Message { seq: 1, text: "a".into() });
        assert_eq!(serde_json::to_string(&ToServer::Ack { ack: 3 }).unwrap(), r#"{"ack":3}"#);
    }

    #[test]
    fn a_message_that_is_none_counts_as_lost_where_it_came_from() {
        let mut session = Session::new(7, 1);
        let by = Some(SocketAddr::from(([127, 0, 1, 1], 4)));
        session.is_connected_to(by);
        session.is_garbled();
        let (faults, gaps) = session.take_faults();
        assert_eq!(faults, Faults { lost: 1, repeated: 0 });
        assert_eq!((gaps.len(), gaps[0].found_by), (1, by));
    }
}
