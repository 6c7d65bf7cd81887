//! With `--json` the last line of every run is one object, also where a command comes to no report.

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

const XTASK: &str = env!("CARGO_BIN_EXE_xtask");

/// Runs the command and gives its last line, once its exit status is seen to agree with it.
fn last_line(command: &mut Command) -> Value {
    let Output { status, stdout, stderr } = command.output().expect("the command runs");
    let (printed, errors) =
        (String::from_utf8(stdout).expect("it prints text"), String::from_utf8_lossy(&stderr));
    let line: Value = serde_json::from_str(printed.lines().last().unwrap_or_default())
        .unwrap_or_else(|error| panic!("{command:?}: {error}; it printed {printed:?} and {errors:?}"));
    let ok = line["ok"].as_bool().expect("`ok` is true or false");
    assert_eq!(status.code(), Some(i32::from(!ok)), "{line}");
    assert!(line["commit"].is_string(), "{line}");
    line
}

/// What a run says that came to no report.
fn error(command: &mut Command, schema: &str) -> String {
    let line = last_line(command);
    assert_eq!((&line["schema"], &line["ok"]), (&schema.into(), &false.into()), "{line}");
    line["error"].as_str().unwrap_or_else(|| panic!("it has no error: {line}")).to_owned()
}

#[test]
fn a_name_that_nothing_has_is_said_in_the_last_line() {
    for (words, schema) in [
        (["mutants", "--only", "nosuch", "--json"], "mutants/1"),
        (["model", "--config", "nosuch", "--json"], "model/2"),
        (["crash", "--only", "nosuch", "--json"], "crash/1"),
        (["--json", "crash", "--only", "nosuch"], "crash/1"),
    ] {
        let error = error(Command::new(XTASK).args(words), schema);
        assert!(error.contains("\"nosuch\""), "{words:?}: {error}");
    }
}

#[test]
fn words_that_no_command_takes_are_said_in_the_last_line() {
    for (words, schema, said) in [
        (&["sim", "--seeds", "0", "--json"][..], "sim/1", "--seeds"),
        (&["bench", "move", "--runs", "no", "--json"], "bench-move/1", "--runs"),
        (&["replay", "--json"], "replay/1", "<LOGS>"),
        (&["nosuch", "--json"], "xtask/1", "nosuch"),
        (&["--json"], "xtask/1", "requires a subcommand"),
        (&["bench", "--json"], "bench-move/1", "requires a subcommand"),
    ] {
        let error = error(Command::new(XTASK).args(words), schema);
        assert!(error.contains(said), "{words:?}: {error}");
    }
}

#[test]
fn a_log_that_is_not_there_is_said_in_the_last_line() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("nosuch.log");
    let error = error(Command::new(XTASK).arg("replay").arg(&missing).arg("--json"), "replay/1");
    assert!(error.contains("nosuch.log"), "{error}");
}

#[test]
fn programs_that_do_not_build_are_said_in_the_last_line() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("Cargo.toml"), "this is no manifest").unwrap();
    for (words, schema) in [(["bench", "move"], "bench-move/1"), (["crash", "--smoke"], "crash/1")] {
        let command = &mut Command::new(XTASK);
        command.args(words).arg("--json").current_dir(folder.path()).env_remove("PARACLOUD_RIG_BUILT");
        let error = error(command, schema);
        assert!(error.contains("do not build"), "{words:?}: {error}");
    }
}

#[test]
fn programs_that_are_missing_are_said_in_the_last_line() {
    // Linked, not copied: a copy that a program which another test starts still has open for writing does not run.
    let folder = tempfile::tempdir_in(Path::new(XTASK).parent().unwrap()).unwrap();
    let alone = folder.path().join("xtask");
    std::fs::hard_link(XTASK, &alone).unwrap();
    let command = &mut Command::new(alone);
    command.args(["bench", "move", "--json"]).current_dir(folder.path()).env("PARACLOUD_RIG_BUILT", "1");
    let error = error(command, "bench-move/1");
    assert!(error.contains("is not built"), "{error}");
}

#[test]
fn seeds_that_leave_cells_empty_are_no_success_and_one_replayed_alone_is() {
    let few = last_line(Command::new(XTASK).args(["sim", "--seeds", "1", "--json"]));
    assert_eq!((&few["ok"], &few["violations"], &few["unconverged"]), (&false.into(), &0.into(), &0.into()));
    assert!(few["cells_zero"].as_u64() > Some(0), "{few}");
    assert!(few["seeds_enough"].as_u64() > few["seeds"].as_u64(), "{few}");
    let one = last_line(Command::new(XTASK).args(["sim", "--seed", "0", "--json"]));
    assert_eq!((&one["ok"], &one["seeds"]), (&true.into(), &1.into()), "{one}");
}
