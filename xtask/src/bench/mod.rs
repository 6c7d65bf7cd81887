//! `cargo xtask bench …`: figures, each beside its control in the same run.

mod clients;
mod moving;
mod pauses;
mod restart;
mod self_tests;

use crate::report::Report;
use anyhow::Result;

/// What to measure.
#[derive(clap::Subcommand)]
pub(crate) enum Bench {
    /// The pause of a live move under load.
    Move(moving::Options),
}

impl Bench {
    pub(crate) fn is_json(&self) -> bool {
        match self {
            Self::Move(options) => options.json,
        }
    }
}

/// Measures.
pub(crate) fn run(bench: &Bench) -> Result<Report> {
    match bench {
        Bench::Move(options) => moving::run(options),
    }
}

/// The middle of some figures, the greater of two.
fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

fn greatest(figures: &[f64]) -> f64 {
    figures.iter().copied().fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one_and_of_none_there_is_none() {
        assert!((median(vec![9.0, 1.0, 5.0]) - 5.0).abs() < f64::EPSILON);
        assert!(median(Vec::new()).is_nan());
    }
}
