use super::*;
use crate::stage::{Stage, drains, serves, worker};
use paracloud_core::migration::coordinator::Command;

#[test]
fn what_a_person_wants_is_kept_across_a_restart_and_over_with_its_time() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::new(directory.path()).unwrap();
    let scales = Scales::load(&layout);
    assert_eq!(scales.of("worker", 0), None);
    let four = Manual { instances: 4, until_unix_ms: 1_000 };
    scales.keep(&layout.scales(), "worker", four, 10).unwrap();
    let restarted = Scales::load(&layout);
    assert_eq!(restarted.of("worker", 999), Some(four));
    assert_eq!(restarted.of("worker", 1_000), None, "it is over");
    let two = Manual { instances: 2, until_unix_ms: 5_000 };
    restarted.keep(&layout.scales(), "web", two, 2_000).unwrap();
    let kept: BTreeMap<String, Manual> =
        serde_json::from_slice(&std::fs::read(layout.scales()).unwrap()).unwrap();
    assert_eq!(kept, BTreeMap::from([("web".to_owned(), two)]), "what is over is forgotten");
    let path = layout.scales();
    let was = Kept { app: "web".to_owned(), instances: 2, remaining_ms: 3_000 };
    assert_eq!(restarted.forget(&path, "web", 2_000).unwrap(), Some(was), "it is given back");
    assert_eq!(restarted.forget(&path, "web", 2_000).unwrap(), None);
    assert_eq!((restarted.of("web", 2_000), Scales::load(&layout).of("web", 2_000)), (None, None));
    std::fs::write(layout.scales(), "{").unwrap();
    assert_eq!(Scales::load(&layout).of("web", 2_000), None, "torn");
}

#[tokio::test(start_paused = true)]
async fn no_fewer_and_no_more_are_set_than_the_manifest_says_whoever_asks_for_it() {
    let app = worker(Scale { min: 2, max: 3, ..Scale::default() });
    let stage = Stage::of(app, [serves(1), serves(2)]);
    for to in [0, 1, 4] {
        for dry_run in [true, false] {
            let wanted =
                Wanted { app: "worker", to, hold_ms: None, dry_run, accept_loss: true, within_ms: None };
            let refused = scale(&stage.control, &wanted).await.unwrap_err();
            assert_eq!(refused.code, "out_of_bounds", "{to}: {refused:?}");
            assert!(refused.message.contains("may have 2 to 3 instances, not"), "{refused:?}");
        }
    }
    assert_eq!(stage.control.scales.of("worker", 0), None, "nothing is kept");
}

#[tokio::test]
async fn of_one_that_is_called_back_it_is_one_more_that_is_wanted_and_no_more_than_there_may_be() {
    let wanted = |max, staying: usize, of: u32| {
        let app = worker(Scale { min: 1, max, ..Scale::default() });
        let stage = Stage::of(app, std::iter::once(drains(1)).chain((0..staying).map(|_| serves(2))));
        let manual = Manual { instances: of, until_unix_ms: u64::MAX };
        assert!(keep_or_say(&stage.control, "worker", manual));
        let raised = one_more(&stage.control, "worker.1").map(|(_, _, raised)| raised.instances);
        assert_eq!(stage.control.scales.of("worker", 0).unwrap().instances, raised.unwrap_or(of));
        raised
    };
    assert_eq!(wanted(4, 2, 2), Some(3));
    assert_eq!(wanted(4, 2, 3), None, "so many are wanted already");
    // The manifest allows fewer by now than are there.
    assert_eq!(wanted(2, 2, 2), None);
    assert_eq!(wanted(2, 2, 1), Some(2));
}

#[tokio::test]
async fn of_a_call_back_that_fails_the_number_that_was_raised_for_it_is_taken_back() {
    let app = worker(Scale { min: 1, max: 4, ..Scale::default() });
    let mut stage = Stage::of(app, [drains(1), serves(2), serves(3)]);
    let manual = Manual { instances: 2, until_unix_ms: u64::MAX };
    for answered in [Err(Rejected::Over), Ok(OperationNumber(1))] {
        assert!(keep_or_say(&stage.control, "worker", manual));
        let control = Arc::clone(&stage.control);
        let order = Order::of_person(Command::Cancel);
        let calling = tokio::spawn(async move { call_back(&control, "worker.1", order).await });
        let answering = loop {
            match stage.handed("worker.1") {
                Some((_, answering)) => break answering,
                None => tokio::task::yield_now().await,
            }
        };
        let wanted = || stage.control.scales.of("worker", 0).unwrap().instances;
        assert_eq!(wanted(), 3, "it is kept first");
        let is_back = answered.is_ok();
        answering.give(answered);
        assert_eq!(calling.await.unwrap().is_ok(), is_back);
        assert_eq!(wanted(), if is_back { 3 } else { 2 });
    }
}
