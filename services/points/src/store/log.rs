//! The log.

use fealty_postgres::{DatabaseError, PgConnection};
use fealty_types::{Position, ShardId};
use sqlx::PgExecutor;
use uuid::Uuid;

use super::{expect_rows, stored};

/// A transaction as stored.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its place in the log.
    pub position: i64,
    /// Number of the member.
    pub member_no: i64,
    /// Key of the request that made it.
    pub request_key: Option<Uuid>,
    /// Its canonical bytes.
    pub body: Vec<u8>,
    /// The chain after it.
    pub chain: Vec<u8>,
}

/// New transactions of a shard, column by column.
#[derive(Debug, Default)]
pub struct NewRows {
    /// Places in the log.
    pub positions: Vec<i64>,
    /// Numbers of the members.
    pub member_nos: Vec<i64>,
    /// Keys of the requests; none for what fell due.
    pub request_keys: Vec<Option<Uuid>>,
    /// Canonical bytes.
    pub bodies: Vec<Vec<u8>>,
    /// The chain after each.
    pub chains: Vec<Vec<u8>>,
}

/// Finds the transactions that requests have made.
pub async fn find_requests(
    connection: &mut PgConnection,
    shard: ShardId,
    keys: &[Uuid],
) -> Result<Vec<Row>, DatabaseError> {
    let rows = sqlx::query_as!(
        Row,
        r#"-- find_requests
        SELECT t.position AS "position!", t.member_no AS "member_no!", t.request_key,
               t.body AS "body!", t.chain AS "chain!"
        FROM unnest($2::uuid[]) AS asked (key)
        CROSS JOIN LATERAL (
            SELECT * FROM transactions
            WHERE shard = $1 AND request_key = asked.key LIMIT 1
        ) t"#,
        stored(shard),
        keys,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows)
}

/// Adds transactions to a log.
pub async fn append(
    connection: &mut PgConnection,
    shard: ShardId,
    rows: &NewRows,
) -> Result<(), DatabaseError> {
    let written = sqlx::query!(
        "-- append
        INSERT INTO transactions (shard, position, member_no, request_key, body, chain)
        SELECT $1, * FROM unnest($2::bigint[], $3::bigint[], $4::uuid[], $5::bytea[], $6::bytea[])",
        stored(shard),
        &rows.positions,
        &rows.member_nos,
        &rows.request_keys as &[Option<Uuid>],
        &rows.bodies,
        &rows.chains,
    )
    .execute(connection)
    .await?;
    expect_rows(written.rows_affected(), rows.positions.len())
}

/// Reads a log on from `after`, oldest first.
pub async fn read(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
    after: Position,
    limit: i64,
) -> Result<Vec<Row>, DatabaseError> {
    let rows = sqlx::query_as!(
        Row,
        "-- read
        SELECT position, member_no, request_key, body, chain FROM transactions
        WHERE shard = $1 AND position > $2 ORDER BY position LIMIT $3",
        stored(shard),
        after.get(),
        limit,
    )
    .fetch_all(executor)
    .await?;
    Ok(rows)
}

/// Reads a member's transactions back from before `before`, newest first.
pub async fn page(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
    member_no: i64,
    before: Position,
    limit: i64,
) -> Result<Vec<Row>, DatabaseError> {
    let rows = sqlx::query_as!(
        Row,
        "-- page
        SELECT position, member_no, request_key, body, chain FROM transactions
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
