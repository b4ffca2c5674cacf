//! The tables that every service keeps: programme versions, cursors of the
//! feeds it reads, and the time of a test clock.

use fealty_types::{ProgramId, Timestamp};
use sqlx::{PgConnection, PgExecutor};

use crate::{Database, DatabaseError, Migrator, from_pg, to_pg};

/// Migrations of these tables.
static FOUNDATION: Migrator = sqlx::migrate!();

/// A stored version of a programme.
#[derive(Clone, Debug)]
pub struct StoredProgram {
    /// Number of the version, from 1.
    pub version: i64,
    /// When it came into force.
    pub effective_at: Timestamp,
    /// SHA-256 of its meaning, in hexadecimal.
    pub digest: String,
    /// The file's text.
    pub source: String,
}

/// Brings these tables and a service's own up to date, and gives the role that
/// the service connects as, if it is another one, what it needs. Safe to call
/// from many instances at once.
pub async fn migrate(
    database: &Database,
    own: &Migrator,
    service_role: Option<&str>,
) -> Result<(), DatabaseError> {
    // Both share one table of what has been applied.
    for migrator in [&FOUNDATION, own] {
        let mut migrator = Migrator {
            migrations: migrator.migrations.clone(),
            ..Migrator::DEFAULT
        };
        migrator.set_ignore_missing(true);
        database.migrate(&migrator).await?;
    }
    if let Some(role) = service_role {
        sqlx::query!("-- grant_service_role\nSELECT grant_service_role($1)", role)
            .execute(database.pool())
            .await?;
    }
    Ok(())
}

/// Reads a version of a programme; the newest, if none is named.
pub async fn program(
    executor: impl PgExecutor<'_>,
    program: &ProgramId,
    version: Option<i64>,
) -> Result<Option<StoredProgram>, DatabaseError> {
    let row = sqlx::query!(
        "-- program
        SELECT version, effective_at, digest, source FROM programs
        WHERE program = $1 AND ($2::bigint IS NULL OR version = $2)
        ORDER BY version DESC LIMIT 1",
        program.as_str(),
        version,
    )
    .fetch_optional(executor)
    .await?;
    Ok(row.map(|row| StoredProgram {
        version: row.version,
        effective_at: from_pg(row.effective_at),
        digest: row.digest,
        source: row.source,
    }))
}

/// The newest version of every programme, by number.
pub async fn program_versions(
    executor: impl PgExecutor<'_>,
) -> Result<Vec<(String, i64)>, DatabaseError> {
    let rows = sqlx::query!(
        r#"-- program_versions
        SELECT program, max(version) AS "version!" FROM programs GROUP BY program"#
    )
    .fetch_all(executor)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.program, row.version))
        .collect())
}

/// Keeps other appliers of programmes out until the transaction ends.
pub async fn lock_programs(connection: &mut PgConnection) -> Result<(), DatabaseError> {
    sqlx::query!("-- lock_programs\nLOCK TABLE programs IN SHARE ROW EXCLUSIVE MODE")
        .execute(connection)
        .await?;
    Ok(())
}

/// Stores a version of a programme.
pub async fn insert_program(
    connection: &mut PgConnection,
    program: &ProgramId,
    stored: &StoredProgram,
) -> Result<(), DatabaseError> {
    sqlx::query!(
        "-- insert_program
        INSERT INTO programs (program, version, effective_at, digest, source)
        VALUES ($1, $2, $3, $4, $5)",
        program.as_str(),
        stored.version,
        to_pg(stored.effective_at),
        stored.digest,
        stored.source,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The stored cursor of a feed; empty before anything was read.
pub async fn feed_cursor(
    executor: impl PgExecutor<'_>,
    source: &str,
) -> Result<String, DatabaseError> {
    let cursor = sqlx::query_scalar!(
        "-- feed_cursor\nSELECT cursor FROM feed_cursors WHERE source = $1",
        source
    )
    .fetch_optional(executor)
    .await?;
    Ok(cursor.unwrap_or_default())
}

/// Moves the cursor of a feed, in the transaction that did what the entries
/// between ask for; `false` if it is no longer at `from`, because another
/// instance has been there.
pub async fn move_feed_cursor(
    connection: &mut PgConnection,
    source: &str,
    from: &str,
    to: &str,
) -> Result<bool, DatabaseError> {
    let moved = if from.is_empty() {
        sqlx::query!(
            "-- move_feed_cursor: the first time
            INSERT INTO feed_cursors (source, cursor) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            source,
            to,
        )
        .execute(connection)
        .await?
    } else {
        sqlx::query!(
            "-- move_feed_cursor
            UPDATE feed_cursors SET cursor = $3 WHERE source = $1 AND cursor = $2",
            source,
            from,
            to,
        )
        .execute(connection)
        .await?
    };
    Ok(moved.rows_affected() == 1)
}

/// The time of the test clock, if one was ever set.
pub async fn test_time(executor: impl PgExecutor<'_>) -> Result<Option<Timestamp>, DatabaseError> {
    let now = sqlx::query_scalar!("-- test_time\nSELECT now FROM test_clock")
        .fetch_optional(executor)
        .await?;
    Ok(now.map(from_pg))
}

/// Keeps the time of the test clock.
pub async fn set_test_time(
    executor: impl PgExecutor<'_>,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    sqlx::query!(
        "-- set_test_time
        INSERT INTO test_clock (now) VALUES ($1)
        ON CONFLICT (singleton) DO UPDATE SET now = excluded.now",
        to_pg(now),
    )
    .execute(executor)
    .await?;
    Ok(())
}
