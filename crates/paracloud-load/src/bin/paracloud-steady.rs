//! `paracloud-steady`: reads a plan from its standard input, runs it, and prints what was seen. See
//! [`paracloud_load::steady`].

use paracloud_load::steady::Plan;
use std::error::Error;
use std::io::Write;

/// Longest plan that is read, in bytes.
const PLAN_BYTES_MAX: u64 = 1024 * 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let plan: Plan = serde_json::from_reader(std::io::Read::take(std::io::stdin(), PLAN_BYTES_MAX))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let seen = runtime.block_on(plan.run())?;
    let mut output = std::io::stdout().lock();
    serde_json::to_writer(&mut output, &seen)?;
    output.flush()?;
    Ok(())
}
