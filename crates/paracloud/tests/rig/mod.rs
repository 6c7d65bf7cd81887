//! A cloud in a temporary directory: by default around a web server of twenty lines that knows nothing of it.

use paracloud::processes;
use paracloud::up::roster;
use paracloud_substrate::layout::Layout;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// The longest that anything may take. It bounds a failing test, and measures nothing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

const PROGRAM: &str = "\
import http.server, os, signal
class Web(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header('content-length', '6')
        self.end_headers()
        self.wfile.write(b'hello\\n')
print('starting', flush=True)
";

/// The end of a program: it serves.
const SERVE: &str =
    "\nhttp.server.ThreadingHTTPServer((os.environ['HOST'], int(os.environ['PORT'])), Web).serve_forever()\n";

/// What a command said and how it ended.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs a command to its end.
pub(crate) fn run(arguments: &[&str]) -> Answer {
    run_into(arguments, Stdio::piped())
}

/// Runs a command to its end, and its result goes there.
pub(crate) fn run_into(arguments: &[&str], out: impl Into<Stdio>) -> Answer {
    let mut command = command();
    ended(command.args(arguments).stdin(Stdio::null()).stdout(out).stderr(Stdio::piped()))
}

fn ended(command: &mut Command) -> Answer {
    let output = command.spawn().unwrap().wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Answer { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

/// The one object of an answer, which says that it is of this form.
fn formed(answer: &Answer, form: &str) -> Value {
    let object: Value = serde_json::from_str(&answer.out).unwrap();
    assert_eq!(object["schema"], form, "{object}");
    object
}

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_paracloud"));
    command.env_remove("PARACLOUD_DIR").env_remove("RUST_LOG");
    command
}

/// Waits for a state, within bounds.
pub(crate) fn wait_until(what: &str, reached: impl FnMut() -> bool) {
    wait_within(PATIENCE, what, reached);
}

/// Waits for a state, within this bound.
pub(crate) fn wait_within(bound: Duration, what: &str, mut reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + bound;
    while !reached() {
        assert!(Instant::now() < deadline, "not within {bound:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn kill(pid: i32, signal: Signal) {
    let _ = kill_process(Pid::from_raw(pid).unwrap(), signal);
}

/// Puts fields into an object, in the place of those that are there.
fn merge(object: &mut Value, fields: &Value) {
    let fields = fields.as_object().unwrap().clone();
    object.as_object_mut().unwrap().extend(fields);
}

/// A process that belongs to a rig.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) pid: i32,
    pub(crate) words: Vec<String>,
}

/// A directory with a program, its manifest, and a cloud.
pub(crate) struct Rig {
    directory: tempfile::TempDir,
    manifest: String,
    listen: Vec<SocketAddr>,
}

/// Addresses that are free now, and stay so: of a host of their own, from which nobody dials. On the common one whoever dials
/// may be given the port of one that does not listen yet.
pub(crate) fn free_addresses<const COUNT: usize>() -> [SocketAddr; COUNT] {
    static HOSTS: AtomicU8 = AtomicU8::new(1);
    let host = Ipv4Addr::new(127, 0, 3, HOSTS.fetch_add(1, Ordering::Relaxed));
    // All are held until all are found, or one might be given twice.
    let listeners = [(); COUNT].map(|()| TcpListener::bind((host, 0)).unwrap());
    listeners.map(|listener| listener.local_addr().unwrap())
}

impl Rig {
    /// A web server, with these lines in its manifest.
    pub(crate) fn new(lines: &str) -> Self {
        Self::with_program("", lines)
    }

    /// A web server that runs this line first.
    pub(crate) fn with_program(first: &str, lines: &str) -> Self {
        let rig = Self::with_manifest(|rig| {
            let [one, other] = [rig.address(0), rig.address(1)];
            format!(
                "kind: App\nname: web\ncommand: [python3, web.py]\nlisten: ['{one}', '{other}']\nenv: {{RIG: '{}'}}\n{lines}\n",
                rig.path().display()
            )
        });
        std::fs::write(rig.path().join("web.py"), format!("{PROGRAM}{first}{SERVE}")).unwrap();
        rig
    }

    /// The example `sessions`, with these fields in its manifest and these variables in its environment.
    pub(crate) fn sessions(fields: &Value, environment: &Value) -> Self {
        let command = json!([env!("CARGO_BIN_EXE_paracloud"), "demo-app"]);
        let own = json!({ "readiness": { "http": "/healthz" }, "stopGrace": "2s" });
        Self::of("sessions", &command, &[&own, fields], environment)
    }

    /// An app of this name and command, with these fields in its manifest and these variables in its environment.
    pub(crate) fn of(name: &str, command: &Value, fields: &[&Value], environment: &Value) -> Self {
        Self::with_manifest(|rig| {
            let listen = [rig.address(0), rig.address(1)];
            let mut manifest = json!({ "kind": "App", "name": name, "command": command, "listen": listen });
            fields.iter().for_each(|fields| merge(&mut manifest, fields));
            manifest["env"] = json!({ "RIG": rig.path() });
            merge(&mut manifest["env"], environment);
            // JSON is YAML, and no path needs quoting by hand.
            manifest.to_string()
        })
    }

    /// A manifest of any text.
    pub(crate) fn with_manifest(text: impl FnOnce(&Self) -> String) -> Self {
        // Short: unix sockets lie in it.
        let directory = tempfile::Builder::new().prefix("pc").tempdir_in("/tmp").unwrap();
        let listen = free_addresses::<2>().to_vec();
        let manifest = directory.path().join("app.yaml").to_str().unwrap().to_owned();
        let rig = Self { manifest, listen, directory };
        std::fs::write(rig.manifest(), text(&rig)).unwrap();
        rig
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn manifest(&self) -> &str {
        &self.manifest
    }

    /// Where a gateway listens.
    pub(crate) fn address(&self, gateway: usize) -> SocketAddr {
        self.listen[gateway]
    }

    /// The directory of its cloud.
    pub(crate) fn cloud(&self) -> String {
        self.path().join("cloud").to_str().unwrap().to_owned()
    }

    /// Runs a command about this cloud.
    pub(crate) fn run(&self, arguments: &[&str]) -> Answer {
        run(&[&["--dir", &self.cloud()], arguments].concat())
    }

    /// Runs a command about this cloud from a shell with this variable.
    pub(crate) fn run_with(&self, variable: (&str, &str), arguments: &[&str]) -> Answer {
        let mut command = command();
        command.env(variable.0, variable.1).args(["--dir", &self.cloud()]).args(arguments);
        ended(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()))
    }

    /// Starts a command about this cloud, and what it says goes there, or nowhere.
    pub(crate) fn start(&self, arguments: &[&str], out: impl Into<Stdio>) -> Started {
        let mut command = command();
        command.args(["--dir", &self.cloud()]).args(arguments);
        Started::of(command.stdin(Stdio::null()).stdout(out).stderr(Stdio::null()))
    }

    /// Starts a command about this cloud, and what it tells meanwhile can be waited for.
    pub(crate) fn start_telling(&self, arguments: &[&str]) -> Started {
        let mut command = command();
        command.args(["--dir", &self.cloud()]).args(arguments);
        Started::of(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()))
    }

    /// Runs a command that must succeed, and gives its object.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let answer = self.run(&[arguments, &["--output", "json"]].concat());
        assert_eq!(answer.code, 0, "{arguments:?}: {}{}", answer.out, answer.err);
        formed(&answer, &format!("paracloud.{}/v1", arguments[0]))
    }

    /// Runs a command that must fail with this code, and gives its object.
    pub(crate) fn json_of_refused(&self, arguments: &[&str], code: i32) -> Value {
        let answer = self.run(&[arguments, &["--output", "json"]].concat());
        assert_eq!(answer.code, code, "{arguments:?}: {}{}", answer.out, answer.err);
        formed(&answer, "paracloud.error/v1")
    }

    /// Starts `up`.
    pub(crate) fn up(&self, environment: &[(&str, &str)]) -> Up {
        self.up_with(&[], environment)
    }

    /// Starts `up` with these arguments more.
    pub(crate) fn up_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Up {
        let mut command = command();
        command.args(["up", &self.manifest, "--dir", &self.cloud(), "--output", "json"]).args(arguments);
        command.envs(environment.iter().copied()).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, lines) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Up { child, lines, said: Vec::new() }
    }

    /// The first page, through one of the gateways.
    pub(crate) fn get(&self, gateway: usize) -> String {
        self.ask(gateway, "GET /")
    }

    /// The body of the answer to a request without one, through one of the gateways. It must succeed.
    pub(crate) fn ask(&self, gateway: usize, request: &str) -> String {
        let answer = self.try_ask(gateway, request);
        assert_eq!(answer.split(' ').nth(1), Some("200"), "{request}: {answer}");
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// The whole answer to a request without a body.
    pub(crate) fn try_ask(&self, gateway: usize, request: &str) -> String {
        let mut stream = self.send(gateway, request, "Connection: close\r\n");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Sends the head of a request, with these lines in it.
    pub(crate) fn send(&self, gateway: usize, request: &str, lines: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address(gateway)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(format!("{request} HTTP/1.1\r\nHost: web\r\n{lines}\r\n").as_bytes()).unwrap();
        stream
    }

    /// Everything in the journal, a line each as programs read it.
    pub(crate) fn events(&self) -> Vec<Value> {
        let events = self.run(&["events", "--output", "json"]);
        assert_eq!(events.code, 0, "{}", events.err);
        events.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Who owns, by the register: `None` while the controller does not answer.
    pub(crate) fn record(&self) -> Option<Value> {
        let answer = self.run(&["ps", "--output", "json"]);
        let ps: Value = serde_json::from_str(&answer.out).ok()?;
        Some(ps["instances"][0]["record"].clone()).filter(|record| !record.is_null())
    }

    /// The processes of this cloud that are this: `up`, `controller`, `agent`, `gateway`, `shim`, `demo-app`.
    pub(crate) fn processes(&self, what: &str) -> Vec<i32> {
        let is_one = |found: &Found| found.words.get(1).is_some_and(|word| word == what);
        self.left().iter().filter(|found| is_one(found)).map(|found| found.pid).collect()
    }

    /// Every process of this cloud: by the directory in its command line, or the variable of its manifest.
    pub(crate) fn left(&self) -> Vec<Found> {
        let directory = self.path().to_str().unwrap();
        let of_rig = |process: procfs::process::Process| {
            let stat = process.stat().ok().filter(|stat| stat.state != 'Z')?;
            let words = process.cmdline().ok()?;
            let marked = process
                .environ()
                .is_ok_and(|all| all.get(std::ffi::OsStr::new("RIG")).is_some_and(|it| it == directory));
            let named = words.iter().any(|word| word.starts_with(directory));
            (marked || named).then_some(Found { pid: stat.pid, words })
        };
        procfs::process::all_processes().unwrap().flatten().filter_map(of_rig).collect()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // In this order, so that nobody starts anything again.
        let layout = Layout::new(Path::new(&self.cloud())).unwrap();
        for found in self.left().into_iter().filter(|it| it.words.get(1).is_some_and(|word| word == "up")) {
            kill(found.pid, Signal::KILL);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _ = runtime.block_on(roster::end_leftovers(&layout));
        runtime.block_on(processes::end(&processes::all(&layout), Duration::ZERO));
        self.left().into_iter().for_each(|found| kill(found.pid, Signal::KILL));
    }
}

/// A command that runs, until it ends or nobody needs it any more.
pub(crate) struct Started {
    child: Child,
    tells: Option<BufReader<ChildStderr>>,
}

impl Started {
    fn of(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let tells = child.stderr.take().map(BufReader::new);
        Self { child, tells }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.child.id().cast_signed(), signal);
    }

    /// Waits until it tells this.
    pub(crate) fn tells(&mut self, what: &str) {
        let lines = self.tells.as_mut().unwrap().lines().map_while(Result::ok);
        let mut told = Vec::new();
        let is_told = lines.inspect(|line| told.push(line.clone())).any(|line| line.contains(what));
        assert!(is_told, "{what}: {told:#?}");
    }

    pub(crate) fn is_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end and gives its exit code.
    pub(crate) fn ended(&mut self) -> i32 {
        wait_until("the command ends", || self.is_ended());
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A running `up`.
pub(crate) struct Up {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
}

impl Up {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until everything serves.
    pub(crate) fn serving(&mut self) {
        self.says("\"event\":\"serving\"");
    }

    /// Waits for a line with this in it.
    pub(crate) fn says(&mut self, what: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).unwrap_or_else(|error| {
                panic!("{error} while waiting for {what:?}; it said:\n{}", self.said.join("\n"));
            });
            self.said.push(line);
            if self.said.last().unwrap().contains(what) {
                return;
            }
        }
    }

    /// Everything that it said so far, once it has ended.
    pub(crate) fn said(&mut self) -> String {
        self.said.extend(self.lines.try_iter());
        self.said.join("\n")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.child.id().cast_signed(), signal);
    }

    /// Waits for its end and gives its exit code.
    pub(crate) fn ended(&mut self) -> i32 {
        let mut status = None;
        wait_until("`up` ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        // Its last words.
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.said.push(line);
        }
        status.unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
