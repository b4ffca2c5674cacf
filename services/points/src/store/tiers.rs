//! What the tiers service told of members' tiers.

use fealty_postgres::{DatabaseError, PgConnection, PgTime, to_pg};
use fealty_types::{ShardId, TierId, Timestamp};

use super::{members::corrupt, stored};

/// The tier that each of these members had at a moment; none for one that
/// never left the lowest.
pub async fn at(
    connection: &mut PgConnection,
    shard: ShardId,
    programs: &[String],
    members: &[String],
    moments: &[Timestamp],
) -> Result<Vec<(usize, TierId)>, DatabaseError> {
    let moments: Vec<PgTime> = moments.iter().copied().map(to_pg).collect();
    let rows = sqlx::query!(
        r#"-- at
        SELECT asked.index AS "index!", t.tier AS "tier!"
        FROM unnest($2::text[], $3::text[], $4::timestamptz[])
            WITH ORDINALITY AS asked (program, member, moment, index)
        CROSS JOIN LATERAL (
            SELECT tier FROM member_tiers
            WHERE shard = $1 AND program = asked.program AND member = asked.member
              AND effective_at <= asked.moment
            ORDER BY effective_at DESC LIMIT 1
        ) t"#,
        stored(shard),
        programs,
        members,
        &moments,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let index = usize::try_from(row.index - 1).map_err(|_| corrupt("an index"))?;
            Ok((index, row.tier.parse().map_err(|_| corrupt("a tier"))?))
        })
        .collect()
}

/// Notes that a member has a tier from a moment on. Of two changes at the same
/// moment the later one told holds.
pub async fn note(
    connection: &mut PgConnection,
    shard: ShardId,
    program: &str,
    member: &str,
    effective_at: Timestamp,
    tier: &TierId,
) -> Result<(), DatabaseError> {
    sqlx::query!(
        "-- note
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
