//! What is personal, beside the log.

use std::collections::HashMap;

use fealty_postgres::{DatabaseError, PgConnection, StoredRow};
use fealty_types::{MemberId, ProgramId, ShardId};
use sqlx::PgExecutor;
use uuid::Uuid;

use super::stored;
use crate::shard::personal::{PersonalKey, PersonalValue, PersonalValues};

/// The key that a member's values are hashed with, if it has one.
pub(crate) async fn key(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
    (program, member): (&ProgramId, &MemberId),
) -> Result<Option<PersonalKey>, DatabaseError> {
    let key = sqlx::query_scalar!(
        "-- points.personal.key
        SELECT key FROM personal_keys WHERE shard = $1 AND program = $2 AND member = $3",
        stored(shard),
        program.as_str(),
        member.as_str(),
    )
    .fetch_optional(executor)
    .await?;
    let row = StoredRow::of("personal_keys", member);
    key.map(|key| row.check("key", key.try_into().ok()))
        .transpose()
}

/// Gives a member a key, unless somebody else just did.
pub(crate) async fn give_key(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
    (program, member): (&ProgramId, &MemberId),
    key: &PersonalKey,
) -> Result<(), DatabaseError> {
    sqlx::query!(
        "-- points.personal.give_key
        INSERT INTO personal_keys (shard, program, member, key) VALUES ($1, $2, $3, $4)
        ON CONFLICT DO NOTHING",
        stored(shard),
        program.as_str(),
        member.as_str(),
        &key[..],
    )
    .execute(executor)
    .await?;
    Ok(())
}

/// Keeps a request's values, if it has some, unless what is personal of the member was erased since they
/// were hashed. Whoever erases waits for this transaction, or this for them.
pub(crate) async fn keep(
    connection: &mut PgConnection,
    shard: ShardId,
    (program, member): (&ProgramId, &MemberId),
    values: Option<&PersonalValues>,
) -> Result<(), DatabaseError> {
    let Some(values) = values else {
        return Ok(());
    };
    let is_there = sqlx::query_scalar!(
        "-- points.personal.lock_key
        SELECT 1 FROM personal_keys
        WHERE shard = $1 AND program = $2 AND member = $3 AND key = $4 FOR KEY SHARE",
        stored(shard),
        program.as_str(),
        member.as_str(),
        &values.key[..],
    )
    .fetch_optional(&mut *connection)
    .await?;
    if is_there.is_none() {
        return Ok(());
    }
    let of = |part: fn(&PersonalValue) -> &String| -> Vec<String> {
        values
            .values
            .iter()
            .map(|value| part(value).clone())
            .collect()
    };
    sqlx::query!(
        "-- points.personal.keep
        INSERT INTO personal_values (shard, program, member, request_key, field, value)
        SELECT home.shard, $2, $3, $4, new.field, new.value
        FROM shards AS home, unnest($5::text[], $6::text[]) AS new (field, value)
        WHERE home.shard = $1",
        stored(shard),
        program.as_str(),
        member.as_str(),
        values.request_key,
        &of(|value| &value.field),
        &of(|value| &value.value),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The values of some of a member's requests.
pub(crate) async fn of_requests(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
    (program, member): (&ProgramId, &MemberId),
    requests: &[Uuid],
) -> Result<HashMap<Uuid, Vec<PersonalValue>>, DatabaseError> {
    let rows = sqlx::query!(
        "-- points.personal.of_requests
        SELECT request_key, field, value FROM personal_values
        WHERE shard = $1 AND program = $2 AND member = $3 AND request_key = ANY($4)",
        stored(shard),
        program.as_str(),
        member.as_str(),
        requests,
    )
    .fetch_all(executor)
    .await?;
    let mut values: HashMap<Uuid, Vec<PersonalValue>> = HashMap::new();
    for row in rows {
        let (field, value) = (row.field, row.value);
        let of_request = values.entry(row.request_key).or_default();
        of_request.push(PersonalValue { field, value });
    }
    Ok(values)
}

/// Deletes a member's values, and what they were hashed with; answers how many there were.
pub(crate) async fn erase(
    connection: &mut PgConnection,
    shard: ShardId,
    (program, member): (&ProgramId, &MemberId),
) -> Result<i64, DatabaseError> {
    let (program, member) = (program.as_str(), member.as_str());
    // First the key: what is being written with it is waited for, and then deleted too.
    sqlx::query!(
        "-- points.personal.erase: key
        DELETE FROM personal_keys WHERE shard = $1 AND program = $2 AND member = $3",
        stored(shard),
        program,
        member,
    )
    .execute(&mut *connection)
    .await?;
    let erased = sqlx::query!(
        "-- points.personal.erase
        DELETE FROM personal_values WHERE shard = $1 AND program = $2 AND member = $3",
        stored(shard),
        program,
        member,
    )
    .execute(connection)
    .await?;
    Ok(i64::try_from(erased.rows_affected()).unwrap_or(i64::MAX))
}
