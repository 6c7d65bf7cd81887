//! The mutants, by who makes the mistake.

mod advice;
mod agents;
mod application;
mod balancing;
mod coordinator;
mod copies;
mod crash;
mod fewer;
mod gateways;
mod http2;
mod leave;
mod lost;
mod register;
mod replacing;
mod scaling;
mod sdk;
mod shells;

use super::Mutant;
use super::catch::{Catch, Target};

/// All of them.
pub(super) fn all() -> Vec<Mutant> {
    let lists = [
        register::LIST,
        replacing::LIST,
        coordinator::LIST,
        copies::LIST,
        lost::LIST,
        agents::LIST,
        gateways::LIST,
        leave::LIST,
        fewer::LIST,
        scaling::LIST,
        balancing::LIST,
        http2::LIST,
        application::LIST,
        sdk::LIST,
        shells::LIST,
        advice::LIST,
        crash::LIST,
    ];
    lists.into_iter().flatten().copied().collect()
}

/// Noticed by the simulation, by one of these rules. The range is wide, because any change of the machines shuffles
/// what happens in which seed; most are over after a few.
const fn seeds(rules: &'static [&'static str]) -> Catch {
    Catch::Seeds { from: 0, count: 400, rules }
}

/// Noticed by a small model.
const fn model(name: &'static str, property: &'static str) -> Catch {
    Catch::Model { name, property }
}

/// Noticed by a test in a crate's own source.
const fn unit(package: &'static str, name: &'static str) -> Catch {
    Catch::Test { package, target: Target::Library, name }
}

/// Noticed by a test in the project's own commands.
const fn command(name: &'static str) -> Catch {
    Catch::Test { package: "xtask", target: Target::Binary, name }
}

/// Noticed by a test in a file of the crate's `tests`.
const fn test(package: &'static str, file: &'static str, name: &'static str) -> Catch {
    Catch::Test { package, target: Target::File(file), name }
}

/// Noticed by a test of the SDK that chooses how threads take turns.
const fn interleavings(name: &'static str) -> Catch {
    Catch::Test { package: "paracloud-sdk", target: Target::Shuttle("interleavings"), name }
}
