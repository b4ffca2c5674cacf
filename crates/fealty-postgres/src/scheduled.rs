//! Versions of programmes that come into force at a moment; a service has one of each
//! programme at the most.

use fealty_types::{ProgramId, Timestamp};
use sqlx::{PgConnection, PgExecutor};

use crate::{DatabaseError, PgTime, StoredRow, foundation::StoredProgram, from_pg, to_pg};

/// A version that comes into force at a moment, which is its `effective_at`.
#[derive(Clone, Debug)]
pub struct Scheduled {
    /// The programme.
    pub program: ProgramId,
    /// The version.
    pub stored: StoredProgram,
    /// The request that asked for it.
    pub request_id: String,
}

struct Row {
    program: String,
    version: i64,
    begins_at: PgTime,
    digest: String,
    source: String,
    actor: String,
    note: String,
    request_id: String,
}

impl Row {
    fn into_scheduled(self) -> Result<Scheduled, DatabaseError> {
        let row = StoredRow::of("scheduled_programs", &self.program);
        Ok(Scheduled {
            program: row.parse("program", &self.program)?,
            stored: StoredProgram {
                version: self.version,
                effective_at: from_pg(self.begins_at),
                digest: self.digest,
                source: self.source,
                actor: self.actor,
                note: self.note,
            },
            request_id: self.request_id,
        })
    }
}

/// The version of a programme that is scheduled, if one is.
pub async fn of(
    executor: impl PgExecutor<'_>,
    program: &ProgramId,
) -> Result<Option<Scheduled>, DatabaseError> {
    let row = sqlx::query_as!(
        Row,
        "-- foundation.scheduled.of
        SELECT program, version, begins_at, digest, source, actor, note, request_id
        FROM scheduled_programs WHERE program = $1",
        program.as_str(),
    )
    .fetch_optional(executor)
    .await?;
    row.map(Row::into_scheduled).transpose()
}

/// Those whose moment has come.
pub async fn due(
    executor: impl PgExecutor<'_>,
    now: Timestamp,
) -> Result<Vec<Scheduled>, DatabaseError> {
    let rows = sqlx::query_as!(
        Row,
        "-- foundation.scheduled.due
        SELECT program, version, begins_at, digest, source, actor, note, request_id
        FROM scheduled_programs WHERE begins_at <= $1 ORDER BY begins_at",
        to_pg(now),
    )
    .fetch_all(executor)
    .await?;
    rows.into_iter().map(Row::into_scheduled).collect()
}

/// Schedules a version, in the place of one that was.
pub async fn put(
    connection: &mut PgConnection,
    scheduled: &Scheduled,
) -> Result<(), DatabaseError> {
    let stored = &scheduled.stored;
    sqlx::query!(
        "-- foundation.scheduled.put
        INSERT INTO scheduled_programs
            (program, version, begins_at, digest, source, actor, note, request_id)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        ON CONFLICT (program) DO UPDATE SET
            version = excluded.version, begins_at = excluded.begins_at,
            digest = excluded.digest, source = excluded.source, actor = excluded.actor,
            note = excluded.note, request_id = excluded.request_id",
        scheduled.program.as_str(),
        stored.version,
        to_pg(stored.effective_at),
        stored.digest,
        stored.source,
        stored.actor,
        stored.note,
        scheduled.request_id,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes away what is scheduled of a programme; answers whether something was.
pub async fn remove(
    connection: &mut PgConnection,
    program: &ProgramId,
) -> Result<bool, DatabaseError> {
    let removed = sqlx::query!(
        "-- foundation.scheduled.remove
        DELETE FROM scheduled_programs WHERE program = $1",
        program.as_str(),
    )
    .execute(connection)
    .await?;
    Ok(removed.rows_affected() > 0)
}
