//! `sessions`: see the README beside it.

use paracloud_sdk::Paci;
use sessions::{App, Settings};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
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
