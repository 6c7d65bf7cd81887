//! One app of a manifest.

use super::field::{Field, Fields};
use super::node::{Placed, quoted};
use super::{LISTEN_MAX, Problem, scale};
use paracloud_core::balancing::Policy;
use paracloud_substrate::config::{
    App, Balance, Budgets, Check, Node, Parking, Probe, Protocol, Resources, Session, State,
};
use paracloud_substrate::names::{self, APP_BYTES_MAX};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

pub(super) const FIELDS: &[&str] = &[
    "kind",
    "name",
    "command",
    "directory",
    "env",
    "listen",
    "state",
    "session",
    "acceptLoss",
    "node",
    "scale",
    "resources",
    "protocol",
    "balance",
    "readiness",
    "liveness",
    "move",
    "parking",
    "stopGrace",
    "drain",
];
pub(super) const BUDGETS: &[&str] =
    &["prepare", "copy", "park", "seal", "guardWait", "switch", "release", "pause", "pauseMax"];
pub(super) const BALANCE: &[&str] = &["policy"];
pub(super) const CHECK: &[&str] = &["http", "tcp", "exec", "period", "timeout", "failures", "successes"];
/// Where an app listens that does not say.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
const ARGUMENTS_MAX: usize = 1_024;
const STOP_GRACE_MS: u32 = 10_000;
const DRAIN_MS: u32 = 5_000;
const BUDGET_MS_MAX: u32 = 24 * 3_600_000;
const WAIT_MS_MAX: u32 = 600_000;
const PARKED_MAX: u32 = 65_536;
const REPLAY_BYTES_MAX: u32 = 64 << 20;
const CHECK_MS_MAX: u32 = 60_000;
const FAILURES_MAX: u32 = 1_000;

/// A listen address, with the place and the name of its field.
type Listen = (SocketAddr, (u64, u64), String);

/// What was read of one app.
pub(super) struct Read {
    pub(super) app: App,
    pub(super) name_at: (u64, u64),
    listen: Vec<Listen>,
    pub(super) note: Option<super::Note>,
}

/// An address that an app listens on.
pub(super) struct Taken {
    address: SocketAddr,
    app: String,
}

pub(super) fn read(document: &Placed, base: &Path, nodes: &[Node]) -> Result<Read, Problem> {
    let fields = Fields::of(document, "", FIELDS)?;
    fields.require("kind")?.one_of(&[("App", ())])?;
    let name_field = fields.require("name")?;
    let name = app_name(&name_field)?;
    let directory = directory(&fields, base)?;
    let env = fields.get("env").map_or_else(|| Ok(BTreeMap::new()), |field| environment(&field))?;
    let place = Place { directory: &directory, path: search_path(&env) };
    let command = command(&fields.require("command")?, &place)?;
    let listen = match fields.get("listen") {
        Some(field) => addresses(&field)?,
        None => vec![(LISTEN, name_field.at(), "listen".to_owned())],
    };
    let states = [("stateful", State::Stateful), ("session", State::Session), ("none", State::None)];
    let state = fields.get("state").map_or(Ok(State::Stateful), |field| field.one_of(&states))?;
    let session = session(&fields, state)?;
    let node = fields.get("node").map_or(Ok(&nodes[0]), |field| node(&field, nodes))?;
    let scale = fields.get("scale").map(|field| scale::scale(&field)).transpose()?;
    if let Some(node) = fields.get("node").filter(|_| scale.is_some()) {
        return Err(node.problem("an app with scale is spread over all nodes: leave node out"));
    }
    let protocols = [("http1", Protocol::Http1), ("h2", Protocol::H2)];
    let protocol = fields.get("protocol").map_or(Ok(Protocol::Http1), |field| field.one_of(&protocols))?;
    let resources = fields.get("resources").map(|field| scale::resources(&field)).transpose()?;
    if let Some(field) = fields.get("scale").filter(|_| scale.is_some_and(|it| it.shape.goes_up())) {
        let Resources { start, least, most } = resources.unwrap_or_default();
        let missing = match start.cpu_milli {
            None => Some("resources.cpu"),
            Some(_) if least.cpu_milli == most.cpu_milli => {
                Some("resources.resizeMin.cpu or resources.resizeMax.cpu")
            }
            Some(_) => None,
        };
        if let Some(missing) = missing {
            let what = format!("its shape changes what instances have of processors: give {missing}");
            return Err(field.problem(what));
        }
    }
    let check = |name: &str| fields.get(name).map(|field| check(&field, &place)).transpose();
    let (readiness, liveness) = (check("readiness")?, check("liveness")?);
    if let (Some(field), Some(Check { successes: 2.., .. })) = (fields.get("liveness"), &liveness) {
        return Err(field.problem("one good look is enough of life; leave `successes` out"));
    }
    let named_port = |text: &String| text.contains("{port}") || text.contains("PORT");
    let note = (!command.iter().any(named_port) && !env.values().any(named_port)).then(|| {
        let text = "its command names no {port}: it must listen where HOST and PORT of its environment say, or no \
                    client reaches it";
        super::Note { app: name.clone(), text: text.to_owned() }
    });
    let app = App {
        revision: 1,
        floor: 1,
        node: node.id,
        command,
        state,
        session,
        accept_loss: fields.get("acceptLoss").map_or(Ok(false), |field| field.truth())?,
        listen: listen.iter().map(|(address, ..)| *address).collect(),
        protocol,
        balance: fields.get("balance").map_or_else(|| Ok(Balance::default()), |field| balance(&field))?,
        readiness: readiness.unwrap_or_else(|| Check::by(Probe::Tcp)),
        liveness,
        scale,
        resources: resources.unwrap_or_default(),
        budgets: fields.get("move").map_or_else(|| Ok(Budgets::default()), |field| budgets(&field))?,
        parking: fields.get("parking").map_or_else(|| Ok(Parking::default()), |field| parking(&field))?,
        stop_grace_ms: fields.millis("stopGrace", STOP_GRACE_MS, WAIT_MS_MAX)?,
        drain_ms: fields.millis("drain", DRAIN_MS, WAIT_MS_MAX)?,
        env,
        directory,
        name,
    };
    Ok(Read { app, name_at: name_field.at(), listen, note })
}

fn balance(field: &Field<'_>) -> Result<Balance, Problem> {
    let policies = [
        ("used", Policy::Used),
        ("ignored", Policy::Ignored),
        ("least_in_flight", Policy::LeastInFlight),
        ("round_robin", Policy::RoundRobin),
        ("random", Policy::Random),
    ];
    let fields = field.fields(BALANCE)?;
    let policy = fields.get("policy").map_or(Ok(Policy::Used), |policy| policy.one_of(&policies))?;
    Ok(Balance { policy })
}

/// Adds the addresses of an app to those that are taken.
pub(super) fn take_addresses(taken: &mut Vec<Taken>, read: &Read) -> Result<(), Problem> {
    for (address, at, field) in &read.listen {
        if let Some(other) = taken.iter().find(|other| collide(other.address, *address)) {
            let what = format!(
                "{address} is taken by {} ({}): give each an address of its own",
                other.app, other.address
            );
            return Err(Problem::new(*at, field, what));
        }
        taken.push(Taken { address: *address, app: read.app.name.clone() });
    }
    Ok(())
}

/// Every gateway serves every app: all apps have as many addresses.
pub(super) fn same_gateways(first: &App, read: &Read) -> Result<(), Problem> {
    let (want, got) = (first.listen.len(), read.app.listen.len());
    if want == got {
        return Ok(());
    }
    let (at, field) =
        read.listen.first().map_or((read.name_at, "listen"), |(_, at, field)| (*at, field.as_str()));
    let what = format!(
        "{} names {} listen addresses, but {} names {want}: every app needs one for each gateway",
        read.app.name, got, first.name
    );
    Err(Problem::new(at, field.split('[').next().unwrap_or(field), what))
}

/// Whether two addresses cannot be listened on at once.
fn collide(left: SocketAddr, right: SocketAddr) -> bool {
    let anywhere = left.ip().is_unspecified() || right.ip().is_unspecified();
    left.port() == right.port() && (anywhere || left.ip() == right.ip())
}

fn app_name(field: &Field<'_>) -> Result<String, Problem> {
    let name = field.text()?;
    if !names::is_app(name) {
        let what =
            format!("wants 1 to {APP_BYTES_MAX} lowercase letters, digits and hyphens, got {}", quoted(name));
        return Err(field.problem(what));
    }
    Ok(name.to_owned())
}

fn directory(fields: &Fields<'_>, base: &Path) -> Result<PathBuf, Problem> {
    let Some(field) = fields.get("directory") else { return Ok(base.to_owned()) };
    let directory = base.join(field.text()?);
    if !directory.is_dir() {
        return Err(field.problem(format!("{}: there is no such directory", directory.display())));
    }
    Ok(directory)
}

/// Where programs of an app are looked for.
struct Place<'a> {
    directory: &'a Path,
    /// As `PATH` has them.
    path: OsString,
}

/// The `PATH` of an app's processes: its own, or else the cloud's, for which this one stands.
fn search_path(env: &BTreeMap<String, String>) -> OsString {
    env.get("PATH").map(OsString::from).or_else(|| std::env::var_os("PATH")).unwrap_or_default()
}

/// The command. A program without a `/` stays as it is spelled: whoever starts it looks for it. So what is written the same is
/// the same, whatever shell it is read in.
fn command(field: &Field<'_>, place: &Place<'_>) -> Result<Vec<String>, Problem> {
    let want = "a program and its arguments, such as [\"./server\", \"--port\", \"{port}\"]";
    let parts = field.list(want)?;
    let Some(program) = parts.first() else { return Err(field.problem(format!("is empty: wants {want}"))) };
    if parts.len() > ARGUMENTS_MAX {
        return Err(field.problem(format!("has more than {ARGUMENTS_MAX} arguments")));
    }
    let mut command =
        parts.iter().map(|part| part.text().map(str::to_owned)).collect::<Result<Vec<_>, _>>()?;
    if command[0].contains('/') {
        command[0] = program_path(program, &command[0], place.directory)?;
    } else if !std::env::split_paths(&place.path).any(|directory| is_runnable(&directory.join(&command[0]))) {
        return Err(program.problem(format!("{} is not in PATH", quoted(&command[0]))));
    }
    Ok(command)
}

fn program_path(field: &Field<'_>, name: &str, directory: &Path) -> Result<String, Problem> {
    // `./server` and `server` beside the manifest name the same file: the `.` is left out.
    let path: PathBuf = directory.join(name).components().collect();
    if !path.exists() {
        return Err(field.problem(format!("{}: there is no such file", path.display())));
    }
    if !is_runnable(&path) {
        return Err(field.problem(format!("{name} is not an executable file")));
    }
    path.into_os_string().into_string().map_err(|_| field.problem("its path is not UTF-8"))
}

fn is_runnable(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

fn environment(field: &Field<'_>) -> Result<BTreeMap<String, String>, Problem> {
    let mut env = BTreeMap::new();
    for (name, value) in field.named("names and texts, such as {LOG: info}")? {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(value.problem("is no name of a variable"));
        }
        if matches!(name, "HOST" | "PORT") || name.starts_with("PACI_") {
            return Err(value.problem("is set by the cloud: use another name"));
        }
        env.insert(name.to_owned(), value.text()?.to_owned());
    }
    Ok(env)
}

fn addresses(field: &Field<'_>) -> Result<Vec<Listen>, Problem> {
    let parts = field.one_or_more();
    if parts.is_empty() {
        return Err(field.problem("is empty: wants where clients connect, such as [\"127.0.0.1:8080\"]"));
    }
    if parts.len() > LISTEN_MAX {
        let what = format!(
            "{} addresses are too many: each is a gateway of its own, at most {LISTEN_MAX}",
            parts.len()
        );
        return Err(field.problem(what));
    }
    let mut addresses: Vec<Listen> = Vec::new();
    for part in parts {
        let address = address(&part)?;
        if addresses.iter().any(|(other, ..)| collide(*other, address)) {
            return Err(part.problem(format!("{address} stands here twice")));
        }
        addresses.push((address, part.at(), part.path().to_owned()));
    }
    Ok(addresses)
}

/// `127.0.0.1:8080`, or a port of loopback alone: `8080`.
fn address(field: &Field<'_>) -> Result<SocketAddr, Problem> {
    let want = "an IP address with a port (127.0.0.1:8080), or a port";
    let text = field.word(want)?;
    let port = text.parse::<u16>().map(|port| SocketAddr::new(LISTEN.ip(), port));
    let address = port
        .or_else(|_| text.parse())
        .map_err(|_| field.problem(format!("wants {want}, got {}", quoted(text))))?;
    if address.port() == 0 {
        return Err(
            field.problem("port 0 would be another one at each start: name the port that clients use")
        );
    }
    Ok(address)
}

fn node<'a>(field: &Field<'_>, nodes: &'a [Node]) -> Result<&'a Node, Problem> {
    let name = field.text()?;
    nodes.iter().find(|node| node.name == name).ok_or_else(|| {
        let (first, last) = (&nodes[0].name, &nodes[nodes.len() - 1].name);
        let there = if first == last { format!("only {first}") } else { format!("{first} to {last}") };
        field.problem(format!("there is no node {}: there is {there} (--nodes says how many)", quoted(name)))
    })
}

/// How clients are kept with their instance: said if and only if the app holds their sessions.
fn session(fields: &Fields<'_>, state: State) -> Result<Option<Session>, Problem> {
    let field = fields.get("session");
    match (state, &field) {
        (State::Session, None) => {
            let at = fields.require("state")?;
            Err(at.problem(
                "session needs to know where a client says it: session: {cookie: NAME} or {header: NAME}",
            ))
        }
        (State::Stateful | State::None, Some(field)) => Err(field.problem("is for state: session alone")),
        (State::Session | State::Stateful | State::None, _) => {
            field.map(|it| scale::session(&it)).transpose()
        }
    }
}

/// A probe, and how often it is looked.
fn check(field: &Field<'_>, place: &Place<'_>) -> Result<Check, Problem> {
    let fields = field.fields(CHECK)?;
    let probe = probe(field, &fields, place)?;
    let default = Check::by(probe);
    let check = Check {
        period_ms: fields.millis("period", default.period_ms, CHECK_MS_MAX)?,
        timeout_ms: fields.millis("timeout", default.timeout_ms, CHECK_MS_MAX)?,
        failures: fields.get("failures").map_or(Ok(default.failures), |it| it.count(1, FAILURES_MAX))?,
        successes: fields.get("successes").map_or(Ok(default.successes), |it| it.count(1, FAILURES_MAX))?,
        probe: default.probe,
    };
    Ok(check)
}

fn probe(field: &Field<'_>, fields: &Fields<'_>, place: &Place<'_>) -> Result<Probe, Problem> {
    match (fields.get("http"), fields.get("tcp"), fields.get("exec")) {
        (Some(http), None, None) => {
            let path = http.text()?;
            if !path.starts_with('/')
                || path.contains(|letter: char| letter.is_whitespace() || letter.is_control())
            {
                return Err(http.problem(format!("wants a path such as /healthz, got {}", quoted(path))));
            }
            Ok(Probe::Http(path.to_owned()))
        }
        (None, None, Some(exec)) => command(&exec, place).map(Probe::Exec),
        (None, Some(tcp), None) => match tcp.truth()? {
            true => Ok(Probe::Tcp),
            false => Err(tcp.problem("may only be true; leave it out for the default")),
        },
        (None, None, None) | (Some(_), _, _) | (_, Some(_), _) => {
            Err(field.problem("wants one of {http: /path}, {tcp: true} and {exec: [PROGRAM, ARGUMENT]}"))
        }
    }
}

fn budgets(field: &Field<'_>) -> Result<Budgets, Problem> {
    let default = Budgets::default();
    let fields = field.fields(BUDGETS)?;
    let most = BUDGET_MS_MAX;
    let budgets = Budgets {
        prepare_ms: fields.millis("prepare", default.prepare_ms, most)?,
        copy_ms: fields.millis("copy", default.copy_ms, most)?,
        park_ms: fields.millis("park", default.park_ms, WAIT_MS_MAX)?,
        seal_ms: fields.millis("seal", default.seal_ms, WAIT_MS_MAX)?,
        guard_wait_ms: fields.millis("guardWait", default.guard_wait_ms, WAIT_MS_MAX)?,
        switch_ms: fields.millis("switch", default.switch_ms, WAIT_MS_MAX)?,
        release_ms: fields.millis("release", default.release_ms, WAIT_MS_MAX)?,
        pause_ms: fields.millis("pause", default.pause_ms, WAIT_MS_MAX)?,
        pause_ms_max: fields.millis("pauseMax", default.pause_ms_max, WAIT_MS_MAX)?,
    };
    if budgets.guard_wait_ms >= budgets.seal_ms {
        let at = fields.get("guardWait").or_else(|| fields.get("seal"));
        let what = "guardWait must be shorter than seal: the seal waits for guards and then proves the state";
        return Err(at.as_ref().unwrap_or(field).problem(what));
    }
    if budgets.pause_ms > budgets.pause_ms_max {
        let at = fields.get("pause").or_else(|| fields.get("pauseMax"));
        return Err(at.as_ref().unwrap_or(field).problem("pause must not be longer than pauseMax"));
    }
    Ok(budgets)
}

fn parking(field: &Field<'_>) -> Result<Parking, Problem> {
    let default = Parking::default();
    let fields = field.fields(&["wait", "requests", "replay"])?;
    Ok(Parking {
        parked_ms_max: fields.millis("wait", default.parked_ms_max, WAIT_MS_MAX)?,
        parked_max: fields.get("requests").map_or(Ok(default.parked_max), |it| it.count(1, PARKED_MAX))?,
        replay_bytes_max: fields
            .get("replay")
            .map_or(Ok(default.replay_bytes_max), |it| it.bytes(REPLAY_BYTES_MAX))?,
    })
}
