//! `paracloud demo`: a live move with clients that keep count.

use std::process::ExitCode;

/// Whether there is a demo in this build; without one it is not in the help.
pub const EXISTS: bool = false;

/// Says that there is no demo in this build.
#[expect(clippy::print_stderr, reason = "a command without a demo has nothing else to say")]
pub fn run(_arguments: &[String]) -> ExitCode {
    eprintln!("error: demo: this build of paracloud has none");
    ExitCode::from(2)
}
