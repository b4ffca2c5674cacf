//! Members by number.

use fealty_postgres::{DatabaseError, PgConnection, StoredRow, from_pg};
use fealty_types::{MemberId, ProgramId, ShardId, TierId, Timestamp};
use sqlx::PgExecutor;

use super::stored;

/// The number of one member.
pub(crate) async fn number(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
    program: &ProgramId,
    member: &MemberId,
) -> Result<Option<i64>, DatabaseError> {
    let number = sqlx::query_scalar!(
        "-- points.members.number
        SELECT member_no FROM members WHERE shard = $1 AND program = $2 AND member = $3",
        stored(shard),
        program.as_str(),
        member.as_str(),
    )
    .fetch_optional(executor)
    .await?;
    Ok(number)
}

/// So many members of a programme that come after a number.
pub(crate) async fn after(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
    (program, after): (&ProgramId, i64),
    len_max: i64,
) -> Result<Vec<(i64, MemberId)>, DatabaseError> {
    let rows = sqlx::query!(
        "-- points.members.after
        SELECT member_no, member FROM members
        WHERE shard = $1 AND program = $2 AND member_no > $3 ORDER BY member_no LIMIT $4",
        stored(shard),
        program.as_str(),
        after,
        len_max,
    )
    .fetch_all(executor)
    .await?;
    let rows = rows.into_iter();
    rows.map(|row| {
        let member = StoredRow::of("members", row.member_no).parse("member", &row.member)?;
        Ok((row.member_no, member))
    })
    .collect()
}

/// All members of a shard: number, programme, member.
pub(crate) async fn all(
    connection: &mut PgConnection,
    shard: ShardId,
) -> Result<Vec<(i64, String, String)>, DatabaseError> {
    let rows = sqlx::query!(
        "-- points.members.all
        SELECT member_no, program, member FROM members WHERE shard = $1",
        stored(shard),
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.member_no, row.program, row.member))
        .collect())
}

/// The members of a shard who were told to have a tier, and since when the first.
pub(crate) async fn first_tiers(
    connection: &mut PgConnection,
    shard: ShardId,
) -> Result<Vec<(String, String, Timestamp)>, DatabaseError> {
    let rows = sqlx::query!(
        r#"-- points.members.first_tiers
        SELECT program, member, min(effective_at) AS "first!" FROM member_tiers
        WHERE shard = $1 GROUP BY program, member"#,
        stored(shard),
    )
    .fetch_all(connection)
    .await?;
    let rows = rows.into_iter();
    Ok(rows
        .map(|row| (row.program, row.member, from_pg(row.first)))
        .collect())
}

/// What members of a programme in a shard were told of their tiers: who, since when, which; in
/// the order of time.
pub(crate) async fn tiers(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
    program: &ProgramId,
) -> Result<Vec<(MemberId, Timestamp, TierId)>, DatabaseError> {
    let rows = sqlx::query!(
        "-- points.members.tiers
        SELECT member, effective_at, tier FROM member_tiers
        WHERE shard = $1 AND program = $2 ORDER BY effective_at",
        stored(shard),
        program.as_str(),
    )
    .fetch_all(executor)
    .await?;
    let rows = rows.into_iter().map(|row| {
        let stored = StoredRow::of("member_tiers", &row.member);
        let member = stored.parse("member", &row.member)?;
        Ok((
            member,
            from_pg(row.effective_at),
            stored.parse("tier", &row.tier)?,
        ))
    });
    rows.collect()
}
