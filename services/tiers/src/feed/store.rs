//! The service's own log: changes of tier.

use fealty_postgres::{DatabaseError, PgConnection, PgTime, StoredRow, from_pg, to_pg};
use fealty_types::{Mark, MemberId, ProgramId, Timestamp};
use sha2::{Digest as _, Sha256};
use sqlx::PgExecutor;

use crate::domain::{Change, Reason, Status};

/// A change of a member's tier.
#[derive(Clone, Debug)]
pub(crate) struct Logged {
    /// Its place in the log.
    pub(crate) position: i64,
    /// The programme.
    pub(crate) program: ProgramId,
    /// The member.
    pub(crate) member: MemberId,
    /// What changed.
    pub(crate) change: Change,
    /// The points transaction that brought it about; empty where none did.
    pub(crate) transaction: String,
    /// When it was written; not before the one before it.
    pub(crate) written_at: Timestamp,
}

impl Logged {
    /// By what it is known again. Two that were written at the same position, one before
    /// and one after the log was restored, were not written at the same time.
    pub(crate) fn mark(&self) -> Mark {
        let mut hash = Sha256::new();
        let texts = [
            self.program.as_str(),
            self.member.as_str(),
            self.change.status.tier.as_str(),
            &self.transaction,
        ];
        for text in texts {
            hash.update(text);
            hash.update([0]);
        }
        for number in [self.position, self.written_at.micros()] {
            hash.update(number.to_le_bytes());
        }
        Mark::of(&hash.finalize())
    }
}

/// The end of the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    /// The last position.
    pub(crate) position: i64,
    /// When the last change was written.
    pub(crate) written_at: Timestamp,
}

/// Locks the log until the transaction ends, and reads its end.
pub(crate) async fn lock_head(connection: &mut PgConnection) -> Result<Head, DatabaseError> {
    let head = sqlx::query!(
        "-- tiers.changes.lock_head\nSELECT position, written_at FROM log_head FOR UPDATE"
    )
    .fetch_one(connection)
    .await?;
    Ok(Head {
        position: head.position,
        written_at: from_pg(head.written_at),
    })
}

/// Reads the log's last position.
pub(crate) async fn head(executor: impl PgExecutor<'_>) -> Result<i64, DatabaseError> {
    let position = sqlx::query_scalar!("-- tiers.changes.head\nSELECT position FROM log_head")
        .fetch_one(executor)
        .await?;
    Ok(position)
}

/// Adds changes to the locked log.
pub(crate) async fn append(
    connection: &mut PgConnection,
    rows: &[Logged],
) -> Result<(), DatabaseError> {
    let Some(last) = rows.last() else {
        return Ok(());
    };
    let positions: Vec<i64> = rows.iter().map(|row| row.position).collect();
    let programs: Vec<String> = rows.iter().map(|row| row.program.to_string()).collect();
    let members: Vec<String> = rows.iter().map(|row| row.member.to_string()).collect();
    let previous: Vec<String> = rows
        .iter()
        .map(|row| row.change.previous.to_string())
        .collect();
    let tiers: Vec<String> = rows
        .iter()
        .map(|row| row.change.status.tier.to_string())
        .collect();
    let effective: Vec<Option<PgTime>> = rows
        .iter()
        .map(|row| row.change.status.since.map(to_pg))
        .collect();
    let evaluate: Vec<Option<PgTime>> = rows
        .iter()
        .map(|row| row.change.status.evaluate_at.map(to_pg))
        .collect();
    let reasons: Vec<i16> = rows
        .iter()
        .map(|row| row.change.status.reason.code())
        .collect();
    let written: Vec<PgTime> = rows.iter().map(|row| to_pg(row.written_at)).collect();
    let transactions: Vec<String> = rows.iter().map(|row| row.transaction.clone()).collect();
    sqlx::query!(
        "-- tiers.changes.append
        INSERT INTO tier_changes (position, program, member, previous_tier, tier, effective_at,
                                  evaluate_at, reason, transaction, written_at)
        SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[],
            $6::timestamptz[], $7::timestamptz[], $8::smallint[], $9::text[],
            $10::timestamptz[])",
        &positions,
        &programs,
        &members,
        &previous,
        &tiers,
        &effective as &[Option<PgTime>],
        &evaluate as &[Option<PgTime>],
        &reasons,
        &transactions,
        &written,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "-- tiers.changes.append: head\nUPDATE log_head SET position = $1, written_at = $2",
        last.position,
        to_pg(last.written_at),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The status that a member had at a moment, as far as the log tells.
pub(crate) async fn status_at(
    connection: &mut PgConnection,
    program: &ProgramId,
    member: &MemberId,
    at: Timestamp,
) -> Result<Option<Status>, DatabaseError> {
    let row = sqlx::query!(
        "-- tiers.changes.status_at
        SELECT position, tier, effective_at, evaluate_at, reason FROM tier_changes
        WHERE program = $1 AND member = $2 AND effective_at <= $3
        ORDER BY position DESC LIMIT 1",
        program.as_str(),
        member.as_str(),
        to_pg(at),
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        let stored = StoredRow::of("tier_changes", row.position);
        Ok(Status {
            tier: stored.parse("tier", &row.tier)?,
            since: Some(from_pg(row.effective_at)),
            evaluate_at: row.evaluate_at.map(from_pg),
            reason: stored.check("reason", Reason::from_code(row.reason))?,
        })
    })
    .transpose()
}

/// Up to when all changes are written: what brought them about was consumed from the
/// feed `source`, and who of the programmes that have tiers was due by then was judged.
/// Nothing, where that feed says nothing.
pub(crate) async fn known_at(
    executor: impl PgExecutor<'_>,
    source: &str,
    programs: &[String],
) -> Result<Option<Timestamp>, DatabaseError> {
    let known_at = sqlx::query_scalar!(
        r#"-- tiers.changes.known_at
        SELECT least(known_at, (
            SELECT evaluate_at - interval '1 microsecond' FROM statuses
            WHERE evaluate_at IS NOT NULL AND program = ANY($2)
            ORDER BY evaluate_at LIMIT 1
        )) AS "known_at!"
        FROM feed_cursors WHERE source = $1 AND known_at IS NOT NULL"#,
        source,
        programs,
    )
    .fetch_optional(executor)
    .await?;
    Ok(known_at.map(from_pg))
}

/// The last position that was written before a time; the log is in the order of its
/// writing.
pub(crate) async fn last_before(
    executor: impl PgExecutor<'_>,
    time: Timestamp,
) -> Result<i64, DatabaseError> {
    let last = sqlx::query_scalar!(
        "-- tiers.changes.last_before
        SELECT position FROM tier_changes WHERE written_at < $1
        ORDER BY written_at DESC, position DESC LIMIT 1",
        to_pg(time),
    )
    .fetch_optional(executor)
    .await?;
    Ok(last.unwrap_or(0))
}

/// Reads the log on from `after`.
pub(crate) async fn read(
    executor: impl PgExecutor<'_>,
    after: i64,
    limit: i64,
) -> Result<Vec<Logged>, DatabaseError> {
    let rows = sqlx::query!(
        "-- tiers.changes.read
        SELECT position, program, member, previous_tier, tier, effective_at, evaluate_at, reason,
               transaction, written_at
        FROM tier_changes WHERE position > $1 ORDER BY position LIMIT $2",
        after,
        limit,
    )
    .fetch_all(executor)
    .await?;
    rows.into_iter()
        .map(|row| {
            let stored = StoredRow::of("tier_changes", row.position);
            let status = Status {
                tier: stored.parse("tier", &row.tier)?,
                since: Some(from_pg(row.effective_at)),
                evaluate_at: row.evaluate_at.map(from_pg),
                reason: stored.check("reason", Reason::from_code(row.reason))?,
            };
            Ok(Logged {
                position: row.position,
                program: stored.parse("program", &row.program)?,
                member: stored.parse("member", &row.member)?,
                change: Change {
                    previous: stored.parse("previous_tier", &row.previous_tier)?,
                    status,
                },
                transaction: row.transaction,
                written_at: from_pg(row.written_at),
            })
        })
        .collect()
}
