//! End-to-end tests: real services over real gRPC, each test with databases of
//! its own in a private Postgres, and a private Redis.

mod accidents;
mod accounts;
mod balancing;
mod caching;
mod callers;
mod clients;
mod connections;
mod contention;
mod contracts;
mod crash;
mod dates;
mod distributed;
mod due;
mod feed;
mod figures;
mod harness;
mod hostile;
mod instance;
mod lanes;
mod ledger;
mod manifests;
mod networks;
mod oracle;
mod promises;
mod reads;
mod redemptions;
mod refunds;
mod refusals;
mod restores;
mod size;
mod stores;
mod tampering;
mod telemetry;
mod tiers;
mod versions;
