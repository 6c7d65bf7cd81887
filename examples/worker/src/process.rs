//! The program as a process: everything it needs stands in its environment.

use crate::{App, Settings};
use paracloud_sdk::Paci;
use std::error::Error;
use std::io::IsTerminal;
use tokio::time::sleep;

/// Reads the environment, listens, and serves until the process is to exit: the cloud says so, or SIGTERM.
///
/// # Errors
/// A variable cannot be understood, or the address cannot be listened on.
pub fn run() -> Result<(), Box<dyn Error>> {
    let is_wanted = std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty());
    let painted = std::io::stderr().is_terminal() && is_wanted;
    // A second subscriber cannot be: this is the whole process.
    let _ = tracing_subscriber::fmt().with_ansi(painted).with_writer(std::io::stderr).try_init();
    let settings = Settings::read(|name| std::env::var_os(name))?;
    let paci = Paci::from_env()?;
    // It waits and counts: one thread does.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        sleep(settings.boot).await;
        let app = App::start(&paci, &settings).await?;
        tracing::info!(name = settings.name, address = %app.address()?, slots = settings.slots, "listening");
        app.serve().await;
        Ok(())
    })
}
