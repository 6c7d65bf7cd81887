//! Bytes that changed while the file lay still.

use crate::disk::PowerDisk;
use crate::{Entry, Record, Store, entry, record};
use paracloud_controller::store::{Fault, Options, StoreError, Table};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Where redb keeps the one bit without a checksum (`PRIMARY_BIT` of its "god byte").
const UNCHECKED: (usize, u8) = (9, 1);

/// A store with some records and entries; the name of each record is in it once more, to be found in the file.
fn written(store: &Store) {
    for number in 0..40 {
        let name = format!("instance-{number:02}");
        let record = Record { incarnation: number, owner: format!("owner of {name}") };
        store.swap(&name, None, &record, &[entry(format!("story of {name}"))]).expect("a good disk");
    }
}

fn contents(store: &Store) -> (BTreeMap<String, Record>, Vec<(u64, Entry)>) {
    (store.all().expect("readable"), store.entries(1, usize::MAX).expect("readable"))
}

/// Changes a byte in the middle of every copy of `text` in the file: redb leaves old copies behind.
fn scratch(file: &Path, text: &str) {
    let mut bytes = fs::read(file).expect("the store's file");
    let places: Vec<_> = bytes
        .windows(text.len())
        .enumerate()
        .filter(|(_, w)| *w == text.as_bytes())
        .map(|(at, _)| at)
        .collect();
    assert!(!places.is_empty(), "{text} is not in the file");
    for at in places {
        bytes[at + text.len() / 2] ^= 0x20;
    }
    fs::write(file, bytes).expect("the store's file");
}

#[test]
fn a_damaged_record_is_refused_by_table_and_name() {
    let folder = tempfile::tempdir().unwrap();
    written(&Store::open(folder.path(), Options::default()).unwrap());
    let file = folder.path().join("store.redb");
    scratch(&file, "owner of instance-17");
    let scratched = fs::read(&file).unwrap();
    let error = Store::open(folder.path(), Options::default()).unwrap_err();
    assert!(
        fs::read(&file).unwrap()[4096..] == scratched[4096..],
        "only redb's header says that it was opened"
    );
    let StoreError::Damaged { table, key, fault } = &error else { panic!("{error}") };
    assert_eq!((*table, key.as_str()), (Table::Register, "instance-17"));
    assert!(matches!(fault, Fault::Checksum { .. }), "{fault}");
    assert!(
        error.to_string().starts_with("register record `instance-17` is damaged: expected checksum"),
        "{error}"
    );
}

#[test]
fn a_damaged_entry_is_refused_by_table_and_number() {
    let folder = tempfile::tempdir().unwrap();
    written(&Store::open(folder.path(), Options::default()).unwrap());
    scratch(&folder.path().join("store.redb"), "story of instance-17");
    let error = Store::open(folder.path(), Options::default()).unwrap_err();
    assert!(
        matches!(&error, StoreError::Damaged { table: Table::Journal, key, .. } if key == "18"),
        "{error}"
    );
}

#[test]
fn a_damaged_record_is_refused_also_if_its_writer_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Options::default()).unwrap();
    written(&store);
    let copy = tempfile::tempdir().unwrap();
    let file = copy.path().join("store.redb");
    fs::copy(folder.path().join("store.redb"), &file).unwrap();
    // The newest record: what a commit that goes by checksums alone would give up without a word.
    scratch(&file, "owner of instance-39");
    let error = Store::open(copy.path(), Options::default()).unwrap_err();
    assert!(matches!(error, StoreError::DamagedFile { .. } | StoreError::Damaged { .. }), "{error}");
}

#[test]
fn a_flipped_byte_is_refused_or_harmless_after_closing() {
    let disk = PowerDisk::default();
    let store = Store::open_on(disk.clone(), Options::default()).unwrap();
    written(&store);
    let before = contents(&store);
    store.close().unwrap();
    let refused = flips(&disk.image(), &before);
    assert!(refused > 50, "only {refused} flips were refused");
}

#[test]
fn a_flipped_byte_is_refused_or_harmless_also_after_a_kill() {
    let disk = PowerDisk::default();
    let store = Store::open_on(disk.clone(), Options::default()).unwrap();
    written(&store);
    let refused = flips(&disk.image(), &contents(&store));
    assert!(refused > 50, "only {refused} flips were refused");
}

/// Flips bits of `image`, one at a time: all of redb's header, and some elsewhere. Each time the store either does not
/// open or holds exactly what it held.
fn flips(image: &[u8], before: &(BTreeMap<String, Record>, Vec<(u64, Entry)>)) -> usize {
    let mut rng = StdRng::seed_from_u64(7);
    let header = (0..320).map(|at| (at, 1 << (at % 8))).chain((0..8).map(|bit| (UNCHECKED.0, 1 << bit)));
    let elsewhere = (0..400).map(|_| (rng.random_range(320..image.len()), 1 << rng.random_range(0..8)));
    let places: Vec<(usize, u8)> = header.chain(elsewhere).filter(|place| *place != UNCHECKED).collect();
    let mut refused = 0;
    for (at, bit) in places {
        let mut damaged = image.to_vec();
        damaged[at] ^= bit;
        match Store::open_on(PowerDisk::holding(&damaged), Options::default()) {
            Ok(store) => assert_eq!(&contents(&store), before, "bit {bit:#04x} of byte {at}"),
            Err(StoreError::Damaged { .. } | StoreError::DamagedFile { .. }) => refused += 1,
            Err(error) => panic!("bit {bit:#04x} of byte {at}: {error}"),
        }
    }
    refused
}

#[test]
fn a_file_that_is_no_store_or_has_lost_its_end_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.redb");
    written(&Store::open(folder.path(), Options::default()).unwrap());
    let whole = fs::read(&file).unwrap();
    let shortened = [0, 1, 100, 4096, whole.len() / 2].map(|kept| whole[..kept].to_vec());
    for bytes in shortened.into_iter().chain([vec![b'x'; 100_000]]) {
        fs::write(&file, &bytes).unwrap();
        let error = Store::open(folder.path(), Options::default()).unwrap_err();
        assert!(matches!(error, StoreError::DamagedFile { .. }), "{} bytes: {error}", bytes.len());
        assert_eq!(fs::read(&file).unwrap(), bytes);
    }
}

#[test]
fn a_file_that_has_lost_pages_nobody_used_is_whole() {
    let disk = PowerDisk::default();
    let store = Store::open_on(disk.clone(), Options::default()).unwrap();
    written(&store);
    let before = contents(&store);
    store.close().unwrap();
    let image = disk.image();
    let mut opened = 0;
    for kept in (0..image.len()).step_by(4096) {
        if let Ok(store) = Store::open_on(
            PowerDisk::holding(&image[..kept]),
            Options { create: false, ..Options::default() },
        ) {
            assert_eq!(contents(&store), before, "{kept} bytes kept");
            opened += 1;
        }
    }
    assert!(opened > 0, "a closed file ends with unused pages, because it never gets shorter");
}

#[test]
fn a_store_is_refused_if_somebody_else_has_taken_records_out_of_it() {
    const REGISTER: redb::TableDefinition<'_, &str, &[u8]> = redb::TableDefinition::new("register");
    const JOURNAL: redb::TableDefinition<'_, u64, &[u8]> = redb::TableDefinition::new("journal");
    type Tampering = fn(&redb::WriteTransaction);
    let tamperings: [(Tampering, Table, &str, Fault); 4] = [
        (
            |txn| drop(txn.open_table(REGISTER).unwrap().remove("instance-05").unwrap()),
            Table::Register,
            "*",
            Fault::Count { expected: 40, found: 39 },
        ),
        (
            |txn| drop(txn.open_table(JOURNAL).unwrap().remove(9).unwrap()),
            Table::Journal,
            "9",
            Fault::Missing,
        ),
        (
            |txn| drop(txn.open_table(JOURNAL).unwrap().insert(41, [7_u8; 40].as_slice()).unwrap()),
            Table::Journal,
            "*",
            Fault::Count { expected: 40, found: 41 },
        ),
        (
            |txn| {
                drop(txn.open_table(REGISTER).unwrap().insert("instance-05", [7_u8; 9].as_slice()).unwrap());
            },
            Table::Register,
            "instance-05",
            Fault::Truncated { expected_bytes: 18, found_bytes: 9 },
        ),
    ];
    for (tamper, expected_table, expected_key, expected_fault) in tamperings {
        let folder = tempfile::tempdir().unwrap();
        written(&Store::open(folder.path(), Options::default()).unwrap());
        let db = redb::Database::open(folder.path().join("store.redb")).unwrap();
        let txn = db.begin_write().unwrap();
        tamper(&txn);
        txn.commit().unwrap();
        drop(db);
        let error = Store::open(folder.path(), Options::default()).unwrap_err();
        let StoreError::Damaged { table, key, fault } = &error else { panic!("{error}") };
        assert_eq!((*table, key.as_str(), *fault), (expected_table, expected_key, expected_fault));
    }
}

#[test]
fn an_older_record_put_in_place_of_another_is_refused() {
    const REGISTER: redb::TableDefinition<'_, &str, &[u8]> = redb::TableDefinition::new("register");
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Options::default()).unwrap();
    store.swap("web-1", None, &record(1), &[]).unwrap();
    store.swap("web-2", None, &record(2), &[]).unwrap();
    store.close().unwrap();
    let db = redb::Database::open(folder.path().join("store.redb")).unwrap();
    let txn = db.begin_write().unwrap();
    {
        let mut register = txn.open_table(REGISTER).unwrap();
        let bytes = redb::ReadableTable::get(&register, "web-2").unwrap().unwrap().value().to_vec();
        register.insert("web-1", bytes.as_slice()).unwrap();
    }
    txn.commit().unwrap();
    drop(db);
    let error = Store::open(folder.path(), Options::default()).unwrap_err();
    assert!(
        matches!(&error, StoreError::Damaged { key, fault: Fault::Checksum { .. }, .. } if key == "web-1"),
        "{error}"
    );
}
