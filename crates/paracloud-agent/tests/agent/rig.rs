//! A cloud's directory, its agents as real processes, and the controller's end of their links in the test's hand.

use paci::upcall::Reason;
use paracloud_core::ids::{GatewayId, Incarnation, NodeId, OperationNumber, Placement, StartId};
use paracloud_core::migration::message::{FromAgent, ToAgent};
use paracloud_core::register::{Mode, Move, MoveStep, Operation, Record, Size};
use paracloud_substrate::cgroup::{Hierarchies, Site, sweep_gone_clouds};
use paracloud_substrate::config::{App, Cloud, Node};
use paracloud_substrate::layout::Layout;
use paracloud_substrate::message::{Caller, FromAgentLine, Known, Note, Terms, ToAgentLine};
use paracloud_substrate::process::{Identity, signal};
use rustix::process::Signal;
use serde_json::Value;
use std::fs::Permissions;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The longest that a test waits for anything.
pub(crate) const WAIT: Duration = Duration::from_secs(30);
pub(crate) const APP: &str = "shop";
pub(crate) const N1: NodeId = NodeId(1);
pub(crate) const N2: NodeId = NodeId(2);
static RIGS: AtomicU32 = AtomicU32::new(0);
const BINARY: &str = env!("CARGO_BIN_EXE_paracloud-agent-alone");

/// Waits until something is there, for as long as a test waits.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + WAIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "{what}: not within {WAIT:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// One cloud.
pub(crate) struct Rig {
    _directory: TempDir,
    pub(crate) layout: Layout,
    listener: UnixListener,
    pub(crate) agents: Vec<Agent>,
    starts: u64,
    env: Vec<(String, String)>,
}

/// One agent, with the controller's end of its link.
pub(crate) struct Agent {
    pub(crate) node: NodeId,
    pub(crate) process: Child,
    pub(crate) generation: u32,
    pub(crate) known: Vec<Known>,
    reader: BufReader<UnixStream>,
    writer: UnixStream,
}

impl Rig {
    /// A cloud of one app that runs the puppet.
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// The same, with its app changed.
    pub(crate) fn with(change: impl FnOnce(&mut App)) -> Self {
        let directory =
            tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap();
        let layout = Layout::new(directory.path()).unwrap();
        let mut app = App {
            directory: directory.path().to_path_buf(),
            drain_ms: 0,
            ..App::new(APP, vec![BINARY.to_owned(), "puppet".to_owned()])
        };
        change(&mut app);
        // Hosts of their own for each cloud: tests run side by side.
        let [high, low] = (RIGS.fetch_add(1, Ordering::Relaxed) ^ std::process::id()).to_be_bytes()[2..]
        else {
            unreachable!("four bytes")
        };
        let host = |last| [127, 1 + high % 254, low, last].into();
        let node = |id: NodeId, last| Node { id, name: id.to_string(), host: host(last) };
        let cloud =
            Cloud { nodes: vec![node(N1, 1), node(N2, 2)], gateways: vec![GatewayId(1)], apps: vec![app] };
        cloud.save(&layout.cloud()).unwrap();
        let listener = UnixListener::bind(layout.controller_socket()).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self { _directory: directory, layout, listener, agents: Vec::new(), starts: 0x51, env: Vec::new() }
    }

    /// Sets a variable for agents that are started from now on.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.env.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn fresh(&mut self) -> StartId {
        self.starts += 1;
        StartId(self.starts)
    }

    /// Starts a node's agent and hears who it is.
    pub(crate) fn agent(&mut self, node: NodeId) -> &mut Agent {
        let process = self.start_agent(node);
        let (reader, writer, node, generation, known) = self.accept();
        self.agents.push(Agent { node, process, generation, known, reader, writer });
        self.agents.last_mut().unwrap()
    }

    /// Starts a node's agent that ends by itself, before it says who it is, and says its last line.
    pub(crate) fn agent_that_refuses(&mut self, node: NodeId) -> String {
        let mut agent = self.start_agent(node);
        let ended = until("the agent ends", || {
            assert!(self.listener.accept().is_err(), "it introduces itself");
            agent.try_wait().unwrap()
        });
        assert!(!ended.success());
        self.last_word()
    }

    /// The last line that an agent said to people.
    pub(crate) fn last_word(&self) -> String {
        let log = std::fs::read_to_string(self.layout.root().join("agent.log")).unwrap();
        log.lines().last().unwrap_or_default().to_owned()
    }

    fn start_agent(&self, node: NodeId) -> Child {
        let log =
            std::fs::File::options().create(true).append(true).open(self.layout.root().join("agent.log"));
        Command::new(BINARY)
            .args(["agent", "--dir"])
            .arg(self.layout.root())
            .args(["--node", &node.to_string()])
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.unwrap())
            .spawn()
            .unwrap()
    }

    fn accept(&self) -> (BufReader<UnixStream>, UnixStream, NodeId, u32, Vec<Known>) {
        let (stream, _) = until("an agent dials", || self.listener.accept().ok());
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(WAIT)).unwrap();
        let writer = stream.try_clone().unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        match serde_json::from_str(&line).unwrap() {
            Caller::Agent { node, generation, known } => (reader, writer, node, generation.0, known),
            other @ (Caller::Gateway { .. } | Caller::Person) => panic!("{other:?}"),
        }
    }

    /// Cuts the link of an agent and hears it dial again.
    pub(crate) fn redial(&mut self, index: usize) {
        self.agents[index].writer.shutdown(std::net::Shutdown::Both).unwrap();
        let (reader, writer, node, generation, known) = self.accept();
        let agent = &mut self.agents[index];
        assert_eq!(node, agent.node);
        (agent.reader, agent.writer, agent.generation, agent.known) = (reader, writer, generation, known);
    }

    /// Kills an agent as if by a crash, and waits until it is gone.
    pub(crate) fn kill_agent(&mut self, index: usize) {
        let mut agent = self.agents.remove(index);
        agent.process.kill().unwrap();
        agent.process.wait().unwrap();
    }

    pub(crate) fn process_dir(&self, node: NodeId, start: StartId) -> PathBuf {
        self.layout.process(node, start)
    }

    /// Starts the first owner on a node and waits until it is ready. Its agent is the last one started.
    pub(crate) fn owner(&mut self, node: NodeId) -> (StartId, Puppet) {
        let start = self.fresh();
        let record = Record::first(Placement::new(node, start));
        let agent = self.agents.last_mut().unwrap();
        agent.own(&record);
        let address = agent.hear("ready", |message| match message {
            FromAgent::Ready { start: who, address, .. } if *who == start => Some(*address),
            _ => None,
        });
        (start, Puppet { address })
    }

    /// Kills whoever is in a group of the cloud, and removes it; the shims that would do so are killed.
    fn remove_groups(&self) {
        let hierarchies = Hierarchies::find().unwrap_or_default();
        for _ in 0..200 {
            let groups = Site::of(&hierarchies, self.layout.root()).groups();
            if groups.iter().filter(|group| group.kill().and_then(|()| group.remove()).is_err()).count() == 0
            {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        // Those of tests that were killed.
        sweep_gone_clouds(&hierarchies);
    }

    /// The shim of a process, once it is there.
    pub(crate) fn shim(&self, node: NodeId, start: StartId) -> i32 {
        let directory = self.process_dir(node, start).display().to_string();
        until("a shim", || processes_of(&format!("shim\0--process\0{directory}")).into_iter().next())
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.layout.root().join("agent.log")).unwrap_or_default();
            eprintln!("--- agent.log\n{log}");
            for node in [N1, N2] {
                let Ok(entries) = std::fs::read_dir(self.layout.processes(node)) else { continue };
                for entry in entries.flatten() {
                    let text =
                        |name: &str| std::fs::read_to_string(entry.path().join(name)).unwrap_or_default();
                    eprintln!("--- {}\n{}{}", entry.path().display(), text("shim.log"), text("log"));
                }
            }
        }
        for agent in &mut self.agents {
            let _ = agent.process.kill();
            let _ = agent.process.wait();
        }
        // Shims first, so that nobody starts anything any more; then the sessions of the programs.
        for _ in 0..200 {
            let mut left = processes_of(&self.layout.root().display().to_string());
            for node in [N1, N2] {
                let Ok(entries) = std::fs::read_dir(self.layout.processes(node)) else { continue };
                for entry in entries.flatten() {
                    let Ok(text) = std::fs::read(entry.path().join("identity.json")) else { continue };
                    let Ok(identity) = serde_json::from_slice::<Identity>(&text) else { continue };
                    left.extend(session_of(identity.pid));
                }
            }
            if left.is_empty() {
                break;
            }
            for pid in left {
                kill(pid, Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.remove_groups();
    }
}

impl Agent {
    pub(crate) fn say(&mut self, line: &ToAgentLine) {
        let mut text = serde_json::to_string(line).unwrap();
        text.push('\n');
        self.writer.write_all(text.as_bytes()).unwrap();
    }

    pub(crate) fn tell(&mut self, message: ToAgent, operation: Option<Operation>) {
        self.tell_on(Terms::default(), message, operation);
    }

    /// The same, with what was agreed on for the operation.
    pub(crate) fn tell_on(&mut self, terms: Terms, message: ToAgent, operation: Option<Operation>) {
        let size = if let ToAgent::Own(record) = &message { record.size } else { None };
        let (instance, reason) = (APP.to_owned(), Reason::Person);
        self.say(&ToAgentLine::Machine { instance, message, operation, terms, reason, size });
    }

    /// The same of an instance that has a size of its own.
    pub(crate) fn tell_sized(&mut self, size: Option<Size>, message: ToAgent, operation: Option<Operation>) {
        let (instance, reason, terms) = (APP.to_owned(), Reason::Person, Terms::default());
        self.say(&ToAgentLine::Machine { instance, message, operation, terms, reason, size });
    }

    pub(crate) fn own(&mut self, record: &Record) {
        self.tell(ToAgent::Own(record.clone()), record.operation.clone());
    }

    /// The next line that is looked for; others are passed over.
    pub(crate) fn hear_line<T>(
        &mut self,
        what: &str,
        mut look: impl FnMut(&FromAgentLine) -> Option<T>,
    ) -> T {
        let end = Instant::now() + WAIT;
        let mut passed = Vec::new();
        loop {
            let mut text = String::new();
            let read = self.reader.read_line(&mut text);
            assert!(
                matches!(read, Ok(bytes) if bytes > 0),
                "{what}: the link ended ({read:?}) after {passed:#?}"
            );
            let line = serde_json::from_str(&text).unwrap();
            if let Some(found) = look(&line) {
                return found;
            }
            passed.push(line);
            assert!(Instant::now() < end, "{what}: not heard; heard {passed:#?}");
        }
    }

    pub(crate) fn hear<T>(&mut self, what: &str, mut look: impl FnMut(&FromAgent) -> Option<T>) -> T {
        self.hear_line(what, |line| match line {
            FromAgentLine::Machine { message, .. } => look(message),
            FromAgentLine::Note { .. }
            | FromAgentLine::Held { .. }
            | FromAgentLine::Unready { .. }
            | FromAgentLine::Previewed { .. }
            | FromAgentLine::Answered { .. }
            | FromAgentLine::Advice { .. }
            | FromAgentLine::Usage { .. }
            | FromAgentLine::Beat => None,
        })
    }

    pub(crate) fn hear_note<T>(&mut self, what: &str, mut look: impl FnMut(&Note) -> Option<T>) -> T {
        self.hear_line(what, |line| match line {
            FromAgentLine::Note { note, .. } => look(note),
            FromAgentLine::Machine { .. }
            | FromAgentLine::Held { .. }
            | FromAgentLine::Unready { .. }
            | FromAgentLine::Previewed { .. }
            | FromAgentLine::Answered { .. }
            | FromAgentLine::Advice { .. }
            | FromAgentLine::Usage { .. }
            | FromAgentLine::Beat => None,
        })
    }

    /// Hears that a process is dead, and how.
    pub(crate) fn hear_death(&mut self, start: StartId) -> String {
        let mut how = None;
        self.hear_line("a death", |line| match line {
            FromAgentLine::Note { note: Note::Ended { start: who, how: told }, .. } if *who == start => {
                how = Some(told.clone());
                None
            }
            FromAgentLine::Machine { message: FromAgent::Dead { start: who }, .. } if *who == start => {
                Some(())
            }
            _ => None,
        });
        how.unwrap_or_default()
    }
}

/// The program of a process that is being started, once it listens.
pub(crate) fn puppet(layout: &Layout, node: NodeId, start: StartId) -> Puppet {
    let address = until("its specification", || {
        let spec = std::fs::read(layout.process(node, start).join("spec.json")).ok()?;
        let spec: Value = serde_json::from_slice(&spec).ok()?;
        spec["address"].as_str()?.parse().ok()
    });
    until("it listens", || TcpStream::connect(address).ok());
    Puppet { address }
}

/// The program, at its address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Puppet {
    pub(crate) address: SocketAddr,
}

impl Puppet {
    /// Says one command and hears what comes back.
    pub(crate) fn say(&self, command: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(WAIT)).unwrap();
        stream.write_all(format!("{command}\n").as_bytes()).unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        said
    }

    /// Says one command and does not wait.
    pub(crate) fn begin(self, command: &str) -> std::thread::JoinHandle<String> {
        let command = command.to_owned();
        std::thread::spawn(move || self.say(&command))
    }

    pub(crate) fn pid(&self) -> i32 {
        self.say("pid").parse().unwrap()
    }

    pub(crate) fn call(&self, method: &str, target: &str, body: &str) -> (u16, Value) {
        read(&self.say(&format!("call {method} {target} {body}")))
    }

    pub(crate) fn hello(&self, capabilities: &[&str]) -> (u16, Value) {
        let body = serde_json::json!({"versions": ["v1"], "capabilities": capabilities});
        self.call("POST", "/v1/hello", &body.to_string())
    }

    pub(crate) fn ready(&self) {
        assert_eq!(self.call("PUT", "/v1/state", r#"{"state":"READY"}"#).0, 200);
    }

    pub(crate) fn next(&self) -> Value {
        let (status, upcall) = self.call("GET", "/v1/upcalls/next?waitMs=30000", "");
        assert_eq!(status, 200, "{upcall}");
        upcall
    }

    /// Answers an upcall and says the status and the body.
    pub(crate) fn answer(&self, upcall: &Value, mut answer: Value) -> (u16, Value) {
        answer["operation"] = upcall["operation"].clone();
        answer["attempt"] = upcall["attempt"].clone();
        self.call("POST", &format!("/v1/upcalls/{}", upcall["operation"]), &answer.to_string())
    }
}

/// The status and the JSON of what the puppet heard.
pub(crate) fn read(said: &str) -> (u16, Value) {
    let (status, body) = said.split_once(' ').unwrap_or((said, ""));
    let status = status.parse().unwrap_or_else(|_| panic!("no status: {said:?}"));
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

pub(crate) fn sealed_at(position: u32) -> Value {
    serde_json::json!({"position": position.to_string(), "digest": "ab".repeat(16)})
}

/// A record with a move by handing over from n1 to n2, at a step.
pub(crate) fn moving(source: StartId, target: StartId, address: SocketAddr, step: MoveStep) -> Record {
    moving_in(Mode::Handoff, source, target, address, step)
}

pub(crate) fn moving_in(
    mode: Mode,
    source: StartId,
    target: StartId,
    address: SocketAddr,
    step: MoveStep,
) -> Record {
    let (source, target) = (Placement::new(N1, source), Placement::new(N2, target));
    let committed = matches!(step, MoveStep::Switch | MoveStep::Doomed | MoveStep::Retire);
    let bumped = committed || step == MoveStep::Undo;
    let operation = Move { mode, step, base: Incarnation(1), source, source_address: address, target };
    Record {
        incarnation: Incarnation(if bumped { 2 } else { 1 }),
        owner: if committed { target } else { source },
        served: if step == MoveStep::Switch { None } else { Some(address) },
        last_operation: OperationNumber(1),
        operation: Some(Operation::Move(operation)),
        gone: false,
        size: None,
    }
}

/// Puts a link there that leads to itself: it is there, and nothing can be known of it. What was there is put beside it.
pub(crate) fn make_unknown(path: &Path) -> PathBuf {
    let aside = path.with_extension("aside");
    if path.exists() {
        std::fs::rename(path, &aside).unwrap();
    }
    std::os::unix::fs::symlink(path, path).unwrap();
    aside
}

pub(crate) fn kill(pid: i32, which: Signal) {
    if let Ok(identity) = Identity::of(pid)
        && let Ok(Some(handle)) = identity.open()
    {
        signal(&handle, which).unwrap();
    }
}

pub(crate) fn is_alive(pid: i32) -> bool {
    Identity::of(pid).is_ok_and(|identity| identity.is_alive().unwrap_or(false))
}

/// Living processes whose command line contains a text.
fn processes_of(text: &str) -> Vec<i32> {
    let own = i32::try_from(std::process::id()).unwrap();
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != own && is_alive(*pid))
        .filter(|pid| {
            let line =
                std::fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(text)
        })
        .collect()
}

fn session_of(leader: i32) -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| is_alive(*pid))
        .filter(|pid| {
            let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
            let fields = stat.unwrap_or_default();
            // After the name: state, parent, group, session.
            let session =
                fields.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(3)?.parse().ok());
            session == Some(leader)
        })
        .collect()
}
