//! What has been reversed of transactions.

use fealty_ledger::Reversal;
use fealty_postgres::{DatabaseError, PgConnection, StoredRow};
use fealty_types::{Position, ShardId};
use sqlx::PgExecutor;

use super::{holds::parts, stored};

/// What has been reversed of a transaction.
pub(crate) async fn of(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
    transaction: Position,
) -> Result<Option<Reversal>, DatabaseError> {
    let row = sqlx::query!(
        "-- points.reversals.of
        SELECT lots, points FROM reversals WHERE shard = $1 AND position = $2",
        stored(shard),
        transaction.get(),
    )
    .fetch_optional(executor)
    .await?;
    let key = StoredRow::of("reversals", transaction);
    let parts = row
        .map(|row| parts(&key, row.lots, row.points))
        .transpose()?;
    Ok(parts.map(|parts| Reversal { parts }))
}

/// All reversals of a shard: the member's number, the transaction, and what
/// has been reversed of it.
pub(crate) async fn of_shard(
    connection: &mut PgConnection,
    shard: ShardId,
) -> Result<Vec<(i64, Position, Reversal)>, DatabaseError> {
    let rows = sqlx::query!(
        "-- points.reversals.of_shard
        SELECT member_no, position, lots, points FROM reversals WHERE shard = $1",
        stored(shard),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let key = StoredRow::of("reversals", row.position);
            let parts = parts(&key, row.lots, row.points)?;
            let reversal = Reversal { parts };
            Ok((row.member_no, Position::new(row.position), reversal))
        })
        .collect()
}

/// The places of all transactions of a shard of which something was reversed or returned.
pub(crate) async fn named(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
) -> Result<Vec<Position>, DatabaseError> {
    let positions = sqlx::query_scalar!(
        r#"-- points.reversals.named
        SELECT position AS "position!" FROM reversals WHERE shard = $1
        UNION SELECT position FROM returns WHERE shard = $1"#,
        stored(shard),
    )
    .fetch_all(executor)
    .await?;
    Ok(positions.into_iter().map(Position::new).collect())
}
