//! A program that does what it is told on its own address, one command a connection, so that a test can speak as a
//! process of the start: only such a process may speak on the sockets of the agent.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};

/// What a GET is answered with.
static HEALTH: AtomicU16 = AtomicU16::new(200);
static HELD: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static CHANNEL: Mutex<Option<UnixStream>> = Mutex::new(None);

pub(crate) fn run() -> io::Result<()> {
    let variable = |name: &str| std::env::var(name).map_err(io::Error::other);
    let address = format!("{}:{}", variable("HOST")?, variable("PORT")?);
    let listener = TcpListener::bind(address)?;
    for stream in listener.incoming() {
        let stream = stream?;
        std::thread::spawn(move || obey(&stream));
    }
    Ok(())
}

#[expect(clippy::exit, reason = "it is told to end at once, from a thread")]
fn obey(mut stream: &TcpStream) -> io::Result<()> {
    let mut line = String::new();
    let mut reader = BufReader::new(stream);
    reader.read_line(&mut line)?;
    let said = line.trim_end().to_owned();
    let (word, rest) = said.split_once(' ').unwrap_or((&said, ""));
    let said = match word {
        "pid" => Ok(std::process::id().to_string()),
        "call" => call(rest),
        "raw" => raw(rest),
        "join" => join(rest),
        "send" => send(rest),
        "receive" => receive(),
        "print" => print(rest),
        "child" => child(),
        "daemon" => daemon(&[]),
        "lost" => daemon(&["env", "-i"]),
        "hold" => hold(rest),
        "free" => Ok(free()),
        "health" => Ok(health(rest)),
        "GET" => {
            while reader.read_line(&mut line)? > 2 {}
            Ok(format!("HTTP/1.1 {} Said\r\nContent-Length: 0\r\n\r\n", HEALTH.load(Ordering::Relaxed)))
        }
        "env" => Ok(std::env::var(rest).unwrap_or_default()),
        "exit" => std::process::exit(rest.parse().unwrap_or(0)),
        _ => Ok("what?".to_owned()),
    };
    let said = said.unwrap_or_else(|error| format!("error {error}"));
    stream.write_all(said.as_bytes())?;
    stream.shutdown(Shutdown::Write)
}

fn endpoint() -> io::Result<PathBuf> {
    let endpoint = std::env::var("PACI_ENDPOINT").map_err(io::Error::other)?;
    Ok(PathBuf::from(endpoint.trim_start_matches("unix://")))
}

/// `call METHOD TARGET BODY`: says the status, a blank, and the body.
fn call(rest: &str) -> io::Result<String> {
    let mut words = rest.splitn(3, ' ');
    let mut word = || words.next().unwrap_or_default();
    let (method, target, body) = (word(), word(), word());
    let length = body.len();
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: paci\r\nPaci: 1\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    exchange(format!("{head}{body}").as_bytes())
}

/// `raw TEXT BYTES`: the text with its escapes, then so many `x`.
fn raw(rest: &str) -> io::Result<String> {
    let (text, bytes) = rest.rsplit_once(' ').unwrap_or((rest, "0"));
    let mut request = text.replace("\\r", "\r").replace("\\n", "\n").into_bytes();
    request.resize(request.len() + bytes.parse::<usize>().map_err(io::Error::other)?, b'x');
    exchange(&request)
}

fn exchange(request: &[u8]) -> io::Result<String> {
    let mut stream = UnixStream::connect(endpoint()?)?;
    stream.write_all(request)?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply)?;
    let reply = String::from_utf8_lossy(&reply);
    let status = reply.split(' ').nth(1).unwrap_or("none").to_owned();
    let body = reply.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok(format!("{status} {body}"))
}

fn channel() -> std::sync::MutexGuard<'static, Option<UnixStream>> {
    CHANNEL.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn join(token: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(endpoint()?.with_file_name("channel"))?;
    stream.write_all(format!("PACI-CHANNEL 1 {token}\n").as_bytes())?;
    let mut line = String::new();
    let mut byte = [0];
    while !line.ends_with('\n') && stream.read(&mut byte)? == 1 {
        line.push(char::from(byte[0]));
    }
    if line == "OK\n" {
        *channel() = Some(stream);
    }
    Ok(line.trim_end().to_owned())
}

/// `send BYTES`: sends so many, and the end.
fn send(rest: &str) -> io::Result<String> {
    let bytes: usize = rest.parse().map_err(io::Error::other)?;
    let Some(mut stream) = channel().take() else { return Ok("no channel".to_owned()) };
    let block = vec![7_u8; 1 << 20];
    let mut left = bytes;
    while left > 0 {
        let now = left.min(block.len());
        stream.write_all(&block[..now])?;
        left -= now;
    }
    stream.shutdown(Shutdown::Write)?;
    Ok("sent".to_owned())
}

/// `receive`: says how much came before the end.
fn receive() -> io::Result<String> {
    let Some(mut stream) = channel().take() else { return Ok("no channel".to_owned()) };
    let mut block = vec![0_u8; 1 << 20];
    let mut bytes = 0;
    loop {
        match stream.read(&mut block)? {
            0 => return Ok(bytes.to_string()),
            read => bytes += read,
        }
    }
}

fn print(rest: &str) -> io::Result<String> {
    let mut output = io::stdout().lock();
    writeln!(output, "{rest}")?;
    output.flush()?;
    Ok("printed".to_owned())
}

/// `child`: leaves a process behind, in a group of its own.
fn child() -> io::Result<String> {
    use std::os::unix::process::CommandExt;
    let child = Command::new("sleep").arg("600").stdin(Stdio::null()).process_group(0).spawn()?;
    Ok(child.id().to_string())
}

/// `daemon`: leaves a process behind whose parent is gone and that has a session of its own.
///
/// `lost`: the same, and it has another environment.
fn daemon(before: &[&str]) -> io::Result<String> {
    let program = [&["--fork"], before, &["sh", "-c", "echo $$; exec sleep 600"]].concat();
    let mut forked =
        Command::new("setsid").args(program).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut pid = String::new();
    BufReader::new(forked.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?).read_line(&mut pid)?;
    forked.wait()?;
    Ok(pid)
}

/// `hold BYTES`: has so much memory in use.
fn hold(bytes: &str) -> io::Result<String> {
    let bytes = bytes.parse().map_err(io::Error::other)?;
    *HELD.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = vec![1; bytes];
    Ok("held".to_owned())
}

/// `free`: gives it back.
fn free() -> String {
    HELD.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
    HELD.lock().unwrap_or_else(std::sync::PoisonError::into_inner).shrink_to_fit();
    "freed".to_owned()
}

/// `health STATUS`: each GET is answered with it from now on.
fn health(status: &str) -> String {
    HEALTH.store(status.parse().unwrap_or(500), Ordering::Relaxed);
    status.to_owned()
}
