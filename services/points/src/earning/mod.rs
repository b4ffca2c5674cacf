//! Purchases and activities: what they earn, what they would earn, what comes back, where a member stands, what
//! is left of budgets, and a history that is recorded over a stream. A purchase
//! goes the way of every change, through the lane; what it gives is decided in `plan`, and
//! a preview asks the same.

mod budgets;
pub(crate) mod grpc;
mod import;
mod preview;
mod record;
mod returns;
mod standing;
