//! What is decided, as people read it: lines of 80 columns, each with a label.

use alloc::format;
use alloc::string::String;

/// Columns of a line.
pub(crate) const WIDTH: usize = 80;
/// Columns before the text of a line.
const LABEL: usize = 12;

/// Lines that were written.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) lines: String,
}

impl Page {
    /// The line above the others, broken at words.
    pub(crate) fn head(&mut self, text: &str) {
        self.broken(String::new(), 2, text);
    }

    /// A labelled line, broken at words.
    pub(crate) fn say(&mut self, label: &str, text: &str) {
        if text.is_empty() {
            return;
        }
        self.broken(format!("  {label:<LABEL$}", LABEL = LABEL - 2), LABEL, text);
    }

    /// What follows goes under this column.
    fn broken(&mut self, mut line: String, under: usize, text: &str) {
        let mut is_first = true;
        for word in text.split(' ') {
            if !is_first && line.chars().count() + 1 + word.chars().count() > WIDTH {
                self.lines.push_str(&line);
                self.lines.push('\n');
                line = " ".repeat(under);
                is_first = true;
            }
            if !is_first {
                line.push(' ');
            }
            if word.chars().count() > WIDTH - under {
                line.extend(word.chars().take(WIDTH - under - 1));
                line.push('…');
            } else {
                line.push_str(word);
            }
            is_first = false;
        }
        self.lines.push_str(&line);
        self.lines.push('\n');
    }
}

/// A count with its noun: `1 request`, `3 requests`.
pub fn counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// A length of time: `120 ms`, `4.2 s`, `2 m 05 s`, `3 h 10 m`.
pub(crate) fn time(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        60_000..3_600_000 => format!("{} m {:02} s", ms / 60_000, ms % 60_000 / 1_000),
        3_600_000..360_000_000 => format!("{} h {:02} m", ms / 3_600_000, ms % 3_600_000 / 60_000),
        360_000_000.. => "100 h+".into(),
    }
}
