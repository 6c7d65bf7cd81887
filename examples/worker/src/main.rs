//! `worker`: see the README beside it.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    worker::process::run()
}
