//! The world the machines are tested in.
//!
//! [`world`] holds every party of one instance's moves; [`simulation`] drives it with virtual time, dice and faults;
//! [`model`] drives it with every choice there is. Both run the machines of `paracloud-core` and `paci` themselves:
//! there is no second description of the protocol. [`elastic`] is another world: an app of many instances under load,
//! whose number `paracloud-core` decides, or one of the [`peers`].

pub mod application;
pub mod elastic;
mod gate;
pub mod heal;
pub mod ledger;
pub mod model;
pub mod peers;
pub mod simulation;
pub mod world;
