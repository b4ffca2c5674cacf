//! The versions of programmes that are in force in a shard, and those that were.

use fealty_postgres::{DatabaseError, PgConnection, StoredRow, from_pg};
use fealty_types::{Position, ProgramId, ShardId, Timestamp};
use sqlx::PgExecutor;

use super::{rows::VersionRow, stored};

/// A version of a programme, as it began in a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BegunVersion {
    pub(crate) version: u32,
    /// Where it began.
    pub(crate) position: Position,
    /// When; the year 1970 where that was before it was kept.
    pub(crate) begun_at: Timestamp,
    /// Of the one in force, up to which version the counters that count what was before they
    /// began are worked out for all members.
    pub(crate) backfilled: u32,
}

impl VersionRow {
    /// The programme and its version.
    pub(crate) fn into_version(self) -> Result<(ProgramId, BegunVersion), DatabaseError> {
        let row = StoredRow::of("begun_versions", &self.program);
        let version = u32::try_from(self.version).ok();
        let begun = BegunVersion {
            version: row.check("version", version)?,
            position: Position::new(self.position),
            begun_at: from_pg(self.begun_at),
            backfilled: row.check("backfilled", u32::try_from(self.backfilled).ok())?,
        };
        Ok((row.parse("program", &self.program)?, begun))
    }
}

/// All of a shard that are in force, and where each began.
pub(crate) async fn of_shard(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
) -> Result<Vec<VersionRow>, DatabaseError> {
    let rows = sqlx::query_as!(
        VersionRow,
        "-- points.versions.of_shard
        SELECT program, version, position, begun_at, backfilled FROM begun_versions
        WHERE shard = $1",
        stored(shard),
    )
    .fetch_all(executor)
    .await?;
    Ok(rows)
}

/// Whether some version of a programme has begun in a shard.
pub(crate) async fn has_begun(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
    program: &ProgramId,
) -> Result<bool, DatabaseError> {
    let found = sqlx::query_scalar!(
        "-- points.versions.has_begun
        SELECT version FROM begun_versions WHERE shard = $1 AND program = $2",
        stored(shard),
        program.as_str(),
    )
    .fetch_optional(executor)
    .await?;
    Ok(found.is_some())
}

/// All that ever began in a shard, of one programme or of all, in their order.
pub(crate) async fn history(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
    program: Option<&ProgramId>,
) -> Result<Vec<VersionRow>, DatabaseError> {
    let rows = sqlx::query_as!(
        VersionRow,
        r#"-- points.versions.history
        SELECT program, version, position, begun_at, 0 AS "backfilled!" FROM version_history
        WHERE shard = $1 AND ($2::text IS NULL OR program = $2) ORDER BY program, version"#,
        stored(shard),
        program.map(ProgramId::as_str),
    )
    .fetch_all(executor)
    .await?;
    Ok(rows)
}

/// Writes up to which version counters are worked out for all members, under the lock of the head.
pub(crate) async fn put_backfilled(
    connection: &mut PgConnection,
    shard: ShardId,
    (program, version): (&ProgramId, u32),
) -> Result<(), DatabaseError> {
    sqlx::query!(
        "-- points.versions.put_backfilled
        UPDATE begun_versions SET backfilled = $3 WHERE shard = $1 AND program = $2",
        stored(shard),
        program.as_str(),
        i32::try_from(version).unwrap_or(i32::MAX),
    )
    .execute(connection)
    .await?;
    Ok(())
}
