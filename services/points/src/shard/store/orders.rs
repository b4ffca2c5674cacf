//! Order numbers that have been recorded.

use fealty_postgres::DatabaseError;
use fealty_types::{Position, ShardId, TransactionName};
use sqlx::PgExecutor;
use uuid::Uuid;

use super::members::corrupt;

/// The constraint that refuses an order number for the second time.
pub(crate) const CONSTRAINT: &str = "orders_pkey";

/// The transaction that recorded an order.
pub(crate) async fn transaction(
    executor: impl PgExecutor<'_>,
    key: Uuid,
) -> Result<Option<TransactionName>, DatabaseError> {
    let row = sqlx::query!(
        "-- transaction
        SELECT shard, position FROM orders WHERE order_key = $1",
        key,
    )
    .fetch_optional(executor)
    .await?;
    row.map(|row| {
        let shard = u8::try_from(row.shard).map_err(|_| corrupt("a shard"))?;
        Ok(TransactionName {
            shard: ShardId::new(shard),
            position: Position::new(row.position),
        })
    })
    .transpose()
}
