//! Other revisions of apps are named while the controller runs.

use crate::town::{Controller, Town};
use paracloud_substrate::config::{App, Cloud};
use paracloud_substrate::person::{Reply, Request, Revised};
use paracloud_substrate::updating::Terms;

fn apply(from: Vec<Revised>, to: Vec<Revised>) -> Request {
    Request::Apply { from, to, update: None, wait: false }
}

fn revised(app: &str, revision: u32) -> Revised {
    Revised { app: app.to_owned(), revision, anew: false }
}

/// A town whose app has an address for each gateway, and the path of its configuration.
fn town() -> (Town, std::path::PathBuf) {
    let town = Town::new();
    let path = town.layout.cloud();
    let mut cloud = Cloud::load(&path).unwrap();
    std::fs::remove_dir_all(path.with_file_name("apps")).unwrap();
    cloud.apps[0].listen = ["127.0.0.1:8080", "127.0.0.1:8081"].map(|it| it.parse().unwrap()).to_vec();
    cloud.save(&path).unwrap();
    (town, path)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_named_counts_for_whoever_comes_later_and_may_be_said_twice() {
    let (town, path) = town();
    let controller = Controller::start(&town);
    let _people = town.populate();
    town.until_swapped("serve").await;
    let web = Cloud::load(&path).unwrap().apps.remove(0);
    let second = Cloud::add_revision(&path, &App { stop_grace_ms: 7, ..web.clone() }).unwrap();
    assert_eq!(Cloud::load(&path).unwrap().apps[0], web, "written, and named by nobody");
    let second_counts = apply(vec![revised("web", 1)], vec![revised("web", second.revision)]);
    for _ in 0..2 {
        assert_eq!(town.ask(second_counts.clone()).await, [Reply::Done]);
        assert_eq!(Cloud::load(&path).unwrap().apps[0], second);
    }
    let back = apply(vec![revised("web", 2)], vec![revised("web", 1)]);
    controller.stop().await;
    let again = Controller::start(&town);
    let overtaken = apply(vec![revised("web", 1)], vec![revised("web", 1)]);
    assert_eq!(town.refused(overtaken).await.code, "overtaken", "the one that came later knows what counts");
    assert_eq!(town.refused(back).await.code, "backwards");
    let third = Cloud::add_revision(&path, &web).unwrap();
    let on = apply(vec![revised("web", 2)], vec![revised("web", third.revision)]);
    assert_eq!(town.ask(on).await, [Reply::Done]);
    assert_eq!(Cloud::load(&path).unwrap().apps[0], third);
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_count_is_refused_and_nothing_is_changed() {
    let (town, path) = town();
    let controller = Controller::start(&town);
    let before = Cloud::load(&path).unwrap();
    let web = &before.apps[0];
    let h2 = App { protocol: paracloud_substrate::config::Protocol::H2, ..web.clone() };
    let fixed = Cloud::add_revision(&path, &h2).unwrap().revision;
    let one_address = App { listen: web.listen[..1].to_vec(), ..App::new("other", web.command.clone()) };
    let narrow = Cloud::add_revision(&path, &one_address).unwrap().revision;
    let from = || vec![revised("web", 1)];
    for (to, code) in [
        (vec![revised("web", 9)], "unwritten"),
        (vec![revised("web", fixed)], "fixed"),
        (vec![], "app_missing"),
        (vec![revised("web", 1), revised("web", 1)], "bad_request"),
        (vec![revised("web", 1), revised("../web", 1)], "bad_request"),
        (vec![revised("web", 1), revised("other", narrow)], "gateways"),
    ] {
        let refused = town.refused(apply(from(), to.clone())).await;
        assert_eq!(refused.code, code, "{to:?}");
        assert!(!refused.message.is_empty() && !refused.next.is_empty(), "{refused:?}");
        assert_eq!(Cloud::load(&path).unwrap(), before);
    }
    assert_eq!(
        town.refused(Request::Update { instance: "nobody".to_owned(), accept_loss: true, wait: true })
            .await
            .code,
        "unknown_instance"
    );
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_it_cannot_be_kept_who_is_to_be_updated_nothing_is_applied() {
    let (town, path) = town();
    let controller = Controller::start(&town);
    let _people = town.populate();
    town.until_swapped("serve").await;
    let Ok([Reply::Status(status)]) = <[Reply; 1]>::try_from(town.ask(Request::Status).await) else {
        panic!()
    };
    let owner = status.instances[0].record.as_ref().unwrap().owner;
    let before = Cloud::load(&path).unwrap();
    let web = &before.apps[0];
    let second = Cloud::add_revision(&path, &App { stop_grace_ms: 7, ..web.clone() }).unwrap();
    let (from, to) = (vec![revised("web", 1)], vec![revised("web", second.revision)]);
    let apply = |outdated| {
        let update = Some(Terms { outdated, accept_loss: false });
        Request::Apply { from: from.clone(), to: to.clone(), update, wait: true }
    };
    std::fs::create_dir(town.layout.updating().with_extension("new")).unwrap();
    let refused = town.refused(apply(vec![owner.start])).await;
    assert_eq!(refused.code, "no_space", "{refused:?}");
    assert!(refused.message.contains("nothing was applied"), "{refused:?}");
    assert_eq!(Cloud::load(&path).unwrap(), before);
    // Where nobody is to be updated nothing needs to be kept.
    assert_eq!(town.ask(apply(Vec::new())).await, [Reply::Applied { updated: Vec::new() }]);
    assert_eq!(Cloud::load(&path).unwrap().apps[0], second);
    controller.stop().await;
}
