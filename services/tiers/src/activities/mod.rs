//! Sensitive activities: what happens to members and belongs into no log that is kept for ever.
//!
//! They stand in one table, from which they can be deleted. Nothing of them goes into a feed,
//! into a log line, or into the audit log, which is told who recorded, read or deleted for whom,
//! and how many.

mod activity;
pub(crate) mod grpc;
mod service;
mod store;

pub(crate) use service::Activities;
