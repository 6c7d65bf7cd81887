//! `sessions`: see the README beside it.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    sessions::process::run()
}
