//! Every shard's log, from a cursor on: what other services and partners
//! follow. Each log is without gaps and in the order of its commits, so a cursor
//! is one position for each shard.

mod filter;
mod watch;

pub(crate) use filter::Filter;
pub(crate) use watch::{Feed, Watched};
