//! What the three services have in common as servers.
//!
//! A service brings its routes, its database and its [`Operations`];
//! [`serve`] adds health, reflection, tracing, metrics, the feed status and
//! the test clock, and ends in order on SIGTERM.

mod clock;
mod coalesce;
pub mod config;
mod convert;
mod migrate;
mod observe;
mod operations;
mod programs;
mod rejection;
mod serve;
mod telemetry;

pub use clock::ServiceClock;
pub use convert::{from_wire_time, to_wire_time};
pub use migrate::migrate;
pub use operations::{ConsumedFeed, FeedStatus, Operations};
pub use programs::{NothingToApply, OnApply, ProgramNotFound, Programs, ProgramsError};
pub use rejection::{Rejection, Violations};
/// For the traits of this crate that services implement.
pub use tonic::async_trait;

pub use serve::{Served, Service, serve, shutdown_signal};
pub use telemetry::Telemetry;
