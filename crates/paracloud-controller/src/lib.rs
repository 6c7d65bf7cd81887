//! The control shell: register, journal, operations.

pub mod store;
