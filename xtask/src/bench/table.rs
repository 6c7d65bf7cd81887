//! What each move cost, a row a move.

/// The heads of the columns.
pub(super) fn heading() -> String {
    ["move", "parked ms", "answered ms", "total ms", "gap ms", "control ms", "requests/s"]
        .into_iter()
        .zip(WIDTHS)
        .map(|(head, width)| aligned(head, width))
        .collect::<String>()
}

/// A move: the milliseconds that it took, that its requests were parked and waited for an answer, the longest gaps that a
/// client saw in it and in its control, and the requests that were answered each second.
pub(super) fn row(
    name: &str,
    total_ms: u64,
    [parked, answered, gap, control]: [f64; 4],
    per_s: f64,
) -> String {
    let figures = [
        format!("{parked:.2}"),
        format!("{answered:.2}"),
        total_ms.to_string(),
        format!("{gap:.1}"),
        format!("{control:.1}"),
        format!("{per_s:.0}"),
    ];
    let cells = std::iter::once(name).chain(figures.iter().map(String::as_str));
    cells.zip(WIDTHS).map(|(text, width)| aligned(text, width)).collect()
}

/// Columns of each cell with the space before it; of the first one, behind it.
const WIDTHS: [usize; 7] = [10, 11, 13, 11, 10, 12, 12];

fn aligned(text: &str, width: usize) -> String {
    if width == WIDTHS[0] { format!("{text:<width$}") } else { format!("{text:>width$}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::COLUMNS;

    #[test]
    fn figures_stand_below_their_heads_within_a_terminal() {
        let row = row("run 100", 300_000, [30_000.0; 4], 100_000.0);
        assert_eq!(heading().len(), row.len());
        assert!(row.len() <= COLUMNS, "{row}");
    }
}
