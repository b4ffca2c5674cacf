//! Holds.

use fealty_ledger::{Hold, HoldLot};
use fealty_postgres::{DatabaseError, PgConnection, PgTime, from_pg};
use fealty_types::{LotId, Position, ShardId};

use super::{
    members::{corrupt, points},
    stored,
};

/// Numbers of an array as Postgres writes it.
pub(super) fn numbers(array: &str) -> Result<Vec<i64>, DatabaseError> {
    let inner = array
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
        .ok_or_else(|| corrupt("an array"))?;
    if inner.is_empty() {
        return Ok(Vec::new());
    }
    inner
        .split(',')
        .map(|number| number.parse().map_err(|_| corrupt("an array")))
        .collect()
}

/// Points by lot.
pub(super) fn parts(lots: Vec<i64>, amounts: Vec<i64>) -> Result<Vec<HoldLot>, DatabaseError> {
    lots.into_iter()
        .zip(amounts)
        .map(|(lot, amount)| {
            Ok(HoldLot {
                lot: LotId::from_stored(lot),
                points: points(amount)?,
            })
        })
        .collect()
}

/// A hold whose arrays came as text.
pub(super) fn hold_of(
    hold: i64,
    brand: &str,
    expires_at: PgTime,
    lots: &str,
    points: &str,
) -> Result<Hold, DatabaseError> {
    Ok(Hold {
        position: Position::new(hold),
        brand: brand.parse().map_err(|_| corrupt("a brand"))?,
        expires_at: from_pg(expires_at),
        lots: parts(numbers(lots)?, numbers(points)?)?,
    })
}

/// All open holds of a shard: the member's number, the currency, the hold.
pub(crate) async fn all_open(
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
            let hold = Hold {
                position: Position::new(row.hold),
                brand: row.brand.parse().map_err(|_| corrupt("a brand"))?,
                expires_at: from_pg(row.expires_at),
                lots: parts(row.lots, row.points)?,
            };
            Ok((row.member_no, row.currency, hold))
        })
        .collect()
}
