//! The `paracloud` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    paracloud::cli::main()
}
