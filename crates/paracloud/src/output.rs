//! How results are printed: for people or for programs, with or without colour, in lines and tables that fit.
//!
//! On a terminal, lines for people are broken at words where it ends. Elsewhere a line is a line, however long, so that
//! it can be searched. A table with reasons is as wide as a page there. What is one thing (a name) is shortened with `…` everywhere
//! but in JSON; a reason is not.

mod whys;

pub use whys::{broken, table_with_why};

use clap::ValueEnum;
use serde_json::Value;
use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::OnceLock;

/// The columns of a terminal that does not say how many it has.
const COLUMNS: usize = 80;
/// A narrower terminal is taken for one of this width.
const COLUMNS_MIN: usize = 20;
/// The most letters of one cell of a table that is as wide as it likes.
const CELL_LETTERS_MAX: usize = 64;
/// Continued lines begin with this.
const INDENT: &str = "  ";

/// For whom.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON object, or one a line for a stream.
    Json,
}

/// Whether to decorate with colour. Nothing is said by colour alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint(bool);

impl Paint {
    /// No colour.
    pub const PLAIN: Self = Self(false);

    /// For standard output: on a terminal, and unless `NO_COLOR` is set.
    pub fn of_stdout() -> Self {
        Self(io::stdout().is_terminal() && wanted())
    }

    /// For standard error: on a terminal, and unless `NO_COLOR` is set.
    pub fn of_stderr() -> Self {
        Self(io::stderr().is_terminal() && wanted())
    }

    /// Something that went wrong.
    pub fn bad(self, text: &str) -> String {
        self.with("1;31", text)
    }

    /// Something to look at first.
    pub fn strong(self, text: &str) -> String {
        self.with("1", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// How wide standard output is, if it is a terminal: as `COLUMNS` says, or as it says itself.
pub fn columns_of_stdout() -> Option<usize> {
    columns(&io::stdout())
}

fn columns(stream: &(impl AsFd + IsTerminal)) -> Option<usize> {
    let own = || terminal_size::terminal_size_of(stream).map(|(width, _)| usize::from(width.0));
    stream.is_terminal().then(|| wide(std::env::var("COLUMNS").ok().as_deref(), own()))
}

/// As wide as `wanted` says, or else as the terminal says itself.
fn wide(wanted: Option<&str>, own: Option<usize>) -> usize {
    let wanted = wanted.and_then(|text| text.parse().ok());
    wanted.or(own).filter(|columns| *columns > 0).unwrap_or(COLUMNS).max(COLUMNS_MIN)
}

/// A text of at most so many letters; a longer one ends with `…`, behind a whole word unless that would be less than half of it.
pub fn short(text: &str, letters_max: usize) -> Cow<'_, str> {
    let Some((end, _)) = text.char_indices().nth(letters_max) else { return text.into() };
    let last = text[..end].char_indices().next_back().map_or(0, |(at, _)| at);
    let kept = &text[..last];
    let is_whole = text[last..].starts_with(' ');
    let words = kept.rfind(' ').filter(|at| !is_whole && *at >= last / 2);
    format!("{}…", words.map_or(kept, |at| &kept[..at]).trim_end()).into()
}

/// A text whose lines are broken at words so that they fit, as far as a word does. Spaces within a line stay.
pub fn folded(text: &str, columns: Option<usize>) -> Cow<'_, str> {
    let Some(columns) = columns else { return text.into() };
    if text.lines().all(|line| letters(line) <= columns) {
        return text.into();
    }
    text.lines().map(|line| fold(line, columns)).collect::<Vec<_>>().join("\n").into()
}

fn fold(line: &str, columns: usize) -> String {
    let (mut folded, mut used) = (String::new(), 0);
    for (index, word) in line.split(' ').enumerate() {
        let wide = letters(word);
        if index > 0 && used + 1 + wide > columns && used > INDENT.len() {
            folded.truncate(folded.trim_end().len());
            folded += "\n";
            folded += INDENT;
            used = INDENT.len();
        } else if index > 0 {
            folded.push(' ');
            used += 1;
        }
        folded += word;
        used += wide;
    }
    folded
}

/// How many columns a text takes; what colours it takes none.
fn letters(text: &str) -> usize {
    let painted = text.split("\x1b[").skip(1).filter_map(|rest| rest.find('m'));
    text.chars().count() - painted.map(|end| end + 3).sum::<usize>()
}

/// Prints the one object of a result, or one of a stream, with the name and version of its form: `paracloud.move/v1`.
/// As [`say`].
pub fn say_object(of: &str, object: Value) -> bool {
    say(&formed(of, object))
}

/// The line that [`say_object`] prints.
pub fn formed(of: &str, mut object: Value) -> String {
    if let Value::Object(fields) = &mut object {
        fields.insert("schema".to_owned(), format!("paracloud.{of}/v1").into());
    }
    object.to_string()
}

/// Prints lines of a result for people, broken where a terminal ends. As [`say`].
pub fn say_words(text: &str) -> bool {
    say(&folded(text, columns_of_stdout()))
}

/// Prints a line of a result. `false`: it could not be, and nothing more needs to be said. A reader that went away
/// (`| head`) ends the command quietly; what else keeps a line from being written is kept for [`unwritten`].
pub fn say(line: &str) -> bool {
    let mut out = io::stdout().lock();
    let written = writeln!(out, "{line}").and_then(|()| out.flush());
    written.inspect_err(missed).is_ok()
}

/// The first error, but for readers that went away, with which standard output did not take what was said.
static UNWRITTEN: OnceLock<String> = OnceLock::new();

/// Takes note of an error of standard output.
pub fn missed(error: &io::Error) {
    if error.kind() != io::ErrorKind::BrokenPipe {
        UNWRITTEN.get_or_init(|| error.to_string());
    }
}

/// Why what this command said did not arrive, if so.
pub fn unwritten() -> Option<&'static str> {
    UNWRITTEN.get().map(String::as_str)
}

/// Prints a line beside the result: progress, warnings.
pub fn tell(line: &str) {
    // Nobody to tell is no failure of the command.
    let stderr = io::stderr();
    let line = folded(line, columns(&stderr));
    let _ = writeln!(stderr.lock(), "{line}");
}

/// Rows under headings, two spaces between columns, no space at the end of a line.
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    table_within(headings, rows, None)
}

/// The same in so many columns, as far as the headings leave room: the widest cells are shortened.
pub fn table_within(headings: &[&str], rows: &[Vec<String>], columns: Option<usize>) -> String {
    let width = |text: &str| text.chars().count();
    let mut widths: Vec<usize> = (0..headings.len())
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| width(cell));
            cells.chain([width(headings[column])]).max().unwrap_or(0).min(CELL_LETTERS_MAX)
        })
        .collect();
    let gaps = 2 * headings.len().saturating_sub(1);
    while let Some(columns) = columns
        && widths.iter().sum::<usize>() + gaps > columns
    {
        let can_shrink = |(column, wide): &(usize, &mut usize)| **wide > width(headings[*column]);
        let widest = widths.iter_mut().enumerate().filter(can_shrink).max_by_key(|(_, wide)| **wide);
        let Some((_, widest)) = widest else { break };
        *widest -= 1;
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (cell, wide) in cells.zip(&widths) {
            let cell = short(cell, *wide);
            text += &cell;
            text.extend(std::iter::repeat_n(' ', wide.saturating_sub(width(&cell)) + 2));
        }
        text.trim_end().to_owned()
    };
    let mut lines = vec![line(&mut headings.iter().copied())];
    lines.extend(rows.iter().map(|row| line(&mut row.iter().map(String::as_str))));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_as_wide_as_its_cells_and_leaves_no_space_at_the_end() {
        let rows = vec![vec!["sessions".to_owned(), "n1".to_owned()], vec!["a".to_owned(), String::new()]];
        assert_eq!(table(&["APP", "NODE"], &rows), "APP       NODE\nsessions  n1\na");
    }

    #[test]
    fn a_table_that_is_too_wide_has_its_widest_cells_shortened() {
        let row = |app: &str, node: &str| vec![app.to_owned(), node.to_owned(), "serving".to_owned()];
        let rows = vec![row(&"a".repeat(5_000), "n1"), row("web", "n2")];
        let shown = table_within(&["APP", "NODE", "IS"], &rows, Some(40));
        assert!(shown.lines().all(|line| line.chars().count() <= 40), "{shown}");
        assert!(shown.contains("aaaaa…  n1    serving\nweb "), "{shown}");
        let anywhere = table(&["APP", "NODE", "IS"], &rows);
        assert!(anywhere.lines().all(|line| line.chars().count() <= 80), "{anywhere}");
        assert_eq!(
            table_within(&["APP", "NODE", "IS"], &rows, Some(1)).lines().next(),
            Some("APP  NODE  IS")
        );
    }

    #[test]
    fn what_is_too_long_is_shortened_at_a_word_or_else_between_letters() {
        assert_eq!(short("sessions", 8), "sessions");
        assert_eq!(short("sessions", 7), "sessio…");
        assert_eq!(short("costs less than web.2", 19), "costs less than…");
        assert_eq!(short("costs less than web.2", 16), "costs less than…");
        assert_eq!(short("no aaaaaaaaaaaaaaaaa", 9), "no aaaaa…", "that would be too little");
        assert_eq!(short("é è ê", 4), "é è…");
        assert_eq!(short("ab", 0), "…");
    }

    #[test]
    fn lines_are_broken_at_words_where_a_terminal_ends_and_nowhere_else() {
        let text = "error: web: it holds on to its place for another two minutes\nnext: ask again";
        assert_eq!(folded(text, None), text);
        let shown = folded(text, Some(30));
        assert_eq!(
            shown,
            "error: web: it holds on to its\n  place for another two\n  minutes\nnext: ask again"
        );
        let word = "/a/path/that/is/longer/than/the/line";
        assert_eq!(folded(&format!("see {word} now"), Some(20)), format!("see\n  {word}\n  now"));
        assert_eq!(folded(word, Some(20)), word, "a word is not broken");
        let painted = format!("{} {}", Paint(true).bad("error:"), "a".repeat(13));
        assert_eq!(folded(&painted, Some(20)), painted, "colours take no room");
    }

    #[test]
    fn a_terminal_is_as_wide_as_columns_says_or_as_it_says_itself() {
        assert_eq!(
            [wide(Some("120"), Some(90)), wide(Some("many"), Some(90)), wide(None, None)],
            [120, 90, 80]
        );
        assert_eq!(
            [wide(Some("0"), None), wide(None, Some(0)), wide(Some("3"), None)],
            [80, 80, COLUMNS_MIN]
        );
    }

    #[test]
    fn every_object_names_its_form() {
        let object = serde_json::json!({ "ok": true, "instance": "web" });
        assert_eq!(formed("move", object), r#"{"instance":"web","ok":true,"schema":"paracloud.move/v1"}"#);
    }

    #[test]
    fn without_colour_a_text_is_itself() {
        assert_eq!(Paint::PLAIN.bad("error:"), "error:");
        assert_eq!(Paint(true).strong("next:"), "\x1b[1mnext:\x1b[0m");
    }
}
