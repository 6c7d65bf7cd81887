//! A gateway that a crash test stops at its promises. The variable that allows it is the process's, so the gateway runs
//! in a process of its own: this test program once more.

use crate::application::Application;
use crate::client::{answer, get, spawn, text};
use crate::world::{World, order, soon};
use paracloud_core::migration::message::FromGateway;
use paracloud_substrate::failpoint::DIRECTORY;
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn a_gateway_stands_still_at_its_promises_and_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let mut inside = Command::new(std::env::current_exe().unwrap());
    inside.args(["--exact", "--ignored", "failpoint::inside"]).env(DIRECTORY, directory.path());
    let output = inside.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

async fn there(path: &Path) {
    soon("a failpoint", async {
        while !path.exists() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the test above, with the variable set"]
async fn inside() {
    let directory = PathBuf::from(std::env::var_os(DIRECTORY).unwrap());
    let (world, mut controller) = World::usual().await;
    let (source, target) = (Application::new(1).await, Application::new(2).await);
    controller.obeyed(1, false, Some(source.route)).await;
    let parked = directory.join("parked.after_send.g1");
    std::fs::write(&parked, "").unwrap();
    controller.table(2, true, Some(source.route)).await;
    controller.hears(FromGateway::Obeyed { order: order(2), parks: true }).await;
    there(&directory.join("parked.after_send.g1.fired")).await;
    let waiting = spawn(world.address, get("/"));
    // Heard only once it goes on.
    let released = directory.join("released.after_send");
    std::fs::write(&released, "").unwrap();
    controller.table(3, false, Some(target.route)).await;
    std::fs::write(directory.join("parked.after_send.g1.go"), "").unwrap();
    controller.hears(FromGateway::Obeyed { order: order(3), parks: false }).await;
    there(&directory.join("released.after_send.fired")).await;
    std::fs::write(directory.join("released.after_send.go"), "").unwrap();
    assert_eq!(text(&answer(waiting).await), "app 2");
    world.end().await;
}
