//! What the three services have in common as servers.
//!
//! A service brings its routes, its database and its [`Operations`];
//! [`serve`] puts one layer before them that says who calls and whether it may,
//! adds health, reflection, tracing, metrics, the feed status, the audit log and
//! the test clock, and ends in order on SIGTERM. A handler reads its request by
//! [`Fields`], for its [`caller`].

mod attributes;
mod audit;
mod authenticate;
mod clock;
pub mod config;
mod connections;
mod convert;
mod feeds;
mod fields;
mod gate;
mod guarded;
mod health;
mod migrate;
mod not_found;
mod observe;
mod operations;
mod programs;
mod rates;
mod refusals;
mod rejection;
mod serve;
mod telemetry;

pub use attributes::to_wire_attributes;
pub use clock::{CLOCK_SKEW_MAX, ServiceClock, Sets};
pub use convert::{from_wire_time, to_wire_time};
pub use feeds::{HEARTBEAT, Start, WRITING_MAX};
pub use fields::{Fields, PlainField, caller};
pub use gate::audit_entry;
pub use health::{Trouble, Troubles};
pub use not_found::ProgramNotFound;
pub use operations::{ConsumedFeed, FeedStatus, Operations};
pub use programs::{Decider, NothingToApply, OnApply, Programs, ProgramsError};
pub use rejection::{Rejection, Violations};
/// For the traits of this crate that services implement.
pub use tonic::async_trait;

pub use serve::{REQUEST_LEN_MAX, ServeError, Served, Service, Serving, serve, shutdown_signal};
pub use telemetry::Telemetry;
