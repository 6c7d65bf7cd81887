//! The program as a process: everything it needs stands in its environment.

use crate::{App, Settings};
use paracloud_sdk::Paci;
use std::error::Error;
use std::ffi::OsStr;
use std::io::IsTerminal;

/// Reads the environment, listens, and serves until the cloud says that the process is to exit.
///
/// # Errors
/// A variable cannot be understood, or the address cannot be listened on.
pub fn run() -> Result<(), Box<dyn Error>> {
    let painted = paints(std::io::stderr().is_terminal(), std::env::var_os("NO_COLOR").as_deref());
    // A second subscriber cannot be: this is the whole process.
    let _ = tracing_subscriber::fmt().with_ansi(painted).with_writer(std::io::stderr).try_init();
    let settings = Settings::read(std::env::var_os)?;
    let paci = Paci::from_env()?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let app = App::start(&paci, &settings).await?;
        tracing::info!(address = %app.address()?, "listening");
        app.serve().await;
        Ok(())
    })
}

/// Whether logs have colours: on a terminal, and unless `NO_COLOR` is set.
fn paints(on_terminal: bool, no_color: Option<&OsStr>) -> bool {
    on_terminal && no_color.is_none_or(OsStr::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_in_a_file_has_no_colours_and_nor_has_a_terminal_that_wants_none() {
        let wanted = OsStr::new("1");
        assert!(paints(true, None) && paints(true, Some(OsStr::new(""))));
        assert!(!paints(false, None) && !paints(true, Some(wanted)) && !paints(false, Some(wanted)));
    }
}
