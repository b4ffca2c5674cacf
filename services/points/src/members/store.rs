//! What the tiers service told of members' tiers.

use fealty_postgres::{DatabaseError, PgConnection, to_pg};
use fealty_types::{ShardId, TierId, Timestamp};

use crate::shard::store::stored;

/// Notes that a member has a tier from a moment on. Of two changes at the same
/// moment the later one told holds.
pub(super) async fn note(
    connection: &mut PgConnection,
    shard: ShardId,
    program: &str,
    member: &str,
    effective_at: Timestamp,
    tier: &TierId,
) -> Result<(), DatabaseError> {
    sqlx::query!(
        "-- points.member_tiers.note
        INSERT INTO member_tiers (shard, program, member, effective_at, tier)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (shard, program, member, effective_at) DO UPDATE SET tier = excluded.tier",
        stored(shard),
        program,
        member,
        to_pg(effective_at),
        tier.as_str(),
    )
    .execute(connection)
    .await?;
    Ok(())
}
