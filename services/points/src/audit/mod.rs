//! What auditors ask: accounts at any point of the log, signed checkpoints, and
//! the proof that the books are what the log makes.
//!
//! It reads and never writes. `verify` needs no service to run.

mod accounts;
pub mod checkpoint;
pub(crate) mod grpc;
mod service;
pub mod signer;
mod store;
pub mod verify;

pub(crate) use service::Audit;
