//! `cargo xtask model`: every choice there is, searched to the end, and walks through what is too large for that.

use crate::report::Report;
use anyhow::{Context, ensure};
use clap::Args;
use paracloud_sim::model::explorer::{Found, Order, Search, explore};
use paracloud_sim::model::walk::walk;
use paracloud_sim::model::{Configuration, Extent, Fate, MoveModel, is_fault};
use paracloud_sim::world::Action;
use serde_json::json;
use std::time::Instant;

/// Searches the model of a move.
#[derive(Args)]
pub(crate) struct Options {
    /// Only what is over within a minute.
    #[arg(long, conflicts_with = "config")]
    small: bool,
    /// Only these configurations.
    #[arg(long, value_name = "NAME")]
    config: Vec<String>,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Different states after which a search is given up, unfinished.
    #[arg(long, default_value_t = 500_000_000)]
    unique_max: u64,
    /// One thread, the oldest state first: what is found is found by a shortest path. Takes more memory.
    #[arg(long)]
    shortest: bool,
    /// Seed of the walks.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Last line: one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Searches what was asked for; prints a line for each configuration, and the path to what is broken.
///
/// # Errors
/// No such configuration.
#[expect(clippy::print_stdout, reason = "what was found is what the command is run for")]
pub(crate) fn run(options: &Options) -> anyhow::Result<Report> {
    let mut chosen = Configuration::all();
    let names: Vec<_> = chosen.iter().map(|it| it.name).collect();
    for name in &options.config {
        ensure!(
            names.contains(&name.as_str()),
            "no model is called {name:?}; there are {}",
            names.join(", ")
        );
    }
    chosen.retain(|it| {
        if options.config.is_empty() {
            it.is_small || !options.small
        } else {
            options.config.iter().any(|name| name == it.name)
        }
    });
    chosen.first().context("nothing to search")?;
    let mut ok = true;
    let mut configs = Vec::new();
    for configuration in chosen {
        let (name, extent) = (configuration.name, configuration.extent);
        let model = MoveModel::new(configuration);
        let began = Instant::now();
        let outcome = match extent {
            Extent::Walked { steps } => walk(&model, options.seed, steps, is_fault),
            Extent::Exhausted if options.shortest => {
                explore(&model, Search { order: Order::Breadth, threads: 1, unique_max: options.unique_max })
            }
            Extent::Exhausted => {
                let threads = options.threads;
                explore(&model, Search { order: Order::Depth, threads, unique_max: options.unique_max })
            }
        };
        let seconds = began.elapsed().as_secs_f64();
        let walked = extent != Extent::Exhausted;
        // A walk may miss what can happen; a search may not.
        let complete = walked || (outcome.exhausted && outcome.missing.is_empty());
        ok &= complete && outcome.violations.is_empty();
        println!(
            "{name:<22} {} states {:>10}  unique {:>9}  depth {:>4}  {seconds:>6.1} s  missing {:?}",
            if walked {
                "walked   "
            } else if outcome.exhausted {
                "exhausted"
            } else {
                "UNFINISHED"
            },
            outcome.states,
            outcome.unique,
            outcome.depth,
            outcome.missing,
        );
        outcome.violations.iter().for_each(show);
        configs.push(json!({
            "name": name,
            "states": outcome.states,
            "unique": outcome.unique,
            "exhausted": outcome.exhausted,
            "walked": walked,
            "sometimes_missing": outcome.missing,
            "seconds": seconds,
            "violations": outcome.violations.iter().map(|it| it.property).collect::<Vec<_>>(),
        }));
    }
    Ok(Report { schema: "model/1", ok, fields: json!({ "configs": configs }) })
}

/// The way to what is broken, one line an action.
#[expect(clippy::print_stdout, reason = "what was found is what the command is run for")]
fn show(found: &Found<(Action, Fate)>) {
    println!("does not hold: {}", found.property);
    for (step, (action, fate)) in found.path.iter().enumerate() {
        let fate = if *fate == Fate::Plain { String::new() } else { format!(" {fate:?}") };
        println!("  {step:>3}{fate} {action:?}");
    }
}
