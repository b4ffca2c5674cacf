//! Purchases: what they earn, what they would earn, what comes back, and where a member stands. A purchase
//! goes the way of every change, through the lane; what it gives is decided in `plan`, and
//! a preview asks the same.

pub(crate) mod grpc;
mod preview;
mod record;
mod returns;
mod standing;
