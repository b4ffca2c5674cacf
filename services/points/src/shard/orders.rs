//! Order numbers: unique for their brand over all shards, though a batch writes
//! to one.
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

use std::collections::{BTreeMap, HashSet};

use fealty_postgres::{Database, DatabaseError};
use fealty_types::ShardId;
use futures::future::try_join_all;
use uuid::Uuid;

use super::{
    placement::Placement,
    store::{head, log, orders, rows::OrderRow},
};

/// How often a take-over is tried against others who claim the same order.
const TAKE_OVERS_MAX: u32 = 5;

/// Keeps order numbers unique.
#[derive(Clone, Debug)]
pub(crate) struct Orders {
    /// Not the lanes' connections: a batch holds one of those while it claims.
    database: Database,
    placement: Placement,
}

impl Orders {
    pub(crate) fn new(database: Database, placement: Placement) -> Self {
        Self {
            database,
            placement,
        }
    }

    /// Where the shards lie.
    pub(crate) fn placement(&self) -> Placement {
        self.placement
    }

    /// Claims the orders of a batch that is about to be written, where that has to
    /// be done before; answers with those that are another's.
    pub(crate) async fn claim(
        &self,
        member_shard: ShardId,
        rows: &[OrderRow],
    ) -> Result<Vec<OrderRow>, DatabaseError> {
        if self.placement == Placement::OneNode || rows.is_empty() {
            return Ok(Vec::new());
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
            orders::claim(self.database.pool(), *shard, rows, member_shard, claim)
        });
        let claimed: HashSet<Uuid> = try_join_all(claims).await?.into_iter().flatten().collect();
        let taken = rows.iter().filter(|row| !claimed.contains(&row.order_key));
        Ok(taken.copied().collect())
    }

    /// Of these orders, which another batch seemed to have taken, those that are
    /// recorded. The others are free for the one who asks, or nobody's.
    pub(crate) async fn recorded(
        &self,
        member_shard: ShardId,
        rows: &[OrderRow],
    ) -> Result<Vec<Uuid>, DatabaseError> {
        if self.placement == Placement::OneNode {
            let keys: Vec<Uuid> = rows.iter().map(|row| row.order_key).collect();
            return orders::recorded(self.database.pool(), &keys).await;
        }
        let mut recorded = Vec::new();
        for row in rows {
            if self.is_recorded(member_shard, row).await? {
                recorded.push(row.order_key);
            }
        }
        Ok(recorded)
    }

    /// Whether an order is recorded; if it is only claimed, it is taken over.
    async fn is_recorded(
        &self,
        member_shard: ShardId,
        row: &OrderRow,
    ) -> Result<bool, DatabaseError> {
        let pool = self.database.pool();
        let shard = ShardId::new(u8::try_from(row.shard).unwrap_or_default());
        for _ in 0..TAKE_OVERS_MAX {
            let Some(holder) = orders::holder(pool, shard, row.order_key).await? else {
                return Ok(false);
            };
            let (of, request) = (holder.member_shard, holder.request_key);
            if (of, request) == (member_shard, row.request_key) {
                return Ok(false);
            }
            if log::by_request(pool, of, request).await?.is_some() {
                return Ok(true);
            }
            head::move_fence(pool, of).await?;
            if log::by_request(pool, of, request).await?.is_some() {
                return Ok(true);
            }
            let claim = Uuid::now_v7();
            if orders::take_over(pool, row, holder.claim, member_shard, claim).await? {
                return Ok(false);
            }
        }
        Err(DatabaseError::Contended(
            "an order is claimed again and again",
        ))
    }
}
