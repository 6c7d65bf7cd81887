//! `cargo xtask model`: every choice there is, searched to the end, and walks through what is too large for that.

mod limits;
mod table;

use crate::columns::hung;
use crate::report::Report;
use anyhow::{Context, ensure};
use clap::Args;
use limits::Limits;
use paracloud_sim::model::explorer::{Found, Order, Outcome, Search, explore};
use paracloud_sim::model::walk::walk;
use paracloud_sim::model::{Configuration, Extent, Fate, MoveModel, is_fault};
use paracloud_sim::world::Action;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU32, Ordering};

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
}

/// Searches what was asked for; prints a line for each configuration, and the path to what is broken.
///
/// # Errors
/// No such configuration, or the kernel does not say how much memory is in use.
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
    say(&table::heading());
    let mut ok = true;
    let mut configs = Vec::new();
    for configuration in chosen {
        let (is_ok, shown) = search(configuration, options)?;
        ok &= is_ok;
        configs.push(shown);
    }
    say(table::LEGEND);
    Ok(Report { ok, fields: json!({ "configs": configs }) })
}

#[expect(clippy::print_stdout, reason = "what was found is what the command is run for")]
fn say(line: &str) {
    println!("{line}");
}

/// Searches one configuration: whether all is well with it, and what is to be reported of it.
#[expect(clippy::print_stdout, reason = "what was found is what the command is run for")]
fn search(configuration: Configuration, options: &Options) -> anyhow::Result<(bool, Value)> {
    let (name, extent, one_in) = (configuration.name, configuration.extent, configuration.heal_every);
    let model = MoveModel::new(configuration);
    let limits = Limits::begin()?;
    // Asked after each walk.
    let walks_done = AtomicU32::new(0);
    let is_over = || {
        walks_done.fetch_add(1, Ordering::Relaxed);
        limits.are_reached()
    };
    let (order, threads) =
        if options.shortest { (Order::Breadth, 1) } else { (Order::Depth, options.threads) };
    let outcome = match extent {
        Extent::Walked(walks) => walk(&model, options.seed, walks, is_fault, is_over),
        Extent::Exhausted => {
            explore(&model, Search { order, threads, unique_max: options.unique_max }, &|| {
                limits.are_reached()
            })
        }
    };
    let (seconds, peak_mib) = (limits.seconds(), limits.peak_mib());
    let (walked, walks_done) = (extent != Extent::Exhausted, walks_done.into_inner());
    let complete = is_complete(extent, &outcome, walks_done);
    let healed = model.healed();
    let how = match extent {
        Extent::Walked(walks) if walks_done == walks.count => "walked",
        Extent::Exhausted if outcome.exhausted => "exhausted",
        Extent::Walked(_) | Extent::Exhausted => "UNFINISHED",
    };
    println!("{}", table::row(name, how, &outcome, seconds, peak_mib, healed));
    if let Some(limit) = limits.reached() {
        println!("{}", hung("  at its limit: ", limit));
    }
    if !outcome.missing.is_empty() {
        println!("{}", hung("  never seen: ", &outcome.missing.join(", ")));
    }
    outcome.violations.iter().for_each(|found| show(&model, found));
    let mut shown = json!({
        "name": name,
        "states": outcome.states,
        "unique": outcome.unique,
        "exhausted": outcome.exhausted,
        "i5_sampled_one_in": one_in,
        "i5_sampled": healed,
        "walked": walked,
        "sometimes_missing": outcome.missing,
        "seconds": seconds,
        "peak_mib": peak_mib,
        "limit": limits.reached(),
        "violations": outcome.violations.iter().map(|it| it.property).collect::<Vec<_>>(),
    });
    if let Extent::Walked(walks) = extent {
        shown["walks"] = json!({
            "seed": options.seed,
            "count": walks.count,
            "done": walks_done,
            "depth": walks.depth,
        });
    }
    Ok((complete && outcome.violations.is_empty(), shown))
}

/// Whether a configuration was looked at as far as it is to be. A walk may miss what can happen, a search may not.
fn is_complete<A>(extent: Extent, outcome: &Outcome<A>, walks_done: u32) -> bool {
    match extent {
        Extent::Walked(walks) => walks_done == walks.count,
        Extent::Exhausted => outcome.exhausted && outcome.missing.is_empty(),
    }
}

/// The way to what is broken, one line an action.
#[expect(clippy::print_stdout, reason = "what was found is what the command is run for")]
fn show(model: &MoveModel, found: &Found<(Action, Fate)>) {
    println!("does not hold: {}", found.property);
    for (step, (action, fate)) in found.path.iter().enumerate() {
        let fate = if *fate == Fate::Plain { String::new() } else { format!(" {fate:?}") };
        println!("  {step:>3}{fate} {action:?}");
    }
    for fault in model.faults_after(&found.path) {
        println!("  {fault}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paracloud_sim::model::walk::Walks;

    fn outcome(exhausted: bool, missing: Vec<&'static str>) -> Outcome<()> {
        let (violations, examples) = (Vec::new(), Vec::new());
        Outcome { states: 9, unique: 9, exhausted, depth: 3, violations, examples, missing }
    }

    #[test]
    fn a_walk_that_was_stopped_is_not_complete_and_one_that_missed_something_is() {
        let extent = Extent::Walked(Walks { count: 500, depth: 400 });
        let outcome = outcome(false, vec!["phase doom is reached"]);
        assert!(is_complete(extent, &outcome, 500));
        assert!(!is_complete(extent, &outcome, 499));
    }

    #[test]
    fn a_search_is_complete_at_its_end_if_it_missed_nothing() {
        assert!(is_complete(Extent::Exhausted, &outcome(true, Vec::new()), 0));
        assert!(!is_complete(Extent::Exhausted, &outcome(false, Vec::new()), 0));
        assert!(!is_complete(Extent::Exhausted, &outcome(true, vec!["phase doom is reached"]), 0));
    }
}
