//! The audit log that every service keeps: who did what, before and after.

use fealty_types::{MemberId, ProgramId, Subject, Timestamp};
use sqlx::{PgConnection, PgExecutor};

use crate::{Database, DatabaseError, StoredRow, from_pg, to_pg};

/// What somebody did, on its way into the log.
#[derive(Clone, Debug)]
pub struct NewAuditEntry {
    /// Whose credentials they were.
    pub subject: Subject,
    /// For whom it acted, if for somebody else.
    pub acting_for: Option<Subject>,
    /// The roles that it had.
    pub roles: Vec<String>,
    /// The full name of what was called.
    pub method: String,
    /// The programme.
    pub program: Option<ProgramId>,
    /// The member.
    pub member: Option<MemberId>,
    /// Why.
    pub reason: Option<String>,
    /// How it was, as JSON.
    pub before: Option<String>,
    /// How it is now, as JSON.
    pub after: Option<String>,
    /// Id of the transaction that it made.
    pub transaction: Option<String>,
}

/// An entry of the log.
#[derive(Clone, Debug)]
pub struct AuditEntry {
    /// Its number.
    pub number: i64,
    /// When it was written, by the database's clock.
    pub written_at: Timestamp,
    /// What it says.
    pub entry: NewAuditEntry,
}

/// Which entries are wanted: those that meet all that is set.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// One of these programmes; any, or none, if nothing is said.
    pub programs: Option<Vec<ProgramId>>,
    /// About this member.
    pub member: Option<MemberId>,
    /// By this caller.
    pub subject: Option<Subject>,
    /// Written at this time or later.
    pub start: Option<Timestamp>,
    /// Written before this time.
    pub end: Option<Timestamp>,
}

/// Adds an entry; in the transaction of what it tells of, where that changes
/// something.
pub async fn append(
    executor: impl PgExecutor<'_>,
    entry: &NewAuditEntry,
) -> Result<(), DatabaseError> {
    sqlx::query!(
        "-- foundation.audit_log.append
        INSERT INTO audit_log
            (subject, acting_for, roles, method, program, member, reason, before, after,
             transaction)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8::text::jsonb, $9::text::jsonb, $10)",
        entry.subject.as_str(),
        entry.acting_for.as_ref().map(Subject::as_str),
        &entry.roles,
        entry.method,
        entry.program.as_ref().map(ProgramId::as_str),
        entry.member.as_ref().map(MemberId::as_str),
        entry.reason,
        entry.before,
        entry.after,
        entry.transaction,
    )
    .execute(executor)
    .await?;
    Ok(())
}

/// Adds an entry for each of the members of whom a call told something.
pub async fn append_reads(
    executor: impl PgExecutor<'_>,
    entry: &NewAuditEntry,
    members: &[(ProgramId, MemberId)],
) -> Result<(), DatabaseError> {
    let (programs, members): (Vec<String>, Vec<String>) = members
        .iter()
        .map(|(program, member)| (program.to_string(), member.to_string()))
        .unzip();
    sqlx::query!(
        "-- foundation.audit_log.append_reads
        INSERT INTO audit_log (subject, acting_for, roles, method, program, member)
        SELECT $1, $2, $3, $4, told.program, told.member
        FROM unnest($5::text[], $6::text[]) AS told (program, member)",
        entry.subject.as_str(),
        entry.acting_for.as_ref().map(Subject::as_str),
        &entry.roles,
        entry.method,
        &programs,
        &members,
    )
    .execute(executor)
    .await?;
    Ok(())
}

/// Reads entries with numbers below `before`, the newest first.
pub async fn list(
    database: &Database,
    filter: &AuditFilter,
    before: i64,
    limit: i64,
) -> Result<Vec<AuditEntry>, DatabaseError> {
    crate::run!(database, "list_audit_entries", |connection| async {
        // Which index serves depends on what is asked for.
        sqlx::query!(
            "-- foundation.audit_log.plan_anew
            SELECT set_config('plan_cache_mode', 'force_custom_plan', true)"
        )
        .fetch_one(&mut *connection)
        .await?;
        list_in(connection, filter, before, limit).await
    })
}

async fn list_in(
    connection: &mut PgConnection,
    filter: &AuditFilter,
    before: i64,
    limit: i64,
) -> Result<Vec<AuditEntry>, DatabaseError> {
    let programs = filter.programs.as_ref();
    let programs: Option<Vec<String>> =
        programs.map(|named| named.iter().map(ToString::to_string).collect());
    let rows = sqlx::query!(
        r#"-- foundation.audit_log.list
        SELECT number, written_at, subject, acting_for, roles, method, program, member, reason,
            before::text AS before, after::text AS after, transaction
        FROM audit_log
        WHERE number < $1
            AND ($2::text[] IS NULL OR program = ANY ($2))
            AND ($3::text IS NULL OR member = $3)
            AND ($4::text IS NULL OR subject = $4)
            AND ($5::timestamptz IS NULL OR written_at >= $5)
            AND ($6::timestamptz IS NULL OR written_at < $6)
        ORDER BY number DESC LIMIT $7"#,
        before,
        programs.as_deref(),
        filter.member.as_ref().map(MemberId::as_str),
        filter.subject.as_ref().map(Subject::as_str),
        filter.start.map(to_pg),
        filter.end.map(to_pg),
        limit,
    )
    .fetch_all(connection)
    .await?;
    let entries = rows.into_iter().map(|row| {
        let stored = StoredRow::of("audit_log", row.number);
        let parsed = |column, text: Option<String>| text.map(|text| stored.parse(column, &text));
        let program = row.program.map(|text| stored.parse("program", &text));
        let member = row.member.map(|text| stored.parse("member", &text));
        Ok(AuditEntry {
            number: row.number,
            written_at: from_pg(row.written_at),
            entry: NewAuditEntry {
                subject: stored.parse("subject", &row.subject)?,
                acting_for: parsed("acting_for", row.acting_for).transpose()?,
                roles: row.roles,
                method: row.method,
                program: program.transpose()?,
                member: member.transpose()?,
                reason: row.reason,
                before: row.before,
                after: row.after,
                transaction: row.transaction,
            },
        })
    });
    entries.collect()
}
