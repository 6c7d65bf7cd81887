//! Where a demo is: a temporary directory, with the manifest of its app.

use crate::failure::Failure;
use paracloud_load::driver::free_addresses;
use serde_json::json;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// What the app is called.
pub(super) const APP: &str = "sessions";
/// How long the app may take to end when it is asked to.
const STOP_GRACE: &str = "2s";

/// See the module. The directory goes away with it.
#[derive(Debug)]
pub(super) struct Place {
    directory: TempDir,
    /// This program.
    pub(super) program: PathBuf,
    /// Where the two gateways will listen.
    pub(super) gateways: [SocketAddr; 2],
}

impl Place {
    /// Makes it.
    ///
    /// # Errors
    /// As the system says.
    pub(super) fn make(state_mib: u32) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::machine("demo", &error);
        let directory = tempfile::Builder::new().prefix("paracloud-demo-").tempdir().map_err(failed)?;
        let program = std::env::current_exe().map_err(failed)?;
        let gateways = free_addresses(2).map_err(failed)?;
        let gateways = gateways.try_into().expect("as many as were asked for");
        // JSON is YAML, and no path needs quoting by hand.
        let manifest = json!({
            "kind": "App",
            "name": APP,
            "command": [program, "demo-app"],
            "listen": gateways,
            "readiness": { "http": "/healthz" },
            "stopGrace": STOP_GRACE,
            "env": { "SESSIONS_FILL_MIB": state_mib.to_string() },
        });
        let place = Self { directory, program, gateways };
        std::fs::write(place.manifest(), manifest.to_string()).map_err(failed)?;
        std::fs::create_dir(place.failpoints()).map_err(failed)?;
        Ok(place)
    }

    /// The manifest of the app.
    pub(super) fn manifest(&self) -> PathBuf {
        self.path().join("app.yaml")
    }

    /// The directory of the cloud.
    pub(super) fn cloud(&self) -> PathBuf {
        self.path().join("c")
    }

    /// Where a shell is told to stand still.
    pub(super) fn failpoints(&self) -> PathBuf {
        self.path().join("failpoints")
    }

    /// What `up` says of errors.
    pub(super) fn log(&self) -> PathBuf {
        self.path().join("up.log")
    }

    /// Keeps the directory, because something is wrong and its logs may say what.
    pub(super) fn keep_logs(self, failure: Failure) -> Failure {
        let path = self.directory.keep();
        let next = format!("look into the logs in {}", path.join("c/log").display());
        Failure { next: if failure.next.is_empty() { next } else { failure.next }, ..failure }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_is_one_that_up_understands() {
        let place = Place::make(10).unwrap();
        let resolved = crate::manifest::read(&place.manifest(), 2, "up").unwrap();
        let app = resolved.cloud.app(APP).unwrap();
        assert_eq!(app.listen, place.gateways);
        assert_eq!(app.command[1], "demo-app");
        let path = place.path().to_owned();
        drop(place);
        assert!(!path.exists());
    }
}
