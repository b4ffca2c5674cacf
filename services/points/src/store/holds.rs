//! Holds.

use fealty_ledger::{Hold, HoldLot};
use fealty_postgres::{DatabaseError, PgConnection, PgTime, from_pg, to_pg};
use fealty_types::{CurrencyId, LotId, Position, ShardId};

use super::{
    members::{corrupt, points},
    stored,
};

struct Row {
    hold: i64,
    brand: String,
    expires_at: PgTime,
    lots: Vec<i64>,
    points: Vec<i64>,
}

impl TryFrom<Row> for Hold {
    type Error = DatabaseError;

    fn try_from(row: Row) -> Result<Self, DatabaseError> {
        let lots = row.lots.into_iter().zip(row.points);
        Ok(Self {
            position: Position::new(row.hold),
            brand: row.brand.parse().map_err(|_| corrupt("a brand"))?,
            expires_at: from_pg(row.expires_at),
            lots: lots
                .map(|(lot, amount)| {
                    Ok(HoldLot {
                        lot: LotId::from_stored(lot),
                        points: points(amount)?,
                    })
                })
                .collect::<Result<_, DatabaseError>>()?,
        })
    }
}

/// The open holds of each wallet.
pub async fn open(
    connection: &mut PgConnection,
    shard: ShardId,
    member_nos: &[i64],
    currencies: &[String],
) -> Result<Vec<(usize, Hold)>, DatabaseError> {
    let rows = sqlx::query!(
        r#"-- open
        SELECT wanted.index AS "index!", h.hold AS "hold!", h.brand AS "brand!",
               h.expires_at AS "expires_at!", h.lots AS "lots!", h.points AS "points!"
        FROM unnest($2::bigint[], $3::text[]) WITH ORDINALITY AS wanted (member_no, currency, index)
        CROSS JOIN LATERAL (
            SELECT * FROM holds
            WHERE shard = $1 AND member_no = wanted.member_no AND currency = wanted.currency
              AND open
            LIMIT 1000
        ) h"#,
        stored(shard),
        member_nos,
        currencies,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let hold = Row {
                hold: row.hold,
                brand: row.brand,
                expires_at: row.expires_at,
                lots: row.lots,
                points: row.points,
            };
            let index = usize::try_from(row.index - 1).map_err(|_| corrupt("an index"))?;
            Ok((index, hold.try_into()?))
        })
        .collect()
}

/// Members' holds by name, ended or not, with their wallets' currencies; those
/// that the member does not have are missing.
pub async fn named(
    connection: &mut PgConnection,
    shard: ShardId,
    member_nos: &[i64],
    holds: &[i64],
) -> Result<Vec<(usize, CurrencyId, Hold)>, DatabaseError> {
    let rows = sqlx::query!(
        r#"-- named
        SELECT wanted.index AS "index!", h.currency AS "currency!", h.hold AS "hold!",
               h.brand AS "brand!", h.expires_at AS "expires_at!", h.lots AS "lots!",
               h.points AS "points!"
        FROM unnest($2::bigint[], $3::bigint[]) WITH ORDINALITY AS wanted (member_no, hold, index)
        CROSS JOIN LATERAL (
            SELECT * FROM holds
            WHERE shard = $1 AND hold = wanted.hold AND member_no = wanted.member_no LIMIT 1
        ) h"#,
        stored(shard),
        member_nos,
        holds,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let currency = row.currency.parse().map_err(|_| corrupt("a currency"))?;
            let hold = Row {
                hold: row.hold,
                brand: row.brand,
                expires_at: row.expires_at,
                lots: row.lots,
                points: row.points,
            };
            let index = usize::try_from(row.index - 1).map_err(|_| corrupt("an index"))?;
            Ok((index, currency, hold.try_into()?))
        })
        .collect()
}

/// All open holds of a shard: the member's number, the currency, the hold.
pub async fn all_open(
    connection: &mut PgConnection,
    shard: ShardId,
) -> Result<Vec<(i64, String, Hold)>, DatabaseError> {
    let rows = sqlx::query!(
        "-- all_open
        SELECT member_no, currency, hold, brand, expires_at, lots, points FROM holds
        WHERE shard = $1 AND open",
        stored(shard),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let hold = Row {
                hold: row.hold,
                brand: row.brand,
                expires_at: row.expires_at,
                lots: row.lots,
                points: row.points,
            };
            Ok((row.member_no, row.currency, hold.try_into()?))
        })
        .collect()
}

/// Writes a hold, a new one or a known one.
pub async fn write(
    connection: &mut PgConnection,
    shard: ShardId,
    member_no: i64,
    currency: &CurrencyId,
    hold: &Hold,
) -> Result<(), DatabaseError> {
    let lots: Vec<i64> = hold.lots.iter().map(|part| part.lot.get()).collect();
    let points: Vec<i64> = hold.lots.iter().map(|part| part.points.get()).collect();
    sqlx::query!(
        "-- write
        INSERT INTO holds (shard, hold, member_no, currency, brand, expires_at, lots, points, open)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        ON CONFLICT (shard, hold) DO UPDATE SET
            lots = excluded.lots, points = excluded.points, open = excluded.open",
        stored(shard),
        hold.position.get(),
        member_no,
        currency.as_str(),
        hold.brand.as_str(),
        to_pg(hold.expires_at),
        &lots,
        &points,
        !hold.lots.is_empty(),
    )
    .execute(connection)
    .await?;
    Ok(())
}
