//! The one way into a shard's log: a lane for each shard.
//!
//! [`Lanes`] finds the lane of a member's shard. `run` is the lane: it takes
//! all that waits. `batch` is what it then does: `read` in `shard`, `decide`
//! here (with `tiers`, `ends` and `backfills`), `write` in `shard`. What was committed is told to the cache and the
//! feed by `publish`, before its callers are answered.

mod backfills;
mod batch;
mod cache;
mod decide;
mod ends;
mod job;
mod lanes;
mod lease;
mod permits;
mod publish;
mod recorded;
mod run;
mod tiers;

pub(crate) use backfills::DueBackfill;
pub(crate) use cache::{BalanceCache, tail};
pub(crate) use decide::same_request;
pub(crate) use ends::{DueEnd, Open, Standing, write_all};
pub(crate) use job::Work;
pub(crate) use lanes::{LaneSettings, Lanes};
pub(crate) use publish::Publisher;
pub(crate) use recorded::{entry, is_recorded, principal};
