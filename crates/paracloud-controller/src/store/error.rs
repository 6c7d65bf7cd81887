//! What can go wrong with the store, and what to do about it.

use paracloud_substrate::figures::bytes;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Why the store did not do what it was asked.
///
/// [`StoreError::poisons`] says after which of them the store must be dropped and opened anew.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The directory is in use by another process, or by another `Store` of this one.
    #[error("the store in {} is held by {}", path.display(), holder(*pid))]
    Held {
        /// The directory asked for.
        path: PathBuf,
        /// Who holds it, if the holder has written it down yet.
        pid: Option<u32>,
    },
    /// There is no store in the directory and the options forbid to create one.
    #[error("there is no store in {}", path.display())]
    Absent {
        /// The directory asked for.
        path: PathBuf,
    },
    /// The disk cannot give the blocks that the write or the reservation needs. Nothing was written.
    #[error("no room for the store {place} to become {} large", bytes(*needed_bytes))]
    NoSpace {
        /// The store's file.
        place: String,
        /// Bytes that the file would have to have.
        needed_bytes: u64,
        /// What the disk answered.
        source: Arc<io::Error>,
    },
    /// The filesystem cannot reserve blocks (no `fallocate`), so no outcome could be promised.
    #[error("the filesystem of the store {place} cannot reserve blocks")]
    NoReservation {
        /// The store's file.
        place: String,
        /// What the filesystem answered.
        source: Arc<io::Error>,
    },
    /// The disk failed. If it failed in a write, that write is wholly there or wholly absent: only reopening tells.
    #[error("the disk failed while {doing}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the system answered.
        source: Arc<io::Error>,
    },
    /// One value is not what was written. It was not used, and not skipped.
    #[error("{table} record `{key}` is damaged: {fault}")]
    Damaged {
        /// The table it lies in.
        table: Table,
        /// Its key: an instance's name, or a journal number.
        key: String,
        /// What was expected, and what was found.
        fault: Fault,
    },
    /// The file is damaged in a way that no single record can be named for.
    #[error("the store's file is damaged, found while {doing}: {detail}")]
    DamagedFile {
        /// What was being done.
        doing: &'static str,
        /// What redb said.
        detail: String,
    },
    /// A value is whole, but is not what this program calls a record or an entry.
    #[error("{table} record `{key}` is whole but cannot be understood")]
    NotUnderstood {
        /// The table it lies in.
        table: Table,
        /// Its key.
        key: String,
        /// Where the JSON differs.
        source: Arc<serde_json::Error>,
    },
    /// A record or an entry cannot be written as JSON.
    #[error("the {what} cannot be written as JSON")]
    NotWritable {
        /// A record, or an entry.
        what: &'static str,
        /// Why not.
        source: Arc<serde_json::Error>,
    },
    /// Something is above its bound. Nothing was written.
    #[error("{what}: {found} is above the bound of {bound}")]
    AboveBound {
        /// What is bounded, with its unit.
        what: &'static str,
        /// What was asked.
        found: u64,
        /// The bound.
        bound: u64,
    },
    /// Instance names are never empty.
    #[error("an empty name names no instance")]
    EmptyKey,
    /// The journal no longer has these entries: they were trimmed.
    #[error("journal entry {asked} was trimmed, the oldest kept is {oldest}")]
    Trimmed {
        /// The entry asked for.
        asked: u64,
        /// The oldest there is.
        oldest: u64,
    },
    /// redb refused, for a reason that is neither the disk nor damage.
    #[error("the store's engine refused while {doing}: {detail}")]
    Engine {
        /// What was being done.
        doing: &'static str,
        /// What redb said.
        detail: String,
    },
    /// The store failed before and does nothing any more.
    #[error("the store has failed before: drop it, open it again and read")]
    Poisoned {
        /// The failure that poisoned it.
        #[source]
        first: Box<Self>,
    },
}

impl StoreError {
    /// Whether this error ends the store: every later call answers [`StoreError::Poisoned`] with it, nothing is
    /// written any more, and the caller must drop the store, open it again and *read* what is there. After any other
    /// error nothing was written and the store goes on.
    pub fn poisons(&self) -> bool {
        matches!(self, Self::Io { .. } | Self::DamagedFile { .. } | Self::Engine { .. })
    }

    /// What a person can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Held { .. } => {
                Some("one controller per directory: stop that process, or use another directory")
            }
            Self::Absent { .. } => Some("check the path, or allow the store to be created"),
            Self::NoSpace { .. } => Some("nothing was begun: free some space on that disk and ask again"),
            Self::NoReservation { .. } => Some("keep the directory on ext4, xfs, btrfs or tmpfs"),
            Self::Io { .. } | Self::Engine { .. } | Self::Poisoned { .. } => {
                Some("look at the disk and the kernel log; a restarted controller reads what is there")
            }
            Self::Damaged { .. } | Self::DamagedFile { .. } | Self::NotUnderstood { .. } => {
                Some("keep the file for study; restore a copy, or start empty and let the nodes be asked")
            }
            Self::NotWritable { .. } | Self::AboveBound { .. } | Self::EmptyKey | Self::Trimmed { .. } => {
                None
            }
        }
    }
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "a process that has not said its pid yet".to_owned(), |pid| format!("process {pid}"))
}

/// Where a value lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// One record per instance.
    Register,
    /// What happened, in order.
    Journal,
    /// The one record that counts the others, so that a missing one is missed.
    Head,
}

impl Table {
    /// The byte that stands for the table in checksums. Never reused.
    pub(super) fn tag(self) -> u8 {
        match self {
            Self::Register => 1,
            Self::Journal => 2,
            Self::Head => 3,
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Register => "register",
            Self::Journal => "journal",
            Self::Head => "head",
        })
    }
}

/// What is wrong with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is not there.
    #[error("it is missing")]
    Missing,
    /// It is shorter, or longer, than it says.
    #[error("expected {expected_bytes} bytes, found {found_bytes}")]
    Truncated {
        /// Header and payload, in bytes; of the header alone if not even that is there.
        expected_bytes: u64,
        /// What is there, in bytes.
        found_bytes: u64,
    },
    /// It was written in another format.
    #[error("expected format {expected}, found {found}")]
    Version {
        /// The format this program reads.
        expected: u16,
        /// The format it names.
        found: u16,
    },
    /// Its bytes, or its key, are not those that were written.
    #[error("expected checksum {expected:08x}, found {found:08x}")]
    Checksum {
        /// The checksum written with it.
        expected: u32,
        /// The checksum of what is there.
        found: u32,
    },
    /// Its number is not the one its place calls for.
    #[error("expected number {expected}, found {found}")]
    Sequence {
        /// The number called for; of a register record the highest possible one.
        expected: u64,
        /// The number it carries.
        found: u64,
    },
    /// The table does not have as many values as the head says.
    #[error("expected {expected} records in this table, found {found}")]
    Count {
        /// What the head says.
        expected: u64,
        /// What is there.
        found: u64,
    },
}
