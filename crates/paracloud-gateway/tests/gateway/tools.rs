//! Clients that others have written.

use crate::application::Application;
use crate::world::{World, soon};
use std::process::Stdio;
use tokio::process::Command;

/// What a program prints; `None` if it is not there.
async fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    let child = match child {
        Ok(child) => child,
        Err(error) => {
            tracing::warn!(program, %error, "left out");
            return None;
        }
    };
    let output = soon(program, child.wait_with_output()).await.unwrap();
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_and_h2load_are_served_over_http2() {
    for is_two in [false, true] {
        let (world, mut controller) = if is_two { World::two().await } else { World::usual().await };
        let source = if is_two { Application::two(1).await } else { Application::new(1).await };
        controller.obeyed(1, false, Some(source.route)).await;
        let address = format!("http://{}/", world.address);
        let curl = [
            "--silent",
            "--http2-prior-knowledge",
            "--data",
            "body",
            "--write-out",
            " %{http_version}",
            &address,
        ];
        if let Some(said) = output("curl", &curl).await {
            assert_eq!(said, "app 1 2");
            assert_eq!(source.seen()[0].body, "body");
        }
        let load = ["-n", "500", "-c", "4", "-m", "16", &address];
        if let Some(said) = output("h2load", &load).await {
            assert!(said.contains("500 succeeded, 0 failed"), "{said}");
        }
        world.end().await;
    }
}
