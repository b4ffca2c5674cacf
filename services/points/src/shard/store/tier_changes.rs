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

/// Begins to go through the members of every shard who ever had one of some tiers.
pub(crate) async fn renew(
    connection: &mut PgConnection,
    program: &ProgramId,
    since: Timestamp,
    tiers: &[String],
) -> Result<(), DatabaseError> {
    sqlx::query!(
        "-- points.tier_renewals.renew
        INSERT INTO tier_renewals (program, shard, since, tiers)
        SELECT $1, shard, $2, $3::text[] FROM shards
        ON CONFLICT (program, shard) DO UPDATE SET
            since = excluded.since, tiers = tier_renewals.tiers || excluded.tiers,
            after_member = ''",
        program.as_str(),
        to_pg(since),
        tiers,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The programmes of which members of a shard are still to be gone through.
pub(crate) async fn renewing(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
) -> Result<Vec<ProgramId>, DatabaseError> {
    let programs = sqlx::query_scalar!(
        "-- points.tier_renewals.renewing
        SELECT program FROM tier_renewals WHERE shard = $1",
        stored(shard),
    )
    .fetch_all(executor)
    .await?;
    let programs = programs.iter();
    programs
        .map(|program| StoredRow::of("tier_renewals", program).parse("program", program))
        .collect()
}

/// Goes through some more members of a shard, and notes them; answers whether there was
/// something to go through.
pub(crate) async fn renew_some(
    connection: &mut PgConnection,
    shard: ShardId,
    limit: i64,
) -> Result<bool, DatabaseError> {
    let renewal = sqlx::query!(
        "-- points.tier_renewals.next
        SELECT program, since, tiers, after_member FROM tier_renewals WHERE shard = $1
        LIMIT 1 FOR UPDATE SKIP LOCKED",
        stored(shard),
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(renewal) = renewal else {
        return Ok(false);
    };
    let members = sqlx::query_scalar!(
        "-- points.tier_renewals.members
        SELECT DISTINCT member FROM member_tiers
        WHERE shard = $1 AND program = $2 AND member > $3 AND tier = ANY($4)
        ORDER BY member LIMIT $5",
        stored(shard),
        renewal.program,
        renewal.after_member,
        &renewal.tiers,
        limit,
    )
    .fetch_all(&mut *connection)
    .await?;
    let Some(last) = members.last() else {
        sqlx::query!(
            "-- points.tier_renewals.end
            DELETE FROM tier_renewals WHERE shard = $1 AND program = $2",
            stored(shard),
            renewal.program,
        )
        .execute(&mut *connection)
        .await?;
        return Ok(true);
    };
    sqlx::query!(
        "-- points.tier_changes_due.note_some
        INSERT INTO tier_changes_due (shard, program, member, due_at)
        SELECT home.shard, $2, new.member, $3
        FROM shards AS home, unnest($4::text[]) AS new (member) WHERE home.shard = $1
        ON CONFLICT DO NOTHING",
        stored(shard),
        renewal.program,
        renewal.since,
        &members,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "-- points.tier_renewals.go_on
        UPDATE tier_renewals SET after_member = $3 WHERE shard = $1 AND program = $2",
        stored(shard),
        renewal.program,
        last,
    )
    .execute(connection)
    .await?;
    Ok(true)
}

/// Members of some programmes of whom something is due by `now`, the longest due first.
pub(crate) async fn due(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
    programs: &[String],
    now: Timestamp,
    limit: i64,
) -> Result<Vec<(ProgramId, MemberId)>, DatabaseError> {
    let rows = sqlx::query!(
        "-- points.tier_changes_due.due
        SELECT program, member FROM tier_changes_due
        WHERE shard = $1 AND due_at <= $2 AND program = ANY($4)
        ORDER BY due_at LIMIT $3",
        stored(shard),
        to_pg(now),
        limit,
        programs,
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
/// an index into those asked for, and since when, for each of them.
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
        SELECT index AS "index!", due_at AS "due_at!" FROM taken"#,
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
