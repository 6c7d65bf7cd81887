//! Why something of a group is not there, in words that a person can act on.

use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// Why there is no group, or none with a certain controller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum NoGroup {
    /// It was asked for that none be made.
    #[error("{}=off", super::VARIABLE)]
    Off,
    /// The machine has no such tree.
    #[error("this machine has no cgroup controller {controller} mounted")]
    NotMounted {
        /// The controller.
        controller: String,
    },
    /// Version 2, and no group above hands the controller down.
    #[error(
        "cgroup v2 does not hand the controller {controller} down to groups below {path}: start the cloud as a unit with \
         `Delegate=yes` (systemd-run --user --scope -p Delegate=yes …), or as root write +{controller} to {path}/cgroup.subtree_control"
    )]
    NotHandedDown {
        /// The controller.
        controller: String,
        /// The group that this process is in.
        path: PathBuf,
    },
    /// This user may not make groups there.
    #[error(
        "this user may not make groups in {path}: run as root, or start the cloud as a unit of yours (systemd-run --user --scope -p Delegate=yes …)"
    )]
    Denied {
        /// Where.
        path: PathBuf,
    },
    /// It is mounted so that nobody here may write to it, as in most containers.
    #[error("{path} is mounted read-only here")]
    ReadOnly {
        /// Where.
        path: PathBuf,
    },
    /// Anything else.
    #[error("{path}: {error}")]
    Failed {
        /// Where.
        path: PathBuf,
        /// What the system says.
        error: String,
    },
}

impl NoGroup {
    /// That there is no tree with a controller.
    pub(super) fn not_mounted(controller: &str) -> Self {
        Self::NotMounted { controller: controller.to_owned() }
    }

    /// What the system said about a file or a directory of a group.
    pub(super) fn of(path: &Path, error: &io::Error) -> Self {
        let path = path.to_owned();
        if error.kind() == io::ErrorKind::PermissionDenied {
            Self::Denied { path }
        } else if error.kind() == io::ErrorKind::ReadOnlyFilesystem {
            Self::ReadOnly { path }
        } else {
            Self::Failed { path, error: error.to_string() }
        }
    }
}
