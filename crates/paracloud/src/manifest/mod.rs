//! The manifest: what a person writes, and the resolved [`Cloud`] that the shells read.
//!
//! ```yaml
//! kind: App
//! name: sessions
//! command: ["./target/release/sessions", "--listen", "{host}:{port}"]
//! listen: ["127.0.0.1:8080", "127.0.0.1:8081"]   # one gateway each; by default one, 127.0.0.1:8080
//! ```
//!
//! Several documents (`---`) are several apps. Everything but `kind`, `name` and `command` has a default; times and
//! sizes are written with their unit. An error names file, line, column and field.

mod app;
mod field;
mod node;
mod refusal;
mod scale;
mod shown;

use crate::failure::{Exit, Failure, chain};
use paracloud_core::ids::{GatewayId, NodeId};
use paracloud_substrate::config::{App, Cloud, Node};
use std::fmt::{self, Display, Formatter};
use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

pub use shown::Shown;

/// The largest manifest, in bytes.
pub const MANIFEST_BYTES_MAX: u64 = 1 << 20;
/// The most apps of one cloud.
pub const APPS_MAX: usize = 64;
/// The most nodes of one cloud.
pub const NODES_MAX: u32 = 64;
/// The most addresses one app listens on, so the most gateways of one cloud.
pub const LISTEN_MAX: usize = 8;

/// A manifest made into a cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The cloud.
    pub cloud: Cloud,
    /// What a person should know about it.
    pub notes: Vec<Note>,
}

/// What a person should know about an app: its command, or what that is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The app.
    pub app: String,
    /// One sentence.
    pub text: String,
}

impl Display for Note {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.app, self.text)
    }
}

/// What is wrong with a manifest, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {field}: {what}")]
pub struct Problem {
    /// The line, from 1.
    pub line: u64,
    /// The column, from 1.
    pub column: u64,
    /// The field, with those it is in: `move.pause`; `document` if it is not one field.
    pub field: String,
    /// What is wrong with it.
    pub what: String,
}

impl Problem {
    fn new((line, column): (u64, u64), field: &str, what: impl Into<String>) -> Self {
        let field = if field.is_empty() { "document" } else { field };
        Self { line, column, field: field.to_owned(), what: what.into() }
    }
}

/// Reads a manifest that a command was given, and resolves it for a cloud of so many nodes.
///
/// # Errors
/// The file cannot be read, or something in it is wrong: which line, which column, which field.
pub fn read(path: &Path, nodes: u32, command: &str) -> Result<Resolved, Failure> {
    let shown = path.display().to_string();
    let unreadable = |error: std::io::Error| {
        let is_missing = error.kind() == std::io::ErrorKind::NotFound;
        let why = if is_missing { "there is no such file".to_owned() } else { chain(&error) };
        let next = format!("name a manifest: paracloud {command} app.yaml");
        Failure::new(Exit::Usage, "manifest_unreadable", &shown, why, next)
    };
    // What is read counts, not what the file system says: a pipe or a device has no length.
    let mut text = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MANIFEST_BYTES_MAX + 1).read_to_end(&mut text).map_err(unreadable)?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > MANIFEST_BYTES_MAX {
        let why = format!("is larger than {}", crate::figures::bytes(MANIFEST_BYTES_MAX));
        return Err(Failure::new(Exit::Usage, "manifest_too_large", shown, why, "is it a manifest?"));
    }
    let text = String::from_utf8(text)
        .map_err(|_| unreadable(std::io::Error::new(std::io::ErrorKind::InvalidData, "it is not UTF-8")))?;
    let absolute = std::path::absolute(path).map_err(unreadable)?;
    let base = absolute.parent().map_or_else(|| PathBuf::from("/"), Path::to_path_buf);
    resolve(&text, &base, nodes).map_err(|problem| {
        let who = format!("{shown}:{}:{}", problem.line, problem.column);
        let next = format!("correct it, then: paracloud validate {shown}");
        Failure::new(Exit::Usage, "manifest", who, format!("{}: {}", problem.field, problem.what), next)
    })
}

/// Resolves the text of a manifest. Relative paths in it start at `base`, which is absolute.
///
/// # Errors
/// Something in it is wrong.
pub fn resolve(text: &str, base: &Path, nodes: u32) -> Result<Resolved, Problem> {
    let documents = node::documents(text).map_err(|error| {
        let at =
            error.location().map_or((1, 1), |location| (location.line().max(1), location.column().max(1)));
        Problem::new(at, "", refusal::of(&error))
    })?;
    let nodes: Vec<Node> = (1..=nodes).map(named_node).collect();
    let mut apps: Vec<App> = Vec::new();
    let mut notes = Vec::new();
    let mut taken: Vec<app::Taken> = Vec::new();
    for document in &documents {
        if apps.len() == APPS_MAX {
            return Err(Problem::new(node::place(document), "", format!("more than {APPS_MAX} apps")));
        }
        let read = app::read(document, base, &nodes)?;
        if apps.iter().any(|other| other.name == read.app.name) {
            let what = format!("there are two apps named {:?}: each needs a name of its own", read.app.name);
            return Err(Problem::new(read.name_at, "name", what));
        }
        if let Some(first) = apps.first() {
            app::same_gateways(first, &read)?;
        }
        app::take_addresses(&mut taken, &read)?;
        notes.extend(read.note);
        apps.push(read.app);
    }
    if apps.is_empty() {
        return Err(Problem::new((1, 1), "", "there is no app in it"));
    }
    let gateways = apps.iter().map(|app| app.listen.len()).max().unwrap_or(0);
    let gateways = (1..).map(GatewayId).take(gateways).collect();
    Ok(Resolved { cloud: Cloud { nodes, gateways, apps }, notes })
}

/// Node *k* is an agent whose instances listen on `127.0.1.k`.
fn named_node(number: u32) -> Node {
    let last = u8::try_from(number).unwrap_or(u8::MAX);
    Node { id: NodeId(number), name: format!("n{number}"), host: IpAddr::V4(Ipv4Addr::new(127, 0, 1, last)) }
}

#[cfg(test)]
mod tests;
