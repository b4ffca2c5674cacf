//! Adjustments that two persons decide: one proposes, another approves.
//!
//! A proposal is a row here, and moves nothing. Approving it sends the adjustment
//! through the member's lane under a request id made of the proposal's id, so that it is
//! made once, whoever approves and whatever dies on the way. Between the row's
//! `approving` and its `approved` the log is what tells whether it was made.

pub(crate) mod grpc;
mod proposal;
mod service;
mod store;

pub(crate) use service::Adjustments;
