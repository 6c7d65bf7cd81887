use super::*;

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
