//! Adjustments that two persons decide: one proposes, another approves.
//!
//! A proposal is a row here, and moves nothing. Approving locks the head of the member's
//! shard and the row, makes the adjustment, and writes log and row in one transaction:
//! it is made once, whoever approves and whatever dies on the way. Rejecting locks the
//! row. So the row never says other than the log.

pub(crate) mod grpc;
mod proposal;
mod service;
mod store;

pub(crate) use service::Adjustments;
pub(crate) use store::erase;
