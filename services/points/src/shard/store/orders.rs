//! Order numbers that have been recorded or claimed. Each lies in a shard of its
//! own, which follows from its key; `super::super::orders` has the protocol.

use fealty_postgres::{DatabaseError, StoredRow};
use fealty_types::ShardId;
use sqlx::PgExecutor;
use uuid::Uuid;

use super::{rows::OrderRow, stored};

/// The constraint that refuses an order number for the second time.
pub(crate) const CONSTRAINT: &str = "orders_pkey";

/// Whose an order is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    /// The shard of the member whose purchase it is.
    pub(crate) member_shard: ShardId,
    /// Key of the request that records it.
    pub(crate) request_key: Uuid,
    /// The attempt that claimed it last; none where it was never claimed.
    pub(crate) claim: Option<Uuid>,
}

/// Whose an order is, if it is anybody's.
pub(crate) async fn holder(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
    key: Uuid,
) -> Result<Option<Holder>, DatabaseError> {
    let row = sqlx::query!(
        "-- points.orders.holder
        SELECT member_shard, request_key, claim FROM orders WHERE shard = $1 AND order_key = $2",
        stored(shard),
        key,
    )
    .fetch_optional(executor)
    .await?;
    row.map(|row| {
        let member_shard = u8::try_from(row.member_shard).ok();
        let order = StoredRow::of("orders", key);
        Ok(Holder {
            member_shard: ShardId::new(order.check("member_shard", member_shard)?),
            request_key: row.request_key,
            claim: row.claim,
        })
    })
    .transpose()
}

/// Of these orders, those that a batch has recorded with its own statement; only
/// where all shards lie on one node, for it looks at all of them.
pub(crate) async fn written(
    executor: impl PgExecutor<'_>,
    keys: &[Uuid],
) -> Result<Vec<Uuid>, DatabaseError> {
    let keys = sqlx::query_scalar!(
        r#"-- points.orders.written
        SELECT o.order_key AS "order_key!"
        FROM unnest($1::uuid[]) AS asked (key)
        CROSS JOIN LATERAL (
            SELECT order_key, claim FROM orders WHERE order_key = asked.key LIMIT 1
        ) o
        WHERE o.claim IS NULL"#,
        keys,
    )
    .fetch_all(executor)
    .await?;
    Ok(keys)
}

/// Claims orders that lie in one shard for purchases of members of another;
/// answers with those that are claimed, for they were nobody's or its own.
pub(crate) async fn claim(
    executor: impl PgExecutor<'_>,
    shard: i16,
    orders: &[OrderRow],
    member_shard: ShardId,
    claim: Uuid,
) -> Result<Vec<Uuid>, DatabaseError> {
    let claimed = sqlx::query_file_scalar!(
        "src/shard/store/sql/claim_orders.sql",
        shard,
        stored(member_shard),
        orders as &[OrderRow],
        claim,
    )
    .fetch_all(executor)
    .await?;
    Ok(claimed)
}

/// Takes an order over from a claim that came to nothing; `false` if it has been
/// claimed anew.
pub(crate) async fn take_over(
    executor: impl PgExecutor<'_>,
    order: &OrderRow,
    from: Option<Uuid>,
    member_shard: ShardId,
    claim: Uuid,
) -> Result<bool, DatabaseError> {
    let done = sqlx::query!(
        "-- points.orders.take_over
        UPDATE orders SET member_shard = $4, request_key = $5, claim = $6
        WHERE shard = $1 AND order_key = $2 AND claim IS NOT DISTINCT FROM $3",
        order.shard,
        order.order_key,
        from,
        stored(member_shard),
        order.request_key,
        claim,
    )
    .execute(executor)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Ends a claim that came to nothing; `false` if it has been claimed anew.
pub(crate) async fn end_claim(
    executor: impl PgExecutor<'_>,
    order: &OrderRow,
    claim: Option<Uuid>,
) -> Result<bool, DatabaseError> {
    let done = sqlx::query!(
        "-- points.orders.end_claim
        DELETE FROM orders
        WHERE shard = $1 AND order_key = $2 AND claim IS NOT DISTINCT FROM $3",
        order.shard,
        order.order_key,
        claim,
    )
    .execute(executor)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The requests that these orders of a shard are recorded for, each with the order's key.
pub(crate) async fn requests_of(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
    keys: &[Uuid],
) -> Result<Vec<(Uuid, Uuid)>, DatabaseError> {
    let rows = sqlx::query!(
        "-- points.orders.requests_of
        SELECT order_key, request_key FROM orders WHERE shard = $1 AND order_key = ANY ($2)",
        stored(shard),
        keys,
    )
    .fetch_all(executor)
    .await?;
    let rows = rows.into_iter();
    Ok(rows.map(|row| (row.order_key, row.request_key)).collect())
}

/// An order, and what it is recorded for.
#[derive(Debug)]
pub(crate) struct RecordedOrder {
    /// Its key.
    pub(crate) order: Uuid,
    /// The request's key.
    pub(crate) request: Uuid,
    /// The member's shard.
    pub(crate) shard: i16,
    /// Where the request's transaction stands; none while it is only claimed.
    pub(crate) position: Option<i64>,
}

/// The next orders after a key, but for those that are only claimed; only where all shards
/// lie on one node.
pub(crate) async fn with_transactions(
    executor: impl PgExecutor<'_>,
    after: Uuid,
    limit: i64,
) -> Result<Vec<RecordedOrder>, DatabaseError> {
    let rows = sqlx::query_as!(
        RecordedOrder,
        r#"-- points.orders.with_transactions
        SELECT o.order_key AS "order", o.request_key AS request, o.member_shard AS shard, (
            SELECT min(t.position) FROM transactions t
            WHERE t.request_key = o.request_key AND t.shard = o.member_shard
        ) AS position
        FROM orders o WHERE o.order_key > $1 AND o.claim IS NULL
        ORDER BY o.order_key LIMIT $2"#,
        after,
        limit,
    )
    .fetch_all(executor)
    .await?;
    Ok(rows)
}
