//! All containers of a program: what moves as one.

use super::shard::Held;
use super::table::Table;
use crate::sync::{Mutex, MutexGuard, lock};
use std::sync::Arc;

/// Containers of a program.
pub const CONTAINERS_MAX: usize = 256;
/// Containers whose name begins so belong to the SDK itself.
pub(crate) const RESERVED: &str = "paci.";
/// Longest name of a container, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// Why there is no such container.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContainerError {
    /// The name is empty, too long, or has control characters.
    #[error("a container named {name:?}: want 1 to 64 bytes without control characters")]
    Name {
        /// The name, cut.
        name: String,
    },
    /// The name is kept for the SDK itself.
    #[error("the container {name:?}: names that begin with \"paci.\" are kept for the SDK")]
    Reserved {
        /// The name.
        name: String,
    },
    /// The program has as many as it may.
    #[error("one container more than {CONTAINERS_MAX}")]
    TooMany,
    /// The session has started: source and target must have the same containers, from the start on.
    #[error("the container {name:?} comes too late: name every container before `start`")]
    Late {
        /// The name.
        name: String,
    },
}

/// All containers of a program.
#[derive(Debug, Default)]
pub(crate) struct Store {
    inner: Mutex<Inner>,
    /// Held by the thread that copies, until it has ended its copy: two copies would end each other's.
    copying: Mutex<()>,
}

#[derive(Debug, Default)]
struct Inner {
    tables: Vec<Arc<Table>>,
    started: bool,
    /// Added to what the tables count: loaded tables count loads, and the instance counts on from where it was.
    base: u64,
}

/// What was loaded and is not served yet.
#[derive(Debug)]
pub(crate) struct Staged {
    tables: Vec<(Arc<Table>, Table)>,
    /// The last position that the source told on the way.
    pub(crate) position: u64,
}

impl Staged {
    /// The staging table of this name.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.tables.iter().position(|(_, staging)| staging.name() == name)
    }

    /// A staging table, by the number that [`Staged::find`] gave.
    pub(crate) fn table(&self, number: usize) -> &Table {
        &self.tables[number].1
    }

    /// The digest of what was loaded.
    pub(crate) fn digest(&self) -> u128 {
        self.tables.iter().fold(0, |sum, (_, staging)| sum.wrapping_add(staging.held().digest))
    }
}

impl Store {
    /// The table of this name, made if there is none yet.
    pub(crate) fn table(&self, name: &str) -> Result<Arc<Table>, ContainerError> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
            return Err(ContainerError::Name { name: name.chars().take(NAME_BYTES_MAX).collect() });
        }
        let mut inner = lock(&self.inner);
        if let Some(table) = inner.tables.iter().find(|table| table.name() == name) {
            return Ok(table.clone());
        }
        if inner.started {
            return Err(ContainerError::Late { name: name.to_owned() });
        }
        if inner.tables.len() == CONTAINERS_MAX {
            return Err(ContainerError::TooMany);
        }
        let table = Arc::new(Table::new(name));
        inner.tables.push(table.clone());
        Ok(table)
    }

    /// From now on there are no more containers.
    pub(crate) fn start(&self) {
        lock(&self.inner).started = true;
    }

    pub(crate) fn tables(&self) -> Vec<Arc<Table>> {
        lock(&self.inner).tables.clone()
    }

    /// Empty containers beside those that are served, to be filled.
    pub(crate) fn stage(&self) -> Staged {
        let tables = self.tables();
        Staged {
            tables: tables.into_iter().map(|table| (table.clone(), table.staging())).collect(),
            position: 0,
        }
    }

    /// What was loaded becomes what is served. The gate is closed meanwhile.
    pub(crate) fn install(&self, staged: Staged) {
        for (table, staging) in staged.tables {
            table.install(staging);
        }
        let counted = self.held().position;
        let mut inner = lock(&self.inner);
        inner.base = inner.base.wrapping_add(staged.position.wrapping_sub(counted));
    }

    /// Waits for the copy before this one to be ended.
    pub(crate) fn only_copy(&self) -> MutexGuard<'_, ()> {
        lock(&self.copying)
    }

    pub(crate) fn begin_copy(&self) {
        self.tables().iter().for_each(|table| table.begin_copy());
    }

    pub(crate) fn end_copy(&self) {
        self.tables().iter().for_each(|table| table.end_copy());
    }

    /// What all of it holds: exact when nobody changes it.
    pub(crate) fn held(&self) -> Held {
        let (tables, base) = {
            let inner = lock(&self.inner);
            (inner.tables.clone(), inner.base)
        };
        let start = Held { position: base, ..Held::default() };
        tables.iter().fold(start, |sum, table| {
            let held = table.held();
            Held {
                digest: sum.digest.wrapping_add(held.digest),
                position: sum.position.wrapping_add(held.position),
                records: sum.records + held.records,
                bytes: sum.bytes + held.bytes,
                remaining: sum.remaining + held.remaining,
            }
        })
    }
}
