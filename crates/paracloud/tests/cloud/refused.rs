//! What a person wrote wrongly is said with file, line, column and field, and nothing is started.

use crate::rig::{Rig, run};

const GOOD: &str = "kind: App\nname: web\ncommand: [python3, web.py, '{port}']\n";

#[test]
fn a_manifest_with_a_mistake_is_refused_by_file_line_column_and_field() {
    for (text, place, why) in [
        (format!("{GOOD}replicas: 3\n"), "4:1", "replicas: there is no such field; there are kind, name, "),
        (format!("{GOOD}acceptLoss: maybe\n"), "4:13", "acceptLoss: wants true or false, got \"maybe\""),
        (format!("{GOOD}move: {{pause: fast}}\n"), "4:15", "move.pause: wants a time with its unit"),
        (format!("{GOOD}name: again\n"), "4:1", "name: stands twice; first in line 2"),
        (
            format!("{GOOD}---\n{GOOD}"),
            "6:7",
            "name: there are two apps named \"web\": each needs a name of its own",
        ),
    ] {
        let rig = Rig::with_manifest(|_| text.clone());
        let cloud = rig.path().join("cloud");
        for command in [
            &["up", rig.manifest(), "--dir", cloud.to_str().expect("UTF-8")][..],
            &["validate", rig.manifest()],
        ] {
            let refused = run(command);
            assert_eq!(refused.code, 2, "{command:?}: {}", refused.err);
            let error = format!("error: {}:{place}: {why}", rig.manifest());
            assert!(refused.err.starts_with(&error), "want {error:?}, got {:?}", refused.err);
            let next = format!("next: correct it, then: paracloud validate {}", rig.manifest());
            assert!(refused.err.contains(&next), "{}", refused.err);
        }
        assert!(!cloud.exists(), "nothing was made of it");
        assert!(rig.left().is_empty(), "{:?}", rig.left());
    }
}
