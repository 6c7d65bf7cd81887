//! `paracloud-load`: the clients as a process. See [`paracloud_load::process`].

fn main() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = runtime.block_on(paracloud_load::process::serve(tokio::io::stdin(), tokio::io::stdout()));
    // A read of the standard input that nobody waits for any more cannot be called off.
    runtime.shutdown_background();
    served
}
