//! A move as a person follows it: its events, its progress, its outcome.

pub mod history;
pub mod view;
