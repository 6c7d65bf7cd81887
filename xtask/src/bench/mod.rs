//! `cargo xtask bench …`: figures, each beside its control in the same run.

mod balance;
mod clients;
mod feed;
mod gateway;
mod moving;
mod nginx;
mod pauses;
mod processor;
mod restart;
mod scale;
mod self_tests;
mod table;

use crate::report::Report;
use anyhow::Result;

/// What to measure.
#[derive(clap::Subcommand)]
pub(crate) enum Bench {
    /// The pause of a live move under load.
    Move(moving::Options),
    /// What a request costs a gateway, beside nginx.
    Gateway(gateway::Options),
    /// What clients see of instances that are not alike, by the rule after which a gateway chooses.
    Balance(balance::Options),
    /// What clients see of a step of load, by who decides how many instances there are.
    Scale(scale::Options),
}

/// Measures.
pub(crate) fn run(bench: &Bench) -> Result<Report> {
    match bench {
        Bench::Move(options) => moving::run(options),
        Bench::Gateway(options) => gateway::run(options),
        Bench::Balance(options) => balance::run(options),
        Bench::Scale(options) => scale::run(options),
    }
}

/// The median (`…_p50`): the middle one of an odd number of figures, the mean of the two in the middle of an even number,
/// and of none there is none.
fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let (lower, upper) = (figures.len().saturating_sub(1) / 2, figures.len() / 2);
    match (figures.get(lower), figures.get(upper)) {
        (Some(lower), Some(upper)) => f64::midpoint(*lower, *upper),
        (None, _) | (_, None) => f64::NAN,
    }
}

fn greatest(figures: &[f64]) -> f64 {
    figures.iter().copied().fold(0.0, f64::max)
}

#[expect(clippy::print_stdout, reason = "what a measurement shows while it runs")]
fn say(line: &str) {
    println!("{line}");
}

/// Two digits behind the point are enough for people.
fn round2(figure: f64) -> f64 {
    (figure * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one_or_the_mean_of_two_and_of_none_there_is_none() {
        for (figures, middle) in [
            (vec![7.0], 7.0),
            (vec![9.0, 2.0], 5.5),
            (vec![9.0, 1.0, 5.0], 5.0),
            (vec![8.0, 1.0, 9.0, 2.0], 5.0),
        ] {
            assert!((median(figures.clone()) - middle).abs() < f64::EPSILON, "{figures:?}");
        }
        assert!(median(Vec::new()).is_nan());
    }
}
