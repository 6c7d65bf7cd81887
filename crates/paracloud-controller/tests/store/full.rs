//! Disks without a byte left.

use crate::disk::{PowerDisk, QuotaDisk};
use crate::{Record, Store, entry, keeping, record};
use paracloud_controller::store::{Options, StoreError, Swap};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A disk that can be filled to the last byte.
trait SmallDisk {
    fn open(&self) -> Result<Store, StoreError>;
    fn fill(&self);
    fn clear(&self);
}

#[test]
fn both_outcomes_are_written_on_a_disk_that_became_full_after_the_reservation() {
    for disk in disks() {
        let store = disk.open().unwrap();
        store.swap("web-1", None, &record(1), &[entry("offer")]).unwrap();
        let mut room = store.reserve(2, 64 << 10).unwrap();
        disk.fill();
        let large = |incarnation| Record { incarnation, owner: "x".repeat(15_000) };
        let said = vec![entry("y".repeat(1000)); 15];
        let swap = store.swap_within(&mut room, "web-1", Some(&record(1)), &large(2), &said).unwrap();
        assert_eq!(swap, Swap::Applied, "commit");
        let swap = store.swap_within(&mut room, "web-1", Some(&large(2)), &large(3), &said).unwrap();
        assert_eq!(swap, Swap::Applied, "abort");
        drop((store, room));
        let store = disk.open().unwrap();
        assert_eq!(store.get("web-1").unwrap(), Some(large(3)));
        assert_eq!(store.journal().unwrap(), 1..32);
    }
}

#[test]
fn a_full_disk_refuses_before_anything_is_written_and_the_store_goes_on() {
    for disk in disks() {
        let store = disk.open().unwrap();
        store.swap("web-1", None, &record(1), &[]).unwrap();
        disk.fill();
        let error = store.reserve(64, 1 << 20).unwrap_err();
        assert!(matches!(error, StoreError::NoSpace { .. }) && !error.poisons(), "{error}");
        assert!(error.hint().is_some());
        let mut written = 1;
        // What was allocated ahead is used up first.
        let error = loop {
            match store.swap(
                "web-1",
                Some(&record(written)),
                &record(written + 1),
                &[entry("z".repeat(16_000))],
            ) {
                Ok(swap) => assert_eq!(swap, Swap::Applied),
                Err(error) => break error,
            }
            written += 1;
            assert!(written < 10_000, "the disk is not full");
        };
        assert!(matches!(error, StoreError::NoSpace { .. }), "{error}");
        assert_eq!(store.get("web-1").unwrap(), Some(record(written)));
        disk.clear();
        store.swap("web-1", Some(&record(written)), &record(written + 1), &[entry("room again")]).unwrap();
    }
}

#[test]
fn a_store_on_a_full_disk_opens_again_and_writes_its_outcome() {
    for disk in disks() {
        let store = disk.open().unwrap();
        store.swap("web-1", None, &record(1), &[entry("offer")]).unwrap();
        let room = store.reserve(2, 8 << 10).unwrap();
        disk.fill();
        drop((store, room));
        let store = disk.open().unwrap();
        // The blocks are still there, so they can be promised again.
        let mut room = store.reserve(2, 8 << 10).unwrap();
        store.swap_within(&mut room, "web-1", Some(&record(1)), &record(2), &[entry("rolled back")]).unwrap();
        assert_eq!(store.get("web-1").unwrap(), Some(record(2)));
    }
}

#[test]
fn a_store_on_a_full_disk_opens_after_a_crash_and_writes_its_outcome() {
    let disk = QuotaDisk::new(8 << 20);
    let open = || Store::open_on(disk.clone(), Options::default()).unwrap();
    let store = open();
    store.swap("web-1", None, &record(1), &[entry("offer")]).unwrap();
    std::mem::forget(store.reserve(2, 8 << 10).unwrap());
    disk.fill();
    std::mem::forget(store);
    let store = open();
    let mut room = store.reserve(2, 8 << 10).unwrap();
    store.swap_within(&mut room, "web-1", Some(&record(1)), &record(2), &[entry("rolled back")]).unwrap();
    assert_eq!(store.get("web-1").unwrap(), Some(record(2)));
}

#[test]
fn a_store_cannot_be_made_on_a_full_disk() {
    for disk in disks() {
        disk.fill();
        let error = disk.open().unwrap_err();
        assert!(matches!(error, StoreError::NoSpace { .. } | StoreError::Io { .. }), "{error}");
        disk.clear();
        assert!(disk.open().unwrap().was_created());
    }
}

#[test]
fn what_is_reserved_is_not_spent_on_what_is_not() {
    for seed in 0..60 {
        let mut rng = StdRng::seed_from_u64(seed);
        let disk = QuotaDisk::new(rng.random_range(4..24) << 20);
        let store = Store::open_on(disk.clone(), keeping(rng.random_range(10..2000))).unwrap();
        for _ in 0..rng.random_range(0..60) {
            let said = vec![entry("a".repeat(rng.random_range(0..15_000))); rng.random_range(1..8)];
            if store.append(&said).is_err() {
                break;
            }
        }
        let bytes = rng.random_range(1000..60_000);
        let Ok(mut rooms) = (0..3).map(|_| store.reserve(2, 2 * bytes)).collect::<Result<Vec<_>, _>>() else {
            continue;
        };
        disk.fill();
        // Others write for as long as they can.
        let unreserved =
            (0..400).take_while(|_| store.append(&vec![entry("b".repeat(9000)); 6]).is_ok()).count();
        assert!(unreserved < 400, "seed {seed}: the disk is not full");
        let owner = |owner: char, bytes: u64| Record {
            incarnation: 0,
            owner: owner.to_string().repeat(usize::try_from(bytes).unwrap() - 100),
        };
        for (number, room) in rooms.iter_mut().enumerate() {
            let key = format!("web-{number}");
            let (first, second) = (owner('c', bytes), owner('d', bytes));
            store.swap_within(room, &key, None, &first, &[]).expect("the commit");
            store.swap_within(room, &key, Some(&first), &second, &[]).expect("the abort");
        }
    }
}

#[test]
fn a_reservation_that_is_dropped_gives_its_room_to_others() {
    let disk = QuotaDisk::new(6 << 20);
    let store = Store::open_on(disk, Options::default()).unwrap();
    let room = store.reserve(1, 512 << 10).unwrap();
    assert!(matches!(store.reserve(1, 512 << 10), Err(StoreError::NoSpace { .. })));
    drop(room);
    store.reserve(1, 512 << 10).unwrap();
}

#[test]
fn a_write_occupies_at_most_half_of_what_it_is_charged_for() {
    let disk = PowerDisk::default();
    let mut rng = StdRng::seed_from_u64(1);
    let mut most = 0;
    // Many small records and entries; then few large ones; then large ones that push 256 old ones out each.
    for (writes, keep, bytes) in [(1000, 3000, 300), (60, 3000, 16_000), (20, 100, 16_000)] {
        let store = Store::open_on(disk.clone(), keeping(keep)).unwrap();
        for _ in 0..writes {
            let said: Vec<_> = (0..rng.random_range(0..=64))
                .map(|_| entry("e".repeat(rng.random_range(0..bytes))))
                .collect();
            let record = Record { incarnation: 1, owner: "o".repeat(rng.random_range(0..4 * bytes)) };
            let key = format!("instance-{:05}", rng.random_range(0..20_000));
            let expected = store.get(&key).unwrap();
            disk.take_written();
            store.swap(&key, expected.as_ref(), &record, &said).unwrap();
            let pages: BTreeMap<u64, usize> = disk.take_written().into_iter().collect();
            let json: usize =
                said.iter().map(|entry| entry.said.len() + 11).sum::<usize>() + record.owner.len() + 29;
            most = most.max(pages.values().sum::<usize>().saturating_sub(2 * json));
        }
    }
    assert!(most <= (256 << 10) / 2, "{most} bytes beside twice the JSON");
    println!("{most} bytes beside twice the JSON");
}

/// The tests above once more, on filesystems that are mounted for them. They have a mount namespace of their own, so
/// that nothing stays mounted however this ends. Where nobody may mount, the disk in memory has to do.
#[test]
fn the_same_holds_on_real_filesystems() {
    let unshare = |user: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(user).args(["--mount", "--propagation", "private"]);
        command
    };
    let may_mount = |user: &&[&str]| {
        let mounted = unshare(user).args(["mount", "-ttmpfs", "tmpfs", "/mnt"]).output();
        mounted.is_ok_and(|mounted| mounted.status.success())
    };
    let users: [&[&str]; 2] = [&[], &["--map-root-user"]];
    let Some(user) = users.into_iter().find(may_mount) else {
        eprintln!("nobody may mount here: only the disk in memory was filled");
        return;
    };
    let mut again = unshare(user);
    again.arg(std::env::current_exe().unwrap()).args([
        "full::",
        "--skip",
        "the_same_holds_on_real_filesystems",
    ]);
    let ran = again.env(REAL, "yes").output().unwrap();
    assert!(
        ran.status.success(),
        "{}{}",
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr)
    );
}

/// Set in the child that may mount.
const REAL: &str = "PARACLOUD_STORE_TEST_REAL_FILESYSTEMS";

fn disks() -> Vec<Box<dyn SmallDisk>> {
    if std::env::var_os(REAL).is_none() {
        return vec![Box::new(Quota(QuotaDisk::new(8 << 20)))];
    }
    let mut disks: Vec<Box<dyn SmallDisk>> =
        vec![Box::new(Mounted::tmpfs().expect("this process may mount"))];
    // A loop device needs the real root, and mkfs.ext4 may not be installed.
    disks.extend(Mounted::ext4().map(|disk| Box::new(disk) as Box<dyn SmallDisk>));
    disks
}

struct Quota(QuotaDisk);

impl SmallDisk for Quota {
    fn open(&self) -> Result<Store, StoreError> {
        Store::open_on(self.0.clone(), Options::default())
    }

    fn fill(&self) {
        self.0.fill();
    }

    fn clear(&self) {
        self.0.clear();
    }
}

/// What was made on a full disk meanwhile may have taken, from what a filesystem keeps for itself: a directory, say.
const MADE_MEANWHILE: u64 = 64 << 10;

/// How often a filesystem is synchronised until what was removed has left it.
const SYNCS_MAX: u32 = 1_000;

/// A filesystem of its own, unmounted when dropped.
struct Mounted {
    point: PathBuf,
    _folder: tempfile::TempDir,
}

impl Mounted {
    fn tmpfs() -> Option<Self> {
        Self::mount(|_| Some(vec!["-ttmpfs".into(), "-osize=8m".into(), "tmpfs".into()]))
    }

    fn ext4() -> Option<Self> {
        Self::mount(|folder| {
            let image = folder.join("image");
            File::create(&image).and_then(|file| file.set_len(16 << 20)).ok()?;
            let made = Command::new("mkfs.ext4").args(["-q", "-m0"]).arg(&image).output().ok()?;
            made.status.success().then(|| vec!["-oloop".into(), image.into_os_string()])
        })
    }

    fn mount(arguments: impl FnOnce(&Path) -> Option<Vec<std::ffi::OsString>>) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let point = folder.path().join("mounted");
        fs::create_dir(&point).expect("a folder to mount on");
        let arguments = arguments(folder.path())?;
        let mounted = Command::new("mount").args(arguments).arg(&point).output().ok()?;
        mounted.status.success().then_some(Self { point, _folder: folder })
    }

    fn filler(&self) -> PathBuf {
        self.point.join("filler")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.point).output();
    }
}

impl SmallDisk for Mounted {
    fn open(&self) -> Result<Store, StoreError> {
        Store::open(self.point.join("state"), Options::default())
    }

    fn fill(&self) {
        let mut filler = File::create(self.filler()).expect("a file to fill the disk with");
        for chunk in [1 << 20, 4096, 1] {
            let full = loop {
                if let Err(error) = filler.write_all(&vec![b'f'; chunk]).and_then(|()| filler.sync_data()) {
                    break error;
                }
            };
            assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        }
    }

    /// A filesystem gives the blocks of a removed file back when its own journal has been written.
    fn clear(&self) {
        let filler = fs::metadata(self.filler()).expect("the filler").len();
        fs::remove_file(self.filler()).expect("the filler");
        let point = File::open(&self.point).expect("what is mounted");
        for _ in 0..SYNCS_MAX {
            rustix::fs::syncfs(&point).expect("a filesystem that can be synchronised");
            let disk = rustix::fs::fstatvfs(&point).expect("its figures");
            if disk.f_bavail * disk.f_frsize + MADE_MEANWHILE >= filler {
                return;
            }
        }
        panic!("the blocks of the filler are not given back");
    }
}
