//! Disks that are full, and disks that fail.

use crate::disk::{PowerDisk, QuotaDisk};
use crate::player::Agent;
use crate::town::{Controller, Person, Town, soon, swaps};
use paracloud_controller::store::Options;
use paracloud_controller::{ControllerError, Ledger};
use paracloud_core::ids::NodeId;
use paracloud_core::migration::Phase;
use paracloud_substrate::person::{Reply, Request, What};

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_a_move_before_anything_is_begun() {
    let town = Town::new();
    let disk = QuotaDisk::new(64 << 20);
    let lying = disk.clone();
    let controller = Controller::start_on(&town, move || Ledger::open_on(lying.clone(), Options::default()));
    let _people = town.populate();
    town.until_swapped("serve").await;
    disk.fill();
    let refused = town.refused(Town::move_to(2)).await;
    assert_eq!(refused.code, "no_space");
    assert!(refused.message.contains(" MiB") && !refused.message.contains("bytes"), "{refused:?}");
    assert_eq!(town.web().await.record.unwrap().last_operation.0, 0);
    disk.clear();
    assert!(
        matches!(town.ask(Town::move_to(2)).await.last(), Some(Reply::Outcome(outcome)) if outcome.committed)
    );
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_becomes_full_during_the_copy_seals_nothing_and_keeps_the_outcome() {
    let town = Town::new();
    let disk = QuotaDisk::new(64 << 20);
    let lying = disk.clone();
    let controller = Controller::start_on(&town, move || Ledger::open_on(lying.clone(), Options::default()));
    let (first, _second, _one, _two) = town.populate();
    town.until_swapped("serve").await;
    first.node.lock().unwrap().manners.copies_for_ever = true;
    let mut waiting = Person::ask(&town.layout, &Town::move_to(2)).await;
    town.until(|event| event.what == What::Entered(Phase::Copy)).await;
    disk.fill();
    first.node.lock().unwrap().manners.copies_for_ever = false;
    let ended = soon(async {
        loop {
            match waiting.next().await {
                Some(Reply::Outcome(outcome)) => break outcome,
                Some(Reply::Event(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    })
    .await;
    assert!(!ended.committed);
    assert!(ended.cause.as_ref().unwrap().contains("no room for the outcome"), "{ended:?}");
    assert_eq!((ended.node, ended.incarnation), (NodeId(1), 1));
    // It is the controller that says so, and the change itself names the cause, with sizes that can be read.
    let seen = town.until_swapped("close").await;
    let is_cause =
        |text: &str| text.contains("the journal has no room for the outcome") && text.contains(" MiB");
    let changes = swaps(&seen);
    let given_up = changes.iter().find(|(change, _)| change.starts_with("roll_back: ")).unwrap();
    assert!(is_cause(&given_up.0), "{}", given_up.0);
    assert!(is_cause(ended.cause.as_ref().unwrap()), "{ended:?}");
    assert_eq!(town.web().await.record.unwrap().operation, None, "and it is on disk");
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_is_opened_again_and_read_and_the_move_ends() {
    let town = Town::new();
    let disk = PowerDisk::holding(&[]);
    let lying = disk.clone();
    let controller = Controller::start_on(&town, move || {
        lying.remove_fuse();
        Ledger::open_on(lying.clone(), Options::default())
    });
    let people = town.populate();
    town.until_swapped("serve").await;
    people.0.node.lock().unwrap().manners.copies_for_ever = true;
    let mut waiting = Person::ask(&town.layout, &Town::move_to(2)).await;
    town.until(|event| event.what == What::Entered(Phase::Copy)).await;
    // The disk fails in the middle of the next write, whose effect is lost.
    disk.set_fuse(3, false);
    people.0.node.lock().unwrap().manners.copies_for_ever = false;
    soon(async { while waiting.next().await.is_some() {} }).await;
    let seen = town.until_swapped("close").await;
    let swapped = swaps(&seen);
    assert!(swapped.windows(2).all(|pair| pair[0].1.order() < pair[1].1.order()), "{swapped:?}");
    assert!(!town.gates.lock().unwrap().doubled);
    assert_eq!(town.gates.lock().unwrap().open.len(), 1);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_register_is_refused_by_name() {
    let town = Town::new();
    std::fs::create_dir(town.layout.controller()).unwrap();
    std::fs::write(town.layout.controller().join("store.redb"), vec![7; 8192]).unwrap();
    let error = soon(paracloud_controller::run_until(town.layout.clone(), std::future::pending())).await;
    assert!(matches!(error, Err(ControllerError::Store(_))), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_controllers_never_share_a_register() {
    let town = Town::new();
    let controller = Controller::start(&town);
    let _agent = Agent::start(&town, 1);
    town.status().await;
    let second = soon(paracloud_controller::run_until(town.layout.clone(), std::future::pending())).await;
    assert!(second.unwrap_err().to_string().contains("one controller per directory"));
    town.ask(Request::Status).await;
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_finds_no_room_for_its_first_record_says_so_and_starts_when_there_is_some() {
    let town = Town::new();
    let disk = QuotaDisk::new(64 << 20);
    let lying = disk.clone();
    let controller = Controller::start_on(&town, move || {
        let ledger = Ledger::open_on(lying.clone(), Options::default())?;
        lying.fill();
        // What was allocated ahead is promised to somebody else.
        while let Ok(room) = ledger.reserve(1, 1) {
            std::mem::forget(room);
        }
        Ok(ledger)
    });
    let _people = town.populate();
    let has_no_room = |why: &str| why.contains("no room for");
    soon(async {
        while !town.web().await.unknown.is_some_and(|why| has_no_room(&why)) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let refused = town.refused(Town::move_to(2)).await;
    assert!(has_no_room(&refused.message), "it listens meanwhile: {refused:?}");
    disk.clear();
    town.until_swapped("serve").await;
    controller.stop().await;
}
