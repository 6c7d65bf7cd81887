//! The demo's own processes, in this binary so that nothing else must be installed.

use crate::failure::{Exit, Failure, chain};

/// Runs the app: the example `sessions`.
///
/// # Errors
/// Its environment cannot be understood, or its address cannot be listened on.
pub fn app() -> Result<(), Failure> {
    sessions::process::run()
        .map_err(|error| Failure::new(Exit::Failed, "machine", "demo-app", chain(error.as_ref()), ""))
}

/// Runs the clients until they are told to stop, or their standard input ends.
///
/// # Errors
/// Standard input or output cannot be used.
pub fn clients() -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::machine("load", &error);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let served = runtime.block_on(paracloud_load::process::serve(tokio::io::stdin(), tokio::io::stdout()));
    // A read of the standard input that nobody waits for any more cannot be called off.
    runtime.shutdown_background();
    served.map_err(failed)
}
