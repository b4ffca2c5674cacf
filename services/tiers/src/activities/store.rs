//! The statements over sensitive activities.

use fealty_postgres::{DatabaseError, PgConnection, PgTime, StoredRow, from_pg, to_pg};
use fealty_types::{MemberId, ProgramId};
use sqlx::PgExecutor;
use uuid::Uuid;

use super::activity::{Activity, Which};

/// Whose they are.
type Name<'a> = (&'a ProgramId, &'a MemberId);

/// A row of the table.
struct Row {
    id: Uuid,
    member: String,
    activity: String,
    activity_id: String,
    occurred_at: PgTime,
    recorded_at: PgTime,
    attributes: String,
}

impl Row {
    fn into_activity(self) -> Result<(Uuid, MemberId, Activity), DatabaseError> {
        let row = StoredRow::of("sensitive_activities", self.id);
        let attributes = serde_json::from_str(&self.attributes).ok();
        let activity = Activity {
            of_type: row.parse("activity", &self.activity)?,
            id: row.parse("activity_id", &self.activity_id)?,
            occurred_at: from_pg(self.occurred_at),
            recorded_at: from_pg(self.recorded_at),
            attributes: row.check("attributes", attributes)?,
        };
        Ok((self.id, row.parse("member", &self.member)?, activity))
    }
}

/// How often it is tried where one is deleted just when it is looked for.
const ATTEMPTS_MAX: u32 = 5;

/// Keeps an activity; answers with the one that has its type and id, and whose it is, where
/// there is one.
pub(super) async fn keep(
    connection: &mut PgConnection,
    name: Name<'_>,
    (id, activity): (Uuid, &Activity),
) -> Result<Option<(MemberId, Activity)>, DatabaseError> {
    for _ in 0..ATTEMPTS_MAX {
        if insert(connection, name, (id, activity)).await? {
            return Ok(None);
        }
        let found = find(connection, name.0, activity).await?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Err(DatabaseError::Contended("it is deleted again and again"))
}

/// Keeps an activity; `false` where its type and id are there.
async fn insert(
    connection: &mut PgConnection,
    (program, member): Name<'_>,
    (id, activity): (Uuid, &Activity),
) -> Result<bool, DatabaseError> {
    let attributes = serde_json::to_string(&activity.attributes)
        .map_err(|_| DatabaseError::Broken("attributes"))?;
    let inserted = sqlx::query!(
        "-- tiers.activities.insert
        INSERT INTO sensitive_activities (id, program, member, activity, activity_id, occurred_at,
                                          recorded_at, attributes)
        VALUES ($1, $2, $3, $4, $5, $6, $7, ($8::text)::jsonb)
        ON CONFLICT (program, activity, activity_id) DO NOTHING",
        id,
        program.as_str(),
        member.as_str(),
        activity.of_type.as_str(),
        activity.id.as_str(),
        to_pg(activity.occurred_at),
        to_pg(activity.recorded_at),
        attributes,
    )
    .execute(connection)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// The activity that has a type and id, and whose it is.
async fn find(
    connection: &mut PgConnection,
    program: &ProgramId,
    activity: &Activity,
) -> Result<Option<(MemberId, Activity)>, DatabaseError> {
    let row = sqlx::query_as!(
        Row,
        r#"-- tiers.activities.find
        SELECT id, member, activity, activity_id, occurred_at, recorded_at,
               attributes::text AS "attributes!"
        FROM sensitive_activities WHERE program = $1 AND activity = $2 AND activity_id = $3"#,
        program.as_str(),
        activity.of_type.as_str(),
        activity.id.as_str(),
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        let (_, member, found) = row.into_activity()?;
        Ok((member, found))
    })
    .transpose()
}

/// A member's activities before a place, newest first, each with its place.
pub(super) async fn list(
    executor: impl PgExecutor<'_>,
    (program, member): Name<'_>,
    (before, limit): (Option<Uuid>, i64),
) -> Result<Vec<(Uuid, Activity)>, DatabaseError> {
    let rows = sqlx::query_as!(
        Row,
        r#"-- tiers.activities.list
        SELECT id, member, activity, activity_id, occurred_at, recorded_at,
               attributes::text AS "attributes!"
        FROM sensitive_activities
        WHERE program = $1 AND member = $2 AND ($3::uuid IS NULL OR id < $3)
        ORDER BY id DESC LIMIT $4"#,
        program.as_str(),
        member.as_str(),
        before,
        limit,
    )
    .fetch_all(executor)
    .await?;
    let read = rows.into_iter().map(|row| {
        let (id, _, activity) = row.into_activity()?;
        Ok((id, activity))
    });
    read.collect()
}

/// Deletes a member's activities; answers how many.
pub(super) async fn erase(
    connection: &mut PgConnection,
    (program, member): Name<'_>,
    which: &Which,
) -> Result<i64, DatabaseError> {
    let (activity, id) = match which {
        Which::All => (None, None),
        Which::One(activity, id) => (Some(activity.as_str()), Some(id.as_str())),
    };
    let erased = sqlx::query!(
        "-- tiers.activities.erase
        DELETE FROM sensitive_activities
        WHERE program = $1 AND member = $2
          AND ($3::text IS NULL OR (activity = $3 AND activity_id = $4))",
        program.as_str(),
        member.as_str(),
        activity,
        id,
    )
    .execute(connection)
    .await?;
    Ok(i64::try_from(erased.rows_affected()).unwrap_or(i64::MAX))
}
