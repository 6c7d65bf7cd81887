//! Tables whose last column is a reason: it is what a reader looks for, so it is never cut.

use super::{COLUMNS, table_within};

/// Columns before what is continued.
const UNDER: usize = 4;

/// Rows under headings, each with its reason as the last cell: behind the row where that fits, else in lines of its own below
/// it. `columns`: as wide as that, or as a page if nobody says.
pub fn table_with_why(headings: &[&str], rows: &[Vec<String>], columns: Option<usize>) -> String {
    let columns = columns.unwrap_or(COLUMNS);
    let Some((heading, headings)) = headings.split_last() else { return String::new() };
    let cells: Vec<_> = rows.iter().map(|row| row.iter().take(headings.len()).cloned().collect()).collect();
    let table = table_within(headings, &cells, Some(columns));
    let whys = rows.iter().map(|row| row.get(headings.len()).map_or("", String::as_str));
    let wide = table.lines().map(|row| row.chars().count()).max().unwrap_or(0);
    let lines = table.lines().zip([*heading].into_iter().chain(whys)).map(|(row, why)| {
        let line = format!("{row:<wide$}  {why}");
        let line = line.trim_end();
        if line.chars().count() <= columns {
            return line.to_owned();
        }
        format!("{row}\n{}", broken(&format!("{:UNDER$}{why}", ""), UNDER, columns))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A line broken at words, with the rest under a column.
pub fn broken(line: &str, under: usize, columns: usize) -> String {
    let mut text = String::new();
    let mut used = 0;
    for (index, word) in line.split(' ').enumerate() {
        let wide = word.chars().count();
        if index > 0 && used + 1 + wide > columns && used > under {
            text.truncate(text.trim_end().len());
            text.push('\n');
            text.push_str(&" ".repeat(under));
            used = under;
        } else if index > 0 {
            text.push(' ');
            used += 1;
        }
        text.push_str(word);
        used += wide;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_stands_behind_its_row_or_whole_below_it_and_a_page_is_as_wide_as_80_columns() {
        let row = |who: &str, why: &str| vec![who.to_owned(), "stays".to_owned(), why.to_owned()];
        let long = "worker.2: it holds on to its place for 40.0 s: the end of the month is written, and nobody may \
                    stop that";
        let rows = [row("worker.1", "costs less"), row("worker.2", long), row("worker.3", "")];
        let shown = table_with_why(&["WHO", "IS", "WHY"], &rows, None);
        insta::assert_snapshot!(shown);
        let narrow = table_with_why(&["WHO", "IS", "WHY"], &rows, Some(30));
        for (shown, columns) in [(shown, 80), (narrow, 30)] {
            assert!(shown.lines().all(|line| line.chars().count() <= columns), "{shown}");
            let words = shown.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(words.contains(long), "nothing of it is cut: {shown}");
        }
    }
}
