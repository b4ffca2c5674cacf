//! The heads of the shards' logs.

use fealty_ledger::canonical::{CHAIN_START, Chain};
use fealty_postgres::{DatabaseError, PgConnection};
use fealty_types::{Position, ShardId};
use sqlx::PgExecutor;

use super::stored;

/// The end of a shard's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The last position; 0 for an empty log.
    pub(crate) position: Position,
    /// The chain there.
    pub(crate) chain: Chain,
    /// Members that have a number.
    pub(crate) members: i64,
}

fn chain(stored: Vec<u8>) -> Result<Chain, DatabaseError> {
    stored.try_into().map_err(|_| {
        DatabaseError::Defect(sqlx::Error::Protocol(
            "a chain value is not 32 bytes".to_owned(),
        ))
    })
}

/// Locks a shard until the transaction ends, and reads its head.
pub(crate) async fn lock_head(
    connection: &mut PgConnection,
    shard: ShardId,
) -> Result<Head, DatabaseError> {
    let row = sqlx::query!(
        "-- lock_head
        SELECT position, chain, members FROM shards WHERE shard = $1 FOR UPDATE",
        stored(shard),
    )
    .fetch_one(connection)
    .await?;
    Ok(Head {
        position: Position::new(row.position),
        chain: chain(row.chain)?,
        members: row.members,
    })
}

/// Takes the right to sweep a shard until the transaction ends; `false` if
/// another instance has it.
pub(crate) async fn try_sweep(
    connection: &mut PgConnection,
    shard: ShardId,
) -> Result<bool, DatabaseError> {
    // The first number tells this lock from others of the database.
    let taken = sqlx::query_scalar!(
        r#"-- try_sweep
        SELECT pg_try_advisory_xact_lock(7351, $1) AS "taken!""#,
        i32::from(shard.get()),
    )
    .fetch_one(connection)
    .await?;
    Ok(taken)
}

/// Makes all reads of a transaction see one moment; its first statement.
pub(crate) async fn read_one_moment(connection: &mut PgConnection) -> Result<(), DatabaseError> {
    sqlx::query!("-- read_one_moment\nSET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .execute(connection)
        .await?;
    Ok(())
}

/// Reads all heads, in order of shard.
pub(crate) async fn heads(executor: impl PgExecutor<'_>) -> Result<Vec<Head>, DatabaseError> {
    let rows = sqlx::query!("-- heads\nSELECT position, chain, members FROM shards ORDER BY shard")
        .fetch_all(executor)
        .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Head {
                position: Position::new(row.position),
                chain: chain(row.chain)?,
                members: row.members,
            })
        })
        .collect()
}

/// Gives a new installation its shards, and says how many there are: of an
/// installation that has some, the number never changes.
pub(crate) async fn initialise(
    connection: &mut PgConnection,
    shards: u16,
) -> Result<u16, DatabaseError> {
    sqlx::query!("-- initialise: one instance at a time\nLOCK TABLE shards IN EXCLUSIVE MODE")
        .execute(&mut *connection)
        .await?;
    sqlx::query!(
        "-- initialise
        INSERT INTO shards (shard, position, chain, members)
        SELECT shard, 0, $2, 0 FROM generate_series(0, $1::integer - 1) shard
        WHERE NOT EXISTS (SELECT FROM shards)",
        i32::from(shards),
        &CHAIN_START[..],
    )
    .execute(&mut *connection)
    .await?;
    let count = sqlx::query_scalar!(
        r#"-- initialise: count
        SELECT count(*) AS "count!" FROM shards"#
    )
    .fetch_one(connection)
    .await?;
    u16::try_from(count)
        .map_err(|_| DatabaseError::Defect(sqlx::Error::Protocol("too many shards".to_owned())))
}
