//! Who is at the other end of a socket: only processes of the start that the socket belongs to may speak there.

use crate::processes::ProcessDirectory;
use paracloud_substrate::process::Trail;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, OnceLock};

/// Tells the processes of one start from all others.
#[derive(Debug, Clone)]
pub(crate) struct Peers {
    process: ProcessDirectory,
    /// Read once: it never changes, and is there before the program runs.
    trail: Arc<OnceLock<Trail>>,
}

impl Peers {
    pub(crate) fn of(process: ProcessDirectory) -> Self {
        Self { process, trail: Arc::default() }
    }

    /// Whether the process that connected belongs to this start.
    pub(crate) fn allow(&self, socket: impl AsFd) -> bool {
        let Ok(peer) = rustix::net::sockopt::socket_peercred(socket) else { return false };
        self.belongs(peer.pid.as_raw_nonzero().get())
    }

    /// What cannot be proved is a no: so is a process whose session has the number of one that is dead, unless it proves
    /// itself to be of it.
    fn belongs(&self, pid: i32) -> bool {
        let trail = match self.trail.get() {
            Some(trail) => trail,
            None => match self.read() {
                Ok(Some(trail)) => self.trail.get_or_init(|| trail),
                Ok(None) | Err(_) => return false,
            },
        };
        trail.covers(pid)
    }

    /// `None`: it has not become the program yet.
    fn read(&self) -> io::Result<Option<Trail>> {
        let Some(leader) = self.process.identity()? else { return Ok(None) };
        let spec = self.process.spec()?;
        Ok(Some(Trail::of(leader, (paci::env::ENDPOINT, spec.endpoint()), &self.process.log())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paracloud_substrate::process::Identity;
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    /// What a program is started with, as far as it counts here.
    const SPEC: &str = r#"{"start":"000000000000000a","app":"web","instance":"web","node":"n1","command":["true"],
        "env":{"PACI_ENDPOINT":"unix:///nobody/has/this"},"directory":"/","address":"127.0.1.1:20000",
        "stop_grace_ms":1,"up_lock":"/nobody","trace":"/nobody"}"#;

    /// Says who reads its input, and ends with it.
    const SESSION: &str = "exec 3<&0; cat <&3 & echo $!; wait";

    /// Whether a process may speak where a start with this identity does.
    fn is_allowed(pid: i32, identity: &Identity) -> bool {
        let directory = tempfile::tempdir().unwrap();
        let process = ProcessDirectory::at(directory.path().to_owned());
        std::fs::write(directory.path().join("spec.json"), SPEC).unwrap();
        std::fs::write(directory.path().join("identity.json"), serde_json::to_vec(identity).unwrap())
            .unwrap();
        Peers::of(process).belongs(pid)
    }

    #[test]
    fn a_process_whose_session_has_the_number_of_a_dead_start_is_refused() {
        let mut command = Command::new("setsid");
        let mut leader =
            command.args(["sh", "-c", SESSION]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut member = String::new();
        BufReader::new(leader.stdout.take().unwrap()).read_line(&mut member).unwrap();
        let member = member.trim().parse().unwrap();
        let start = Identity::of(i32::try_from(leader.id()).unwrap()).unwrap();
        assert!(is_allowed(member, &start), "this very start");
        // Its program had the number of this session in another life of the machine, or before in this one.
        let reboot = Identity { boot_id: "an earlier one".to_owned(), ..start.clone() };
        let earlier = Identity { start_ticks: 0, ..start };
        assert!(!is_allowed(member, &reboot) && !is_allowed(member, &earlier));
        drop(leader.stdin.take());
        leader.wait().unwrap();
    }
}
