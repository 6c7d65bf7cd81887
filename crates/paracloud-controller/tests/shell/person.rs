//! What people ask for, and why it is refused.

use crate::player::Agent;
use crate::town::{Controller, Person, Town, soon, swaps};
use paracloud_core::ids::{NodeId, OperationNumber};
use paracloud_core::migration::message::Offer;
use paracloud_substrate::draining::{End, Terms};
use paracloud_substrate::message::Preview;
use paracloud_substrate::person::{Event, Reply, Request, What};

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_cannot_be_is_refused_with_who_why_and_what_next() {
    let town = Town::new();
    let controller = Controller::start(&town);
    let people = town.populate();
    town.until_swapped("serve").await;
    let to = |instance: &str, node| Request::Move {
        instance: instance.to_owned(),
        to: Some(NodeId(node)),
        accept_loss: false,
        wait: true,
    };
    for (request, code) in [
        (to("nobody", 2), "unknown_instance"),
        (to("web", 9), "unknown_node"),
        (to("web", 1), "same_node"),
        (Request::Cancel { instance: "nobody".to_owned(), asked_unix_ms: 0 }, "unknown_instance"),
        (Request::Reconsider { instance: "nobody".to_owned() }, "unknown_instance"),
    ] {
        let refused = town.refused(request).await;
        assert_eq!(refused.code, code);
        assert!(!refused.message.is_empty() && !refused.next.is_empty(), "{refused:?}");
    }
    let offers = |offer| {
        people.0.node.lock().unwrap().manners.preview =
            Ok(Preview { hands_over: false, offer, estimate: None, reason: "until noon".to_owned() });
    };
    offers(Some(Offer::Hold { remaining_ms: 1234 }));
    let held = town.refused(Town::move_to(2)).await;
    assert_eq!(held.code, "held");
    assert!(held.message.contains("for 1.23 s: until noon"), "{}", held.message);
    offers(Some(Offer::Refuse));
    assert_eq!(town.refused(Town::move_to(2)).await.code, "refused");
    people.0.node.lock().unwrap().manners.preview =
        Err(paracloud_substrate::message::Unasked::Never("it does not answer".to_owned()));
    let silent = town.refused(Town::move_to(2)).await;
    assert_eq!(silent.code, "not_answered");
    assert_eq!(town.web().await.record.unwrap().last_operation.0, 0, "nothing was opened");
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_of_one_node_has_nowhere_to_move_to() {
    let town = Town::with(|cloud| cloud.nodes.truncate(1));
    let controller = Controller::start(&town);
    let _agent = Agent::start(&town, 1);
    town.until_swapped("serve").await;
    let anywhere = Request::Move { instance: "web".to_owned(), to: None, accept_loss: true, wait: true };
    assert_eq!(town.refused(anywhere).await.code, "no_other_node");
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_without_an_agent_is_refused_before_anything_is_opened() {
    let town = Town::new();
    let controller = Controller::start(&town);
    let (_first, second, _one, _two) = town.populate();
    town.until_swapped("serve").await;
    drop(second);
    soon(async { while town.status().await.nodes[1].connected {} }).await;
    let refused = town.refused(Town::move_to(2)).await;
    assert_eq!(refused.code, "node_unreachable");
    assert!(refused.message.contains("n2"), "{}", refused.message);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_follows_hears_everything_that_is_kept_once_and_in_order() {
    let town = Town::new();
    let controller = Controller::start(&town);
    let _people = town.populate();
    let mut following = Person::ask(&town.layout, &Request::Events { from: 0, follow: true }).await;
    town.until_swapped("serve").await;
    town.ask(Town::move_to(2)).await;
    let heard: Vec<Event> = soon(async {
        let mut heard = Vec::new();
        loop {
            let Some(Reply::Event(event)) = following.next().await else { panic!("the stream ended") };
            let last = matches!(&event.what, What::Swapped { change, .. } if change == "close");
            if event.number > 0 {
                heard.push(event);
            }
            if last {
                return heard;
            }
        }
    })
    .await;
    let numbers: Vec<_> = heard.iter().map(|event| event.number).collect();
    assert_eq!(numbers, (1..=heard.len() as u64).collect::<Vec<_>>());
    assert!(heard.iter().any(|event| matches!(event.what, What::Parked { gateway: 2, .. })));
    let swapped = swaps(&heard);
    assert!(swapped.windows(2).all(|pair| pair[0].1.order() < pair[1].1.order()));

    // Who asks later reads the same, from where it left off.
    let from = numbers[3];
    let read: Vec<_> = town.ask(Request::Events { from, follow: false }).await;
    let expected: Vec<_> = heard[3..].iter().cloned().map(Reply::Event).collect();
    assert_eq!(read[..expected.len()], expected);
    assert_eq!(read.last(), Some(&Reply::Done), "that this is all is said");
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_nobody_waits_for_is_answered_when_it_is_open() {
    let town = Town::new();
    let controller = Controller::start(&town);
    let _people = town.populate();
    town.until_swapped("serve").await;
    let unattended = Request::Move { instance: "web".to_owned(), to: None, accept_loss: false, wait: false };
    assert_eq!(town.ask(unattended).await, [Reply::Begun(OperationNumber(1))]);
    town.until_swapped("close").await;
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_of_no_more_than_none_at_once_takes_one_at_a_time_and_so_does_its_rehearsal() {
    let town = Town::new();
    let controller = Controller::start(&town);
    let _people = town.populate();
    town.until_swapped("serve").await;
    let terms = Terms { parallel: 0, until_unix_ms: 0, accept_loss: false };
    let drain = |dry_run| Request::DrainNode { node: NodeId(1), terms, dry_run, wait: true };
    let rehearsed = town.ask(drain(true)).await;
    assert!(
        matches!(&rehearsed[..], [Reply::Drains(one), Reply::Drained { .. }] if matches!(one.end, End::CanGo { .. })),
        "{rehearsed:?}"
    );
    let drained = town.ask(drain(false)).await;
    assert!(
        drained.iter().any(|it| matches!(it, Reply::Drains(one) if matches!(one.end, End::Moved(_)))),
        "{drained:?}"
    );
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsed_drain_of_what_would_lose_its_state_says_that_a_consent_is_needed_and_so_does_the_drain()
{
    let town = Town::new();
    let controller = Controller::start(&town);
    let people = town.populate();
    town.until_swapped("serve").await;
    let unaware = Preview { hands_over: false, offer: None, estimate: None, reason: String::new() };
    people.0.node.lock().unwrap().manners.preview = Ok(unaware);
    let terms = Terms { parallel: 1, until_unix_ms: 0, accept_loss: false };
    for dry_run in [true, false] {
        let drained = town.ask(Request::DrainNode { node: NodeId(1), terms, dry_run, wait: true }).await;
        let end = |reply: &Reply| if let Reply::Drains(one) = reply { Some(one.end.clone()) } else { None };
        let ends: Vec<_> = drained.iter().filter_map(end).collect();
        let [End::Stays(why)] = &ends[..] else { panic!("{drained:?}") };
        assert_eq!(why.code, "consent_needed", "{why:?}");
        assert!(why.message.contains("loses the state"), "{why:?}");
    }
    assert_eq!(town.web().await.record.unwrap().owner.node, NodeId(1), "it stays");
    controller.stop().await;
}
