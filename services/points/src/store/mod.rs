//! Every SQL statement of the points service, a file per group of tables. Only
//! `app` calls them.
//!
//! Statements of a batch look rows up by `unnest(…) CROSS JOIN LATERAL (… LIMIT
//! 1)`: a point look-up whatever the planner believes of a young table. A join
//! to the array may read the whole shard instead.

pub mod accounts;
pub mod batch_read;
pub mod batch_write;
pub mod holds;
pub mod log;
pub mod lots;
pub mod members;
pub mod orders;
pub mod reversals;
pub mod rows;
pub mod shards;
pub mod tiers;
pub mod wallets;

use fealty_types::ShardId;

/// A shard's number as stored.
fn stored(shard: ShardId) -> i16 {
    i16::from(shard.get())
}
