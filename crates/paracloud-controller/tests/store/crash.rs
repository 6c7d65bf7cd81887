//! Power cuts, again and again, also while the last one is being recovered from.

use crate::disk::PowerDisk;
use crate::{Entry, Record, Store, entry, keeping};
use paracloud_controller::store::{StoreError, Swap};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::sync::OnceLock;

const SEEDS: u64 = 1000;
const KEPT: u64 = 20;

#[test]
fn what_was_acknowledged_survives_power_cuts_and_what_was_not_is_whole_or_absent() {
    let mut tally = Tally::default();
    for seed in 0..SEEDS {
        if let Err(violation) = lives(seed, false, &mut tally) {
            panic!("seed {seed}: {violation}");
        }
    }
    // The test has met what it is about.
    assert!(tally.cuts_in_recovery > SEEDS, "{tally:?}");
    assert!(tally.unknown_and_there > SEEDS / 10 && tally.unknown_and_absent > SEEDS, "{tally:?}");
}

#[test]
fn a_disk_that_lies_about_syncing_is_caught_by_the_test_above() {
    let caught = (0..40).filter(|&seed| lives(seed, true, &mut Tally::default()).is_err()).count();
    assert!(caught >= 10, "only {caught} of 40 lying disks were caught");
}

/// What happened in all lives together.
#[derive(Debug, Default)]
struct Tally {
    cuts_in_recovery: u64,
    unknown_and_there: u64,
    unknown_and_absent: u64,
}

/// A store's life with several power cuts. The error is the first promise that was broken.
fn lives(seed: u64, lies: bool, tally: &mut Tally) -> Result<(), String> {
    let mut rng = StdRng::seed_from_u64(seed);
    let disk = PowerDisk::holding(new_store());
    if lies {
        disk.lie();
    }
    let mut known = Known::default();
    for _ in 0..rng.random_range(2..=4) {
        let store = recovered(&disk, &mut known, &mut rng, tally)?;
        works(&store, &disk, &mut known, &mut rng)?;
        drop(store);
        disk.cut(&mut rng);
    }
    recovered(&disk, &mut known, &mut rng, tally).map(drop)
}

/// Opens the store, perhaps only after the power was cut in the middle of it, and compares.
fn recovered(
    disk: &PowerDisk,
    known: &mut Known,
    rng: &mut StdRng,
    tally: &mut Tally,
) -> Result<Store, String> {
    for _ in 0..3 {
        if rng.random_bool(0.7) {
            disk.set_fuse(rng.random_range(1..25), rng.random());
        }
        let opened = Store::open_on(disk.clone(), keeping(KEPT));
        let cut = disk.is_off();
        disk.remove_fuse();
        if !cut {
            let store = opened.map_err(|error| format!("does not open: {error}"))?;
            known.compare(&store, tally)?;
            return Ok(store);
        }
        tally.cuts_in_recovery += 1;
        drop(opened);
        disk.cut(rng);
    }
    let store =
        Store::open_on(disk.clone(), keeping(KEPT)).map_err(|error| format!("does not open: {error}"))?;
    known.compare(&store, tally)?;
    Ok(store)
}

/// Swaps until the power goes, or until there was enough.
fn works(store: &Store, disk: &PowerDisk, known: &mut Known, rng: &mut StdRng) -> Result<(), String> {
    disk.set_fuse(rng.random_range(1..120), rng.random());
    for _ in 0..rng.random_range(4..12) {
        let key = format!("web-{}", rng.random_range(0..6));
        let bytes = if rng.random_bool(0.1) { 20_000 } else { rng.random_range(0..2000) };
        let record = Record { incarnation: rng.random(), owner: "x".repeat(bytes) };
        let said: Vec<_> =
            (0..rng.random_range(0..4)).map(|_| entry(format!("{:x}", rng.random::<u128>()))).collect();
        let expected = known.records.get(&key).cloned();
        match store.swap(&key, expected.as_ref(), &record, &said) {
            Ok(Swap::Applied) => known.apply(key, record, said),
            Ok(Swap::Refused(current)) => return Err(format!("refused {expected:?} for {current:?}")),
            Err(error) if disk.is_off() => {
                known.unknown = Some((key, record, said));
                let later = store.get("web-0");
                let poisoned = matches!(later, Err(StoreError::Poisoned { .. }));
                return poisoned.then_some(()).ok_or_else(|| format!("{later:?} after {error}"));
            }
            Err(error) => return Err(format!("a swap failed on a good disk: {error}")),
        }
    }
    Ok(())
}

/// What was acknowledged, and the one swap of which nobody knows.
#[derive(Debug, Clone, Default)]
struct Known {
    records: BTreeMap<String, Record>,
    /// Entry `n` is at `n - 1`.
    journal: Vec<Entry>,
    unknown: Option<(String, Record, Vec<Entry>)>,
}

impl Known {
    fn apply(&mut self, key: String, record: Record, said: Vec<Entry>) {
        self.records.insert(key, record);
        self.journal.extend(said);
    }

    fn compare(&mut self, store: &Store, tally: &mut Tally) -> Result<(), String> {
        let records = store.all().map_err(|error| error.to_string())?;
        let kept = store.journal().map_err(|error| error.to_string())?;
        let entries = store.entries(kept.start, usize::MAX).map_err(|error| error.to_string())?;
        let unknown = self.unknown.take();
        let mut candidates = vec![(self.clone(), &mut tally.unknown_and_absent)];
        if let Some((key, record, said)) = unknown.clone() {
            let mut with = self.clone();
            with.apply(key, record, said);
            candidates.push((with, &mut tally.unknown_and_there));
        }
        for (candidate, met) in candidates {
            let next = candidate.journal.len() as u64 + 1;
            let oldest = next.saturating_sub(KEPT).max(1);
            let expected =
                (oldest..next).zip(candidate.journal.iter().skip(usize::try_from(oldest - 1).unwrap_or(0)));
            if records == candidate.records
                && kept == (oldest..next)
                && entries.iter().map(|(number, entry)| (*number, entry)).eq(expected)
            {
                *self = candidate;
                *met += u64::from(unknown.is_some());
                return Ok(());
            }
        }
        Err(format!(
            "neither with nor without the last swap: journal {kept:?}, {} acknowledged",
            self.journal.len()
        ))
    }
}

/// A store as its making leaves it; the making itself is safe because the file gets its name only when it is done.
fn new_store() -> &'static [u8] {
    static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let disk = PowerDisk::default();
        drop(Store::open_on(disk.clone(), keeping(KEPT)).expect("an empty disk becomes a store"));
        disk.image()
    })
}
