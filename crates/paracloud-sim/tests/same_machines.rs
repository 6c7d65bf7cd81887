//! The world has no machines of its own: what is tested here is what runs in production.

use paci::participant::Participant;
use paracloud_core::machine::Machine;
use paracloud_core::migration::agent::Agent;
use paracloud_core::migration::coordinator::Coordinator;
use paracloud_core::migration::gateway::Gateway;
use paracloud_core::migration::shim::Shim;
use paracloud_core::register::Mode;
use paracloud_sim::world::World;
use std::any::type_name;
use std::path::{Path, PathBuf};

/// A machine of the core, by its type.
fn machine<M: Machine>() -> &'static str {
    type_name::<M>()
}

#[test]
fn the_worlds_machines_are_the_cores() {
    let world = World::new(&paracloud_sim::model::setting(Mode::Handoff, 2, false), 1);
    let cores = [
        machine::<Coordinator>(),
        machine::<Agent>(),
        machine::<Gateway>(),
        machine::<Shim>(),
        type_name::<Participant>(),
    ];
    assert_eq!(world.machines(), cores);
}

/// The sources below a folder of the repository.
fn sources(folder: &str) -> std::io::Result<Vec<(PathBuf, String)>> {
    let mut files = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder)];
    let mut sources = Vec::new();
    while let Some(path) = files.pop() {
        if path.is_dir() {
            for entry in std::fs::read_dir(&path)? {
                files.push(entry?.path());
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path)?;
            sources.push((path, text));
        }
    }
    Ok(sources)
}

#[test]
fn the_world_drives_machines_through_the_one_trait() {
    let mut taken = 0;
    for (path, text) in sources("crates/paracloud-sim/src").unwrap() {
        taken += text.matches(".take(&").count();
        // The machines' own method has arguments; that of a record, which says how far it is, has none.
        assert!(!text.contains(".step(&"), "{} drives a machine past Machine::take", path.display());
    }
    assert!(taken >= 4, "four machines are driven, {taken} calls were found");
}

/// `Machine` is sealed in the core, and `Traced` holds nothing but a `Machine` and makes it itself: a shell with such a
/// field drives the core's machine of this name, or does not compile.
#[test]
fn the_shells_machines_are_the_cores() {
    let shells = [
        ("crates/paracloud-controller/src", "machine: Traced<Coordinator>,"),
        ("crates/paracloud-agent/src/node", "machine: Traced<Agent>,"),
        ("crates/paracloud-agent/src/shim", "machine: Traced<Shim>,"),
        ("crates/paracloud-gateway/src", "machine: Traced<Gateway>,"),
        ("sdk/rust/src", "participant: Participant,"),
    ];
    for (folder, field) in shells {
        let sources = sources(folder).unwrap();
        let count = |what: &str| sources.iter().map(|(_, text)| text.matches(what).count()).sum::<usize>();
        assert_eq!(count(field), 1, "{folder} holds no `{field}`");
        let driven = if field.contains("Traced") { ".machine.take(" } else { "self.participant." };
        assert!(count(driven) > 0, "{folder} holds a machine and does not drive it");
        // The contract's machine is no `Machine`, so its name could be another's.
        assert_eq!(count("struct Participant"), 0, "{folder} has a participant of its own");
    }
}
