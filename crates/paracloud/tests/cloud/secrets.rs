//! What no log, no record and no journal has: the tokens of channels, and what clients said.

use crate::rig::Rig;
use serde_json::json;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Where `handoff.py` takes its token in hand.
const JOIN: &str = "    async def join(self, token):\n";
/// What is searched must have this: the search would find what is there.
const PUBLIC: &[u8] = b"\"counters\"";

/// Every file below, but for the logs that programs write themselves.
fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a directory of the rig") {
        let entry = entry.expect("an entry of it");
        let kind = entry.file_type().expect("it is there");
        if kind.is_dir() {
            files(&entry.path(), found);
        } else if kind.is_file()
            && !(entry.file_name() == "log" && entry.path().with_file_name("spec.json").exists())
        {
            found.push(entry.path());
        }
    }
}

fn has(text: &[u8], what: &[u8]) -> bool {
    text.windows(what.len()).any(|window| window == what)
}

#[test]
fn no_file_of_the_cloud_has_a_token_or_what_clients_said() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let source = std::fs::read_to_string(workspace.join("examples/python/handoff.py")).unwrap();
    assert!(source.contains(JOIN), "the example has changed");
    let telling = format!("{JOIN}        open(os.environ['RIG'] + '/tokens', 'a').write(token + '\\n')\n");
    let program = ["python3", "-B", "-c", &source.replace(JOIN, &telling)];
    let rig = Rig::of("counters", &json!(program), &[], &json!({}));
    let mut up = rig.up(&[("PARACLOUD_TRACE", "1"), ("RUST_LOG", "trace")]);
    up.serving();
    // In the state, in the paths of requests, and in a header.
    let payload = "heliotrope-7421";
    assert_eq!(rig.ask(0, &format!("POST /{payload}")), "1\n");
    let moved = rig.json(&["move", "counters"]);
    assert_eq!(moved["outcome"]["committed"], true, "{moved}");
    assert_eq!(rig.ask(1, &format!("GET /{payload}")), "1\n");
    let tokens = std::fs::read_to_string(rig.path().join("tokens")).unwrap();
    assert_eq!(tokens.lines().count(), 2, "one for each side");
    let mut searched = Vec::new();
    files(Path::new(&rig.cloud()), &mut searched);
    let mut public = 0;
    for path in &searched {
        // One that was being replaced, or belonged to the dead source.
        let text = match std::fs::read(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            text => text.unwrap_or_else(|error| panic!("{}: {error}", path.display())),
        };
        public += u32::from(has(&text, PUBLIC));
        for secret in tokens.lines().chain([payload]) {
            assert!(!has(&text, secret.as_bytes()), "{} has {secret}", path.display());
        }
    }
    let lies = |what: &str| searched.iter().any(|path| path.to_str().unwrap().contains(what));
    assert!(
        public > 0 && lies("/trace/") && lies("/log/agent-n1.log") && lies("/store.redb"),
        "{searched:?}"
    );
}
