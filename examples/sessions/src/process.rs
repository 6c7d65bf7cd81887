//! The program as a process: everything it needs stands in its environment.

use crate::{App, Settings};
use paracloud_sdk::Paci;
use std::error::Error;

/// Reads the environment, listens, and serves until the cloud says that the process is to exit.
///
/// # Errors
/// A variable cannot be understood, or the address cannot be listened on.
pub fn run() -> Result<(), Box<dyn Error>> {
    // A second subscriber cannot be: this is the whole process.
    let _ = tracing_subscriber::fmt().with_writer(std::io::stderr).try_init();
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
