//! What brands owe each other: sums over the same accounts that the ledger keeps,
//! between two points of its log.

pub(crate) mod grpc;
mod positions;

pub(crate) use positions::Settlement;
