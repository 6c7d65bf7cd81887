//! The commands of a person, one file each.

pub mod apply;
pub mod ask;
pub mod cancel;
pub mod drain;
pub mod events;
pub mod explain;
pub mod holds;
pub mod logs;
pub mod named;
pub mod node;
pub mod ps;
pub mod reconsider;
pub mod resize;
pub mod scale;
pub mod stop;
pub mod transfer;
pub mod validate;

use crate::failure::{Exit, Failure, chain};
use crate::output::Format;
use paracloud_substrate::config::{Cloud, ConfigError};
use paracloud_substrate::layout::Layout;
use paracloud_substrate::private::{self, NotPrivate};
use std::io::ErrorKind;
use std::path::Path;

/// What every command knows.
#[derive(Debug, Clone)]
pub struct Context {
    /// The directory of the cloud.
    pub layout: Layout,
    /// For whom it prints.
    pub format: Format,
}

impl Context {
    /// What the cloud of the directory is made of.
    ///
    /// # Errors
    /// There is no cloud here, or its configuration cannot be read.
    pub fn cloud(&self) -> Result<Cloud, Failure> {
        let path = self.layout.cloud();
        Cloud::load(&path).map_err(|error| match error {
            ConfigError::Read { path: ref missing, ref source }
                if source.kind() == ErrorKind::NotFound && *missing == path =>
            {
                no_cloud(&self.layout)
            }
            ConfigError::Form { source, .. } => {
                let why = format!("is not the configuration of this version: {source}");
                let next =
                    "use the version that brought it up, or end it (paracloud stop) and start it again";
                Failure::new(Exit::Usage, "version", path.display().to_string(), why, next)
            }
            other @ (ConfigError::Read { .. } | ConfigError::TooLarge { .. } | ConfigError::Write { .. }) => {
                Failure::new(Exit::Unreachable, "machine", path.display().to_string(), chain(&other), "")
            }
        })
    }

    /// ` --dir DIR`, where a command would not find the directory by itself.
    pub fn hint(&self) -> String {
        hint(&self.layout)
    }
}

/// As [`Context::hint`].
pub fn hint(layout: &Layout) -> String {
    let here = Layout::new(Path::new(crate::cli::DIRECTORY)).is_ok_and(|default| default == *layout);
    if here { String::new() } else { format!(" --dir {}", layout.root().display()) }
}

/// There is none in the directory.
pub(crate) fn no_cloud(layout: &Layout) -> Failure {
    let next = "start one: paracloud up app.yaml; or name its directory: --dir DIR";
    let root = layout.root().display().to_string();
    Failure::new(Exit::Unreachable, "no_cloud", root, "there is no cloud here", next)
}

/// Finds that a directory can be one's own, if it is there: in another user's there may be a cloud, and it listens to
/// nobody else.
///
/// # Errors
/// It is not.
pub fn check_directory(layout: &Layout) -> Result<(), Failure> {
    let (why, next) = match private::check(layout.root()) {
        // `up` shuts it, and the shells look for themselves.
        Ok(()) | Err(NotPrivate::Open { .. }) => return Ok(()),
        Err(NotPrivate::Unseen { source, .. }) if source.kind() == ErrorKind::NotFound => return Ok(()),
        Err(NotPrivate::Unseen { source, .. }) => {
            (chain(&source), "name another directory: --dir DIR".to_owned())
        }
        Err(NotPrivate::NoDirectory { .. }) => {
            ("is no directory".to_owned(), "name the directory of a cloud: --dir DIR".to_owned())
        }
        Err(NotPrivate::Owner { owner, own, .. }) => (
            format!("belongs to user {owner}, and this is user {own}"),
            format!("run it as user {owner}, or name another directory: --dir DIR"),
        ),
    };
    Err(Failure::new(Exit::Unreachable, "not_yours", layout.root().display().to_string(), why, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_of_another_user_is_not_taken_for_an_empty_one() {
        let directory = tempfile::tempdir().unwrap();
        let missing = Layout::new(&directory.path().join("missing")).unwrap();
        check_directory(&missing).unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(check_directory(&Layout::new(&file).unwrap()).unwrap_err().why, "is no directory");
        check_directory(&Layout::new(directory.path()).unwrap()).unwrap();
        // Root may give a directory away; for anybody else `/` is somebody else's.
        let is_root = rustix::process::geteuid().is_root();
        let other = if is_root { directory.path() } else { Path::new("/") };
        if is_root {
            std::os::unix::fs::chown(other, Some(65_534), None).unwrap();
        }
        let refused = check_directory(&Layout::new(other).unwrap()).unwrap_err();
        assert_eq!((refused.exit, refused.code.as_str()), (Exit::Unreachable, "not_yours"));
        assert!(refused.why.starts_with("belongs to user "), "{}", refused.why);
    }

    #[test]
    fn a_configuration_of_another_version_is_not_taken_for_none() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path()).unwrap();
        let context = Context { layout, format: Format::Text };
        assert_eq!(context.cloud().unwrap_err().code, "no_cloud");
        std::fs::write(
            context.layout.cloud(),
            "{\"nodes\": [], \"gateways\": [], \"apps\": [], \"more\": 1}",
        )
        .unwrap();
        let refused = context.cloud().unwrap_err();
        assert_eq!((refused.exit, refused.code.as_str()), (Exit::Usage, "version"));
        assert!(refused.why.contains("unknown field `more`"), "{}", refused.why);
    }
}
