//! Holds.

use fealty_ledger::{Hold, HoldLot};
use fealty_postgres::{DatabaseError, PgConnection, StoredRow, from_pg, to_pg};
use fealty_types::{CurrencyId, LotId, Points, Position, ShardId, Timestamp};
use sqlx::PgExecutor;

use super::{rows::HoldRow, stored};

/// Points by lot.
pub(super) fn parts<K: std::fmt::Display>(
    row: &StoredRow<K>,
    lots: Vec<i64>,
    points: Vec<i64>,
) -> Result<Vec<HoldLot>, DatabaseError> {
    if lots.len() != points.len() {
        return Err(row.corrupt("points"));
    }
    lots.into_iter()
        .zip(points)
        .map(|(lot, points)| {
            Ok(HoldLot {
                lot: LotId::from_stored(lot),
                points: row.check("points", Points::new(points).ok())?,
            })
        })
        .collect()
}

impl HoldRow {
    /// The member's number, the currency and the hold.
    pub(crate) fn into_hold(self) -> Result<(i64, CurrencyId, Hold), DatabaseError> {
        let row = StoredRow::of("holds", self.hold);
        let lots = parts(&row, self.lots, self.points)?;
        if self.open == lots.is_empty() {
            return Err(row.corrupt("open"));
        }
        let hold = Hold {
            position: Position::new(self.hold),
            brand: row.parse("brand", &self.brand)?,
            expires_at: from_pg(self.expires_at),
            lots,
        };
        Ok((self.member_no, row.parse("currency", &self.currency)?, hold))
    }
}

/// A member's hold, open or ended.
pub(crate) async fn named(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
    member_no: i64,
    hold: Position,
) -> Result<Option<Hold>, DatabaseError> {
    let row = sqlx::query_as!(
        HoldRow,
        "-- points.holds.named
        SELECT hold, member_no, currency, brand, expires_at, lots, points, open FROM holds
        WHERE shard = $1 AND hold = $2 AND member_no = $3",
        stored(shard),
        hold.get(),
        member_no,
    )
    .fetch_optional(executor)
    .await?;
    let hold = row.map(HoldRow::into_hold).transpose()?;
    Ok(hold.map(|(_, _, hold)| hold))
}

/// A member's holds after one of them, oldest first, that are open at a time.
pub(crate) async fn open(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
    member_no: i64,
    after: Position,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<Hold>, DatabaseError> {
    let rows = sqlx::query_as!(
        HoldRow,
        "-- points.holds.open
        SELECT hold, member_no, currency, brand, expires_at, lots, points, open FROM holds
        WHERE shard = $1 AND member_no = $2 AND open AND hold > $3 AND expires_at > $4
        ORDER BY hold LIMIT $5",
        stored(shard),
        member_no,
        after.get(),
        to_pg(now),
        i64::try_from(limit).unwrap_or(i64::MAX),
    )
    .fetch_all(executor)
    .await?;
    let holds = rows.into_iter().map(HoldRow::into_hold);
    holds.map(|hold| hold.map(|(_, _, hold)| hold)).collect()
}

/// All open holds of a shard: the member's number, the currency, the hold.
pub(crate) async fn all_open(
    connection: &mut PgConnection,
    shard: ShardId,
) -> Result<Vec<(i64, CurrencyId, Hold)>, DatabaseError> {
    let rows = sqlx::query_as!(
        HoldRow,
        "-- points.holds.all_open
        SELECT hold, member_no, currency, brand, expires_at, lots, points, open FROM holds
        WHERE shard = $1 AND open ORDER BY hold",
        stored(shard),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(HoldRow::into_hold).collect()
}

/// The next holds of a shard after `after` that have ended: each with its member's number,
/// and whether nothing is left in it.
pub(crate) async fn ended(
    connection: &mut PgConnection,
    shard: ShardId,
    after: Position,
    limit: i64,
) -> Result<Vec<(Position, i64, bool)>, DatabaseError> {
    let rows = sqlx::query!(
        r#"-- points.holds.ended
        SELECT hold, member_no, cardinality(lots) = 0 AS "is_empty!" FROM holds
        WHERE shard = $1 AND hold > $2 AND NOT open ORDER BY hold LIMIT $3"#,
        stored(shard),
        after.get(),
        limit,
    )
    .fetch_all(connection)
    .await?;
    let rows = rows.into_iter();
    Ok(rows
        .map(|row| (Position::new(row.hold), row.member_no, row.is_empty))
        .collect())
}
