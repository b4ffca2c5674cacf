//! The statements over a shard's log and books, a file for each group of tables.
//!
//! Statements of a batch look rows up by `unnest(…) CROSS JOIN LATERAL (… LIMIT
//! 1)`: a point look-up whatever the planner believes of a young table. A join
//! to the array may read the whole shard instead.

pub(crate) mod batch_read;
pub(crate) mod batch_write;
pub(crate) mod counters;
pub(crate) mod ends;
pub(crate) mod head;
pub(crate) mod holds;
pub(crate) mod installation;
pub(crate) mod leases;
pub(crate) mod log;
pub(crate) mod lots;
pub(crate) mod marks;
pub(crate) mod members;
pub(crate) mod orders;
pub(crate) mod personal;
pub(crate) mod referrals;
pub(crate) mod returns;
pub(crate) mod reversals;
pub(crate) mod rows;
pub(crate) mod tier_changes;
pub(crate) mod versions;
pub(crate) mod wallets;

use fealty_types::ShardId;

/// A shard's number as stored.
pub(crate) fn stored(shard: ShardId) -> i16 {
    i16::from(shard.get())
}
