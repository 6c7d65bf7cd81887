//! Small files that one controller leaves to the next: read whole at its start, written whole with each change.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// What was kept. What is not there, or cannot be read, is nothing; the latter is logged as `what` being forgotten.
pub(crate) fn read<T: DeserializeOwned + Default>(path: &Path, what: &str) -> T {
    let kept = match std::fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map_err(io::Error::from),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(T::default()),
        Err(error) => Err(error),
    };
    kept.unwrap_or_else(|error| {
        tracing::warn!(%error, path = %path.display(), "{what} is forgotten");
        T::default()
    })
}

/// Keeps it: all of it, or what was there before, also on a machine that loses its power.
///
/// # Errors
/// It cannot be written.
pub(crate) fn write(path: &Path, kept: &impl Serialize) -> io::Result<()> {
    let staged = path.with_extension("new");
    let written = || -> io::Result<()> {
        let mut file = File::create(&staged)?;
        file.write_all(&serde_json::to_vec_pretty(kept)?)?;
        file.sync_all()?;
        std::fs::rename(&staged, path)?;
        path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
    };
    // Half a file is of no use to anybody.
    written().inspect_err(|_| drop(std::fs::remove_file(&staged)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_written_leaves_what_was_there_before_and_no_half_of_itself() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kept.json");
        write(&path, &[1, 2]).unwrap();
        let unwritable = std::collections::BTreeMap::from([([1, 2], 3)]);
        assert!(write(&path, &unwritable).is_err(), "JSON has no such keys");
        assert_eq!(read::<Vec<u32>>(&path, "it"), [1, 2]);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        std::fs::write(&path, "[1,").unwrap();
        assert!(read::<Vec<u32>>(&path, "it").is_empty(), "torn");
        assert!(read::<Vec<u32>>(&directory.path().join("none"), "it").is_empty());
    }
}
