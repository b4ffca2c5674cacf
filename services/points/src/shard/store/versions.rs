//! The versions of programmes that are in force in a shard.

use fealty_postgres::{DatabaseError, StoredRow};
use fealty_types::{ProgramId, ShardId};
use sqlx::PgExecutor;

use super::{rows::VersionRow, stored};

impl VersionRow {
    /// The programme and its version.
    pub(crate) fn into_version(self) -> Result<(ProgramId, u32), DatabaseError> {
        let row = StoredRow::of("begun_versions", &self.program);
        let version = u32::try_from(self.version).ok();
        Ok((
            row.parse("program", &self.program)?,
            row.check("version", version)?,
        ))
    }
}

/// All of a shard, and where each began.
pub(crate) async fn of_shard(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
) -> Result<Vec<VersionRow>, DatabaseError> {
    let rows = sqlx::query_as!(
        VersionRow,
        "-- points.versions.of_shard
        SELECT program, version, position FROM begun_versions WHERE shard = $1",
        stored(shard),
    )
    .fetch_all(executor)
    .await?;
    Ok(rows)
}
