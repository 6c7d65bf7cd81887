//! The open loop: requests are sent when they are due, whatever became of those before.

use crate::clients::{Clients, Mood};
use crate::config::Config;
use crate::send::Post;
use crate::wire;
use crate::writer::Task;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Sends requests at the configured rate until the clients leave. While they settle nothing is due.
pub(crate) async fn run(clients: Arc<Clients>) {
    let Some(interval) = Duration::from_secs(1).checked_div(clients.config.requests_per_s) else { return };
    let mut requests = Requests::new(clients.config.clone(), clients.run);
    let mut mood = clients.mood.subscribe();
    let mut due = Instant::now();
    loop {
        let now = *mood.borrow_and_update();
        match now {
            Mood::Leaving => return,
            Mood::Settling(_) => {
                if mood.changed().await.is_err() {
                    return;
                }
                due = Instant::now();
            }
            Mood::Sending => tokio::select! {
                biased;
                changed = mood.changed() => if changed.is_err() { return },
                () = sleep_until(due) => {
                    send(&clients, requests.next(due));
                    due += interval;
                }
            },
        }
    }
}

fn send(clients: &Arc<Clients>, task: Task) {
    let room = clients.room.clone().try_acquire_owned();
    if room.is_err() && *clients.mood.borrow() != Mood::Sending {
        // The clients settle from this moment on, and whoever settles has all the room: it is not due any more.
        return;
    }
    clients.meter().offered();
    let Ok(room) = room else {
        clients.meter().given_up();
        return;
    };
    let clients = clients.clone();
    tokio::spawn(async move {
        task.run(clients).await;
        drop(room);
    });
}

/// Makes requests, the same ones from the same seed but for their `Idempotency-Key`s.
struct Requests {
    config: Config,
    run: u64,
    random: Xoshiro256PlusPlus,
    number: usize,
}

impl Requests {
    fn new(config: Config, run: u64) -> Self {
        Self { run, random: Xoshiro256PlusPlus::seed_from_u64(config.seed), config, number: 0 }
    }

    fn next(&mut self, due: Instant) -> Task {
        let Config { keys, writes_per_request, value_bytes, keyed_permille, twice_permille, .. } =
            self.config;
        let (body, writes) = wire::request(&mut self.random, keys, writes_per_request, value_bytes);
        let is_keyed = self.random.random_range(0..1_000) < keyed_permille;
        let is_twice = is_keyed && self.random.random_range(0..1_000) < twice_permille;
        let key = is_keyed.then(|| format!("{:016x}-{:x}", self.run, self.number));
        self.number += 1;
        Task { due, post: Post { body, key }, writes, gateway: self.number, is_twice }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_go_through_each_gateway_in_turn_and_half_of_them_have_a_key() {
        let mut requests = Requests::new(Config { twice_permille: 1_000, ..Config::default() }, 7);
        let tasks: Vec<_> = (0..1_000).map(|_| requests.next(Instant::now())).collect();
        let keyed = tasks.iter().filter(|task| task.post.key.is_some()).count();
        assert!((400..600).contains(&keyed), "{keyed}");
        assert!(tasks.iter().all(|task| task.is_twice == task.post.key.is_some()));
        assert!(tasks.windows(2).all(|pair| pair[0].gateway + 1 == pair[1].gateway));
    }

    #[test]
    fn no_two_requests_share_a_key() {
        let mut requests = Requests::new(Config { keyed_permille: 1_000, ..Config::default() }, 7);
        let mut keys: Vec<_> = (0..1_000).filter_map(|_| requests.next(Instant::now()).post.key).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 1_000);
    }
}
