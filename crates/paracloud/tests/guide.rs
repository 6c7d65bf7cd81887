//! The guide, done as it says: its files, its commands, its numbers.

#[expect(
    clippy::unwrap_used,
    dead_code,
    reason = "a rig that cannot be set up fails its test; not all of it is used"
)]
mod rig;

use rig::Rig;
use std::path::Path;
use std::process::Command;

const FIRST_MOVE: &str = include_str!("../../../docs/guide/first-move.md");
const AS_MANY: &str = include_str!("../../../docs/guide/as-many-as-it-takes.md");

/// The blocks of this language on a page of the guide.
fn blocks<'a>(page: &'a str, language: &str) -> impl Iterator<Item = &'a str> {
    let fence = format!("```{language}\n");
    let after: Vec<_> = page.split(&fence).skip(1).collect();
    after.into_iter().filter_map(|rest| rest.split("```").next())
}

/// The text of the first block of this language that has `part` in it.
fn block(page: &str, language: &str, part: &str) -> String {
    blocks(page, language).find(|block| block.contains(part)).expect("the guide has this block").to_owned()
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the crate lies in its workspace")
}

#[test]
fn the_guides_own_server_moves_and_goes_on_counting() {
    let server = block(FIRST_MOVE, "rust", "fn main");
    assert!(server.lines().filter(|line| !line.trim().is_empty()).count() <= 45, "forty lines, it says");
    let rig = Rig::new("");
    let program = rig.path().join("hits");
    std::fs::create_dir_all(program.join("src")).expect("a directory of our own");
    let sdk = workspace().join("sdk/rust").display().to_string();
    // The profile of the workspace, so that what was built for it serves here too.
    let profile = "\n[workspace]\n\n[profile.dev]\ndebug = \"line-tables-only\"\n\n[profile.dev.package.\"*\"]\nopt-level = 1\n";
    let cargo = block(FIRST_MOVE, "toml", "[package]").replace("../paracloud/sdk/rust", &sdk) + profile;
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
    let manifest = block(FIRST_MOVE, "yaml", "kind: App")
        .replace("./target/debug/hits", &target.join("debug/hits").display().to_string())
        .replace("127.0.0.1:8080", &address.to_string())
        + &format!("env: {{RIG: '{}'}}\n", rig.path().display());
    std::fs::write(rig.manifest(), manifest).expect("a file of our own");
    let mut up = rig.up(&[]);
    up.serving();
    let note = "its command names no {port}";
    assert!(FIRST_MOVE.contains(note) && up.said().contains(note), "{}", up.said());
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

/// The commands of a page in their order, each with the first line that it shows of what comes, if it shows any.
fn commands(page: &str) -> Vec<(&str, Option<&str>)> {
    let mut commands: Vec<(&str, Option<&str>)> = Vec::new();
    for line in blocks(page, "console").flat_map(str::lines) {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) => commands.push((command, None)),
            (None, Some((_, shown))) => drop(shown.get_or_insert(line)),
            (None, None) => panic!("{line}: no command shows this"),
        }
    }
    commands
}

#[test]
fn the_guides_queue_gets_as_many_instances_as_it_takes_and_every_command_of_the_page_does_what_it_says() {
    let program = Path::new(env!("CARGO_BIN_EXE_paracloud"));
    let manifest = |rig: &Rig, slots: &str| {
        block(AS_MANY, "yaml", "kind: App")
            .replace("\"worker\"]", &format!("{:?}]", program.with_file_name("worker")))
            .replace("127.0.0.1:8085", &rig.address(0).to_string())
            .replace("127.0.0.1:8086", &rig.address(1).to_string())
            .replace("SLOTS: \"4\"", &format!("SLOTS: \"{slots}\", RIG: '{}'", rig.path().display()))
    };
    let rig = Rig::with_manifest(|rig| manifest(rig, "4"));
    let mut up = rig.up(&[]);
    up.serving();
    let commands = commands(AS_MANY);
    let (first, rest) = commands.split_first().expect("there are some");
    assert_eq!(first.0, "paracloud up app.yaml");
    let inherited = std::env::var("PATH").expect("there is a PATH");
    let path = format!("{}:{inherited}", program.parent().expect("a directory").display());
    let mut told = Vec::new();
    for (command, shown) in rest {
        if command.starts_with("paracloud apply") {
            std::fs::write(rig.manifest(), manifest(&rig, "8")).expect("a file of our own");
        }
        let ran = Command::new("bash")
            .args(["-c", &command.replace("127.0.0.1:8085", &rig.address(0).to_string())])
            .current_dir(rig.path())
            .envs([("PATH", path.as_str()), ("PARACLOUD_DIR", &rig.cloud())])
            .output()
            .expect("bash runs");
        let out = String::from_utf8(ran.stdout).expect("text");
        assert!(ran.status.success(), "{command}: {out}{}", String::from_utf8_lossy(&ran.stderr));
        let columns = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        // `scale --dry-run` says first what it is about.
        let is_shown = |shown: &str| out.lines().take(2).any(|line| columns(line) == columns(shown));
        assert!(shown.is_none_or(is_shown), "{command}: {shown:?} is not what comes:\n{out}");
        told.push((*command, out));
    }
    let out = |command: &str| &told.iter().find(|(it, _)| *it == command).expect("it is on the page").1;
    let grown = out("paracloud ps").lines().filter(|line| line.starts_with("worker.")).count();
    assert!((5..=8).contains(&grown), "thirty at once, four each, and some for chance: {grown}");
    assert!(out("paracloud explain worker").contains("The last one by which something was done"));
    assert_eq!(up.ended(), 0);
    assert!(rig.left().is_empty(), "{:?}", rig.left());
}
