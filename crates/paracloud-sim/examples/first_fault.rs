//! Runs seeds or a model only until something is wrong: `first_fault sim FROM SEEDS`, `first_fault model NAME`.
//!
//! It exits with 1 at the first seed that breaks a rule or does not come to rest, or at the first property of the
//! model that does not hold, and says which; with 0 if nothing is wrong; with 2 if it cannot be run so. It stands
//! for itself, so that a change of the machines is tried with little to build.

use paracloud_sim::model::explorer::{Order, Outcome, Search, explore};
use paracloud_sim::model::walk::walk;
use paracloud_sim::model::{Configuration, Extent, Fate, MoveModel, is_fault};
use paracloud_sim::simulation::run;
use paracloud_sim::world::Action;
use std::process::ExitCode;

/// Different states after which a search is given up.
const UNIQUE_MAX: u64 = 20_000_000;
/// Threads of a search.
const THREADS: usize = 2;

/// What was found, or that nothing was.
enum Found {
    Nothing,
    Fault(String),
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let found = match arguments.as_slice() {
        ["sim", from, seeds] => match (from.parse(), seeds.parse()) {
            (Ok(from), Ok(seeds)) => Ok(in_seeds(from, seeds)),
            (Err(error), _) | (_, Err(error)) => Err(format!("sim FROM SEEDS wants two numbers: {error}")),
        },
        ["model", name] => in_model(name),
        _ => Err("want: sim FROM SEEDS, or: model NAME".to_owned()),
    };
    match found {
        Ok(Found::Nothing) => ExitCode::SUCCESS,
        Ok(Found::Fault(what)) => {
            say(&what);
            ExitCode::FAILURE
        }
        Err(why) => {
            say(&why);
            ExitCode::from(2)
        }
    }
}

fn in_seeds(from: u64, seeds: u64) -> Found {
    for seed in from..from.saturating_add(seeds) {
        let run = run(seed, false);
        if let Some(violation) = run.violations.first() {
            return Found::Fault(format!("seed {seed}: {}: {}", violation.rule, violation.what));
        }
        if let Some(why) = run.unconverged {
            return Found::Fault(format!("seed {seed}: I5: {why}"));
        }
    }
    Found::Nothing
}

fn in_model(name: &str) -> Result<Found, String> {
    let configurations = Configuration::all();
    let known: Vec<_> = configurations.iter().map(|it| it.name).collect();
    let known = known.join(", ");
    let configuration = configurations.into_iter().find(|it| it.name == name);
    let configuration =
        configuration.ok_or_else(|| format!("no model is called {name:?}; there are {known}"))?;
    let extent = configuration.extent;
    let model = MoveModel::new(configuration);
    let outcome = match extent {
        Extent::Exhausted => {
            explore(&model, Search { order: Order::Depth, threads: THREADS, unique_max: UNIQUE_MAX }, &|| {
                false
            })
        }
        Extent::Walked(walks) => walk(&model, 1, walks, is_fault, || false),
    };
    Ok(verdict(&model, extent, &outcome))
}

fn verdict(model: &MoveModel, extent: Extent, outcome: &Outcome<(Action, Fate)>) -> Found {
    let name = model.configuration().name;
    if let Some(violation) = outcome.violations.first() {
        let length = violation.path.len();
        let property = violation.property;
        let why = model.faults_after(&violation.path).into_iter().map(|why| format!(": {why}"));
        let why: String = why.collect();
        return Found::Fault(format!("model {name}: {property}: does not hold after {length} steps{why}"));
    }
    // A walk may miss what can happen; a search may not.
    match (extent, outcome.missing.first()) {
        (Extent::Exhausted, Some(missing)) => Found::Fault(format!("model {name}: never seen: {missing}")),
        (Extent::Exhausted, None) if !outcome.exhausted => {
            Found::Fault(format!("model {name}: not exhausted after {UNIQUE_MAX} states"))
        }
        (Extent::Exhausted | Extent::Walked(_), _) => Found::Nothing,
    }
}

#[expect(clippy::print_stdout, reason = "what was found is what the program is run for")]
fn say(line: &str) {
    println!("{line}");
}
