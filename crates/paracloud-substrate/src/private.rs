//! Whether a directory is its owner's alone. Whoever reaches a socket in a cloud's directory is obeyed, so every shell
//! looks before it opens one.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Permission bits of group and others.
const OTHERS: u32 = 0o077;

/// Why a directory is not used.
#[derive(Debug, thiserror::Error)]
pub enum NotPrivate {
    /// It cannot be looked at.
    #[error("{path}: cannot be looked at; `paracloud up` makes the directory of a cloud")]
    Unseen {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is something else.
    #[error("{path}: is no directory; name the directory of a cloud: --dir DIR")]
    NoDirectory {
        /// The path.
        path: PathBuf,
    },
    /// It belongs to somebody else, who could put anything in it.
    #[error(
        "{path}: belongs to user {owner}, and this is user {own}; run it as user {owner}, or use another directory: --dir DIR"
    )]
    Owner {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who runs this.
        own: u32,
    },
    /// Others may reach the sockets in it.
    #[error(
        "{path}: its mode is {mode:04o}, and whoever reaches its sockets is obeyed; shut others out: chmod 700 {path}"
    )]
    Open {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

/// Finds that a directory belongs to who runs this, and that nobody else may enter it.
///
/// # Errors
/// It is not so, or the directory is not there.
pub fn check(directory: &Path) -> Result<(), NotPrivate> {
    let path = || directory.to_path_buf();
    let found = std::fs::metadata(directory).map_err(|source| NotPrivate::Unseen { path: path(), source })?;
    if !found.is_dir() {
        return Err(NotPrivate::NoDirectory { path: path() });
    }
    let own = rustix::process::geteuid().as_raw();
    if found.uid() != own {
        return Err(NotPrivate::Owner { path: path(), owner: found.uid(), own });
    }
    let mode = found.mode() & 0o7777;
    if mode & OTHERS != 0 {
        return Err(NotPrivate::Open { path: path(), mode });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_directory_that_others_may_enter_is_refused_until_it_is_shut() {
        let directory = tempfile::tempdir().unwrap();
        for open in [0o755, 0o710, 0o701] {
            std::fs::set_permissions(directory.path(), Permissions::from_mode(open)).unwrap();
            let refused = check(directory.path()).unwrap_err();
            assert!(matches!(refused, NotPrivate::Open { mode, .. } if mode == open), "{refused}");
            assert!(refused.to_string().contains("chmod 700"), "{refused}");
        }
        std::fs::set_permissions(directory.path(), Permissions::from_mode(0o700)).unwrap();
        check(directory.path()).unwrap();
    }

    #[test]
    fn somebody_elses_directory_and_a_missing_one_are_refused() {
        let own = rustix::process::geteuid().as_raw();
        // `/` belongs to root: somebody else, unless root runs this.
        match check(Path::new("/")).unwrap_err() {
            NotPrivate::Owner { owner: 0, own: seen, .. } => assert_eq!(seen, own),
            NotPrivate::Open { .. } => assert_eq!(own, 0),
            other @ (NotPrivate::Unseen { .. }
            | NotPrivate::NoDirectory { .. }
            | NotPrivate::Owner { .. }) => {
                panic!("{other}")
            }
        }
        let directory = tempfile::tempdir().unwrap();
        let missing = check(&directory.path().join("missing")).unwrap_err();
        assert!(missing.to_string().contains("paracloud up"), "{missing}");
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(matches!(check(&file), Err(NotPrivate::NoDirectory { .. })));
    }
}
