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
use std::path::Path;

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

#[test]
fn the_world_drives_machines_through_the_one_trait() {
    let mut files = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut taken = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        taken += text.matches(".take(&").count();
        // The machines' own method has arguments; that of a record, which says how far it is, has none.
        assert!(!text.contains(".step(&"), "{} drives a machine past Machine::take", path.display());
        assert!(!text.contains("impl Machine for"), "{} has a machine of its own", path.display());
    }
    assert!(taken >= 4, "four machines are driven, {taken} calls were found");
}
