//! What is printed for people fits a terminal of [`COLUMNS`] columns.

/// Columns of a terminal as it is opened.
pub(crate) const COLUMNS: usize = 80;

/// A text behind its lead, broken between words at [`COLUMNS`]; what is broken off goes on below its beginning. A word
/// that is too long for any line stays whole, and so does whatever comes after the first line: that is what another
/// program printed.
pub(crate) fn hung(lead: &str, text: &str) -> String {
    let (text, rest) = text.split_once('\n').map_or((text, None), |(text, rest)| (text, Some(rest)));
    let indent = width(lead);
    let mut all = lead.to_owned();
    let mut column = indent;
    for word in text.split_whitespace() {
        let space = usize::from(column > indent);
        if column > indent && column + space + width(word) > COLUMNS {
            all.push('\n');
            all.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        } else if space == 1 {
            all.push(' ');
            column += 1;
        }
        all.push_str(word);
        column += width(word);
    }
    if let Some(rest) = rest {
        all.push('\n');
        all.push_str(rest);
    }
    all
}

/// Columns that a text takes on one line.
fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_goes_on_below_its_beginning_and_loses_no_word() {
        let text = "four words – and more ".repeat(20);
        let hung = hung("lead: ", &text);
        assert!(hung.lines().count() > 1 && hung.lines().all(|line| width(line) <= COLUMNS), "{hung}");
        assert!(hung.lines().skip(1).all(|line| line.starts_with("      ") && !line.starts_with("       ")));
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&hung)[1..], words(&text));
    }

    #[test]
    fn a_line_is_filled_to_its_last_column() {
        let text = format!("{} {}", "a".repeat(40), "b".repeat(COLUMNS - 43));
        assert_eq!(hung("> ", &text), format!("> {text}"));
        assert_eq!(hung(">> ", &text).lines().count(), 2);
    }

    #[test]
    fn a_word_without_end_and_what_another_program_printed_stay_as_they_are() {
        let word = "w".repeat(COLUMNS);
        assert_eq!(hung("> ", &word), format!("> {word}"));
        let printed = format!("it said:\n  {}   aligned", "word ".repeat(30));
        assert_eq!(hung("> ", &printed), format!("> {printed}"));
    }
}
