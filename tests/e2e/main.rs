//! End-to-end tests: real services over real gRPC, each test with databases of
//! its own in a private Postgres, and a private Redis.

mod accidents;
mod contention;
mod figures;
mod harness;
mod manifests;
mod oracle;
mod refusals;
mod tampering;
mod telemetry;
