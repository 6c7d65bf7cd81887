//! What comes over links that is not as it should be.

use crate::player::Agent;
use crate::town::{Controller, Person, Town, soon};
use paracloud_core::ids::{GatewayId, NodeId, OperationNumber};
use paracloud_core::migration::message::FromAgent;
use paracloud_core::migration::shim::Generation;
use paracloud_core::register::{Record, Size};
use paracloud_substrate::link::{self, BEAT_MS, LINE_BYTES_MAX, Reader, Writer};
use paracloud_substrate::message::{Caller, FromAgentLine, Known, Note, Sizing};
use paracloud_substrate::person::{Event, Reply, Request, What};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn dial(town: &Town, caller: &Caller) -> (Reader, Writer) {
    let (reader, mut writer) = link::halves(soon(link::dial(&town.layout.controller_socket())).await);
    writer.write(caller).await.unwrap();
    (reader, writer)
}

fn agent(node: u32, generation: u32) -> Caller {
    Caller::Agent { node: NodeId(node), generation: Generation(generation), known: Vec::new() }
}

/// Whether a link ends, whatever is said on it before.
async fn ends(reader: &mut Reader) -> bool {
    soon(async { while let Ok(Some(_)) = reader.read::<serde_json::Value>().await {} }).await;
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn only_its_owner_may_dial_and_a_socket_that_was_left_behind_is_replaced() {
    let town = Town::new();
    drop(std::os::unix::net::UnixListener::bind(town.layout.controller_socket()).unwrap());
    let controller = Controller::start(&town);
    soon(async {
        while std::os::unix::net::UnixStream::connect(town.layout.controller_socket()).is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    town.status().await;
    let mode = std::fs::metadata(town.layout.controller_socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_agent_of_a_node_is_not_listened_to() {
    let town = Town::new();
    let controller = Controller::start(&town);
    let (mut newer, _newer_writer) = dial(&town, &agent(1, 7)).await;
    soon(async { while !town.status().await.nodes[0].connected {} }).await;
    let (mut older, _older_writer) = dial(&town, &agent(1, 6)).await;
    assert!(ends(&mut older).await);
    assert!(town.status().await.nodes[0].connected, "the newer one is still there");
    // A still newer one takes the place.
    let (_newest, _newest_writer) = dial(&town, &agent(1, 8)).await;
    assert!(ends(&mut newer).await);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_that_are_not_configured_or_not_credible_are_not_listened_to() {
    let town = Town::new();
    let controller = Controller::start(&town);
    assert!(ends(&mut dial(&town, &agent(9, 1)).await.0).await);
    assert!(ends(&mut dial(&town, &Caller::Gateway { gateway: GatewayId(9) }).await.0).await);
    let mut record =
        Record::first(paracloud_core::ids::Placement::new(NodeId(1), paracloud_core::ids::StartId(1)));
    record.incarnation.0 = u32::MAX;
    let operation = record.last_operation;
    let known = Known {
        instance: "web".to_owned(),
        record: Some(record),
        operation,
        alive: Vec::new(),
        dead: Vec::new(),
    };
    let known = vec![known];
    let liar = Caller::Agent { node: NodeId(1), generation: Generation(1), known };
    assert!(ends(&mut dial(&town, &liar).await.0).await);
    assert!(town.web().await.unknown.is_some());
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_and_endless_lines_end_their_link_and_nothing_else() {
    let town = Town::new();
    let controller = Controller::start(&town);
    let _people = town.populate();
    town.until_swapped("serve").await;
    let endless = vec![b'x'; LINE_BYTES_MAX + 2];
    for caller in ["", "{\"agent\":{\"node\":2,\"generation\":1,\"known\":[]}}\n", "\"person\"\n"] {
        for garbage in [&b"\xff\xfe{]\n"[..], b"{\"no\":\"such message\"}\n", &endless] {
            let mut stream = soon(link::dial(&town.layout.controller_socket())).await;
            stream.write_all(caller.as_bytes()).await.unwrap();
            // It may be gone before all of it is written.
            let _ = stream.write_all(garbage).await;
            let mut answer = Vec::new();
            let _ = soon(stream.read_to_end(&mut answer)).await;
            let answer = String::from_utf8(answer).unwrap();
            assert!(!answer.contains("instances"), "{answer}");
        }
    }
    soon(async { while !town.status().await.nodes[1].connected {} }).await;
    assert!(
        matches!(town.ask(Town::move_to(2)).await.last(), Some(Reply::Outcome(outcome)) if outcome.committed)
    );
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_talkative_agent_that_does_not_read_is_dropped_and_nobody_waits_for_it() {
    let town = Town::new();
    let controller = Controller::start(&town);
    let _people = town.populate();
    town.until_swapped("serve").await;
    let (_reader, mut writer) = dial(&town, &agent(2, 2)).await;
    let ask = FromAgentLine::Machine { instance: "web".to_owned(), message: FromAgent::Ask };
    // It asks, never reads an answer, and is cut off once its queue is full.
    soon(async { while writer.write(&ask).await.is_ok() {} }).await;
    town.status().await;
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_says_nothing_is_dropped_and_one_that_beats_is_not() {
    let town = Town::new();
    let controller = Controller::start(&town);
    let (mut silent, _silent_writer) = dial(&town, &agent(1, 1)).await;
    let (mut gateway, _gateway_writer) = dial(&town, &Caller::Gateway { gateway: GatewayId(1) }).await;
    let (_reader, mut beating) = dial(&town, &agent(2, 1)).await;
    soon(async { while town.status().await.nodes.iter().any(|node| !node.connected) {} }).await;
    let beats = async {
        let mut every = tokio::time::interval(Duration::from_millis(BEAT_MS));
        loop {
            every.tick().await;
            beating.write(&FromAgentLine::Beat).await.unwrap();
        }
    };
    let ended = async { ends(&mut silent).await && ends(&mut gateway).await };
    tokio::select! {
        () = beats => {}
        ended = ended => assert!(ended),
    }
    let status = town.status().await;
    let connected: Vec<_> = status.nodes.iter().map(|node| node.connected).collect();
    assert_eq!(connected, [false, true]);
    assert!(status.gateways.iter().all(|(_, connected)| !connected), "{status:?}");
    let _again = dial(&town, &agent(1, 1)).await;
    soon(async { while !town.status().await.nodes[0].connected {} }).await;
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn that_a_size_was_set_of_a_change_that_was_given_up_before_is_not_in_the_journal() {
    let town = Town::new();
    let controller = Controller::start(&town);
    let _people = town.populate();
    town.until_swapped("serve").await;
    let owner = town.web().await.record.unwrap().owner;
    let (_reader, mut writer) = dial(&town, &agent(1, 9)).await;
    let size = |mib: u32| Size { memory_kib: Some(mib << 10), cpu_milli: None };
    let sized = |limit: Size, why: &str| {
        let (from, to, why) = (size(128), size(64), why.to_owned());
        let sizing = Sizing { start: owner.start, from, to, limit, used_kib: None, offered: None, why };
        let (instance, note) = ("web".to_owned(), Note::Sized(sizing));
        FromAgentLine::Note { instance, operation: Some(OperationNumber(7)), note }
    };
    writer.write(&sized(size(64), "set")).await.unwrap();
    writer.write(&sized(size(128), "not set")).await.unwrap();
    let why = |event: &Event| {
        let What::Note(Note::Sized(sizing)) = &event.what else { return None };
        Some(sizing.why.clone())
    };
    let told = town.until(|event| why(event).as_deref() == Some("not set")).await;
    assert_eq!(told.iter().filter_map(why).collect::<Vec<_>>(), ["not set"]);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_goes_away_leaves_its_move_to_go_on() {
    let town = Town::new();
    let controller = Controller::start(&town);
    let _people = town.populate();
    town.until_swapped("serve").await;
    let mut person = Person::ask(&town.layout, &Town::move_to(2)).await;
    assert!(soon(person.next()).await.is_some());
    drop(person);
    town.until_swapped("close").await;
    assert_eq!(town.web().await.record.unwrap().owner.node, NodeId(2));
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_was_away_is_told_what_it_missed() {
    let town = Town::new();
    let controller = Controller::start(&town);
    let (first, second, _one, _two) = town.populate();
    town.until_swapped("serve").await;
    first.node.lock().unwrap().manners.copies_for_ever = true;
    let _person = Person::ask(&town.layout, &Town::move_to(2)).await;
    town.until_swapped("open").await;
    drop(second);
    let _cancelled = town.ask(Request::Cancel { instance: "web".to_owned(), asked_unix_ms: 0 }).await;
    // The target's agent is a new one that knows nothing: asked to end the process, it says that it is dead.
    let _second = Agent::start(&town, 2);
    town.until_swapped("close").await;
    controller.stop().await;
}
