//! Processes of a cloud as they are seen running, by what they were started with. Their directories say the same, as
//! long as they are there: who removed them has ended nothing by that.

use super::Process;
use paci::env::{ENDPOINT, Endpoint, INSTANCE};
use paracloud_core::ids::StartId;
use paracloud_substrate::layout::Layout;
use paracloud_substrate::process::{Environment, Identity, is_dead};
use std::ffi::OsStr;
use std::path::Path;
use std::time::SystemTime;

/// All that are known, and all that are seen running.
pub(super) fn all(layout: &Layout) -> Vec<Process> {
    let mut known = super::all(layout);
    for process in procfs::process::all_processes().into_iter().flatten().flatten() {
        see(layout, &process, &mut known);
    }
    known
}

fn see(layout: &Layout, process: &procfs::process::Process, known: &mut Vec<Process>) {
    let Ok(stat) = process.stat() else { return };
    if is_dead(&stat) {
        return;
    }
    if let Some(directory) = process.cmdline().ok().and_then(|words| served(&words)) {
        if let Some((node, start)) = place(layout, Path::new(&directory)) {
            known_as(layout, known, &node, start, "a process");
        }
        return;
    }
    // Of a session its leader, or whom the leader left behind: who inherited the variables elsewhere is somebody else.
    let leads = stat.session == stat.pid;
    if !leads && acts(stat.session) {
        return;
    }
    let Ok(Some(environment)) = Environment::of(process) else { return };
    let text = |name: &str| environment.get(name).and_then(|value| value.to_str());
    let Some(endpoint) = text(ENDPOINT).and_then(|value| Endpoint::parse(value).ok()) else { return };
    let Some((node, start)) = endpoint.path().parent().and_then(|sockets| place(layout, sockets)) else {
        return;
    };
    let process = known_as(layout, known, &node, start, text(INSTANCE).unwrap_or("a process"));
    // What a leader has left behind is looked for when it is ended.
    let leader = Identity::of(stat.pid).ok().filter(|it| leads && it.start_ticks == stat.starttime);
    process.seen.extend(leader);
}

/// Whether a process has this number and is not dead.
fn acts(pid: i32) -> bool {
    let stat = procfs::process::Process::new(pid).and_then(|process| process.stat());
    stat.is_ok_and(|stat| !is_dead(&stat))
}

/// The one of this start, known from now on if it was not.
fn known_as<'a>(
    layout: &Layout,
    known: &'a mut Vec<Process>,
    node: &str,
    start: StartId,
    instance: &str,
) -> &'a mut Process {
    let at = known.iter().position(|process| process.start == start).unwrap_or_else(|| {
        let directory = layout.root().join(node).join("p").join(start.to_string());
        known.push(Process::at(node, start, instance, SystemTime::UNIX_EPOCH, &directory));
        known.len() - 1
    });
    &mut known[at]
}

/// `paracloud shim|exec --process DIR`: the directory.
pub(super) fn served(words: &[String]) -> Option<String> {
    let is_shell = words.get(1).is_some_and(|word| word == "shim" || word == "exec");
    let at = words.iter().position(|word| word == "--process").filter(|_| is_shell)?;
    words.get(at + 1).cloned()
}

/// Node and start of a path like `DIR/n1/p/START` or `DIR/n1/s/START`.
fn place(layout: &Layout, path: &Path) -> Option<(String, StartId)> {
    let mut parts = path.strip_prefix(layout.root()).ok()?.iter().map(OsStr::to_str);
    let (node, kind, start) = (parts.next()??, parts.next()??, parts.next()??);
    let is_place = parts.next().is_none() && super::is_node(Path::new(node)) && matches!(kind, "p" | "s");
    is_place.then_some(())?;
    Some((node.to_owned(), start.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_path_in_this_cloud_is_a_place_of_it() {
        let layout = Layout::new(Path::new("/run/cloud")).unwrap();
        let of = |path: &str| place(&layout, Path::new(path)).map(|(node, start)| (node, start.0));
        assert_eq!(of("/run/cloud/n2/p/000000000000000a"), Some(("n2".to_owned(), 10)));
        assert_eq!(of("/run/cloud/n2/s/000000000000000a"), Some(("n2".to_owned(), 10)));
        for other in
            ["/run/other/n2/p/000000000000000a", "/run/cloud/n2/p/x", "/run/cloud/n2/log/000000000000000a"]
        {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn a_shim_is_known_by_its_words() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(served(&words("paracloud shim --process /a/n1/p/x")).as_deref(), Some("/a/n1/p/x"));
        assert_eq!(served(&words("paracloud up --process /a")), None);
        assert_eq!(served(&words("paracloud exec --process")), None);
    }
}
