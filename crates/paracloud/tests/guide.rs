//! The guide's first page, done as it says: its files, its commands, its numbers.

#[expect(
    clippy::unwrap_used,
    dead_code,
    reason = "a rig that cannot be set up fails its test; not all of it is used"
)]
mod rig;

use rig::Rig;
use std::path::Path;
use std::process::Command;

const GUIDE: &str = include_str!("../../../docs/guide/first-move.md");

/// The text of the first block of this language that has `part` in it.
fn block(language: &str, part: &str) -> String {
    let fence = format!("```{language}\n");
    let blocks = GUIDE.split(&fence).skip(1).filter_map(|rest| rest.split("```").next());
    blocks.filter(|block| block.contains(part)).map(str::to_owned).next().expect("the guide has this block")
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the crate lies in its workspace")
}

#[test]
fn the_guides_own_server_moves_and_goes_on_counting() {
    let server = block("rust", "fn main");
    assert!(server.lines().filter(|line| !line.trim().is_empty()).count() <= 45, "forty lines, it says");
    let rig = Rig::new("");
    let program = rig.path().join("hits");
    std::fs::create_dir_all(program.join("src")).expect("a directory of our own");
    let sdk = workspace().join("sdk/rust").display().to_string();
    // The profile of the workspace, so that what was built for it serves here too.
    let profile = "\n[workspace]\n\n[profile.dev]\ndebug = \"line-tables-only\"\n\n[profile.dev.package.\"*\"]\nopt-level = 1\n";
    let cargo = block("toml", "[package]").replace("../paracloud/sdk/rust", &sdk) + profile;
    std::fs::write(program.join("Cargo.toml"), cargo).expect("a file of our own");
    std::fs::write(program.join("src/main.rs"), server).expect("a file of our own");
    std::fs::copy(workspace().join("Cargo.lock"), program.join("Cargo.lock"))
        .expect("the workspace is locked");
    let target = workspace().join("target").join("guide");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet"])
        .current_dir(&program)
        .env("CARGO_TARGET_DIR", &target)
        .status()
        .expect("cargo runs");
    assert!(built.success(), "the guide's program does not build");

    let address = rig.address(0);
    let manifest = block("yaml", "kind: App")
        .replace("./target/debug/hits", &target.join("debug/hits").display().to_string())
        .replace("127.0.0.1:8080", &address.to_string())
        + &format!("env: {{RIG: '{}'}}\n", rig.path().display());
    std::fs::write(rig.manifest(), manifest).expect("a file of our own");
    let mut up = rig.up(&[]);
    up.serving();
    let note = "its command names no {port}";
    assert!(GUIDE.contains(note) && up.said().contains(note), "{}", up.said());
    assert_eq!((rig.get(0).as_str(), rig.get(0).as_str()), ("1\n", "2\n"));
    let moved = rig.json(&["move", "hits"]);
    assert_eq!(
        (&moved["outcome"]["node"], &moved["outcome"]["committed"]),
        (&2.into(), &true.into()),
        "{moved}"
    );
    assert_eq!(rig.get(0), "3\n");
    assert_eq!(rig.run(&["stop", "--yes"]).code, 0);
    assert_eq!(up.ended(), 0);
    assert!(rig.left().is_empty(), "{:?}", rig.left());
}
