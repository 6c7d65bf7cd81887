//! What lies in the directory of one process, and where a process gets its address.
//!
//! ```text
//! n1/p/START/
//!   spec.json      what to run, where; written by the agent before anything is started
//!   marker         the start id is used up; synced by the shim before the process is started
//!   identity.json  who the process is; synced by the process itself before it becomes the program
//!   group.json     in which control group it is, and why a limit is not enforced
//!   failure        why it did not become the program
//!   exit.json      it is dead, proved: how it ended
//!   sealed         the operation in which it was told to seal, until it is told the outcome; then `unsealed`
//!   session.json   what an agent must know of its session after a restart
//!   shim.lock      held by the one shim
//!   shim.sock      where the shim listens
//!   shim.log, log  what the shim and the program say
//! ```

use crate::shim::place::Place;
use crate::{AgentError, durable};
use paracloud_core::ids::{OperationNumber, StartId};
use paracloud_substrate::config::{App, Node, Size};
use paracloud_substrate::layout::Layout;
use paracloud_substrate::process::Identity;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

/// What [`ProcessDirectory::is_sealed`] finds where nothing was asked to seal.
const UNSEALED: &[u8] = b"unsealed  \n";

/// What to run, and all that a shim needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) start: StartId,
    pub(crate) app: String,
    pub(crate) instance: String,
    /// Which revision of the app it is started from; 0: an older version did not say.
    #[serde(default)]
    pub(crate) revision: u32,
    /// Name of the node.
    pub(crate) node: String,
    pub(crate) command: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) directory: PathBuf,
    pub(crate) address: SocketAddr,
    pub(crate) stop_grace_ms: u32,
    /// What it and all that it starts may use.
    #[serde(default)]
    pub(crate) size: Size,
    /// Held by `up` as long as it lives.
    pub(crate) up_lock: PathBuf,
    /// Where logs of machines go.
    pub(crate) trace: PathBuf,
}

impl Spec {
    /// Where it reaches the cloud: no other start has this in its environment.
    pub(crate) fn endpoint(&self) -> &str {
        self.env.get(paci::env::ENDPOINT).map_or("", String::as_str)
    }
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exit {
    /// For people.
    pub(crate) how: String,
}

/// The directory of one process.
#[derive(Debug, Clone)]
pub(crate) struct ProcessDirectory {
    path: PathBuf,
}

impl ProcessDirectory {
    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn marker(&self) -> PathBuf {
        self.path.join("marker")
    }

    pub(crate) fn failure(&self) -> PathBuf {
        self.path.join("failure")
    }

    pub(crate) fn session(&self) -> PathBuf {
        self.path.join("session.json")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.path.join("shim.lock")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path.join("shim.sock")
    }

    pub(crate) fn shim_log(&self) -> PathBuf {
        self.path.join("shim.log")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Whether its start id is used up.
    ///
    /// # Errors
    /// It cannot be looked at, and may be.
    pub(crate) fn is_marked(&self) -> io::Result<bool> {
        self.marker().try_exists()
    }

    /// Whether it may have been started. A marker that cannot be looked at counts.
    pub(crate) fn may_be_marked(&self) -> bool {
        self.is_marked().unwrap_or(true)
    }

    /// Whether nothing of it lives or ever will, as far as that shows without its specification: its death is written
    /// down, or it has no shim and never became the program, or did so in another life of the machine.
    fn is_surely_over(&self) -> io::Result<bool> {
        if self.exit()?.is_some() {
            return Ok(true);
        }
        // The lock first: one that is started meanwhile has a shim.
        Ok(!durable::is_locked(&self.lock())?
            && match self.identity()? {
                Some(identity) => identity.is_of_another_boot()?,
                None => true,
            })
    }

    /// Whether it may be sealed: it was asked to, and has not been told the outcome. A note that cannot be read counts.
    pub(crate) fn is_sealed(&self) -> bool {
        match std::fs::read(self.sealed()) {
            Ok(text) => text != UNSEALED,
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    /// Makes room for [`Self::seal`], which stands in the pause of a move and should not wait for the disk there.
    pub(crate) fn prepare_to_seal(&self) -> io::Result<()> {
        if self.sealed().try_exists()? { Ok(()) } else { durable::write_whole(&self.sealed(), UNSEALED) }
    }

    /// Notes that it may be sealed from now on. Not synced: it matters only as long as the process lives, and then the
    /// machine did not stop.
    pub(crate) fn seal(&self, operation: OperationNumber) -> io::Result<()> {
        let mut file = OpenOptions::new().create(true).truncate(false).write(true).open(self.sealed())?;
        // As long as what it replaces, so that it is written in place.
        file.write_all(format!("{:<width$}\n", operation.0, width = UNSEALED.len() - 1).as_bytes())
    }

    /// Notes that nothing is sealed any more, in place: it is done before gateways are released.
    pub(crate) fn unseal(&self) {
        let opened = OpenOptions::new().write(true).open(self.sealed());
        match present(opened.and_then(|mut file| file.write_all(UNSEALED))) {
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, process = %self.path.display(), "it counts as sealed on, though it is not");
            }
        }
    }

    fn sealed(&self) -> PathBuf {
        self.path.join("sealed")
    }

    pub(crate) fn spec(&self) -> io::Result<Spec> {
        read(&self.path.join("spec.json"))
    }

    /// Who the process is; absent until it has become the program.
    pub(crate) fn identity(&self) -> io::Result<Option<Identity>> {
        present(read(&self.path.join("identity.json")))
    }

    pub(crate) fn write_identity(&self, identity: &Identity) -> io::Result<()> {
        durable::write_synced(&self.path.join("identity.json"), &serde_json::to_vec(identity)?)
    }

    /// The directory of the cloud that it is in.
    pub(crate) fn cloud(&self) -> &Path {
        self.path.ancestors().nth(3).unwrap_or(&self.path)
    }

    /// Where it was put; absent until it was, and where an older version started it.
    pub(crate) fn place(&self) -> io::Result<Option<Place>> {
        present(read(&self.path.join("group.json")))
    }

    pub(crate) fn write_place(&self, place: &Place) -> io::Result<()> {
        durable::write_whole(&self.path.join("group.json"), &serde_json::to_vec(place)?)
    }

    /// How it ended; absent until its death is proved.
    pub(crate) fn exit(&self) -> io::Result<Option<Exit>> {
        present(read(&self.path.join("exit.json")))
    }

    /// When its death was proved.
    pub(crate) fn ended_at(&self) -> Option<std::time::SystemTime> {
        std::fs::metadata(self.path.join("exit.json")).ok()?.modified().ok()
    }

    pub(crate) fn write_exit(&self, exit: &Exit) -> io::Result<()> {
        durable::write_synced(&self.path.join("exit.json"), &serde_json::to_vec(exit)?)
    }
}

/// Reads a JSON file.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    let named =
        |kind, error: &dyn std::fmt::Display| io::Error::new(kind, format!("{}: {error}", path.display()));
    let text = std::fs::read(path).map_err(|error| named(error.kind(), &error))?;
    serde_json::from_slice(&text).map_err(|error| named(io::ErrorKind::InvalidData, &error))
}

/// A file that is not there is nothing to complain of.
pub(crate) fn present<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Every process of a node that has a specification. Without one a directory is passed over of which nothing lives: its
/// agent died while it made it, or the machine did.
///
/// # Errors
/// The directory cannot be read, or of one process neither what it is nor that it is over can be known. It may live, and
/// who says what lives on the node must not leave it out.
pub(crate) fn scan(directory: &Path) -> Result<Vec<(ProcessDirectory, Spec)>, AgentError> {
    let failed = |source| AgentError::Directory { path: directory.to_owned(), source };
    let mut found = Vec::new();
    let Some(entries) = present(std::fs::read_dir(directory)).map_err(failed)? else { return Ok(found) };
    for entry in entries {
        let process = ProcessDirectory::at(entry.map_err(failed)?.path());
        let unknown = |source| AgentError::UnknownProcess { path: process.path.clone(), source };
        match process.spec() {
            Ok(spec) => found.push((process, spec)),
            // Below what is no directory there is nothing.
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {}
            Err(error) if process.is_surely_over().map_err(unknown)? => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(%error, "what is left of a process cannot be read, and nothing of it lives");
                }
            }
            Err(error) => return Err(unknown(error)),
        }
    }
    Ok(found)
}

/// Makes the directory of a process of an instance of `app`, with its specification: among that, how large it may be.
pub(crate) fn make(
    layout: &Layout,
    node: &Node,
    app: &App,
    instance: &str,
    start: StartId,
    size: Size,
) -> io::Result<(ProcessDirectory, Spec)> {
    let address = SocketAddr::new(node.host, next_port(&layout.node(node.id).join("port"), node.host)?);
    let process = ProcessDirectory::at(layout.process(node.id, start));
    let endpoint = paci::env::Endpoint::in_directory(&layout.socket_directory(node.id, start));
    let filled = |text: &String| filled(text, address);
    let mut env: BTreeMap<_, _> = app.env.iter().map(|(name, value)| (name.clone(), filled(value))).collect();
    env.insert(paci::env::HOST.to_owned(), address.ip().to_string());
    env.insert(paci::env::PORT.to_owned(), address.port().to_string());
    env.insert(paci::env::ENDPOINT.to_owned(), endpoint.to_string());
    env.insert(paci::env::APP.to_owned(), app.name.clone());
    env.insert(paci::env::INSTANCE.to_owned(), instance.to_owned());
    let spec = Spec {
        start,
        app: app.name.clone(),
        instance: instance.to_owned(),
        revision: app.revision,
        node: node.name.clone(),
        command: app.command.iter().map(filled).collect(),
        env,
        directory: app.directory.clone(),
        address,
        stop_grace_ms: app.stop_grace_ms,
        size,
        up_lock: layout.up_lock(),
        trace: layout.trace(),
    };
    layout.make(process.path())?;
    durable::write_whole(&process.path().join("spec.json"), &serde_json::to_vec_pretty(&spec)?)?;
    Ok((process, spec))
}

/// A text of the manifest, with the address of the process in it.
pub(crate) fn filled(text: &str, address: SocketAddr) -> String {
    text.replace("{host}", &address.ip().to_string()).replace("{port}", &address.port().to_string())
}

/// The ports that are given to processes.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// The next port that can be bound (decision 14). The range is gone through from end to end before one is given again, so an
/// address is not reused for thousands of starts. Where it begins is drawn: two clouds on one machine, whose nodes
/// have the same hosts, hardly ever want the same port at the same time.
fn next_port(counter: &Path, host: IpAddr) -> io::Result<u16> {
    let last = present(std::fs::read_to_string(counter))?.and_then(|text| text.trim().parse().ok());
    let mut port = last.filter(|port| PORTS.contains(port)).unwrap_or_else(|| rand::random_range(PORTS));
    for _ in PORTS {
        port = if port + 1 == PORTS.end { PORTS.start } else { port + 1 };
        if TcpListener::bind((host, port)).is_ok() {
            durable::write_whole(counter, port.to_string().as_bytes())?;
            return Ok(port);
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, format!("no port from {PORTS:?} is free on {host}")))
}

/// Whether a process of this app could be started on this node, and if not, why.
pub(crate) fn check(app: &App, node: &Node) -> Result<(), String> {
    if !app.directory.is_dir() {
        return Err(format!("{}: no such directory", app.directory.display()));
    }
    let Some(program) = app.command.first() else { return Err("the command is empty".to_owned()) };
    let any = SocketAddr::new(node.host, 0);
    if let Err(error) = TcpListener::bind(any) {
        return Err(format!("no address on {}: {error}", node.host));
    }
    let program = filled(program, any);
    if program.contains('/') {
        let path = app.directory.join(&program);
        return if is_executable(&path) { Ok(()) } else { Err(format!("{}: no program", path.display())) };
    }
    let path = app.env.get("PATH").cloned().or_else(|| std::env::var("PATH").ok()).unwrap_or_default();
    let found = std::env::split_paths(&path).any(|directory| is_executable(&directory.join(&program)));
    if found { Ok(()) } else { Err(format!("{program}: no such program in PATH")) }
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests;
