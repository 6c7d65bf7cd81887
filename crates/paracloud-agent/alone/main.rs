//! The agent, the shim and a program to look after, without the rest of the cloud: what the tests start.

mod puppet;

use paracloud_core::ids::NodeId;
use paracloud_substrate::layout::Layout;
use std::path::Path;
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ended = match words[..] {
        ["agent", "--dir", directory, "--node", node] => agent(directory, node).await,
        ["shim", "--process", directory] => {
            paracloud_agent::shim::run(Path::new(directory)).await.map_err(Into::into)
        }
        ["exec", "--process", directory] => {
            paracloud_agent::shim::exec(Path::new(directory)).map(|_| ()).map_err(Into::into)
        }
        ["puppet"] => puppet::run().map_err(Into::into),
        _ => Err(format!("no such command: {words:?}").into()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            tracing::error!("ends: {error}{cause}");
            ExitCode::from(127)
        }
    }
}

async fn agent(directory: &str, node: &str) -> Result<(), Box<dyn std::error::Error>> {
    let layout = Layout::new(Path::new(directory))?;
    let number = node.strip_prefix('n').ok_or("a node is n and a number")?.parse()?;
    Ok(paracloud_agent::run(layout, NodeId(number)).await?)
}
