//! The heads of the shards' logs.

use fealty_ledger::{
    Entry, Stamp,
    canonical::{self, Chain},
};
use fealty_postgres::{DatabaseError, PgConnection, PgTime, StoredRow, from_pg};
use fealty_types::{Position, ShardId, Timestamp};
use sqlx::PgExecutor;
use uuid::Uuid;

use super::{rows::TransactionRow, stored};
use crate::shard::currencies::currencies_of;

/// The end of a shard's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The last position; 0 for an empty log.
    pub(crate) position: Position,
    /// The chain there.
    pub(crate) chain: Chain,
    /// Members that have a number.
    pub(crate) members: i64,
    /// How often orders were taken over from batches of the shard.
    pub(crate) fence: i64,
    /// When the last transaction was written; what comes is not written before.
    pub(crate) written_at: Timestamp,
}

impl Head {
    /// What transactions written now are stamped with.
    pub(crate) fn stamp(&self, now: Timestamp) -> Stamp {
        Stamp {
            written_at: self.written_at.max(now),
            seed: rand::random(),
        }
    }
}

impl Head {
    /// Moves it on over an entry; answers with the entry's row.
    pub(crate) fn append(
        &mut self,
        entry: &Entry,
        member_no: Option<i64>,
        request_key: Option<Uuid>,
    ) -> TransactionRow {
        let body = canonical::encode(entry);
        self.chain = canonical::chain(&self.chain, &body);
        self.position = entry.position();
        self.written_at = entry.written_at();
        TransactionRow {
            position: self.position.get(),
            member_no,
            request_key,
            body,
            chain: self.chain.to_vec(),
            currencies: currencies_of(entry),
        }
    }
}

struct Row {
    position: i64,
    chain: Vec<u8>,
    members: i64,
    fence: i64,
    written_at: PgTime,
}

impl Row {
    fn into_head(self, shard: ShardId) -> Result<Head, DatabaseError> {
        let chain = self.chain.try_into().ok();
        Ok(Head {
            position: Position::new(self.position),
            chain: StoredRow::of("shards", shard).check("chain", chain)?,
            members: self.members,
            fence: self.fence,
            written_at: from_pg(self.written_at),
        })
    }
}

/// Locks a shard until the transaction ends, and reads its head.
pub(crate) async fn lock_head(
    connection: &mut PgConnection,
    shard: ShardId,
) -> Result<Head, DatabaseError> {
    let row = sqlx::query_as!(
        Row,
        "-- points.head.lock
        SELECT position, chain, members, fence, written_at FROM shards WHERE shard = $1 FOR UPDATE",
        stored(shard),
    )
    .fetch_one(connection)
    .await?;
    row.into_head(shard)
}

/// Reads the head of a shard.
pub(crate) async fn head(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
) -> Result<Head, DatabaseError> {
    let row = sqlx::query_as!(
        Row,
        "-- points.head.read
        SELECT position, chain, members, fence, written_at FROM shards WHERE shard = $1",
        stored(shard),
    )
    .fetch_one(executor)
    .await?;
    row.into_head(shard)
}

/// The last position of every shard, in their order, and the chain there. Each is right by
/// itself; over several nodes they are not of one moment.
pub(crate) async fn ends(
    executor: impl PgExecutor<'_>,
) -> Result<Vec<(i64, Chain)>, DatabaseError> {
    let rows = sqlx::query!(
        "-- points.heads.ends\nSELECT shard, position, chain FROM shards ORDER BY shard"
    )
    .fetch_all(executor)
    .await?;
    rows.into_iter()
        .map(|row| {
            let chain = row.chain.try_into().ok();
            let chain = StoredRow::of("shards", row.shard).check("chain", chain)?;
            Ok((row.position, chain))
        })
        .collect()
}

/// Keeps batches that have read a shard's head before from writing.
pub(crate) async fn move_fence(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
) -> Result<(), DatabaseError> {
    sqlx::query!(
        "-- points.head.move_fence\nUPDATE shards SET fence = fence + 1 WHERE shard = $1",
        stored(shard),
    )
    .execute(executor)
    .await?;
    Ok(())
}

/// What one instance at a time does in a shard: by a lock of the database, whose first number
/// it is.
#[derive(Clone, Copy, Debug)]
#[repr(i32)]
pub(crate) enum Sweep {
    /// Writing what is due.
    Due = 7351,
    /// Looking at claims of referrals.
    Referrals = 7352,
}

/// Takes the right to sweep a shard until the transaction ends; `false` if
/// another instance has it.
pub(crate) async fn try_sweep(
    connection: &mut PgConnection,
    sweep: Sweep,
    shard: ShardId,
) -> Result<bool, DatabaseError> {
    let row = sqlx::query!(
        r#"-- points.sweep.try_lock
        SELECT pg_try_advisory_xact_lock($2, $1) AS "taken!",
               -- It is kept for as long as the sweep takes, and nothing is said meanwhile.
               set_config('idle_in_transaction_session_timeout', '0', true)"#,
        i32::from(shard.get()),
        sweep as i32,
    )
    .fetch_one(connection)
    .await?;
    Ok(row.taken)
}
