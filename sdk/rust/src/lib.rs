//! Makes a Rust program a participant of its cloud: guard, moved state, reply cache.
