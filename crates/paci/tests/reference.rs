//! Holds the reference page and the registries of the specification against the code: one list, printed three times.
//!
//! After a change of a list, `PACI_UPDATE=1 cargo test -p paci --test reference` writes the printed ones anew.

use paci::announcement::{AnnounceRequest, AnnounceResponse};
use paci::answer::Answer;
use paci::ask::{AskRequest, AskResponse};
use paci::bounds::{self, Bound};
use paci::channel::JoinRefusal;
use paci::error::{ErrorBody, ErrorCode};
use paci::hello::{HelloRequest, HelloResponse};
use paci::hold::{HoldRequest, HoldResponse};
use paci::http::Route;
use paci::instance::DescribeResponse;
use paci::names::{AnswerCode, CAPABILITIES, Capability, HOLD_OPS, RESERVED, Reserved};
use paci::proof::Sealed;
use paci::report::{Report, ReportResponse};
use paci::state::{Ack, StateChange};
use paci::upcall::Upcall;
use paci::wire::{Message, ReadError};
use serde_json::Value;
use std::path::PathBuf;

#[test]
fn the_tables_of_the_reference_are_those_of_the_code() {
    let mut page = Page::open("docs/reference/paci-v1.md", "<!-- ", " -->");
    page.block("capabilities", &capabilities());
    page.block("hold-ops", &hold_ops());
    page.block("error-codes", &error_codes());
    page.block("answer-codes", &answer_codes());
    page.block("join-refusals", &join_refusals());
    page.block("bounds", &table_of_bounds());
    page.block("reserved", &reserved());
    page.close();
}

#[test]
fn the_registries_of_the_specification_are_those_of_the_code() {
    let mut page = Page::open("proto/paci/v1/paci.proto", "// ", "");
    page.block("registries", &registries());
    page.close();
}

#[test]
fn every_bound_that_is_cited_has_the_number_of_the_code() {
    let mut cited = Vec::new();
    for file in ["proto/paci/v1/paci.proto", "docs/reference/paci-v1.md"] {
        let text = read(file).replace("\n  //", " ").replace("\n//", " ");
        for (before, name) in citations(&text) {
            let bound = bounds::ALL.iter().find(|bound| bound.name == name);
            let bound = bound.unwrap_or_else(|| panic!("{file} cites {name}, which is no bound"));
            let number = before.split(|c: char| !c.is_ascii_digit()).rfind(|digits| !digits.is_empty());
            assert_eq!(number, Some(bound.value.to_string().as_str()), "{file}: {name} after {before:?}");
            cited.push(name.to_owned());
        }
    }
    assert!(cited.len() > 40, "the citations were not found: {cited:?}");
}

#[test]
fn every_code_stands_beside_its_own_status() {
    for file in ["proto/paci/v1/paci.proto", "docs/reference/paci-v1.md"] {
        let text = read(file);
        let words: Vec<&str> = text
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .filter(|word| !word.is_empty())
            .collect();
        let mut checked = 0;
        for pair in words.windows(2) {
            let (Ok(status), Some(code)) = (pair[0].parse::<u16>(), ErrorCode::from_name(pair[1])) else {
                continue;
            };
            if pair[0].len() == 3 {
                assert_eq!(status, code.status(), "{file}: {}", pair[1]);
                checked += 1;
            }
        }
        assert!(checked > 15, "{file}: only {checked} were found");
    }
}

#[test]
fn every_message_in_the_reference_is_valid_and_has_no_unknown_field() {
    let text = read("docs/reference/paci-v1.md");
    let mut kinds = Vec::new();
    for block in text.split("\n```json ").skip(1) {
        let (kind, rest) = block.split_once('\n').unwrap();
        let (body, _) = rest.split_once("\n```").unwrap();
        for body in body.split("\n\n") {
            let understood = match kind {
                "HelloRequest" => reread::<HelloRequest>(body),
                "HelloResponse" => reread::<HelloResponse>(body),
                "StateChange" => reread::<StateChange>(body),
                "HoldRequest" => reread::<HoldRequest>(body),
                "HoldResponse" => reread::<HoldResponse>(body),
                "Report" => reread::<Report>(body),
                "ReportResponse" => reread::<ReportResponse>(body),
                "AnnounceRequest" => reread::<AnnounceRequest>(body),
                "AnnounceResponse" => reread::<AnnounceResponse>(body),
                "AskRequest" => reread::<AskRequest>(body),
                "AskResponse" => reread::<AskResponse>(body),
                "DescribeResponse" => reread::<DescribeResponse>(body),
                "Upcall" => reread::<Upcall>(body),
                "Answer" => reread::<Answer>(body),
                "Sealed" => reread::<Sealed>(body),
                "Error" => reread::<ErrorBody>(body),
                other => panic!("no such message: {other}"),
            };
            let understood = understood.unwrap_or_else(|error| panic!("{kind}: {error:?}\n{body}"));
            within(&serde_json::from_str(body).unwrap(), &understood, kind);
            kinds.push(kind.to_owned());
        }
    }
    assert!(kinds.len() > 15, "{kinds:?}");
}

#[test]
fn the_transcript_is_what_the_two_sides_write() {
    let text = read("docs/reference/paci-v1.md");
    let mut calls = 0;
    for block in text.split("\n```console\n").skip(1) {
        let (block, _) = block.split_once("\n```").unwrap();
        for typed in block.split("$ paci ").skip(1) {
            let (command, answer) = typed.split_once('\n').unwrap();
            if answer.starts_with('{') {
                check_call(command, answer.trim_end());
                calls += 1;
            }
        }
    }
    assert!(calls >= 6, "{calls}");
}

// ---- the lists

fn capabilities() -> String {
    let row = |row: &Capability| {
        format!("| `{}` | {} | {} | {} |", row.name, row.stage, row.since, row.meaning.trim())
    };
    table("| name | stage | since | an application that claims it |\n|---|---|---|---|", CAPABILITIES, row)
}

fn hold_ops() -> String {
    table("| name | what is held off |\n|---|---|", HOLD_OPS, |(name, meaning)| {
        format!("| `{name}` | {meaning} |")
    })
}

fn error_codes() -> String {
    let row = |code: &ErrorCode| {
        format!("| {} | `{code}` | {} | `{}` |", code.status(), code.meaning(), code.next())
    };
    table("| status | code | when | `next` |\n|---|---|---|---|", &ErrorCode::ALL[1..], row)
}

fn answer_codes() -> String {
    let row = |code: &AnswerCode| format!("| `{code}` | {} |", code.meaning());
    table("| code | what the cloud does |\n|---|---|", AnswerCode::ALL, row)
}

fn join_refusals() -> String {
    let row = |refusal: &JoinRefusal| format!("| `{refusal}` | {} |", refusal.meaning());
    table("| code | what to do |\n|---|---|", JoinRefusal::ALL, row)
}

fn table_of_bounds() -> String {
    let row = |bound: &Bound| format!("| `{}` | {} | {} |", bound.name, bound.value, bound.meaning.trim());
    table("| name | value | what it bounds |\n|---|---:|---|", bounds::ALL, row)
}

fn reserved() -> String {
    let row = |name: &Reserved| format!("| `{}` | {} | {} |", name.name, name.kind, name.meaning);
    table("| name | kind | what for |\n|---|---|---|", RESERVED, row)
}

fn registries() -> String {
    let capabilities = table(
        "// Capabilities: name, stage, first version, what an application that claims it does.",
        CAPABILITIES,
        |row| format!("//   {} ({}, {}): {}", row.name, row.stage, row.since, row.meaning.trim()),
    );
    let codes =
        table("//\n// Codes of answers, and what the cloud does about them.", AnswerCode::ALL, |code| {
            format!("//   {code}: {}", code.meaning())
        });
    let reserved =
        table("//\n// Names kept for later. Nobody uses one for anything else.", RESERVED, |name| {
            format!("//   {} {}: {}", name.kind, name.name, name.meaning)
        });
    capabilities + &codes + &reserved
}

fn table<T>(head: &str, rows: &[T], print: impl Fn(&T) -> String) -> String {
    let lines = rows.iter().map(print);
    std::iter::once(head.to_owned()).chain(lines).map(|line| line + "\n").collect()
}

// ---- what the tests above stand on

fn path(file: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "..", file].iter().collect()
}

fn read(file: &str) -> String {
    let path = path(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A text with marked blocks that are printed from the code.
struct Page {
    path: PathBuf,
    text: String,
    fresh: String,
    open: &'static str,
    close: &'static str,
}

impl Page {
    fn open(file: &str, open: &'static str, close: &'static str) -> Self {
        let text = read(file);
        Self { path: path(file), fresh: text.clone(), text, open, close }
    }

    fn block(&mut self, name: &str, content: &str) {
        let begin = format!("{}{name}:begin{}\n", self.open, self.close);
        let end = format!("{}{name}:end{}\n", self.open, self.close);
        let marks = (self.fresh.find(&begin), self.fresh.find(&end));
        let (Some(from), Some(to)) = marks else { panic!("{} has no block {name}", self.path.display()) };
        self.fresh.replace_range(from + begin.len()..to, content);
    }

    fn close(self) {
        if self.fresh == self.text {
            return;
        }
        if std::env::var_os("PACI_UPDATE").is_some() {
            std::fs::write(&self.path, &self.fresh).expect("the file can be written");
            return;
        }
        let differs = self.fresh.lines().zip(self.text.lines()).find(|(ours, theirs)| ours != theirs);
        panic!(
            "{} is not what the code says; PACI_UPDATE=1 prints it anew. First difference: {differs:?}",
            self.path.display()
        );
    }
}

/// Each `[NAME]` in capitals with what stands before it on the way from the last stop.
fn citations(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.match_indices('[').filter_map(|(at, _)| {
        let (name, _) = text[at + 1..].split_once(']')?;
        let named = name.contains('_') && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
        let before = text.floor_char_boundary(at.saturating_sub(30));
        named.then_some((&text[before..at], name))
    })
}

fn reread<T: Message>(body: &str) -> Result<Value, ReadError> {
    let message = T::read(body.as_bytes())?;
    Ok(serde_json::to_value(&message).expect("a message has a form in JSON"))
}

/// One call of the transcript: its path exists, its body is read, and the answer is, to the byte, what we write.
fn check_call(command: &str, answer: &str) {
    let (_, target) = command.split_once("http://paci").expect("every command names an address");
    let target = target.split([' ', '\'']).next().expect("a split gives at least one part");
    let body = command.split_once("-d '").map(|(_, body)| body.trim_end_matches('\''));
    let method = match body {
        Some(_) if command.starts_with("-X PUT") => "PUT",
        Some(_) => "POST",
        None => "GET",
    };
    let route = Route::parse(method, target).unwrap_or_else(|error| panic!("{method} {target}: {error:?}"));
    let body = body.unwrap_or_default().as_bytes();
    let (asked, answered) = match route {
        Route::Hello => (HelloRequest::read(body).err(), rewrite::<HelloResponse>(answer)),
        Route::SetState => (StateChange::read(body).err(), rewrite::<Ack>(answer)),
        Route::Hold { .. } => (HoldRequest::read(body).err(), rewrite::<HoldResponse>(answer)),
        Route::Answer { .. } => (Answer::read(body).err(), rewrite::<Ack>(answer)),
        Route::Report => (Report::read(body).err(), rewrite::<ReportResponse>(answer)),
        Route::Announce { .. } => (AnnounceRequest::read(body).err(), rewrite::<AnnounceResponse>(answer)),
        Route::Ask => (AskRequest::read(body).err(), rewrite::<AskResponse>(answer)),
        Route::Describe => (None, rewrite::<DescribeResponse>(answer)),
        Route::Next(_) => (None, rewrite::<Upcall>(answer)),
    };
    let answered = asked.map_or(answered, |error| rewritten(&ErrorBody::from(error)));
    assert_eq!(answered, answer, "{command}");
}

fn rewrite<T: Message>(body: &str) -> String {
    T::read(body.as_bytes()).map_or_else(|error| error.to_string(), |message| rewritten(&message))
}

fn rewritten<T: Message>(message: &T) -> String {
    String::from_utf8(message.write()).expect("JSON is UTF-8")
}

/// Everything that the page writes is understood, and means what it says.
fn within(written: &Value, understood: &Value, place: &str) {
    if let (Value::Object(written), Value::Object(understood)) = (written, understood) {
        for (name, value) in written {
            let place = format!("{place}.{name}");
            let value_understood = understood.get(name).unwrap_or_else(|| panic!("{place} is unknown"));
            within(value, value_understood, &place);
        }
    } else {
        assert_eq!(written, understood, "{place}");
    }
}
