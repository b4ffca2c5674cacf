//! Members' statuses.

use fealty_postgres::{DatabaseError, PgConnection, PgTime, from_pg, to_pg};
use fealty_types::{MemberId, ProgramId, TierId, Timestamp};
use sqlx::PgExecutor;

use super::corrupt;
use crate::domain::{Reason, Status};

pub(super) fn stored_reason(reason: Reason) -> i16 {
    match reason {
        Reason::Beginning => 0,
        Reason::ThresholdReached => 1,
        Reason::ValidityEnded => 2,
    }
}

pub(super) fn read_reason(stored: i16) -> Result<Reason, DatabaseError> {
    match stored {
        0 => Ok(Reason::Beginning),
        1 => Ok(Reason::ThresholdReached),
        2 => Ok(Reason::ValidityEnded),
        _ => Err(corrupt("a reason")),
    }
}

fn status(
    tier: &str,
    since: Option<PgTime>,
    evaluate_at: Option<PgTime>,
    reason: i16,
) -> Result<Status, DatabaseError> {
    Ok(Status {
        tier: tier.parse().map_err(|_| corrupt("a tier"))?,
        since: since.map(from_pg),
        evaluate_at: evaluate_at.map(from_pg),
        reason: read_reason(reason)?,
    })
}

/// The statuses of members: an index into those asked for, and the status.
pub async fn find(
    connection: &mut PgConnection,
    programs: &[String],
    members: &[String],
) -> Result<Vec<(usize, Status)>, DatabaseError> {
    let rows = sqlx::query!(
        r#"-- find
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
            let index = usize::try_from(row.index - 1).map_err(|_| corrupt("an index"))?;
            Ok((
                index,
                status(&row.tier, row.since, row.evaluate_at, row.reason)?,
            ))
        })
        .collect()
}

/// Writes statuses, new ones and known ones.
pub async fn write(
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
    let reasons: Vec<i16> = rows.iter().map(|(.., s)| stored_reason(s.reason)).collect();
    sqlx::query!(
        "-- write
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

/// Members to be judged by `now`, soonest first.
pub async fn due(
    connection: &mut PgConnection,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<(ProgramId, MemberId)>, DatabaseError> {
    let rows = sqlx::query!(
        "-- due
        SELECT program, member FROM statuses WHERE evaluate_at <= $1
        ORDER BY evaluate_at LIMIT $2",
        to_pg(now),
        limit,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let program = row.program.parse().map_err(|_| corrupt("a programme"))?;
            Ok((
                program,
                row.member.parse().map_err(|_| corrupt("a member"))?,
            ))
        })
        .collect()
}

/// How many members have each tier.
pub async fn count(
    executor: impl PgExecutor<'_>,
    program: &ProgramId,
) -> Result<Vec<(TierId, i64)>, DatabaseError> {
    let rows = sqlx::query!(
        r#"-- count
        SELECT tier, count(*) AS "members!" FROM statuses WHERE program = $1 GROUP BY tier"#,
        program.as_str(),
    )
    .fetch_all(executor)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok((
                row.tier.parse().map_err(|_| corrupt("a tier"))?,
                row.members,
            ))
        })
        .collect()
}
