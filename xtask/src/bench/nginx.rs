//! Debian's nginx as a reverse proxy before a few addresses: what a gateway is measured beside.
//!
//! It does what a gateway does for a request: chooses who has fewest connections, keeps its connections to the application open, says whom it forwards for,
//! and writes no log. It is one process, which is its own worker, and it ends with this program, however that ends.

use anyhow::{Context, Result, bail, ensure};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// What is installed if it is missing.
const PACKAGE: &str = "nginx-light";
/// How long it may take until it accepts, in milliseconds.
const BEGIN_MS_MAX: u64 = 10_000;
/// How often that is looked at.
const LOOK_MS: u64 = 20;

/// See the module.
pub(super) struct Nginx {
    process: Child,
    address: SocketAddr,
    _directory: TempDir,
}

impl Nginx {
    /// Starts it on a free address.
    ///
    /// # Errors
    /// It is not installed and cannot be, or does not accept.
    pub(super) async fn start(address: SocketAddr, applications: &[SocketAddr]) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("pc-nginx-").tempdir()?;
        let file = directory.path().join("nginx.conf");
        std::fs::write(&file, config(directory.path(), address, applications))?;
        let output = directory.path().join("output");
        let mut process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "nginx", "-p"])
            .arg(directory.path())
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&output)?)
            .kill_on_drop(true)
            .spawn()
            .context("setpriv, of util-linux, cannot be run")?;
        let began = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            let said = || std::fs::read_to_string(&output).unwrap_or_default();
            if let Some(status) = process.try_wait()? {
                bail!("nginx has ended: {status}; it says: {}", said().trim());
            }
            let waited = began.elapsed();
            ensure!(waited < Duration::from_millis(BEGIN_MS_MAX), "nginx does not accept: {}", said().trim());
            tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
        }
        Ok(Self { process, address, _directory: directory })
    }

    /// Where it serves.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub(super) fn pid(&self) -> Result<i32> {
        Ok(i32::try_from(self.process.id().context("nginx has ended")?)?)
    }
}

/// Sees to it that there is one: installs the package if it is missing and this is root.
///
/// # Errors
/// There is none.
pub(super) async fn install() -> Result<()> {
    if is_there().await {
        return Ok(());
    }
    let by_hand = format!("`apt-get install {PACKAGE}` installs it");
    ensure!(rustix::process::geteuid().is_root(), "nginx is not installed, and only root may: {by_hand}");
    for words in [vec!["update"], vec!["install", "--yes", "--no-install-recommends", PACKAGE]] {
        let status = Command::new("apt-get")
            .args(&words)
            .env("DEBIAN_FRONTEND", "noninteractive")
            // The package is not to start a server of its own.
            .env("RUNLEVEL", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .await
            .with_context(|| format!("nginx is not installed, and apt-get cannot be run: {by_hand}"))?;
        ensure!(status.success(), "nginx is not installed, and apt-get {} fails: {by_hand}", words.join(" "));
    }
    ensure!(is_there().await, "nginx is installed and cannot be run: `nginx -v` says why");
    Ok(())
}

async fn is_there() -> bool {
    let version = Command::new("nginx").arg("-v").stdin(Stdio::null()).stderr(Stdio::null()).status();
    version.await.is_ok_and(|status| status.success())
}

fn config(directory: &Path, address: SocketAddr, applications: &[SocketAddr]) -> String {
    let servers: String =
        applications.iter().map(|application| format!("    server {application};\n")).collect();
    let directory = directory.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|it| format!("  {it}_temp_path {directory}/{it};\n"))
        .concat();
    format!(
        "daemon off;\nmaster_process off;\nworker_processes 1;\npid {directory}/pid;\nerror_log stderr crit;\n\
         events {{ worker_connections 4096; }}\nhttp {{\n  access_log off;\n  keepalive_requests 1000000000;\n\
         {temporary}  upstream application {{\n    least_conn;\n{servers}    keepalive 1024;\n    \
         keepalive_requests 1000000000;\n  }}\n  server {{\n    listen {address};\n    location / {{\n      \
         proxy_pass http://application;\n      proxy_http_version 1.1;\n      proxy_set_header Connection \"\";\n      \
         proxy_set_header Host $http_host;\n      \
         proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n      \
         proxy_set_header X-Forwarded-Host $http_host;\n      \
         proxy_set_header X-Forwarded-Proto $scheme;\n      proxy_set_header Via \"1.1 nginx\";\n      \
         add_header Via \"1.1 nginx\";\n    }}\n  }}\n}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_connections_writes_no_log_and_puts_nothing_beside_its_directory() {
        let text = config(
            Path::new("/d"),
            ([127, 0, 0, 1], 1).into(),
            &[([127, 0, 1, 1], 2).into(), ([127, 0, 1, 2], 2).into()],
        );
        for line in [
            "listen 127.0.0.1:1;",
            "least_conn;",
            "server 127.0.1.1:2;",
            "server 127.0.1.2:2;",
            "keepalive 1024;",
            "access_log off;",
            "worker_processes 1;",
            "proxy_set_header Connection \"\";",
        ] {
            assert!(text.lines().any(|it| it.trim() == line), "{line}\n{text}");
        }
        let paths: Vec<_> =
            text.split([' ', ';']).filter(|word| word.starts_with("/") && word.len() > 1).collect();
        assert_eq!(paths.len(), 6, "{text}");
        assert!(paths.iter().all(|path| path.starts_with("/d/")), "{paths:?}");
        assert_eq!(text.matches('{').count(), text.matches('}').count());
    }
}
