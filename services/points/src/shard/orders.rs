//! Order numbers: unique for their brand over all shards, though a batch writes
//! to one. Ids of activities go the same way: here they are orders too.
//!
//! An order's row lies in a shard that follows from its key. Where all shards lie
//! on one node, a batch's own statement writes the rows, and a unique index refuses
//! what another batch has recorded.
//!
//! On several nodes that would be a transaction over all of them for every batch.
//! There an order is **claimed** before its batch is written, with the key of the
//! request that is to record it: a statement for each shard that an order lies in,
//! each a transaction of its own. It is recorded once that request's transaction is
//! in the member's log. So a claim may come to nothing, where an instance broke off
//! in between, and then another purchase may take it over. What must not happen is
//! that the first batch, slow but alive, writes all the same:
//!
//! 1. A batch reads the head of its shard, and then claims. Each attempt claims
//!    under a name of its own, also what it has claimed before.
//! 2. It writes only if the head's **fence** is where it read it.
//! 3. Whoever takes over an order first moves the fence of the shard it is claimed
//!    for, then looks whether that request is in its log, and, if it is not, takes
//!    the order only from the claim that it has seen before it moved the fence.
//!
//! A batch that claimed before the fence moved cannot write. One that read the head
//! after it claims anew, so either its claim comes first and the order is not taken,
//! or it finds that the order is another's. Nobody holds a lock while waiting for
//! another's.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use fealty_ledger::{Cause, Transaction};
use fealty_postgres::{Database, DatabaseError};
use fealty_types::ShardId;
use futures::future::{join_all, try_join_all};
use uuid::Uuid;

use super::{
    keys::recorded_key,
    placement::Placement,
    shards::Shards,
    store::{
        head, log,
        orders::{self, Holder},
        rows::OrderRow,
    },
};

/// How often a take-over is tried against others who claim the same order.
const TAKE_OVERS_MAX: u32 = 5;
/// How long a claim may take: the batch, and whoever is in it, waits for it.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(3);

/// What became of the claims of a batch.
#[derive(Debug, Default)]
pub(crate) struct Claimed {
    /// Orders that are another's.
    pub(crate) taken: Vec<OrderRow>,
    /// Orders whose node did not answer.
    pub(crate) unreachable: Vec<Uuid>,
}

/// Keeps order numbers unique.
#[derive(Clone, Debug)]
pub(crate) struct Orders {
    /// Connections that nobody has who waits for a head.
    database: Database,
    shards: Shards,
}

impl Orders {
    pub(crate) fn new(database: Database, shards: Shards) -> Self {
        Self { database, shards }
    }

    /// The shards that it keeps them in.
    pub(crate) fn shards(&self) -> Shards {
        self.shards
    }

    /// Claims the orders of a batch that is about to be written, where that has to
    /// be done before.
    pub(crate) async fn claim(&self, member_shard: ShardId, rows: &[OrderRow]) -> Claimed {
        let mut result = Claimed::default();
        if self.shards.placement() == Placement::OneNode || rows.is_empty() {
            return result;
        }
        let claim = Uuid::now_v7();
        let mut by_shard: BTreeMap<i16, Vec<OrderRow>> = BTreeMap::new();
        for row in rows {
            by_shard.entry(row.shard).or_default().push(*row);
        }
        // In one order, so that two batches with the same ones wait for each other.
        for rows in by_shard.values_mut() {
            rows.sort_unstable();
        }
        let claims = by_shard.iter().map(|(shard, rows)| {
            let claiming = orders::claim(self.database.pool(), *shard, rows, member_shard, claim);
            tokio::time::timeout(CLAIM_TIMEOUT, claiming)
        });
        for (rows, claimed) in by_shard.values().zip(join_all(claims).await) {
            match claimed {
                Ok(Ok(claimed)) => {
                    let claimed: HashSet<Uuid> = claimed.into_iter().collect();
                    let taken = rows.iter().filter(|row| !claimed.contains(&row.order_key));
                    result.taken.extend(taken);
                }
                // Another node's orders are no reason to keep everybody else waiting.
                failed => {
                    tracing::debug!(?failed, "orders were not claimed");
                    let keys = rows.iter().map(|row| row.order_key);
                    result.unreachable.extend(keys);
                }
            }
        }
        result
    }

    /// Of these orders, which another batch seemed to have taken, those that are
    /// recorded. The others are free for the one who asks, or nobody's.
    pub(crate) async fn recorded(
        &self,
        member_shard: ShardId,
        rows: &[OrderRow],
    ) -> Result<Vec<Uuid>, DatabaseError> {
        if self.shards.placement() == Placement::OneNode {
            let keys: Vec<Uuid> = rows.iter().map(|row| row.order_key).collect();
            let written = self.written(&keys).await?;
            if !written.is_empty() {
                return Ok(written);
            }
            // Claims are in the way, of a time when orders were claimed.
        }
        let looks = rows.iter().map(async |row| {
            let recorded = self.is_recorded(member_shard, row).await?;
            Ok::<_, DatabaseError>(recorded.then_some(row.order_key))
        });
        Ok(try_join_all(looks).await?.into_iter().flatten().collect())
    }

    /// Of these orders, those that a batch has recorded with its own statement, in
    /// one look; only where all shards lie on one node.
    pub(crate) async fn written(&self, keys: &[Uuid]) -> Result<Vec<Uuid>, DatabaseError> {
        orders::written(self.database.pool(), keys).await
    }

    /// Whether an order is recorded; if it is only claimed, the claim is taken over,
    /// or, where orders are not claimed, ended.
    async fn is_recorded(
        &self,
        member_shard: ShardId,
        row: &OrderRow,
    ) -> Result<bool, DatabaseError> {
        let pool = self.database.pool();
        let shard = ShardId::new(u8::try_from(row.shard).unwrap_or_default());
        let claims = self.shards.placement() == Placement::Distributed;
        for _ in 0..TAKE_OVERS_MAX {
            let Some(holder) = orders::holder(pool, shard, row.order_key).await? else {
                return Ok(false);
            };
            let own = (holder.member_shard, holder.request_key) == (member_shard, row.request_key);
            if own && claims {
                return Ok(false);
            }
            if self.has_written(&holder, row).await? {
                return Ok(true);
            }
            head::move_fence(pool, holder.member_shard).await?;
            if self.has_written(&holder, row).await? {
                return Ok(true);
            }
            let claim = Uuid::now_v7();
            let freed = if claims {
                orders::take_over(pool, row, holder.claim, member_shard, claim).await?
            } else {
                orders::end_claim(pool, row, holder.claim).await?
            };
            if freed {
                return Ok(false);
            }
        }
        Err(DatabaseError::Contended(
            "an order is claimed again and again",
        ))
    }

    /// Whether the request that holds an order has recorded that order.
    async fn has_written(&self, holder: &Holder, row: &OrderRow) -> Result<bool, DatabaseError> {
        let (shard, request) = (holder.member_shard, holder.request_key);
        let known = log::by_request(self.database.pool(), shard, request).await?;
        let Some(known) = known else {
            return Ok(false);
        };
        // A request that failed may have come again with another order.
        Ok(order_of(&known.transaction()?) == Some(row.order_key))
    }
}

/// The key of the order or activity that a transaction records.
fn order_of(transaction: &Transaction) -> Option<Uuid> {
    let Cause::Request { command, facts, .. } = &transaction.cause else {
        return None;
    };
    recorded_key(&transaction.program, command, facts.as_ref())
}
