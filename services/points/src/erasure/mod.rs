//! Deleting what is personal of a member, wherever it stands beside the log.

pub(crate) mod grpc;
mod service;

pub(crate) use service::Erasure;
