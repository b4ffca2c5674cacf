//! Members' statuses.

use fealty_postgres::{DatabaseError, PgConnection, PgTime, StoredRow, from_pg, to_pg};
use fealty_types::{MemberId, ProgramId, TierId, Timestamp};
use sqlx::PgExecutor;

use crate::domain::{Reason, Status};

/// The statuses of members: an index into those asked for, and the status.
pub(crate) async fn find(
    connection: &mut PgConnection,
    programs: &[String],
    members: &[String],
) -> Result<Vec<(usize, Status)>, DatabaseError> {
    let rows = sqlx::query!(
        r#"-- tiers.statuses.find
        SELECT asked.index AS "index!", s.tier AS "tier!", s.since, s.evaluate_at,
               s.reason AS "reason!"
        FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS asked (program, member, index)
        CROSS JOIN LATERAL (
            SELECT * FROM statuses
            WHERE program = asked.program AND member = asked.member LIMIT 1
        ) s"#,
        programs,
        members,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let index = usize::try_from(row.index - 1).ok();
            let index = index.filter(|index| *index < members.len());
            let index = index.ok_or(DatabaseError::Broken("an index that was not asked for"))?;
            let stored = StoredRow::of("statuses", &members[index]);
            let status = Status {
                tier: stored.parse("tier", &row.tier)?,
                since: row.since.map(from_pg),
                evaluate_at: row.evaluate_at.map(from_pg),
                reason: stored.check("reason", Reason::from_code(row.reason))?,
            };
            Ok((index, status))
        })
        .collect()
}

/// Writes statuses, new ones and known ones.
pub(crate) async fn write(
    connection: &mut PgConnection,
    rows: &[(ProgramId, MemberId, Status)],
) -> Result<(), DatabaseError> {
    let programs: Vec<String> = rows
        .iter()
        .map(|(program, ..)| program.to_string())
        .collect();
    let members: Vec<String> = rows
        .iter()
        .map(|(_, member, _)| member.to_string())
        .collect();
    let tiers: Vec<String> = rows
        .iter()
        .map(|(.., status)| status.tier.to_string())
        .collect();
    let since: Vec<Option<PgTime>> = rows.iter().map(|(.., s)| s.since.map(to_pg)).collect();
    let evaluate: Vec<Option<PgTime>> = rows
        .iter()
        .map(|(.., s)| s.evaluate_at.map(to_pg))
        .collect();
    let reasons: Vec<i16> = rows.iter().map(|(.., s)| s.reason.code()).collect();
    sqlx::query!(
        "-- tiers.statuses.write
        INSERT INTO statuses (program, member, tier, since, evaluate_at, reason)
        SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[],
            $5::timestamptz[], $6::smallint[])
        ON CONFLICT (program, member) DO UPDATE SET
            tier = excluded.tier, since = excluded.since, evaluate_at = excluded.evaluate_at,
            reason = excluded.reason",
        &programs,
        &members,
        &tiers,
        &since as &[Option<PgTime>],
        &evaluate as &[Option<PgTime>],
        &reasons,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Members of some programmes to be judged by `now`, soonest first.
pub(crate) async fn due(
    connection: &mut PgConnection,
    programs: &[String],
    now: Timestamp,
    limit: i64,
) -> Result<Vec<(ProgramId, MemberId)>, DatabaseError> {
    let rows = sqlx::query!(
        "-- tiers.statuses.due
        SELECT program, member FROM statuses WHERE evaluate_at <= $1 AND program = ANY($3)
        ORDER BY evaluate_at LIMIT $2",
        to_pg(now),
        limit,
        programs,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let stored = StoredRow::of("statuses", &row.member);
            let program = stored.parse("program", &row.program)?;
            Ok((program, stored.parse("member", &row.member)?))
        })
        .collect()
}

/// Members of a programme whose tier is none of these, some of them.
pub(crate) async fn with_other_tiers(
    connection: &mut PgConnection,
    program: &ProgramId,
    tiers: &[String],
    limit: i64,
) -> Result<Vec<MemberId>, DatabaseError> {
    let rows = sqlx::query_scalar!(
        "-- tiers.statuses.with_other_tiers
        SELECT member FROM statuses WHERE program = $1 AND tier <> ALL($2) LIMIT $3",
        program.as_str(),
        tiers,
        limit,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|member| StoredRow::of("statuses", &member).parse("member", &member))
        .collect()
}

/// How many members have each tier.
pub(crate) async fn count(
    executor: impl PgExecutor<'_>,
    program: &ProgramId,
) -> Result<Vec<(TierId, i64)>, DatabaseError> {
    let rows = sqlx::query!(
        r#"-- tiers.statuses.count
        SELECT tier, count(*) AS "members!" FROM statuses WHERE program = $1 GROUP BY tier"#,
        program.as_str(),
    )
    .fetch_all(executor)
    .await?;
    rows.into_iter()
        .map(|row| {
            let stored = StoredRow::of("statuses", program);
            Ok((stored.parse("tier", &row.tier)?, row.members))
        })
        .collect()
}
