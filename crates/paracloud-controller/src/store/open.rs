//! Opening: take the directory, make or find the file, and believe nothing of it until all of it was checked.

use super::backend::Backend;
use super::engine::{Engine, OPENING, caught, let_go};
use super::error::{Fault, StoreError, Table};
use super::json::check_bound;
use super::lock::DirectoryLock;
use super::medium::{FileMedium, Medium, is_no_space};
use super::room;
use super::tables::{self, Head, Stop, damaged};
use super::{JOURNAL_ENTRIES_MAX, Store};
use redb::Database;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::marker::PhantomData;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

/// The store's one file.
const STORE_FILE: &str = "store.redb";

/// The store's file while it is being made: a file of the final name is always whole.
const NEW_FILE: &str = "store.redb.new";

/// Memory for pages of the file. The file is a few megabytes, so in practice all of it.
const CACHE_BYTES: usize = 64 << 20;

/// How to open a store.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Make the store if there is none, and its directory, but not the directory above. Default: yes. Without it a
    /// store that has vanished is an error instead of an empty register.
    pub create: bool,
    /// How many journal entries to keep, from 1 to [`JOURNAL_ENTRIES_MAX`], which is the default.
    pub journal_entries: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { create: true, journal_entries: JOURNAL_ENTRIES_MAX }
    }
}

impl<R, E> Store<R, E>
where
    R: Serialize + DeserializeOwned + PartialEq,
    E: Serialize + DeserializeOwned,
{
    /// Opens the store in `directory`, and holds the directory until the store is dropped or the process ends.
    ///
    /// All of the file is read and checked: each page against redb's checksums, each value against its header, and
    /// that none is missing.
    ///
    /// # Errors
    ///
    /// [`StoreError::Held`] if another process has it; [`StoreError::Absent`] if there is none and none may be made;
    /// [`StoreError::Damaged`], [`StoreError::DamagedFile`] if it cannot be trusted; [`StoreError::NoReservation`] if
    /// its filesystem cannot reserve blocks. A full disk keeps no store from opening, only from being made.
    pub fn open(directory: impl AsRef<Path>, options: Options) -> Result<Self, StoreError> {
        let directory = directory.as_ref();
        if options.create {
            match DirBuilder::new().mode(0o700).create(directory) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(io_error("making the store's directory")(error));
                }
                Ok(()) | Err(_) => {}
            }
        } else if !directory.join(STORE_FILE).exists() {
            return Err(StoreError::Absent { path: directory.to_path_buf() });
        }
        let lock = DirectoryLock::take(directory)?;
        let (path, new_path) = (directory.join(STORE_FILE), directory.join(NEW_FILE));
        let found = path.try_exists().map_err(io_error("looking for the store's file"))?;
        let mut file = OpenOptions::new();
        file.read(true).write(true).mode(0o600);
        if found || !options.create {
            let file = file.open(&path).map_err(io_error(OPENING))?;
            return Self::build(Box::new(FileMedium::new(file, path)), false, options, Some(lock));
        }
        let doing = "making the store's file";
        match fs::remove_file(&new_path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error(doing)(error)),
            Ok(()) | Err(_) => {}
        }
        let file = file.create_new(true).open(&new_path).map_err(io_error(doing))?;
        let store = Self::build(Box::new(FileMedium::new(file, path.clone())), true, options, Some(lock))?;
        // Durably: a power cut must not take away the names of what is acknowledged from now on.
        fs::rename(&new_path, &path)
            .and_then(|()| File::open(directory)?.sync_all())
            .and_then(|()| File::open(directory.join(".."))?.sync_all())
            .map_err(io_error(doing))?;
        Ok(store)
    }

    /// Opens the store on `medium`, which the caller must not give to two stores at once; makes it if the medium is
    /// empty. For tests and simulations: nothing holds the medium against others.
    ///
    /// # Errors
    ///
    /// As [`Store::open`], except for what concerns the directory.
    pub fn open_on(medium: impl Medium, options: Options) -> Result<Self, StoreError> {
        Self::build(Box::new(medium), options.create, options, None)
    }

    fn build(
        medium: Box<dyn Medium>,
        create: bool,
        options: Options,
        lock: Option<DirectoryLock>,
    ) -> Result<Self, StoreError> {
        check_bound("journal entries to keep", options.journal_entries, JOURNAL_ENTRIES_MAX)?;
        let backend = Backend::new(medium).map_err(io_error(OPENING))?;
        let empty = backend.length() == 0;
        if empty && !create {
            return Err(StoreError::DamagedFile { doing: OPENING, detail: "it is empty".to_owned() });
        }
        make_first_room(&backend, empty)?;
        let mut db = caught(&backend, OPENING, || {
            Ok(Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(backend.clone())?)
        })?;
        let checked = caught(&backend, OPENING, || if empty { tables::create(&db) } else { verify(&mut db) });
        match checked {
            Ok(head) => {
                let engine = Engine::new(db, head, backend, options.journal_entries.max(1), lock);
                Ok(Self { engine, created: empty, holds: PhantomData })
            }
            Err(error) => {
                // A file that is not trusted is not written either, not even in the course of letting go of it.
                backend.close();
                let_go(db);
                Err(error)
            }
        }
    }
}

/// Asks for the blocks of a first write, which also tells whether the filesystem gives blocks at all. A store that is
/// there opens on a full disk too: its outcomes are still to be read, and perhaps written.
fn make_first_room(backend: &Backend, created: bool) -> Result<(), StoreError> {
    let needed_bytes = room::reach(backend.length(), room::cost(1, 0));
    let Err(error) = backend.make_room(needed_bytes) else { return Ok(()) };
    let (place, source) = (backend.place(), Arc::new(error));
    if is_no_space(&source) {
        return if created { Err(StoreError::NoSpace { place, needed_bytes, source }) } else { Ok(()) };
    }
    if source.kind() == io::ErrorKind::Unsupported {
        return Err(StoreError::NoReservation { place, source });
    }
    Err(StoreError::Io { doing: "reserving blocks", source })
}

/// Reads all there is. First our own headers, because they name what is wrong; then redb's checksums, which also cover
/// what is between the values. redb may put its own bookkeeping right; what we keep must be the same after that.
fn verify(db: &mut Database) -> Result<Head, Stop> {
    let head = verify_values(db)?;
    let untouched = db.check_integrity()?;
    if !untouched && verify_values(db)? != head {
        let detail = "a repair changed what the store holds".to_owned();
        return Err(Stop::Refused(StoreError::DamagedFile { doing: OPENING, detail }));
    }
    Ok(head)
}

fn verify_values(db: &Database) -> Result<Head, Stop> {
    let head = tables::head(db)?;
    let mut writes = BTreeSet::new();
    tables::records(db, head, |key, value| {
        // Each write changes one record, so no two have the same number.
        if writes.insert(value.sequence) {
            return Ok(());
        }
        Err(damaged(Table::Register, key)(Fault::Sequence { expected: head.write, found: value.sequence }))
    })?;
    tables::entries(db, head.oldest, head.next, |_, _| Ok(()))?;
    tables::count_entries(db, head)?;
    Ok(head)
}

fn io_error(doing: &'static str) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError::Io { doing, source: Arc::new(source) }
}
