//! What each move cost, a row a move.

/// The heads of the columns.
pub(super) fn heading() -> String {
    aligned(["move", "parked ms", "answered ms", "total ms", "gap ms", "control ms", "requests/s"])
}

/// A move: the milliseconds that it took, that its requests were parked and waited for an answer, the longest gaps that
/// a client saw in it and in its control, and the requests that were answered each second.
pub(super) fn row(
    name: &str,
    total_ms: u64,
    [parked, answered, gap, control]: [f64; 4],
    per_s: f64,
) -> String {
    aligned([
        name,
        &format!("{parked:.2}"),
        &format!("{answered:.2}"),
        &total_ms.to_string(),
        &format!("{gap:.1}"),
        &format!("{control:.1}"),
        &format!("{per_s:.0}"),
    ])
}

fn aligned([name, parked, answered, total, gap, control, per_s]: [&str; 7]) -> String {
    format!("{name:<9} {parked:>10} {answered:>12} {total:>10} {gap:>9} {control:>11} {per_s:>11}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::COLUMNS;

    #[test]
    fn figures_end_below_their_heads_within_a_terminal() {
        let (heads, row) = (heading(), row("run 100", 300_000, [30_000.0; 4], 100_000.0));
        assert!(row.len() <= COLUMNS, "{row}");
        let ends = |line: &str| {
            let letters = line.as_bytes().windows(2).enumerate();
            letters
                .filter(|(_, pair)| pair[0] != b' ' && pair[1] == b' ')
                .map(|(at, _)| at)
                .collect::<Vec<_>>()
        };
        for end in ends(&row).into_iter().skip(2) {
            assert!(ends(&heads).contains(&end), "{heads}\n{row}");
        }
        assert_eq!(heads.len(), row.len());
    }
}
