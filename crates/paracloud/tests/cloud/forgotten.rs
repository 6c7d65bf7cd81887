//! The register is lost, together with everybody who could say what stood in it: the nodes still know.

use crate::clients::Clients;
use crate::killed::kill_the_cloud;
use crate::points::Points;
use crate::rig::{PATIENCE, Rig, wait_until};
use paracloud_core::migration::promises::{Point, Promise};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

#[test]
fn a_target_that_serves_goes_on_alone_when_all_agents_are_killed_in_the_pause_and_the_register_is_lost() {
    let rig = Rig::sessions(&json!({}), &json!({ "SESSIONS_FILL_MIB": "4" }));
    let (mut up, points) = Points::up(&rig);
    let mut clients = Clients::modest(&rig, 0);
    clients.audit_clean();
    points.move_until(&rig, Promise::Serve, Point::AfterSend);
    let cloud = rig.cloud();
    let address = |node| {
        let addresses = addresses(&Path::new(&cloud).join(node).join("p"));
        let [address] = addresses[..] else { panic!("one process on {node}: {addresses:?}") };
        address
    };
    let (source, target) = (address("n1"), address("n2"));
    wait_until("the target serves", || accepts(target));
    assert!(!accepts(source), "it is sealed");
    kill_the_cloud(&rig, &mut up);
    std::fs::remove_dir_all(Path::new(&cloud).join("controller")).expect("the register is there to be lost");

    let mut again = rig.up(&[]);
    again.serving();
    wait_until("the move is over", || {
        assert!(!accepts(source), "it was sealed for good when the target began to serve");
        rig.record().is_some_and(|record| record["operation"].is_null() && record["owner"]["node"] == 2)
    });
    assert_eq!(rig.record().expect("it serves")["served"], target.to_string());
    let audited = clients.audit();
    assert!(audited.is_clean(), "{audited:#?}");
}

/// Where the processes of a node listen.
fn addresses(processes: &Path) -> Vec<SocketAddr> {
    let specs = std::fs::read_dir(processes).expect("a node's processes");
    let address = |directory: std::fs::DirEntry| {
        let spec = std::fs::read(directory.path().join("spec.json")).expect("what it runs");
        let spec: Value = serde_json::from_slice(&spec).expect("JSON");
        spec["address"].as_str().expect("an address").parse().expect("an address")
    };
    specs.map(|directory| address(directory.expect("an entry"))).collect()
}

/// Whether a process lets a request in; one that is not there does not.
fn accepts(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    stream.set_read_timeout(Some(PATIENCE)).expect("a bound");
    let asked = stream.write_all(b"GET /keys/none HTTP/1.1\r\nHost: sessions\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    // One that ends meanwhile lets nobody in.
    asked.is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 404 ")
}
