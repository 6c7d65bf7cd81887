//! What must hold before anything is started: the directory is ours, its paths are short enough, the addresses free.

use crate::failure::{Exit, Failure};
use crate::processes::{self, Process};
use paracloud_core::ids::StartId;
use paracloud_substrate::config::Cloud;
use paracloud_substrate::layout::Layout;
use std::fs::Permissions;
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The longest path that a unix socket can have, in bytes: the kernel's 108, one of them the end.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The paths of all sockets fit.
///
/// # Errors
/// The directory's path is too long.
pub fn check_paths(layout: &Layout, cloud: &Cloud) -> Result<(), Failure> {
    let sockets = cloud.nodes.iter().flat_map(|node| {
        let instance = layout.socket_directory(node.id, StartId(0));
        let shim = layout.process(node.id, StartId(0)).join("shim.sock");
        [instance.join("paci.sock"), instance.join("channel"), shim, layout.agent_socket(node.id)]
    });
    let longest =
        sockets.chain([layout.controller_socket()]).map(|path| path.as_os_str().as_bytes().len()).max();
    let root = layout.root().as_os_str().as_bytes().len();
    let below = longest.unwrap_or(root) - root;
    if root + below <= SOCKET_PATH_BYTES_MAX {
        return Ok(());
    }
    let most = SOCKET_PATH_BYTES_MAX - below;
    let why = format!("its path has {root} bytes; unix sockets in it allow at most {most}");
    let next = "choose a directory with a shorter path: --dir DIR";
    Err(Failure::new(Exit::Usage, "path_too_long", layout.root().display().to_string(), why, next))
}

/// Makes the directory, or finds that it is one of a cloud; for its owner alone.
///
/// # Errors
/// It belongs to something else, or cannot be made.
pub fn prepare(layout: &Layout) -> Result<(), Failure> {
    let root = layout.root();
    let shown = root.display().to_string();
    let failed = |error: std::io::Error| {
        let next = "choose a directory that you may write in: --dir DIR";
        Failure::new(Exit::Failed, "machine", &shown, error.to_string(), next)
    };
    layout.make(root).map_err(failed)?;
    let ours = layout.up_lock().exists();
    if !ours && std::fs::read_dir(root).map_err(failed)?.next().is_some() {
        let why = "is not empty, and not the directory of a cloud";
        let next = "choose another one: --dir DIR; it is made if it does not exist";
        return Err(Failure::new(Exit::Usage, "not_a_cloud", shown, why, next));
    }
    private(root).map_err(failed)
}

fn private(root: &Path) -> std::io::Result<()> {
    std::fs::set_permissions(root, Permissions::from_mode(0o700))
}

/// Nodes that have been started in this directory are still there: what ran on them is in the register, or runs on.
///
/// # Errors
/// The cloud has fewer nodes than the one that was up here before.
pub fn check_nodes(layout: &Layout, cloud: &Cloud) -> Result<(), Failure> {
    // A configuration of another version says nothing about nodes that this one could use; what runs, says.
    let before = Cloud::load(&layout.cloud()).map_or(0, |before| before.nodes.len());
    let running = processes::all(layout).into_iter().filter(Process::may_live);
    let numbers = running.filter_map(|process| process.node.strip_prefix('n')?.parse().ok());
    let (were, are) = (numbers.max().unwrap_or(0).max(before), cloud.nodes.len());
    if were <= are {
        return Ok(());
    }
    let why = format!(
        "the cloud in it had {were} nodes, now there would be {are}: an instance may be on one of the others"
    );
    let next = format!("use --nodes {were}, or another directory: --dir DIR");
    Err(Failure::new(Exit::Usage, "fewer_nodes", layout.root().display().to_string(), why, next))
}

/// Every address that clients connect to is free.
///
/// # Errors
/// One is taken, or is no address of this machine.
pub fn check_addresses(cloud: &Cloud) -> Result<(), Failure> {
    let mut held = Vec::new();
    for app in &cloud.apps {
        for address in &app.listen {
            let listener = TcpListener::bind(address).map_err(|error| {
                let (code, next) = if error.kind() == std::io::ErrorKind::AddrInUse {
                    let look = format!("ss -ltnp 'sport = :{}'", address.port());
                    ("address_taken", format!("end what listens there ({look}), or change `listen`"))
                } else {
                    ("address_unusable", "change `listen` in the manifest".to_owned())
                };
                Failure::new(
                    Exit::Failed,
                    code,
                    &app.name,
                    format!("cannot listen on {address}: {error}"),
                    next,
                )
            })?;
            held.push(listener);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use paracloud_core::ids::NodeId;
    use paracloud_substrate::process::Identity;

    fn cloud(nodes: u32, listen: &str) -> Cloud {
        let text = format!("kind: App\nname: web\ncommand: [sh, '{{port}}']\nlisten: '{listen}'\n");
        crate::manifest::resolve(&text, Path::new("/"), nodes).unwrap().cloud
    }

    #[test]
    fn a_path_too_long_for_sockets_is_refused_with_the_limit() {
        let short = Layout::new(Path::new("/tmp/cloud")).unwrap();
        check_paths(&short, &cloud(2, "8080")).unwrap();
        let room = SOCKET_PATH_BYTES_MAX - "/n2/s/0123456789abcdef/paci.sock".len();
        let fits = format!("/{}", "d".repeat(room - 1));
        check_paths(&Layout::new(Path::new(&fits)).unwrap(), &cloud(2, "8080")).unwrap();
        let failure =
            check_paths(&Layout::new(Path::new(&(fits + "d"))).unwrap(), &cloud(2, "8080")).unwrap_err();
        assert!(failure.why.ends_with(&format!("allow at most {room}")), "{}", failure.why);
        assert!(failure.next.contains("--dir"));
    }

    #[test]
    fn a_directory_of_something_else_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let new = Layout::new(&directory.path().join("a/b")).unwrap();
        prepare(&new).unwrap();
        assert_eq!(std::fs::metadata(new.root()).unwrap().permissions().mode() & 0o777, 0o700);
        let other = Layout::new(directory.path()).unwrap();
        assert_eq!(prepare(&other).unwrap_err().code, "not_a_cloud");
        std::fs::write(other.up_lock(), "").unwrap();
        prepare(&other).unwrap();
    }

    #[test]
    fn an_address_that_is_taken_is_named_with_its_app() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let failure = check_addresses(&cloud(1, &address.to_string())).unwrap_err();
        assert_eq!((failure.code.as_str(), failure.who.as_str()), ("address_taken", "web"));
        assert!(failure.why.contains(&address.to_string()));
        drop(listener);
        check_addresses(&cloud(1, &address.to_string())).unwrap();
    }

    #[test]
    fn a_node_that_was_there_does_not_vanish() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path()).unwrap();
        check_nodes(&layout, &cloud(1, "8080")).unwrap();
        cloud(3, "8080").save(&layout.cloud()).unwrap();
        check_nodes(&layout, &cloud(3, "8080")).unwrap();
        assert!(check_nodes(&layout, &cloud(2, "8080")).unwrap_err().next.contains("--nodes 3"));
    }

    #[test]
    fn a_node_on_which_something_runs_does_not_vanish_though_no_configuration_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path()).unwrap();
        std::fs::write(layout.cloud(), "{\"of\": \"another version\"}").unwrap();
        let process = layout.process(NodeId(3), StartId(7));
        layout.make(&process).unwrap();
        std::fs::write(process.join("spec.json"), "{\"instance\": \"web\"}").unwrap();
        check_nodes(&layout, &cloud(2, "8080")).unwrap();
        // This very process stands for the one that runs.
        let identity = serde_json::to_vec(&Identity::own().unwrap()).unwrap();
        std::fs::write(process.join("identity.json"), identity).unwrap();
        assert!(check_nodes(&layout, &cloud(2, "8080")).unwrap_err().next.contains("--nodes 3"));
        check_nodes(&layout, &cloud(3, "8080")).unwrap();
    }
}
