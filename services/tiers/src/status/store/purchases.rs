//! Purchases, as the points service told of them.

use fealty_postgres::{DatabaseError, PgConnection, PgTime, from_pg, to_pg};
use fealty_types::{MemberId, ProgramId, Timestamp};

use crate::domain::Spend;

/// A purchase, with its place in the points log.
#[derive(Clone, Debug)]
pub(crate) struct Purchase {
    /// The programme.
    pub(crate) program: ProgramId,
    /// The member.
    pub(crate) member: MemberId,
    /// When and how much.
    pub(crate) spend: Spend,
    /// The shard of its transaction.
    pub(crate) shard: i16,
    /// The position of its transaction.
    pub(crate) position: i64,
    /// The id of its transaction; what a change of tier names, not stored here.
    pub(crate) transaction: String,
}

/// Notes purchases.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    purchases: &[Purchase],
) -> Result<(), DatabaseError> {
    let programs: Vec<String> = purchases.iter().map(|p| p.program.to_string()).collect();
    let members: Vec<String> = purchases.iter().map(|p| p.member.to_string()).collect();
    let moments: Vec<PgTime> = purchases.iter().map(|p| to_pg(p.spend.at)).collect();
    let shards: Vec<i16> = purchases.iter().map(|p| p.shard).collect();
    let positions: Vec<i64> = purchases.iter().map(|p| p.position).collect();
    let amounts: Vec<i64> = purchases.iter().map(|p| p.spend.minor_units).collect();
    sqlx::query!(
        "-- tiers.purchases.insert
        INSERT INTO purchases (program, member, purchased_at, shard, position, minor_units)
        SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::smallint[],
            $5::bigint[], $6::bigint[])",
        &programs,
        &members,
        &moments,
        &shards,
        &positions,
        &amounts,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What members spent after a moment, oldest first: an index into the members
/// asked for, and the purchase.
pub(crate) async fn spends(
    connection: &mut PgConnection,
    programs: &[String],
    members: &[String],
    after: Timestamp,
) -> Result<Vec<(usize, Spend)>, DatabaseError> {
    let rows = sqlx::query!(
        r#"-- tiers.purchases.spends
        SELECT asked.index AS "index!", p.purchased_at AS "purchased_at!",
               p.minor_units AS "minor_units!"
        FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS asked (program, member, index)
        CROSS JOIN LATERAL (
            SELECT purchased_at, minor_units FROM purchases
            WHERE program = asked.program AND member = asked.member AND purchased_at > $3
            ORDER BY purchased_at LIMIT 1000000
        ) p"#,
        programs,
        members,
        to_pg(after),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let index = usize::try_from(row.index - 1)
                .map_err(|_| DatabaseError::Broken("an index that was not asked for"))?;
            Ok((
                index,
                Spend {
                    at: from_pg(row.purchased_at),
                    minor_units: row.minor_units,
                },
            ))
        })
        .collect()
}
