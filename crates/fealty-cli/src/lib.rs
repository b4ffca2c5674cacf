//! The `fealty` command, a module for each of its subcommands.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command speaks to people"
)]

pub mod apply;
pub mod audit;
pub mod bench;
pub mod demo;
pub mod dev;
pub mod endpoints;
mod figures;
pub mod import;
pub mod load;
pub mod member;
pub mod program;
pub mod program_file;
pub mod serve;
pub mod simulate;
pub mod token;
pub mod validate;
pub mod verify;
