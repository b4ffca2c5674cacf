//! The log.

use std::collections::{HashMap, HashSet};

use fealty_ledger::{
    Entry, Notice, Transaction,
    canonical::{self, CHAIN_START, Chain},
};
use fealty_postgres::{DatabaseError, StoredRow};
use fealty_types::{CurrencyId, Mark, Position, ShardId};
use sqlx::PgExecutor;
use uuid::Uuid;

use super::{rows::SeenRow, stored};
use crate::shard::currencies::currency_bit;

/// An entry as stored.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Its place in the log.
    pub(crate) position: i64,
    /// Number of the member; none for a notice.
    pub(crate) member_no: Option<i64>,
    /// Key of the request that made it.
    pub(crate) request_key: Option<Uuid>,
    /// Its canonical bytes.
    pub(crate) body: Vec<u8>,
    /// The chain after it.
    pub(crate) chain: Vec<u8>,
    /// A bit for each currency whose wallet it touched.
    pub(crate) currencies: i16,
}

impl Row {
    /// What its canonical bytes say.
    pub(crate) fn entry(&self) -> Result<Entry, DatabaseError> {
        let row = StoredRow::of("transactions", self.position);
        row.check("body", canonical::decode(&self.body).ok())
    }

    /// The transaction that it is: one that was found by its member or its request.
    pub(crate) fn transaction(&self) -> Result<Transaction, DatabaseError> {
        let row = StoredRow::of("transactions", self.position);
        row.check("body", self.entry()?.into_transaction())
    }
}

impl SeenRow {
    /// What its canonical bytes say.
    pub(crate) fn transaction(&self) -> Result<Transaction, DatabaseError> {
        let row = StoredRow::of("transactions", self.request_key);
        let entry = canonical::decode(&self.body).ok();
        row.check("body", entry.and_then(Entry::into_transaction))
    }
}

/// The transaction that a request has made.
pub(crate) async fn by_request(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
    key: Uuid,
) -> Result<Option<Row>, DatabaseError> {
    let row = sqlx::query_as!(
        Row,
        "-- points.log.by_request
        SELECT position, member_no, request_key, body, chain, currencies FROM transactions
        WHERE shard = $1 AND request_key = $2",
        stored(shard),
        key,
    )
    .fetch_optional(executor)
    .await?;
    Ok(row)
}

/// A part of a log, as far as it says who was written to.
#[derive(Debug)]
pub(crate) struct Since {
    /// The chain where the part begins; none at the beginning of the log, or where
    /// there is no such transaction.
    pub(crate) chain: Option<Chain>,
    /// Members that were written to after it, by number.
    pub(crate) members: HashSet<i64>,
}

/// To whom a log was written after a position and through another.
pub(crate) async fn members_since(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
    after: Position,
    through: Position,
) -> Result<Since, DatabaseError> {
    let rows = sqlx::query!(
        "-- points.log.members_since
        SELECT position, member_no, CASE WHEN position = $2 THEN chain END AS chain
        FROM transactions WHERE shard = $1 AND position >= $2 AND position <= $3",
        stored(shard),
        after.get(),
        through.get(),
    )
    .fetch_all(executor)
    .await?;
    let mut since = Since {
        chain: None,
        members: HashSet::new(),
    };
    for row in rows {
        match row.chain {
            Some(chain) => since.chain = chain.try_into().ok(),
            None => since.members.extend(row.member_no),
        }
    }
    Ok(since)
}

/// The notices after a position.
pub(crate) async fn notices_after(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
    after: Position,
) -> Result<Vec<Notice>, DatabaseError> {
    let rows = sqlx::query_as!(
        Row,
        "-- points.log.notices_after
        SELECT position, member_no, request_key, body, chain, currencies FROM transactions
        WHERE shard = $1 AND position > $2 AND member_no IS NULL ORDER BY position",
        stored(shard),
        after.get(),
    )
    .fetch_all(executor)
    .await?;
    let mut notices = Vec::new();
    for row in rows {
        if let Entry::Notice(notice) = row.entry()? {
            notices.push(notice);
        }
    }
    Ok(notices)
}

/// The transaction at a position, if what stands there is one.
pub(crate) async fn transaction_at(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
    position: Position,
) -> Result<Option<Row>, DatabaseError> {
    let row = at(executor, shard, position).await?;
    Ok(row.filter(|row| row.member_no.is_some()))
}

/// The entry at a position.
pub(crate) async fn at(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
    position: Position,
) -> Result<Option<Row>, DatabaseError> {
    let row = sqlx::query_as!(
        Row,
        "-- points.log.at
        SELECT position, member_no, request_key, body, chain, currencies FROM transactions
        WHERE shard = $1 AND position = $2",
        stored(shard),
        position.get(),
    )
    .fetch_optional(executor)
    .await?;
    Ok(row)
}

/// The chains after the entries at some positions; nothing for one that there is not.
pub(crate) async fn chains(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
    positions: &[i64],
) -> Result<HashMap<i64, Chain>, DatabaseError> {
    let rows = sqlx::query!(
        "-- points.log.chains
        SELECT position, chain FROM transactions WHERE shard = $1 AND position = ANY($2)",
        stored(shard),
        positions,
    )
    .fetch_all(executor)
    .await?;
    let rows = rows.into_iter();
    Ok(rows
        .filter_map(|row| Some((row.position, row.chain.try_into().ok()?)))
        .collect())
}

/// By what the transaction at a position is known again; there is none at 0.
pub(crate) async fn mark_at(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
    position: Position,
) -> Result<Mark, DatabaseError> {
    if position.get() == 0 {
        return Ok(Mark::of(&CHAIN_START));
    }
    let row = at(executor, shard, position).await?;
    let row = row.ok_or(DatabaseError::Broken("a log has no gaps"))?;
    Ok(Mark::of(&row.chain))
}

/// The first entry of a part of a log whose chain does not fit its bytes and the chain before
/// it. The part begins with the entry at `from`, or with the log.
pub(crate) async fn first_unchained(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
    from: Position,
    through: Position,
) -> Result<Option<Position>, DatabaseError> {
    let found = sqlx::query_scalar!(
        r#"-- points.log.first_unchained
        SELECT position AS "position!" FROM (
            SELECT position, chain, sha256(
                coalesce(lag(chain) OVER (ORDER BY position), decode(repeat('00', 32), 'hex'))
                || body
            ) AS expected
            FROM transactions WHERE shard = $1 AND position >= $2 AND position <= $3
        ) checked
        WHERE chain <> expected AND (position > $2 OR $2 = 0)
        ORDER BY position LIMIT 1"#,
        stored(shard),
        from.get(),
        through.get(),
    )
    .fetch_optional(executor)
    .await?;
    Ok(found.map(Position::new))
}

/// What stands beside the bodies of a shard's entries after a position and through another,
/// in order.
pub(crate) async fn columns(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
    after: Position,
    through: Position,
) -> Result<Vec<(Option<i64>, Option<Uuid>, i16)>, DatabaseError> {
    let rows = sqlx::query!(
        "-- points.log.columns
        SELECT member_no, request_key, currencies FROM transactions
        WHERE shard = $1 AND position > $2 AND position <= $3 ORDER BY position",
        stored(shard),
        after.get(),
        through.get(),
    )
    .fetch_all(executor)
    .await?;
    let rows = rows.into_iter();
    Ok(rows
        .map(|row| (row.member_no, row.request_key, row.currencies))
        .collect())
}

/// Reads a log on from `after`, oldest first.
pub(crate) async fn read(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
    after: Position,
    limit: i64,
) -> Result<Vec<Row>, DatabaseError> {
    let rows = sqlx::query_as!(
        Row,
        "-- points.log.read
        SELECT position, member_no, request_key, body, chain, currencies FROM transactions
        WHERE shard = $1 AND position > $2 ORDER BY position LIMIT $3",
        stored(shard),
        after.get(),
        limit,
    )
    .fetch_all(executor)
    .await?;
    Ok(rows)
}

/// Reads a log on from `after`, oldest first, until the entries' bytes come to
/// `bytes_max`; one at least.
pub(crate) async fn read_within(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
    after: Position,
    limit: i64,
    bytes_max: i64,
) -> Result<Vec<Row>, DatabaseError> {
    let rows = sqlx::query_as!(
        Row,
        r#"-- points.log.read_within
        SELECT position AS "position!", member_no, request_key, body AS "body!",
               chain AS "chain!", currencies AS "currencies!"
        FROM (
            SELECT position, member_no, request_key, body, chain, currencies,
                   sum(octet_length(body)) OVER (ORDER BY position) AS bytes
            FROM transactions WHERE shard = $1 AND position > $2 ORDER BY position LIMIT $3
        ) part
        WHERE bytes <= $4 OR bytes = octet_length(body) ORDER BY position"#,
        stored(shard),
        after.get(),
        limit,
        bytes_max,
    )
    .fetch_all(executor)
    .await?;
    Ok(rows)
}

/// Reads the last of a member's transactions in a stretch that have a currency's bit, newest
/// first: all of the currency's wallet are among them, and few others.
pub(crate) async fn touching(
    executor: impl PgExecutor<'_>,
    (shard, member_no): (ShardId, i64),
    currency: &CurrencyId,
    (after, through): (Position, Position),
    limit: i64,
) -> Result<Vec<Row>, DatabaseError> {
    let rows = sqlx::query_as!(
        Row,
        "-- points.log.touching
        SELECT position, member_no, request_key, body, chain, currencies FROM transactions
        WHERE shard = $1 AND member_no = $2 AND position > $3 AND position <= $4
          AND currencies & $5 <> 0
        ORDER BY position DESC LIMIT $6",
        stored(shard),
        member_no,
        after.get(),
        through.get(),
        currency_bit(currency),
        limit,
    )
    .fetch_all(executor)
    .await?;
    Ok(rows)
}

/// Reads a member's transactions on from `after`, oldest first.
pub(crate) async fn page_on(
    executor: impl PgExecutor<'_>,
    (shard, member_no): (ShardId, i64),
    after: Position,
    limit: i64,
) -> Result<Vec<Row>, DatabaseError> {
    let rows = sqlx::query_as!(
        Row,
        "-- points.log.page_on
        SELECT position, member_no, request_key, body, chain, currencies FROM transactions
        WHERE shard = $1 AND member_no = $2 AND position > $3
        ORDER BY position LIMIT $4",
        stored(shard),
        member_no,
        after.get(),
        limit,
    )
    .fetch_all(executor)
    .await?;
    Ok(rows)
}

/// Reads a member's transactions back from before `before`, newest first.
pub(crate) async fn page(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
    member_no: i64,
    before: Position,
    limit: i64,
) -> Result<Vec<Row>, DatabaseError> {
    let rows = sqlx::query_as!(
        Row,
        "-- points.log.page
        SELECT position, member_no, request_key, body, chain, currencies FROM transactions
        WHERE shard = $1 AND member_no = $2 AND position < $3
        ORDER BY position DESC LIMIT $4",
        stored(shard),
        member_no,
        before.get(),
        limit,
    )
    .fetch_all(executor)
    .await?;
    Ok(rows)
}
