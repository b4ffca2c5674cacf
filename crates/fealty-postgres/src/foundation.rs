//! The tables that every service keeps: programme versions, cursors of the
//! feeds it reads, and the time of a test clock. (The audit log has a file of its
//! own.)

use fealty_types::{ProgramId, Timestamp};
use sqlx::{
    PgConnection, PgExecutor,
    migrate::{Migrate as _, MigrateError},
};

use crate::{Database, DatabaseError, Migrator, PgTime, from_pg, to_pg};

/// Migrations of these tables.
static FOUNDATION: Migrator = sqlx::migrate!();

/// Where it stands which migrations have been run.
const MIGRATIONS: &str = "_sqlx_migrations";
/// Tables of these whose rows are never changed.
const FOUNDATION_APPEND_ONLY: [&str; 1] = ["audit_log"];

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
    /// Who applied it.
    pub actor: String,
    /// Why, as they said.
    pub note: String,
}

/// What a service keeps in its database.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    /// How its tables are made.
    pub migrator: &'static Migrator,
    /// Tables whose rows are never changed.
    pub append_only: &'static [&'static str],
    /// Tables that a distributed Postgres spreads by their `shard`; the first
    /// has a row for each.
    pub distributed: &'static [&'static str],
}

/// Brings these tables and a service's own up to date, distributes those that
/// are made for it where the database has the extension, and gives the role
/// that the service connects as, if it is another one, what it needs. Safe to
/// call from many instances at once.
pub async fn migrate(
    database: &Database,
    schema: &Schema,
    service_role: Option<&str>,
) -> Result<(), DatabaseError> {
    // Both share one table of what has been applied.
    for migrator in [&FOUNDATION, schema.migrator] {
        let mut migrator = Migrator {
            migrations: migrator.migrations.clone(),
            ..Migrator::DEFAULT
        };
        migrator.set_ignore_missing(true);
        database.migrate(&migrator).await?;
    }
    distribute(database, schema.distributed).await?;
    let names = FOUNDATION_APPEND_ONLY.iter().chain(schema.append_only);
    let append_only: Vec<String> = names.map(|table| (*table).to_owned()).collect();
    sqlx::query!(
        "-- foundation.protect\nSELECT protect_from_owner($1)",
        &append_only
    )
    .fetch_one(database.pool())
    .await?;
    if let Some(role) = service_role {
        sqlx::query!(
            "-- foundation.grant\nSELECT grant_service_role($1, $2)",
            role,
            &append_only
        )
        .fetch_one(database.pool())
        .await?;
    }
    Ok(())
}

/// Checks that the tables are as this version of the program needs them, where
/// something else brings them up to date. Tables that are ahead do: they grow
/// before they lose anything.
pub async fn check_schema(database: &Database, schema: &Schema) -> Result<(), SchemaError> {
    let exists = sqlx::query_scalar!(
        r#"-- foundation.has_migrations
        SELECT to_regclass('_sqlx_migrations') IS NOT NULL AS "exists!""#
    )
    .fetch_one(database.pool())
    .await
    .map_err(DatabaseError::from)?;
    let mut connection = database
        .pool()
        .acquire()
        .await
        .map_err(DatabaseError::from)?;
    let applied = if exists {
        if let Some(version) = connection.dirty_version(MIGRATIONS).await? {
            return Err(SchemaError::Broken { version });
        }
        connection.list_applied_migrations(MIGRATIONS).await?
    } else {
        Vec::new()
    };
    for migration in FOUNDATION.iter().chain(schema.migrator.iter()) {
        let known = applied
            .iter()
            .find(|known| known.version == migration.version);
        let version = migration.version;
        match known {
            Some(known) if known.checksum == migration.checksum => {}
            Some(_) => return Err(SchemaError::Differs { version }),
            None => return Err(SchemaError::Behind { version }),
        }
    }
    Ok(())
}

/// Tables that are not as this version of the program needs them.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// A migration has not been run.
    #[error("the tables lack migration {version}: run `fealty serve … --migrate-only` first")]
    Behind {
        /// Its number.
        version: i64,
    },
    /// A migration has another text than the one that was run.
    #[error("migration {version} is not the one that made these tables")]
    Differs {
        /// Its number.
        version: i64,
    },
    /// A migration broke off.
    #[error("migration {version} broke off: look at the database, and run it again")]
    Broken {
        /// Its number.
        version: i64,
    },
    /// The database cannot be asked.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// What has been run cannot be read.
    #[error("what migrations have been run cannot be read")]
    Migrations(#[from] MigrateError),
}

async fn distribute(database: &Database, tables: &[&str]) -> Result<(), DatabaseError> {
    if tables.is_empty() {
        return Ok(());
    }
    let tables: Vec<String> = tables.iter().map(|table| (*table).to_owned()).collect();
    sqlx::query!("-- foundation.distribute\nSELECT distribute($1)", &tables)
        .fetch_one(database.pool())
        .await?;
    Ok(())
}

/// Whether a table is spread over several nodes.
pub async fn is_distributed(
    executor: impl PgExecutor<'_>,
    table: &str,
) -> Result<bool, DatabaseError> {
    let known = sqlx::query_scalar!(
        r#"-- foundation.is_distributed
        SELECT is_distributed($1) AS "known!""#,
        table
    )
    .fetch_one(executor)
    .await?;
    Ok(known)
}

/// A version of a programme as stored.
struct ProgramRow {
    version: i64,
    effective_at: PgTime,
    digest: String,
    source: String,
    actor: String,
    note: String,
}

impl From<ProgramRow> for StoredProgram {
    fn from(row: ProgramRow) -> Self {
        Self {
            version: row.version,
            effective_at: from_pg(row.effective_at),
            digest: row.digest,
            source: row.source,
            actor: row.actor,
            note: row.note,
        }
    }
}

/// What became of a request to apply a programme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramRequest {
    /// The version that it was answered with.
    pub version: i64,
    /// The digest of what it wanted applied.
    pub digest: String,
    /// Why, as it said.
    pub note: String,
}

/// What became of a request to apply a programme, if it was there before.
pub async fn program_request(
    executor: impl PgExecutor<'_>,
    program: &ProgramId,
    request_id: &str,
) -> Result<Option<ProgramRequest>, DatabaseError> {
    let row = sqlx::query_as!(
        ProgramRequest,
        "-- foundation.program_request
        SELECT version, digest, note FROM program_requests
        WHERE program = $1 AND request_id = $2",
        program.as_str(),
        request_id,
    )
    .fetch_optional(executor)
    .await?;
    Ok(row)
}

/// Keeps what became of a request to apply a programme.
pub async fn insert_program_request(
    connection: &mut PgConnection,
    program: &ProgramId,
    request_id: &str,
    request: &ProgramRequest,
) -> Result<(), DatabaseError> {
    sqlx::query!(
        "-- foundation.insert_program_request
        INSERT INTO program_requests (program, request_id, version, digest, note)
        VALUES ($1, $2, $3, $4, $5)",
        program.as_str(),
        request_id,
        request.version,
        request.digest,
        request.note,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Versions of a programme before one of them, newest first.
pub async fn programs_before(
    executor: impl PgExecutor<'_>,
    program: &ProgramId,
    before: i64,
    limit: i64,
) -> Result<Vec<StoredProgram>, DatabaseError> {
    let rows = sqlx::query_as!(
        ProgramRow,
        r#"-- foundation.programs_before
        SELECT version, effective_at, digest, '' AS "source!", actor, note
        FROM programs WHERE program = $1 AND version < $2
        ORDER BY version DESC LIMIT $3"#,
        program.as_str(),
        before,
        limit,
    )
    .fetch_all(executor)
    .await?;
    Ok(rows.into_iter().map(StoredProgram::from).collect())
}

/// Reads a version of a programme; the newest, if none is named.
pub async fn program(
    executor: impl PgExecutor<'_>,
    program: &ProgramId,
    version: Option<i64>,
) -> Result<Option<StoredProgram>, DatabaseError> {
    let row = sqlx::query_as!(
        ProgramRow,
        "-- foundation.program
        SELECT version, effective_at, digest, source, actor, note FROM programs
        WHERE program = $1 AND ($2::bigint IS NULL OR version = $2)
        ORDER BY version DESC LIMIT 1",
        program.as_str(),
        version,
    )
    .fetch_optional(executor)
    .await?;
    Ok(row.map(StoredProgram::from))
}

/// The versions of a programme in whose text some words stand.
pub async fn versions_with(
    executor: impl PgExecutor<'_>,
    program: &ProgramId,
    words: &str,
) -> Result<Vec<i64>, DatabaseError> {
    let versions = sqlx::query_scalar!(
        "-- foundation.versions_with
        SELECT version FROM programs WHERE program = $1 AND strpos(source, $2) > 0
        ORDER BY version",
        program.as_str(),
        words,
    )
    .fetch_all(executor)
    .await?;
    Ok(versions)
}

/// The newest version of a programme.
#[derive(Clone, Debug)]
pub struct NewestVersion {
    /// The programme.
    pub program: String,
    /// The version's number.
    pub version: i64,
    /// SHA-256 of its text.
    pub text_digest: Vec<u8>,
}

/// The newest version of every programme.
pub async fn newest_versions(
    executor: impl PgExecutor<'_>,
) -> Result<Vec<NewestVersion>, DatabaseError> {
    let rows = sqlx::query_as!(
        NewestVersion,
        r#"-- foundation.newest_versions
        SELECT program, version, sha256(convert_to(source, 'UTF8')) AS "text_digest!"
        FROM programs JOIN (
            SELECT program, max(version) AS version FROM programs GROUP BY program
        ) newest USING (program, version)"#
    )
    .fetch_all(executor)
    .await?;
    Ok(rows)
}

/// Keeps other appliers of programmes out until the transaction ends.
pub async fn lock_programs(connection: &mut PgConnection) -> Result<(), DatabaseError> {
    sqlx::query!("-- foundation.lock_programs\nLOCK TABLE programs IN SHARE ROW EXCLUSIVE MODE")
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
        "-- foundation.insert_program
        INSERT INTO programs (program, version, effective_at, digest, source, actor, note)
        VALUES ($1, $2, $3, $4, $5, $6, $7)",
        program.as_str(),
        stored.version,
        to_pg(stored.effective_at),
        stored.digest,
        stored.source,
        stored.actor,
        stored.note,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The number of a programme's newest version, if it has one.
pub async fn newest_version(
    executor: impl PgExecutor<'_>,
    program: &ProgramId,
) -> Result<Option<i64>, DatabaseError> {
    let version = sqlx::query_scalar!(
        "-- foundation.newest_version\nSELECT max(version) FROM programs WHERE program = $1",
        program.as_str(),
    )
    .fetch_one(executor)
    .await?;
    Ok(version)
}

/// The stored cursor of a feed; empty before anything was read.
pub async fn feed_cursor(
    executor: impl PgExecutor<'_>,
    source: &str,
) -> Result<String, DatabaseError> {
    let cursor = sqlx::query_scalar!(
        "-- foundation.feed_cursor\nSELECT cursor FROM feed_cursors WHERE source = $1",
        source
    )
    .fetch_optional(executor)
    .await?;
    Ok(cursor.unwrap_or_default())
}

/// Up to when all of a feed is known to have been told by its cursor.
pub async fn feed_known_at(
    executor: impl PgExecutor<'_>,
    source: &str,
) -> Result<Option<Timestamp>, DatabaseError> {
    let known_at = sqlx::query_scalar!(
        "-- foundation.feed_known_at\nSELECT known_at FROM feed_cursors WHERE source = $1",
        source
    )
    .fetch_optional(executor)
    .await?;
    Ok(known_at.flatten().map(from_pg))
}

/// Moves the cursor of a feed, in the transaction that did what the entries
/// between ask for, and notes up to when all is known by then, if that is said; `false` if
/// it is no longer at `from`, because another instance has been there.
pub async fn move_feed_cursor(
    connection: &mut PgConnection,
    source: &str,
    (from, to): (&str, &str),
    known_at: Option<Timestamp>,
) -> Result<bool, DatabaseError> {
    let known_at = known_at.map(to_pg);
    let moved = if from.is_empty() {
        sqlx::query!(
            "-- foundation.move_feed_cursor: the first time
            INSERT INTO feed_cursors (source, cursor, known_at) VALUES ($1, $2, $3)
            ON CONFLICT DO NOTHING",
            source,
            to,
            known_at,
        )
        .execute(connection)
        .await?
    } else {
        sqlx::query!(
            "-- foundation.move_feed_cursor
            UPDATE feed_cursors SET cursor = $3, known_at = coalesce($4, known_at)
            WHERE source = $1 AND cursor = $2",
            source,
            from,
            to,
            known_at,
        )
        .execute(connection)
        .await?
    };
    Ok(moved.rows_affected() == 1)
}

/// The time of the test clock, if one was ever set.
pub async fn test_time(executor: impl PgExecutor<'_>) -> Result<Option<Timestamp>, DatabaseError> {
    let now = sqlx::query_scalar!("-- foundation.test_time\nSELECT now FROM test_clock")
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
        "-- foundation.set_test_time
        INSERT INTO test_clock (now) VALUES ($1)
        ON CONFLICT (singleton) DO UPDATE SET now = excluded.now",
        to_pg(now),
    )
    .execute(executor)
    .await?;
    Ok(())
}

/// The database's clock.
pub async fn time_of_database(executor: impl PgExecutor<'_>) -> Result<Timestamp, DatabaseError> {
    let now = sqlx::query_scalar!(
        r#"-- foundation.time_of_database
        SELECT clock_timestamp() AS "now!""#
    )
    .fetch_one(executor)
    .await?;
    Ok(from_pg(now))
}

/// Makes all reads of a transaction see one moment; its first statement. Over
/// several nodes, one moment of each.
pub async fn read_one_moment(connection: &mut PgConnection) -> Result<(), DatabaseError> {
    sqlx::query!(
        "-- foundation.read_one_moment\nSET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"
    )
    .execute(connection)
    .await?;
    Ok(())
}
