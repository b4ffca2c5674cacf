//! Purchases, as the points service told of them.

use fealty_postgres::{DatabaseError, PgConnection, PgTime, from_pg, to_pg};
use fealty_types::{MemberId, ProgramId, Timestamp};

use crate::domain::{Day, Spend};

/// A purchase, or what came back of one, with its place in the points log.
#[derive(Clone, Debug)]
pub(crate) struct Purchase {
    /// The programme.
    pub(crate) program: ProgramId,
    /// The member.
    pub(crate) member: MemberId,
    /// When and how much.
    pub(crate) spend: Spend,
    /// When that came back, if it is not a purchase but a return; not stored here.
    pub(crate) returned_at: Option<Timestamp>,
    /// The shard of its transaction.
    pub(crate) shard: i16,
    /// The position of its transaction.
    pub(crate) position: i64,
    /// The id of its transaction; what a change of tier names, not stored here.
    pub(crate) transaction: String,
}

/// Notes purchases; what was spent by day follows by a trigger.
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

/// What members spent by day, each from a day of its own on: an index into the members
/// asked for, the day, and the sum.
pub(crate) async fn days(
    connection: &mut PgConnection,
    programs: &[String],
    members: &[String],
    from: &[Day],
) -> Result<Vec<(usize, Day, i64)>, DatabaseError> {
    let from: Vec<i32> = from.iter().map(|day| day.number()).collect();
    let rows = sqlx::query!(
        r#"-- tiers.purchases.days
        SELECT asked.index AS "index!", d.day AS "day!", d.minor_units AS "minor_units!"
        FROM unnest($1::text[], $2::text[], $3::integer[])
            WITH ORDINALITY AS asked (program, member, day, index)
        CROSS JOIN LATERAL (
            SELECT day, minor_units FROM spend_days
            WHERE program = asked.program AND member = asked.member AND day >= asked.day
            OFFSET 0
        ) d"#,
        programs,
        members,
        &from,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| Ok((asked(row.index)?, Day::numbered(row.day), row.minor_units)))
        .collect()
}

/// Members' purchases of some days: an index into the days asked for, and the purchase, the
/// oldest of a day first.
pub(crate) async fn of_days(
    connection: &mut PgConnection,
    programs: &[String],
    members: &[String],
    days: &[Day],
) -> Result<Vec<(usize, Spend)>, DatabaseError> {
    let starts: Vec<PgTime> = days.iter().map(|day| to_pg(day.bounds().0)).collect();
    let ends: Vec<PgTime> = days.iter().map(|day| to_pg(day.bounds().1)).collect();
    let rows = sqlx::query!(
        r#"-- tiers.purchases.of_days
        SELECT asked.index AS "index!", p.purchased_at AS "purchased_at!",
               p.minor_units AS "minor_units!"
        FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[])
            WITH ORDINALITY AS asked (program, member, starts, ends, index)
        CROSS JOIN LATERAL (
            SELECT purchased_at, minor_units FROM purchases
            WHERE program = asked.program AND member = asked.member
              AND purchased_at >= asked.starts AND purchased_at < asked.ends
            ORDER BY purchased_at, shard, position
        ) p"#,
        programs,
        members,
        &starts,
        &ends,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let spend = Spend {
                at: from_pg(row.purchased_at),
                minor_units: row.minor_units,
            };
            Ok((asked(row.index)?, spend))
        })
        .collect()
}

fn asked(index: i64) -> Result<usize, DatabaseError> {
    let index = usize::try_from(index - 1);
    index.map_err(|_| DatabaseError::Broken("an index that was not asked for"))
}
