//! The durable store, from outside: what it keeps, what it refuses, and what it survives.

mod behaviour;
mod crash;
mod damage;
mod disk;
mod full;
mod kill;

use paracloud_controller::store::{self, Options};
use serde::{Deserialize, Serialize};

type Store = store::Store<Record, Entry>;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    incarnation: u64,
    owner: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    said: String,
}

fn record(incarnation: u64) -> Record {
    Record { incarnation, owner: format!("start-{incarnation}") }
}

fn entry(said: impl Into<String>) -> Entry {
    Entry { said: said.into() }
}

fn keeping(journal_entries: u64) -> Options {
    Options { journal_entries, ..Options::default() }
}
