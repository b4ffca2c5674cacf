//! The installation: how many shards it has, for ever.

use fealty_ledger::canonical::CHAIN_START;
use fealty_postgres::{DatabaseError, StoredRow};
use fealty_types::ShardId;
use sqlx::PgExecutor;

use super::stored;

/// How many shards there are; none of a new installation.
pub(crate) async fn shards(executor: impl PgExecutor<'_>) -> Result<Option<u16>, DatabaseError> {
    let count =
        sqlx::query_scalar!("-- points.installation.shards\nSELECT shards FROM installation")
            .fetch_optional(executor)
            .await?;
    count
        .map(|count| {
            let row = StoredRow::of("installation", true);
            row.check("shards", u16::try_from(count).ok())
        })
        .transpose()
}

/// The key of the ids that callers are given.
pub(crate) async fn id_key(executor: impl PgExecutor<'_>) -> Result<[u8; 16], DatabaseError> {
    let key = sqlx::query_scalar!("-- points.installation.id_key\nSELECT id_key FROM installation")
        .fetch_one(executor)
        .await?;
    StoredRow::of("installation", true).check("id_key", key.try_into().ok())
}

/// Settles how many shards a new installation has, and the key of its ids.
pub(crate) async fn settle(
    executor: impl PgExecutor<'_>,
    shards: u16,
    id_key: [u8; 16],
) -> Result<(), DatabaseError> {
    sqlx::query!(
        "-- points.installation.settle
        INSERT INTO installation (shards, id_key) VALUES ($1, $2)
        ON CONFLICT DO NOTHING",
        i16::try_from(shards).unwrap_or(i16::MAX),
        &id_key[..],
    )
    .execute(executor)
    .await?;
    Ok(())
}

/// Gives a shard an empty log, if it has none.
pub(crate) async fn begin_shard(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
) -> Result<(), DatabaseError> {
    sqlx::query!(
        "-- points.installation.begin_shard
        INSERT INTO shards (shard, position, chain, members) VALUES ($1, 0, $2, 0)
        ON CONFLICT (shard) DO NOTHING",
        stored(shard),
        &CHAIN_START[..],
    )
    .execute(executor)
    .await?;
    Ok(())
}
