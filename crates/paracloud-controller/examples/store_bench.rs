//! How long a durable write takes: the store's swap, and redb's commit modes underneath it.
//!
//! `cargo run --release -p paracloud-controller --example store_bench [directory]`. Each variant has a file of its own
//! in `directory` (default: the system's folder for temporary files). The variants take turns write by write, so that
//! a stall of the machine meets all of them alike; a plain append with `fdatasync` shows what the disk itself takes.
#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use paracloud_controller::store::{Options, Store, Swap};
use redb::{Database, Durability, TableDefinition};
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

const WRITES: u64 = 3000;
const INSTANCES: u64 = 100;
const KEPT: u64 = 1000;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Text(String);

/// One write of a variant: record, entry and number in, done when it is durable.
type Variant = Box<dyn FnMut(u64, &Text, &Text) -> Result<(), Box<dyn Error>>>;

fn main() -> Result<(), Box<dyn Error>> {
    let parent = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, Into::into);
    let folder = tempfile::tempdir_in(parent)?;
    let mut variants: Vec<(&str, Variant)> = vec![
        ("append + fdatasync", append(folder.path())?),
        ("redb one-phase", bare(folder.path(), "one", |_| ())?),
        ("redb two-phase", bare(folder.path(), "two", |txn| txn.set_two_phase_commit(true))?),
        ("redb quick repair", bare(folder.path(), "quick", |txn| txn.set_quick_repair(true))?),
        ("Store::swap", store(folder.path())?),
    ];
    let mut taken = vec![Vec::new(); variants.len()];
    for number in 1..=WRITES {
        let (record, entry) = (Text("r".repeat(300)), Text(format!("write {number:0>280}")));
        for ((_, write), taken) in variants.iter_mut().zip(&mut taken) {
            let begun = Instant::now();
            write(number, &record, &entry)?;
            taken.push(begun.elapsed());
        }
    }
    println!("{WRITES} durable writes each: one record of 300 bytes, one entry of 300 bytes");
    println!("{:<20} {:>8} {:>8} {:>8}", "microseconds", "median", "p99", "most");
    for ((name, _), mut taken) in variants.into_iter().zip(taken) {
        taken.sort_unstable();
        let at = |percent: usize| taken[(taken.len() - 1) * percent / 100].as_micros();
        println!("{name:<20} {:>8} {:>8} {:>8}", at(50), at(99), at(100));
    }
    opening(folder.path())
}

fn append(folder: &Path) -> Result<Variant, Box<dyn Error>> {
    let mut file = File::create(folder.join("appended"))?;
    Ok(Box::new(move |_, record, entry| {
        file.write_all(record.0.as_bytes())?;
        file.write_all(entry.0.as_bytes())?;
        Ok(file.sync_data()?)
    }))
}

/// redb alone with its own file backend, and the same tables and trimming as the store.
fn bare(
    folder: &Path,
    name: &str,
    mode: impl Fn(&mut redb::WriteTransaction) + 'static,
) -> Result<Variant, Box<dyn Error>> {
    const REGISTER: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("register");
    const JOURNAL: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("journal");
    const HEAD: TableDefinition<'_, (), &[u8]> = TableDefinition::new("head");
    let db = Database::create(folder.join(name))?;
    Ok(Box::new(move |number, record, entry| {
        let mut txn = db.begin_write()?;
        txn.set_durability(Durability::Immediate)?;
        mode(&mut txn);
        txn.open_table(REGISTER)?.insert(key(number).as_str(), record.0.as_bytes())?;
        {
            let mut journal = txn.open_table(JOURNAL)?;
            journal.insert(number, entry.0.as_bytes())?;
            if number > KEPT {
                journal.remove(number - KEPT)?;
            }
        }
        txn.open_table(HEAD)?.insert((), [0_u8; 64].as_slice())?;
        Ok(txn.commit()?)
    }))
}

fn store(folder: &Path) -> Result<Variant, Box<dyn Error>> {
    let options = Options { journal_entries: KEPT, ..Options::default() };
    let store = Store::<Text, Text>::open(folder.join("store"), options)?;
    Ok(Box::new(move |number, record, entry| {
        let expected = (number > INSTANCES).then_some(record);
        let swap = store.swap(&key(number), expected, record, std::slice::from_ref(entry))?;
        if swap == Swap::Applied { Ok(()) } else { Err("the record was not as expected".into()) }
    }))
}

/// How long it takes to open, and to check, a store that is as full as it gets in practice.
fn opening(folder: &Path) -> Result<(), Box<dyn Error>> {
    let directory = folder.join("large");
    let open = || Store::<Text, Text>::open(&directory, Options::default());
    let large = open()?;
    let entries = vec![Text("e".repeat(300)); 64];
    for number in 0..2000 {
        let name = format!("instance-{number}");
        large.swap(&name, None, &Text("r".repeat(300)), if number < 256 { &entries } else { &[] })?;
    }
    large.close()?;
    let length = std::fs::metadata(directory.join("store.redb"))?.len();
    let mut taken: Vec<Duration> = (0..20)
        .map(|_| {
            let begun = Instant::now();
            open().map(|_| begun.elapsed())
        })
        .collect::<Result<_, _>>()?;
    taken.sort_unstable();
    let (median, most) = (taken[10].as_millis(), taken[19].as_millis());
    println!(
        "opening 2000 records and 16384 entries ({} KiB): median {median} ms, most {most} ms",
        length >> 10
    );
    Ok(())
}

fn key(number: u64) -> String {
    format!("instance-{}", number % INSTANCES)
}
