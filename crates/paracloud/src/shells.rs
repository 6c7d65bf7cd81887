//! The shells as subcommands: each also runs by itself, so that it can be watched, restarted and killed alone.

use crate::cli::{gateway_id, node_id};
use crate::failure::chain;
use crate::log::Log;
use crate::output::tell;
use clap::Subcommand;
use paracloud_core::ids::{GatewayId, NodeId};
use paracloud_substrate::layout::Layout;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// What is logged unless `RUST_LOG` says otherwise.
const LOGGED: &str = "info";

/// The shells, and what agents start.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Shell {
    /// Shell: run the controller of a cloud
    Controller,
    /// Shell: run the agent of a node
    Agent {
        /// Its node
        #[arg(long, value_name = "NODE", value_parser = node_id)]
        node: NodeId,
    },
    /// Shell: run a gateway
    Gateway {
        /// Which one
        #[arg(long, value_name = "GATEWAY", value_parser = gateway_id)]
        gateway: GatewayId,
    },
    /// Own a process; started by agents
    #[command(hide = true)]
    Shim {
        /// The directory of the process
        #[arg(long, value_name = "DIR")]
        process: PathBuf,
    },
    /// Become the program of a process; started by shims
    #[command(hide = true)]
    Exec {
        /// The directory of the process
        #[arg(long, value_name = "DIR")]
        process: PathBuf,
    },
}

/// Runs a shell until it is told to end.
pub fn run(layout: Layout, shell: Shell) -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOGGED));
    // A second subscriber cannot be: this is the whole process.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Log::new(std::io::stderr()))
        .with_ansi(false)
        .try_init();
    let (name, ended) = match shell {
        Shell::Controller => ("controller".to_owned(), on_one_thread(paracloud_controller::run(layout))),
        Shell::Agent { node } => (format!("agent {node}"), on_one_thread(paracloud_agent::run(layout, node))),
        Shell::Gateway { gateway } => {
            (format!("gateway {gateway}"), on_one_thread(paracloud_gateway::run(layout, gateway)))
        }
        Shell::Shim { process } => ("shim".to_owned(), on_one_thread(paracloud_agent::shim::run(&process))),
        Shell::Exec { process } => ("exec".to_owned(), become_program(&process)),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&format!("error: {name}: {}", chain(error.as_ref())));
            ExitCode::FAILURE
        }
    }
}

type Ended = Result<(), Box<dyn Error>>;

/// What controls says little and waits much: from thread to thread each word would only take longer. What carries much
/// (the channel, the disk, a gateway's requests) has threads of its own.
fn on_one_thread<E: Error + 'static>(shell: impl Future<Output = Result<(), E>>) -> Ended {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(Box::pin(shell))?)
}

fn become_program(process: &std::path::Path) -> Ended {
    match paracloud_agent::shim::exec(process) {
        Ok(never) => match never {},
        Err(error) => Err(error.into()),
    }
}
