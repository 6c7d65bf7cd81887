//! The life of one request, from the time at which it was due until its outcome is known, or known never to be.

use crate::clients::Clients;
use crate::ledger::Write;
use crate::loss::{Request, Told};
use crate::meter::Fault;
use crate::send::{Answer, Post, Sent};
use crate::wire;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// First pause before a request is sent again; it doubles.
const RETRY_MS_MIN: u64 = 10;
/// Longest pause before a request is sent again.
const RETRY_MS_MAX: u64 = 500;
/// How long after it was due a request is sent again. Then it is given up, or its outcome stays unknown.
pub(crate) const ENDEAVOUR_MS_MAX: u64 = 60_000;

/// A request of the schedule.
#[derive(Debug)]
pub(crate) struct Task {
    /// The time at which it was due. Latency counts from here.
    pub(crate) due: Instant,
    pub(crate) post: Post,
    pub(crate) writes: Vec<Write>,
    /// The gateway it is sent through first.
    pub(crate) gateway: usize,
    /// It is sent twice at once, through different gateways.
    pub(crate) is_twice: bool,
}

/// How a request ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Acknowledged(Answer),
    NotApplied,
    Unknown,
}

impl Task {
    /// Sends it until it is answered, and enters what came of it.
    pub(crate) async fn run(self, clients: Arc<Clients>) {
        let end = if self.is_twice {
            let (one, other) =
                tokio::join!(self.pursue(&clients, self.gateway), self.pursue(&clients, self.gateway + 1));
            if let (End::Acknowledged(one), End::Acknowledged(other)) = (&one, &other)
                && one.body != other.body
            {
                clients.ledger().answers_differ();
            }
            self.keep(&clients, &[&one, &other]);
            better(one, other)
        } else {
            let end = self.pursue(&clients, self.gateway).await;
            self.keep(&clients, &[&end]);
            end
        };
        self.enter(&clients, end);
    }

    /// Keeps what was told of it, and by whom.
    fn keep(&self, clients: &Clients, ends: &[&End]) {
        let Some(mut requests) = clients.requests() else { return };
        let mut request = Request { writes: self.writes.clone(), told: Vec::new(), may_be_applied: false };
        for end in ends {
            match end {
                End::Acknowledged(Answer { body, by }) => match wire::counters(body, self.writes.len()) {
                    Some(counters) => request.told.push(Told { by: *by, counters }),
                    None => request.may_be_applied = true,
                },
                End::Unknown => request.may_be_applied = true,
                End::NotApplied => {}
            }
        }
        requests.push(request);
    }

    /// Sends it until its outcome is known. One with a key can be sent again whatever became of it.
    async fn pursue(&self, clients: &Clients, first: usize) -> End {
        let (mut gateway, mut pause_ms, mut may_be_applied) = (first, RETRY_MS_MIN, false);
        loop {
            let fault = match self.post.send(clients.pool(gateway)).await {
                Sent::Acknowledged(answer) => return End::Acknowledged(answer),
                Sent::NotApplied(fault) => fault,
                Sent::Unknown(fault) => {
                    may_be_applied = true;
                    fault
                }
            };
            clients.meter().fault(fault);
            let is_open = !may_be_applied || self.post.key.is_some();
            let is_in_time = self.due.elapsed() < Duration::from_millis(ENDEAVOUR_MS_MAX);
            let is_refused = fault == Fault::Rejected && !may_be_applied;
            if is_refused || !is_open || !is_in_time {
                return if may_be_applied { End::Unknown } else { End::NotApplied };
            }
            if fault != Fault::NotApplied {
                gateway += 1;
            }
            sleep(Duration::from_millis(pause_ms)).await;
            pause_ms = (pause_ms * 2).min(RETRY_MS_MAX);
        }
    }

    fn enter(&self, clients: &Clients, end: End) {
        let counters = match &end {
            End::Acknowledged(answer) => wire::counters(&answer.body, self.writes.len()),
            End::NotApplied | End::Unknown => None,
        };
        match (end, counters) {
            (_, Some(counters)) => {
                let now = Instant::now();
                clients.meter().achieved(now - self.due, now.into_std());
                let mut ledger = clients.ledger();
                self.writes
                    .iter()
                    .zip(counters)
                    .for_each(|(write, counter)| ledger.acknowledge(*write, counter));
            }
            (End::NotApplied, None) => clients.meter().given_up(),
            (End::Acknowledged(_) | End::Unknown, None) => {
                // An answer that cannot be read says nothing of what was applied.
                clients.meter().unknown();
                let mut ledger = clients.ledger();
                self.writes.iter().for_each(|write| ledger.leave_unknown(*write));
            }
        }
    }
}

/// Of the two ends of a request that was sent twice, what is known of it.
fn better(one: End, other: End) -> End {
    match (one, other) {
        (End::Acknowledged(answer), _) | (_, End::Acknowledged(answer)) => End::Acknowledged(answer),
        (End::NotApplied, End::NotApplied) => End::NotApplied,
        (End::Unknown, End::NotApplied | End::Unknown) | (End::NotApplied, End::Unknown) => End::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_sent_twice_is_known_if_one_of_the_two_is() {
        let acknowledged = || End::Acknowledged(Answer { body: "[1]".into(), by: None });
        assert_eq!(better(acknowledged(), End::Unknown), acknowledged());
        assert_eq!(better(End::NotApplied, acknowledged()), acknowledged());
        assert_eq!(better(End::NotApplied, End::Unknown), End::Unknown);
        assert_eq!(better(End::NotApplied, End::NotApplied), End::NotApplied);
    }
}
