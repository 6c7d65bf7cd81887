//! What SPEC and the reference say of the code is so, as far as a program can read it.

use paracloud::manifest::{APPS_MAX, MANIFEST_BYTES_MAX, NODES_MAX};
use paracloud::up::supervisor::{LOG_BYTES_MAX, PAUSE_MS};
use paracloud_agent::shim::ORPHAN_MS;
use paracloud_controller::store::{JOURNAL_ENTRIES_MAX, RECORDS_MAX};
use paracloud_controller::{AWAY_MS, REOPEN_MAX};
use paracloud_gateway::{
    BODY_WAIT, BODY_WAIT_TOTAL, CONNECTION_WINDOW_BYTES, CONNECTIONS_MAX, HEAD_BYTES_MAX, HEADERS_MAX,
    MESSAGE_BYTES_FREE, MESSAGE_BYTES_MAX, MESSAGES_BYTES_TOTAL_MAX, REPLAY_BYTES_TOTAL_MAX, REPLY_WAIT,
    RESETS_OWN_MAX, SESSIONS_MAX, STREAM_WINDOW_BYTES, STREAMS_MAX, STREAMS_TOTAL_MAX,
    UPSTREAM_CONNECTIONS_MAX, UPSTREAM_STREAMS_MAX, UPSTREAM_WINDOW_BYTES,
};
use paracloud_substrate::config::{
    ASK_MS, Budgets, Parking, RESEND_MS, RESTART_MS, RESTART_SOUND_MS, SOON_MS,
};
use paracloud_substrate::link::{BEAT_MS, LINE_BYTES_MAX, SILENT_MS};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).expect("a document of this tree")
}

/// The sources of the product and of its tests.
fn sources() -> Vec<String> {
    let mut directories = vec![root().join("crates"), root().join("sdk"), root().join("xtask/src")];
    let mut texts = Vec::new();
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).expect("a directory of this tree") {
            let path = entry.expect("an entry of it").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                texts.push(std::fs::read_to_string(path).expect("a source is text"));
            }
        }
    }
    texts
}

/// What stands between back quotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// `12345` as `12,345`.
fn with_commas(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[test]
fn every_test_that_spec_names_is_there() {
    let spec = read("SPEC.md");
    // A test is a sentence; a shorter name is that of a figure.
    let is_test = |name: &&str| {
        name.matches('_').count() >= 4
            && name.chars().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '_')
    };
    let named: BTreeSet<_> = quoted(&spec).filter(is_test).collect();
    assert!(named.len() > 30, "{named:?}");
    let sources = sources();
    let has = |name: &str| sources.iter().any(|text| has_test(text, name));
    let missing: Vec<_> = named.into_iter().filter(|name| !has(name)).collect();
    assert!(missing.is_empty(), "SPEC names tests that there are not: {missing:#?}");
}

/// Whether a source has a test of this name: a function with an attribute above it whose path says so.
fn has_test(text: &str, name: &str) -> bool {
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let function = format!("fn {name}(");
    let is_this = |line: &str| line.strip_prefix("async ").unwrap_or(line).starts_with(&function);
    let is_attribute = |line: &&&str| {
        let path = line.strip_prefix("#[").and_then(|rest| rest.split(['(', ']', ' ']).next());
        path.is_some_and(|path| path.rsplit("::").next().is_some_and(|last| last.contains("test")))
    };
    (0..lines.len()).filter(|at| is_this(lines[*at])).any(|at| {
        let ends_an_item = |line: &&&str| line.is_empty() || line.ends_with(['{', '}', ';']);
        lines[..at].iter().rev().take_while(|line| !ends_an_item(line)).any(|line| is_attribute(&line))
    })
}

#[test]
fn only_what_is_marked_as_a_test_counts_as_one() {
    let source = "\
        #[test]\n#[expect(x, reason = \"y\")]\nfn one() {}\n\n\
        #[tokio::test(flavor = \"multi_thread\")]\nasync fn two() {}\n\
        fn three() {}\n\n\
        #[cfg(test)]\nfn four() {}\n#[expect(x, reason = \"a test\")]\nfn five() {}\n\
        // fn six() {}\n\
        mod tests {\n    #[test]\n    fn seven() {}\n}\n";
    let found = ["one", "two", "three", "four", "five", "six", "seven"].map(|name| has_test(source, name));
    assert_eq!(found, [true, true, false, false, false, false, true]);
}

#[test]
fn every_row_of_spec_says_what_holds_it() {
    let spec = read("SPEC.md");
    let (tables, _) = spec.split_once("## Bounds").unwrap();
    let rows = tables.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| |"));
    for row in rows.filter(|row| !row.ends_with("| held by |")) {
        let held = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        assert!(held.contains('`') || held.contains("not yet") || held.contains("sim"), "{row}");
    }
}

#[test]
fn the_bounds_in_spec_are_those_of_the_code() {
    let (parking, budgets) = (Parking::default(), Budgets::default());
    let bounds: [(&str, u64); 51] = [
        ("parking.parked_ms_max", parking.parked_ms_max.into()),
        ("parking.parked_max", parking.parked_max.into()),
        ("parking.replay_bytes_max", parking.replay_bytes_max.into()),
        ("REPLAY_BYTES_TOTAL_MAX", REPLAY_BYTES_TOTAL_MAX as u64),
        ("CONNECTIONS_MAX", CONNECTIONS_MAX.into()),
        ("SESSIONS_MAX", SESSIONS_MAX as u64),
        ("HEAD_BYTES_MAX", HEAD_BYTES_MAX as u64),
        ("HEADERS_MAX", HEADERS_MAX as u64),
        ("STREAMS_MAX", STREAMS_MAX.into()),
        ("STREAMS_TOTAL_MAX", STREAMS_TOTAL_MAX.into()),
        ("STREAM_WINDOW_BYTES", STREAM_WINDOW_BYTES.into()),
        ("CONNECTION_WINDOW_BYTES", CONNECTION_WINDOW_BYTES.into()),
        ("RESETS_OWN_MAX", RESETS_OWN_MAX as u64),
        ("UPSTREAM_CONNECTIONS_MAX", UPSTREAM_CONNECTIONS_MAX as u64),
        ("UPSTREAM_STREAMS_MAX", UPSTREAM_STREAMS_MAX as u64),
        ("UPSTREAM_WINDOW_BYTES", UPSTREAM_WINDOW_BYTES.into()),
        ("MESSAGE_BYTES_MAX", MESSAGE_BYTES_MAX as u64),
        ("MESSAGES_BYTES_TOTAL_MAX", MESSAGES_BYTES_TOTAL_MAX as u64),
        ("MESSAGE_BYTES_FREE", MESSAGE_BYTES_FREE as u64),
        ("BODY_WAIT", BODY_WAIT.as_secs() * 1_000),
        ("BODY_WAIT_TOTAL", BODY_WAIT_TOTAL.as_secs() * 1_000),
        ("REPLY_WAIT", REPLY_WAIT.as_secs() * 1_000),
        ("budgets.prepare_ms", budgets.prepare_ms.into()),
        ("budgets.copy_ms", budgets.copy_ms.into()),
        ("budgets.park_ms", budgets.park_ms.into()),
        ("budgets.seal_ms", budgets.seal_ms.into()),
        ("budgets.guard_wait_ms", budgets.guard_wait_ms.into()),
        ("budgets.switch_ms", budgets.switch_ms.into()),
        ("budgets.release_ms", budgets.release_ms.into()),
        ("budgets.pause_ms", budgets.pause_ms.into()),
        ("budgets.pause_ms_max", budgets.pause_ms_max.into()),
        ("ORPHAN_MS", ORPHAN_MS),
        ("RESEND_MS", RESEND_MS.into()),
        ("BEAT_MS", BEAT_MS),
        ("SILENT_MS", SILENT_MS),
        ("AWAY_MS", AWAY_MS),
        ("ASK_MS", ASK_MS.into()),
        ("SOON_MS", SOON_MS.into()),
        ("RESTART_MS.0", RESTART_MS.0.into()),
        ("RESTART_MS.1", RESTART_MS.1.into()),
        ("RESTART_SOUND_MS", RESTART_SOUND_MS.into()),
        ("PAUSE_MS.0", PAUSE_MS.0),
        ("PAUSE_MS.1", PAUSE_MS.1),
        ("LINE_BYTES_MAX", LINE_BYTES_MAX as u64),
        ("JOURNAL_ENTRIES_MAX", JOURNAL_ENTRIES_MAX),
        ("RECORDS_MAX", RECORDS_MAX),
        ("REOPEN_MAX", REOPEN_MAX.into()),
        ("LOG_BYTES_MAX", LOG_BYTES_MAX),
        ("MANIFEST_BYTES_MAX", MANIFEST_BYTES_MAX),
        ("APPS_MAX", APPS_MAX as u64),
        ("NODES_MAX", NODES_MAX.into()),
    ];
    let spec = read("SPEC.md");
    let (_, table) = spec.split_once("## Bounds").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let rows: Vec<_> = table.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    let wanted: Vec<_> =
        bounds.iter().map(|(name, value)| format!("| `{name}` | {} |", with_commas(*value))).collect();
    for (row, wanted) in rows.iter().zip(&wanted) {
        assert!(row.ends_with(wanted.as_str()), "SPEC says\n{row}\nand the code\n{wanted}");
    }
    assert_eq!(rows.len(), wanted.len());
}

#[test]
fn every_variable_of_the_product_is_in_the_reference() {
    let reference = read("docs/reference/variables.md");
    let documented: BTreeSet<_> = quoted(&reference).filter(|it| it.starts_with("PARACLOUD_")).collect();
    let sources = sources();
    // Those of one crate's own tests end so.
    let used: BTreeSet<_> = sources
        .iter()
        .flat_map(|text| text.split('"').skip(1))
        .filter(|word| word.starts_with("PARACLOUD_") && !word.contains("_TEST_") && word.len() > 10)
        .filter(|word| word.chars().all(|it| it.is_ascii_uppercase() || it == '_'))
        .collect();
    let missing: Vec<_> = used.difference(&documented).collect();
    assert!(missing.is_empty(), "not in docs/reference/variables.md: {missing:?}");
    let gone: Vec<_> = documented.difference(&used).filter(|name| **name != "PARACLOUD_").collect();
    assert!(gone.is_empty(), "in docs/reference/variables.md, and read by nobody: {gone:?}");
}
