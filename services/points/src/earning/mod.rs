//! Purchases: what they earn. A purchase goes the way of every change, through
//! the lane; what it gives is decided in `plan`.

pub(crate) mod grpc;
mod record;
