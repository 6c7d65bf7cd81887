//! Disks for tests: one that loses power, one that fills up.

use paracloud_controller::store::Medium;
use rand::RngExt;
use rand::rngs::StdRng;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

const SECTOR_BYTES: usize = 512;

/// A disk in memory that keeps what was synced, and of the rest what it likes. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct PowerDisk(Arc<Mutex<Power>>);

#[derive(Debug, Default)]
struct Power {
    /// What a sync has made safe.
    durable: Vec<u8>,
    /// What a read sees.
    live: Vec<u8>,
    /// What was done since the last sync.
    pending: Vec<Pending>,
    /// Calls until the power is cut; none: never.
    fuse: Option<u64>,
    /// Whether the call in which the power goes has its effect.
    last_counts: bool,
    /// Whether sync answers without doing.
    lies: bool,
    written: Vec<(u64, usize)>,
}

#[derive(Debug)]
enum Pending {
    Grow(usize),
    Write(usize, Vec<u8>),
}

impl PowerDisk {
    pub(crate) fn holding(image: &[u8]) -> Self {
        let disk = Self::default();
        disk.power().durable = image.to_vec();
        disk.power().live = image.to_vec();
        disk
    }

    /// From now on sync does nothing.
    pub(crate) fn lie(&self) {
        self.power().lies = true;
    }

    /// The power goes in the last of `calls` calls more, which has its effect or not.
    pub(crate) fn set_fuse(&self, calls: u64, last_counts: bool) {
        let mut power = self.power();
        power.fuse = Some(calls);
        power.last_counts = last_counts;
    }

    /// The power stays.
    pub(crate) fn remove_fuse(&self) {
        self.power().fuse = None;
    }

    pub(crate) fn is_off(&self) -> bool {
        self.power().fuse == Some(0)
    }

    /// What the processes on this machine see now.
    pub(crate) fn image(&self) -> Vec<u8> {
        self.power().live.clone()
    }

    /// Offset and length of each write since the last time this was asked.
    pub(crate) fn take_written(&self) -> Vec<(u64, usize)> {
        std::mem::take(&mut self.power().written)
    }

    /// The power goes (if it has not gone) and comes back: of what was not synced, a subset of sectors is there.
    pub(crate) fn cut(&self, rng: &mut StdRng) {
        let mut power = self.power();
        let kept = [0.0, 0.1, 0.5, 0.9, 1.0][rng.random_range(0..5)];
        let mut durable = std::mem::take(&mut power.durable);
        for pending in std::mem::take(&mut power.pending) {
            match pending {
                Pending::Grow(size) if rng.random_bool(kept) => durable.resize(size.max(durable.len()), 0),
                Pending::Grow(_) => {}
                Pending::Write(offset, bytes) => {
                    for (number, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
                        let at = offset + number * SECTOR_BYTES;
                        if at + sector.len() <= durable.len() && rng.random_bool(kept) {
                            durable[at..at + sector.len()].copy_from_slice(sector);
                        }
                    }
                }
            }
        }
        power.live.clone_from(&durable);
        power.durable = durable;
        power.fuse = None;
    }

    fn power(&self) -> MutexGuard<'_, Power> {
        self.0.lock().expect("no test panics while it holds a disk")
    }

    /// Burns the fuse. Of the call that burns its end nobody learns.
    fn call<T>(&self, does: impl FnOnce(&mut Power) -> io::Result<T>) -> io::Result<T> {
        let mut power = self.power();
        let lost = || io::Error::other("the power is gone");
        match power.fuse {
            Some(0) => Err(lost()),
            Some(1) => {
                power.fuse = Some(0);
                if power.last_counts {
                    does(&mut power)?;
                }
                Err(lost())
            }
            Some(calls) => {
                power.fuse = Some(calls - 1);
                does(&mut power)
            }
            None => does(&mut power),
        }
    }
}

impl Medium for PowerDisk {
    fn place(&self) -> String {
        "a disk in memory".to_owned()
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.power().live.len() as u64)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let power = self.power();
        let offset = index(offset);
        let from = power.live.get(offset..offset + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(from);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.call(|power| {
            let at = index(offset);
            let to = power.live.get_mut(at..at + bytes.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            to.copy_from_slice(bytes);
            power.pending.push(Pending::Write(at, bytes.to_vec()));
            power.written.push((offset, bytes.len()));
            Ok(())
        })
    }

    fn grow(&self, size: u64) -> io::Result<()> {
        self.call(|power| {
            power.live.resize(index(size), 0);
            power.pending.push(Pending::Grow(index(size)));
            Ok(())
        })
    }

    fn allocate(&self, _end: u64) -> io::Result<()> {
        self.call(|_| Ok(()))
    }

    fn sync(&self) -> io::Result<()> {
        self.call(|power| {
            if !power.lies {
                power.pending.clear();
                power.durable = power.live.clone();
            }
            Ok(())
        })
    }
}

/// A disk in memory with so many bytes and no more. Clones are the same disk.
#[derive(Debug, Clone)]
pub(crate) struct QuotaDisk(Arc<Mutex<Quota>>);

#[derive(Debug)]
struct Quota {
    bytes: Vec<u8>,
    /// Every byte of the store below this has a block.
    allocated: u64,
    /// Bytes that nobody has.
    free: u64,
    /// Bytes that others have.
    others: u64,
}

impl QuotaDisk {
    pub(crate) fn new(free: u64) -> Self {
        Self(Arc::new(Mutex::new(Quota { bytes: Vec::new(), allocated: 0, free, others: 0 })))
    }

    /// Somebody else takes all there is.
    pub(crate) fn fill(&self) {
        let mut quota = self.quota();
        quota.others += std::mem::take(&mut quota.free);
    }

    /// And gives it back.
    pub(crate) fn clear(&self) {
        let mut quota = self.quota();
        quota.free += std::mem::take(&mut quota.others);
    }

    fn quota(&self) -> MutexGuard<'_, Quota> {
        self.0.lock().expect("no test panics while it holds a disk")
    }
}

impl Quota {
    fn take(&mut self, end: u64) -> io::Result<()> {
        let more = end.saturating_sub(self.allocated);
        self.free = self.free.checked_sub(more).ok_or(io::ErrorKind::StorageFull)?;
        self.allocated += more;
        Ok(())
    }
}

impl Medium for QuotaDisk {
    fn place(&self) -> String {
        "a small disk in memory".to_owned()
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.quota().bytes.len() as u64)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let quota = self.quota();
        let from =
            quota.bytes.get(index(offset)..index(offset) + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(from);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut quota = self.quota();
        let at = index(offset);
        let to = quota.bytes.get_mut(at..at + bytes.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        to.copy_from_slice(bytes);
        Ok(())
    }

    fn grow(&self, size: u64) -> io::Result<()> {
        let mut quota = self.quota();
        quota.take(size)?;
        quota.bytes.resize(index(size), 0);
        Ok(())
    }

    fn allocate(&self, end: u64) -> io::Result<()> {
        self.quota().take(end)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("a test's disk fits into memory")
}
