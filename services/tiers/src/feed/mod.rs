//! The service's own log, changes of tier in their order, from a cursor on.

pub(crate) mod store;
mod watch;

pub(crate) use watch::{Feed, Watched, with_tiers};
