//! Members' wallets: changes, balances, statements, lots, gifts, and what falls
//! due.
//!
//! A change goes through the lane of its member's shard; only a gift to another
//! member, which is in two logs, locks their heads itself. A read advances its
//! wallet in memory, so that it never shows what fell due as if it had not.

mod activation;
mod backfills;
mod balance;
mod ends;
mod failure;
mod gift;
pub(crate) mod grpc;
mod history;
mod holds;
mod lots;
pub(crate) mod overview;
mod past;
mod personal;
mod service;
mod sweeper;
mod which;

pub(crate) use failure::Failure;
pub(crate) use history::By;
pub(crate) use service::{Change, Ledger};
pub(crate) use which::Which;
