//! What has come back of purchases.

use std::collections::HashMap;

use fealty_ledger::{Cause, Command, Facts, Returned, ReturnedPart};
use fealty_postgres::{DatabaseError, PgConnection, StoredRow};
use fealty_types::{Position, ShardId};
use sqlx::PgExecutor;

use super::{log, rows::ReturnRow, stored};

/// What has come back of the purchase that a transaction recorded.
pub(crate) async fn of(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
    transaction: Position,
) -> Result<Option<Returned>, DatabaseError> {
    let body = sqlx::query_scalar!(
        "-- points.returns.of
        SELECT body FROM returns WHERE shard = $1 AND position = $2",
        stored(shard),
        transaction.get(),
    )
    .fetch_optional(executor)
    .await?;
    body.map(|body| decoded(transaction.get(), &body))
        .transpose()
}

/// What has come back of a member's purchases, by where each stands.
pub(crate) async fn of_member(
    executor: impl PgExecutor<'_>,
    (shard, member_no): (ShardId, i64),
) -> Result<HashMap<Position, Returned>, DatabaseError> {
    let rows = sqlx::query!(
        "-- points.returns.of_member
        SELECT position, body FROM returns WHERE shard = $1 AND member_no = $2",
        stored(shard),
        member_no,
    )
    .fetch_all(executor)
    .await?;
    let rows = rows.into_iter();
    rows.map(|row| {
        Ok((
            Position::new(row.position),
            decoded(row.position, &row.body)?,
        ))
    })
    .collect()
}

/// Entries of a log that are read at a time.
const READ_LEN: i64 = 1_000;

/// Fills in the parts of what was stored before they were kept, by the member's log.
pub(crate) async fn fill_in_parts(
    connection: &mut PgConnection,
    (shard, member_no): (ShardId, i64),
    returned: &mut HashMap<Position, Returned>,
) -> Result<(), DatabaseError> {
    let open = returned
        .iter()
        .filter(|(_, returned)| !returned.has_parts());
    let mut parts: HashMap<Position, Vec<(ReturnedPart, bool)>> =
        open.map(|(position, _)| (*position, Vec::new())).collect();
    let first = parts.keys().min().copied();
    let Some(mut after) = first else {
        return Ok(());
    };
    loop {
        let rows = log::page_on(&mut *connection, (shard, member_no), after, READ_LEN).await?;
        for row in &rows {
            after = Position::new(row.position);
            let written = row.transaction()?;
            let (Some(Command::Return(asked)), Cause::Request { facts, .. }) =
                (written.command(), &written.cause)
            else {
                continue;
            };
            let facts = facts.as_ref().and_then(Facts::of_return);
            if let Some((parts, facts)) = parts.get_mut(&asked.transaction).zip(facts) {
                parts.push((facts.part.clone(), facts.counts));
            }
        }
        if i64::try_from(rows.len()) != Ok(READ_LEN) {
            break;
        }
    }
    for (position, parts) in parts {
        if let Some(known) = returned.get_mut(&position) {
            let parts = parts.iter().map(|(part, counts)| (part, *counts));
            *known = std::mem::take(known).with_parts(parts);
        }
    }
    Ok(())
}

/// All returns of a shard: the member's number, the transaction, and what has come back of
/// its purchase.
pub(crate) async fn of_shard(
    connection: &mut PgConnection,
    shard: ShardId,
) -> Result<Vec<(i64, Position, Returned)>, DatabaseError> {
    let rows = sqlx::query!(
        "-- points.returns.of_shard
        SELECT member_no, position, body FROM returns WHERE shard = $1",
        stored(shard),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let returned = decoded(row.position, &row.body)?;
            Ok((row.member_no, Position::new(row.position), returned))
        })
        .collect()
}

/// Writes what has come back by now. It is few who return something, so this is a statement
/// of its own, under the lock of the head.
pub(crate) async fn put(
    connection: &mut PgConnection,
    shard: ShardId,
    rows: &[ReturnRow],
) -> Result<(), DatabaseError> {
    let members: Vec<i64> = rows.iter().map(|row| row.member_no).collect();
    let positions: Vec<i64> = rows.iter().map(|row| row.position).collect();
    let bodies: Vec<Vec<u8>> = rows.iter().map(|row| row.body.clone()).collect();
    sqlx::query!(
        "-- points.returns.put
        INSERT INTO returns (shard, position, member_no, body)
        SELECT home.shard, new.* FROM shards AS home,
            unnest($2::bigint[], $3::bigint[], $4::bytea[]) AS new
        WHERE home.shard = $1
        ON CONFLICT (shard, position) DO UPDATE SET body = excluded.body",
        stored(shard),
        &positions,
        &members,
        &bodies,
    )
    .execute(connection)
    .await?;
    Ok(())
}

fn decoded(position: i64, body: &[u8]) -> Result<Returned, DatabaseError> {
    StoredRow::of("returns", position).check("body", Returned::stored(body))
}
