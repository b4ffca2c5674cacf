//! Order numbers that have been recorded.

use fealty_postgres::{DatabaseError, PgConnection};
use fealty_types::ShardId;
use uuid::Uuid;

use super::stored;

/// Claims order numbers, and answers with those that were free. `keys` must be
/// sorted, so that two batches that claim the same ones wait for each other in
/// one order.
pub async fn claim(
    connection: &mut PgConnection,
    shard: ShardId,
    keys: &[Uuid],
) -> Result<Vec<Uuid>, DatabaseError> {
    let claimed = sqlx::query_scalar!(
        "-- claim
        INSERT INTO orders (order_key, shard) SELECT key, $1 FROM unnest($2::uuid[]) AS new (key)
        ON CONFLICT DO NOTHING RETURNING order_key",
        stored(shard),
        keys,
    )
    .fetch_all(connection)
    .await?;
    Ok(claimed)
}

/// Gives claimed order numbers back, whose purchases were refused.
pub async fn give_back(connection: &mut PgConnection, keys: &[Uuid]) -> Result<(), DatabaseError> {
    sqlx::query!(
        "-- give_back\nDELETE FROM orders WHERE order_key = ANY($1)",
        keys
    )
    .execute(connection)
    .await?;
    Ok(())
}
