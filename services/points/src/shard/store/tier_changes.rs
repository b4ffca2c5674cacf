//! Members whose tier decides otherwise than before: what that means for their
//! wallets is still to be written.

use fealty_postgres::{DatabaseError, PgConnection, StoredRow, from_pg, to_pg};
use fealty_types::{MemberId, ProgramId, ShardId, Timestamp};
use sqlx::PgExecutor;

use super::stored;

/// Notes that what a member's tier means is to be written, when that is due.
pub(crate) async fn note(
    connection: &mut PgConnection,
    shard: ShardId,
    (program, member): (&str, &str),
    due_at: Timestamp,
) -> Result<(), DatabaseError> {
    sqlx::query!(
        "-- points.tier_changes_due.note
        INSERT INTO tier_changes_due (shard, program, member, due_at)
        VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        stored(shard),
        program,
        member,
        to_pg(due_at),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes it of all members of a programme in a shard who ever had another tier than the
/// lowest: the programme says something else of tiers from now on.
pub(crate) async fn note_all(
    connection: &mut PgConnection,
    shard: ShardId,
    program: &ProgramId,
    due_at: Timestamp,
) -> Result<(), DatabaseError> {
    sqlx::query!(
        "-- points.tier_changes_due.note_all
        INSERT INTO tier_changes_due (shard, program, member, due_at)
        SELECT DISTINCT shard, program, member, $3::timestamptz FROM member_tiers
        WHERE shard = $1 AND program = $2
        ON CONFLICT DO NOTHING",
        stored(shard),
        program.as_str(),
        to_pg(due_at),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes it of one of these members in each shard: what is written of it has the newest
/// version begin there, which then notes it of all.
pub(crate) async fn note_one_of_each_shard(
    connection: &mut PgConnection,
    program: &ProgramId,
    due_at: Timestamp,
) -> Result<(), DatabaseError> {
    sqlx::query!(
        "-- points.tier_changes_due.note_one_of_each_shard
        INSERT INTO tier_changes_due (shard, program, member, due_at)
        SELECT shard, program, min(member), $2::timestamptz FROM member_tiers
        WHERE program = $1 GROUP BY shard, program
        ON CONFLICT DO NOTHING",
        program.as_str(),
        to_pg(due_at),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Members of whom something is due by `now`, the longest due first.
pub(crate) async fn due(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<(ProgramId, MemberId)>, DatabaseError> {
    let rows = sqlx::query!(
        "-- points.tier_changes_due.due
        SELECT program, member FROM tier_changes_due WHERE shard = $1 AND due_at <= $2
        ORDER BY due_at LIMIT $3",
        stored(shard),
        to_pg(now),
        limit,
    )
    .fetch_all(executor)
    .await?;
    let members = rows.iter().map(|row| {
        let stored = StoredRow::of("tier_changes_due", &row.member);
        let program = stored.parse("program", &row.program)?;
        Ok((program, stored.parse("member", &row.member)?))
    });
    members.collect()
}

/// Takes what is due of some members by `now`, to be done in the same transaction:
/// an index into those asked for, and the last moment of it.
pub(crate) async fn take(
    connection: &mut PgConnection,
    shard: ShardId,
    (programs, members): (&[String], &[String]),
    now: Timestamp,
) -> Result<Vec<(usize, Timestamp)>, DatabaseError> {
    let rows = sqlx::query!(
        r#"-- points.tier_changes_due.take
        WITH asked AS (
            SELECT program, member, index
            FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS asked (program, member, index)
        ),
        taken AS (
            DELETE FROM tier_changes_due USING asked
            WHERE shard = $1 AND tier_changes_due.program = asked.program
              AND tier_changes_due.member = asked.member AND due_at <= $4
            RETURNING asked.index, due_at
        )
        SELECT index AS "index!", max(due_at) AS "due_at!" FROM taken GROUP BY index"#,
        stored(shard),
        programs,
        members,
        to_pg(now),
    )
    .fetch_all(connection)
    .await?;
    let taken = rows.into_iter().map(|row| {
        let index = usize::try_from(row.index - 1).ok();
        let index = index.filter(|index| *index < members.len());
        let index = index.ok_or(DatabaseError::Broken("an index that was not asked for"))?;
        Ok((index, from_pg(row.due_at)))
    });
    taken.collect()
}
