//! One binary: the command line, and every shell.
//!
//! | | |
//! |---|---|
//! | [`cli`] | what can be typed |
//! | [`manifest`] | from YAML to the resolved cloud |
//! | [`up`] | a cloud in a directory: supervises the shells, leaves nothing behind |
//! | [`command`] | every other command of a person |
//! | [`moving`] | a move as a person follows it |
//! | [`client`] | talking to the controller |
//! | [`shells`], [`log`] | the shells as subcommands, and the hidden ones of a process; where they log |
//! | [`processes`] | what runs in a directory, seen from outside |
//! | [`held`], [`losses`] | what ends with the processes that run, and that it ended so |
//! | [`telling`], [`figures`], [`output`], [`failure`] | how things are said |

pub mod cli;
pub mod client;
pub mod command;
pub mod demo;
pub mod failure;
pub mod figures;
pub mod held;
pub mod log;
pub mod losses;
pub mod manifest;
pub mod moving;
pub mod output;
pub mod processes;
pub mod quantity;
pub mod shells;
pub mod telling;
pub mod up;
