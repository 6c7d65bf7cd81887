//! How results are printed: for people or for programs, with or without colour, in tables that fit 80 columns.

use clap::ValueEnum;
use std::io::{IsTerminal, Write};

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
        Self(std::io::stdout().is_terminal() && wanted())
    }

    /// For standard error: on a terminal, and unless `NO_COLOR` is set.
    pub fn of_stderr() -> Self {
        Self(std::io::stderr().is_terminal() && wanted())
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

/// Prints a line of a result. A reader that went away (`| head`) ends the command quietly: `false`.
pub fn say(line: &str) -> bool {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).is_ok()
}

/// Prints a line beside the result: progress, warnings.
pub fn tell(line: &str) {
    // Nobody to tell is no failure of the command.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Rows under headings, two spaces between columns, no space at the end of a line.
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let width = |text: &str| text.chars().count();
    let widths: Vec<usize> = (0..headings.len())
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| width(cell));
            cells.chain([width(headings[column])]).max().unwrap_or(0)
        })
        .collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (cell, wide) in cells.zip(&widths) {
            text += cell;
            text.extend(std::iter::repeat_n(' ', wide.saturating_sub(width(cell)) + 2));
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
    fn without_colour_a_text_is_itself() {
        assert_eq!(Paint::PLAIN.bad("error:"), "error:");
        assert_eq!(Paint(true).strong("next:"), "\x1b[1mnext:\x1b[0m");
    }
}
