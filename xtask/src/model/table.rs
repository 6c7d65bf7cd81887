//! What came of each configuration, a row each.

use paracloud_sim::model::explorer::Outcome;

/// What the columns mean, for below them.
pub(super) const LEGEND: &str = "\
unique: different states; depth: the longest path. I5 in: so many states were
healed, and all had to come to rest. exhausted: there is no other state; walked:
paths taken at random; UNFINISHED: given up before its end.";

/// The heads of the columns.
pub(super) fn heading() -> String {
    aligned(["model", "", "states", "unique", "depth", "s", "MiB", "I5 in"])
}

/// A configuration: how far it came, what was found, the seconds and the memory it took, and the states that were healed.
pub(super) fn row<A>(
    name: &str,
    how: &str,
    outcome: &Outcome<A>,
    seconds: f64,
    peak_mib: u64,
    healed: u64,
) -> String {
    let figure = |number: &dyn std::fmt::Display| number.to_string();
    let (states, unique, depth) = (figure(&outcome.states), figure(&outcome.unique), figure(&outcome.depth));
    aligned([
        name,
        how,
        &states,
        &unique,
        &depth,
        &format!("{seconds:.1}"),
        &figure(&peak_mib),
        &figure(&healed),
    ])
}

fn aligned([name, how, states, unique, depth, seconds, mib, healed]: [&str; 8]) -> String {
    format!("{name:<18} {how:<10} {states:>10} {unique:>9} {depth:>5} {seconds:>6} {mib:>6} {healed:>9}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::COLUMNS;
    use paracloud_sim::model::Configuration;

    #[test]
    fn the_largest_search_of_any_configuration_fits_a_terminal() {
        let outcome = Outcome::<()> {
            states: 9_999_999_999,
            unique: 500_000_000,
            exhausted: false,
            depth: 400,
            violations: Vec::new(),
            examples: Vec::new(),
            missing: Vec::new(),
        };
        for configuration in Configuration::all() {
            let row = row(configuration.name, "UNFINISHED", &outcome, 900.0, 16 * 1024, 500_000_000);
            assert!(row.len() <= COLUMNS, "{row}");
            assert_eq!(row.len(), heading().len());
        }
        assert!(LEGEND.lines().all(|line| line.len() <= COLUMNS));
    }
}
