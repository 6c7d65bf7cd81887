//! Runs a plan: each request is sent when it is due, whatever became of those before.

use super::{IN_FLIGHT_MAX, Plan, PlanError, Seen};
use crate::pool::{Pool, SendError};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// One outcome of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Became {
    Answered,
    Refused,
    Failed,
    Lost,
}

/// What every request of a plan shares.
#[derive(Debug)]
struct Ways {
    pools: Vec<(Pool, HeaderValue)>,
    method: Method,
    path: Uri,
    body: Bytes,
    answer_wait: Duration,
    seen: Mutex<Vec<Seen>>,
}

impl Plan {
    /// Runs it, and returns when every request has its outcome: what was seen of each phase.
    ///
    /// # Errors
    /// A field breaks its bound.
    pub async fn run(&self) -> Result<Vec<Seen>, PlanError> {
        self.validate()?;
        let ways = Arc::new(Ways::of(self));
        let room = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
        let mut sent = JoinSet::new();
        let mut random = Xoshiro256PlusPlus::seed_from_u64(self.seed);
        let mut number = 0_usize;
        let mut begun = Instant::now();
        for (place, phase) in self.phases.iter().enumerate() {
            let end = begun + Duration::from_millis(phase.duration_ms.into());
            let mut due = begun;
            while phase.requests_per_s > 0 && due < end {
                sleep_until(due).await;
                let room = room.clone().try_acquire_owned().ok();
                ways.count(place, |seen| {
                    seen.offered += 1;
                    seen.given_up += u64::from(room.is_none());
                });
                if let Some(room) = room {
                    let ways = Arc::clone(&ways);
                    sent.spawn(async move {
                        ways.send(number, place, due).await;
                        drop(room);
                    });
                }
                number += 1;
                due += self.arrivals.gap(phase.requests_per_s, &mut random);
                while sent.try_join_next().is_some() {}
            }
            sleep_until(end).await;
            begun = end;
        }
        while sent.join_next().await.is_some() {}
        Ok(std::mem::take(&mut *ways.seen()))
    }
}

impl Ways {
    /// Those of a plan whose bounds were checked.
    fn of(plan: &Plan) -> Self {
        let host = |address: &SocketAddr| {
            HeaderValue::from_str(&address.to_string()).expect("an address is visible ASCII")
        };
        Self {
            pools: plan.targets.iter().map(|it| (Pool::new(*it), host(it))).collect(),
            method: if plan.body.is_some() { Method::POST } else { Method::GET },
            path: plan.path.parse().unwrap_or_default(),
            body: plan.body.clone().map(Bytes::from).unwrap_or_default(),
            answer_wait: Duration::from_millis(plan.answer_ms_max.into()),
            seen: Mutex::new(vec![Seen::default(); plan.phases.len()]),
        }
    }

    fn seen(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, place: usize, count: impl FnOnce(&mut Seen)) {
        if let Some(seen) = self.seen().get_mut(place) {
            count(seen);
        }
    }

    async fn send(&self, number: usize, place: usize, due: Instant) {
        let became = timeout(self.answer_wait, self.exchange(number)).await.unwrap_or(Became::Lost);
        let took_us = u32::try_from(due.elapsed().as_micros()).unwrap_or(u32::MAX);
        self.count(place, |seen| match became {
            Became::Answered => seen.latencies_us.push(took_us),
            Became::Refused => seen.refused += 1,
            Became::Failed => seen.failed += 1,
            Became::Lost => seen.lost += 1,
        });
    }

    async fn exchange(&self, number: usize) -> Became {
        let (pool, host) = &self.pools[number % self.pools.len()];
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.path.clone();
        request.headers_mut().insert(header::HOST, host.clone());
        let (response, connection) = match pool.send(request).await {
            Ok(answered) => answered,
            Err(SendError::NotSent(_) | SendError::Lost(_)) => return Became::Lost,
        };
        let status = response.status();
        if Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await.is_err() {
            return Became::Lost;
        }
        pool.give_back(connection);
        match status {
            status if status.is_success() => Became::Answered,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Became::Refused,
            _ => Became::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Arrivals, Phase};
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// A server that says this of each connection's only request, in turn.
    async fn says(answers: &'static [&'static str]) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            for answer in answers.iter().cycle() {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    if stream.read_buf(&mut head).await.unwrap() == 0 {
                        break;
                    }
                }
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        address
    }

    #[tokio::test]
    async fn each_request_has_one_outcome_in_the_phase_in_which_it_was_due() {
        let target = says(&[
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            "HTTP/1.1 503 Full\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            "HTTP/1.1 500 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\nconnection: close\r\n\r\ncut",
        ])
        .await;
        let phase = |requests_per_s, duration_ms| Phase { requests_per_s, duration_ms };
        let plan = Plan {
            targets: vec![target],
            path: "/".to_owned(),
            body: None,
            phases: vec![phase(100, 200), phase(0, 10), phase(200, 200)],
            arrivals: Arrivals::Even,
            answer_ms_max: 20_000,
            seed: 7,
        };
        let seen = plan.run().await.unwrap();
        assert_eq!(seen.iter().map(|seen| seen.offered).collect::<Vec<_>>(), [20, 0, 40]);
        let mut all = Seen::default();
        seen.iter().for_each(|seen| all.add(seen));
        let outcomes = [all.latencies_us.len() as u64, all.refused, all.failed, all.lost];
        assert_eq!(outcomes, [15; 4], "{seen:?}");
        assert!(!all.is_clean() && seen[1].is_clean());
    }
}
