//! Up to when the ends of periods are written in a shard, and members for whom they are.

use fealty_ledger::Counters;
use fealty_postgres::{DatabaseError, PgConnection, StoredRow, from_pg, to_pg};
use fealty_types::{MemberId, Position, ProgramId, ShardId, Timestamp};
use sqlx::PgExecutor;

use super::{
    rows::{CountersRow, PeriodEndsRow},
    stored,
};

impl PeriodEndsRow {
    /// The programme, and up to when.
    pub(crate) fn into_end(self) -> Result<(ProgramId, Timestamp), DatabaseError> {
        let row = StoredRow::of("period_ends", &self.program);
        Ok((row.parse("program", &self.program)?, from_pg(self.through)))
    }
}

/// Up to when they are written, for each programme of which some are.
pub(crate) async fn of_shard(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
) -> Result<Vec<(ProgramId, Timestamp)>, DatabaseError> {
    let rows = sqlx::query_as!(
        PeriodEndsRow,
        "-- points.ends.of_shard
        SELECT program, through FROM period_ends WHERE shard = $1",
        stored(shard),
    )
    .fetch_all(executor)
    .await?;
    rows.into_iter().map(PeriodEndsRow::into_end).collect()
}

/// Writes up to when they are written now, under the lock of the head.
pub(crate) async fn put(
    connection: &mut PgConnection,
    shard: ShardId,
    (program, through): (&ProgramId, Timestamp),
) -> Result<(), DatabaseError> {
    sqlx::query!(
        "-- points.ends.put
        INSERT INTO period_ends (program, shard, through) VALUES ($1, $2, $3)
        ON CONFLICT (program, shard) DO UPDATE SET through = excluded.through",
        program.as_str(),
        stored(shard),
        to_pg(through),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A member for whom a period may come to something.
#[derive(Debug)]
pub(crate) struct Candidate {
    /// Its number.
    pub(crate) number: i64,
    /// The member.
    pub(crate) member: MemberId,
    /// Its numbers.
    pub(crate) counters: Counters,
    /// Whether it has any points.
    pub(crate) has_points: bool,
}

/// So many members of a programme that come after a number.
pub(crate) async fn candidates(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
    (program, after): (&ProgramId, i64),
    len_max: i64,
) -> Result<Vec<Candidate>, DatabaseError> {
    let rows = sqlx::query!(
        r#"-- points.ends.candidates
        SELECT m.member_no, m.member, c.body AS "body?",
               EXISTS (
                   SELECT FROM wallets w
                   WHERE w.shard = $1 AND w.member_no = m.member_no
                     AND (w.pending > 0 OR w.available > 0 OR w.held > 0 OR w.debt > 0)
               ) AS "has_points!"
        FROM (
            SELECT member_no, member FROM members
            WHERE shard = $1 AND program = $2 AND member_no > $3
            ORDER BY member_no LIMIT $4
        ) m
        LEFT JOIN LATERAL (
            SELECT body FROM counters WHERE shard = $1 AND member_no = m.member_no LIMIT 1
        ) c ON true
        ORDER BY m.member_no"#,
        stored(shard),
        program.as_str(),
        after,
        len_max,
    )
    .fetch_all(executor)
    .await?;
    let candidates = rows.into_iter().map(|row| {
        let number = row.member_no;
        let counters = row.body.map(|body| {
            CountersRow {
                member_no: number,
                body,
            }
            .into_counters()
        });
        let counters = counters.transpose()?.map(|(_, counters)| counters);
        Ok(Candidate {
            number,
            member: StoredRow::of("members", number).parse("member", &row.member)?,
            counters: counters.unwrap_or_default(),
            has_points: row.has_points,
        })
    });
    candidates.collect()
}

/// The members of a programme to whom something was written after a position and through
/// another; no more than one beyond so many.
pub(crate) async fn written_since(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
    (program, after, through): (&ProgramId, Position, Position),
    len_max: usize,
) -> Result<Vec<MemberId>, DatabaseError> {
    let rows = sqlx::query!(
        "-- points.ends.written_since
        SELECT m.member_no, m.member FROM members m
        WHERE m.shard = $1 AND m.program = $2 AND m.member_no IN (
            SELECT t.member_no FROM transactions t
            WHERE t.shard = $1 AND t.position > $3 AND t.position <= $4
        ) LIMIT $5",
        stored(shard),
        program.as_str(),
        after.get(),
        through.get(),
        i64::try_from(len_max + 1).unwrap_or(i64::MAX),
    )
    .fetch_all(executor)
    .await?;
    let members = rows.into_iter().map(|row| {
        let stored = StoredRow::of("members", row.member_no);
        stored.parse("member", &row.member)
    });
    members.collect()
}
