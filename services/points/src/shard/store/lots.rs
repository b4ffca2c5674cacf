//! Lots.

use fealty_ledger::{Lot, LotOrigin, LotTerms, SpendKey};
use fealty_postgres::{DatabaseError, PgConnection, PgTime, from_pg, to_pg};
use fealty_types::{CurrencyId, LotId, ShardId};
use sqlx::PgExecutor;

use super::{
    members::{corrupt, points},
    stored,
};

/// Lots column by column, as arrays are received.
#[derive(Debug, Default)]
pub(super) struct LotColumns {
    pub(super) lots: Vec<i64>,
    pub(super) currencies: Vec<String>,
    pub(super) brands: Vec<String>,
    pub(super) amounts: Vec<i64>,
    pub(super) remaining: Vec<i64>,
    pub(super) held: Vec<i64>,
    pub(super) expired: Vec<i64>,
    pub(super) earned_ats: Vec<PgTime>,
    pub(super) activates_ats: Vec<Option<PgTime>>,
    pub(super) expires_ats: Vec<PgTime>,
    pub(super) unit_values: Vec<Option<i64>>,
    pub(super) program_versions: Vec<i32>,
    pub(super) origins: Vec<i16>,
    pub(super) pending: Vec<bool>,
}

impl LotColumns {
    /// The lot at an index.
    pub(super) fn lot(&self, at: usize) -> Result<Lot, DatabaseError> {
        let row = Row {
            lot: self.lots[at],
            currency: self.currencies[at].clone(),
            brand: self.brands[at].clone(),
            amount: self.amounts[at],
            remaining: self.remaining[at],
            held: self.held[at],
            expired: self.expired[at],
            earned_at: self.earned_ats[at],
            activates_at: self.activates_ats[at],
            expires_at: self.expires_ats[at],
            unit_value_micros: self.unit_values[at],
            program_version: self.program_versions[at],
            origin: self.origins[at],
            pending: self.pending[at],
        };
        row.try_into()
    }
}

struct Row {
    lot: i64,
    currency: String,
    brand: String,
    amount: i64,
    remaining: i64,
    held: i64,
    expired: i64,
    earned_at: PgTime,
    activates_at: Option<PgTime>,
    expires_at: PgTime,
    unit_value_micros: Option<i64>,
    program_version: i32,
    origin: i16,
    pending: bool,
}

impl TryFrom<Row> for Lot {
    type Error = DatabaseError;

    fn try_from(row: Row) -> Result<Self, DatabaseError> {
        let expires_at = from_pg(row.expires_at);
        Ok(Self {
            terms: LotTerms {
                lot: LotId::from_stored(row.lot),
                currency: row.currency.parse().map_err(|_| corrupt("a currency"))?,
                brand: row.brand.parse().map_err(|_| corrupt("a brand"))?,
                amount: points(row.amount)?,
                earned_at: from_pg(row.earned_at),
                activates_at: row.activates_at.map(from_pg),
                expires_at: (expires_at != LotTerms::NEVER).then_some(expires_at),
                origin: match row.origin {
                    1 => LotOrigin::Purchase,
                    2 => LotOrigin::Promotion,
                    3 => LotOrigin::Adjustment,
                    _ => return Err(corrupt("an origin")),
                },
                unit_value_micros: row.unit_value_micros,
                program_version: u32::try_from(row.program_version)
                    .map_err(|_| corrupt("a version"))?,
            },
            remaining: points(row.remaining)?,
            held: points(row.held)?,
            expired: points(row.expired)?,
            pending: row.pending,
        })
    }
}

fn lots(rows: Vec<Row>) -> Result<Vec<Lot>, DatabaseError> {
    rows.into_iter().map(Lot::try_from).collect()
}

/// The next lots of a wallet that can be spent, at most `limit`, in the order
/// of spending.
pub(crate) async fn spendable(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
    member_no: i64,
    currency: &CurrencyId,
    after: SpendKey,
    limit: i64,
) -> Result<Vec<Lot>, DatabaseError> {
    let rows = sqlx::query_as!(
        Row,
        "-- spendable
        SELECT lot, currency, brand, amount, remaining, held, expired, earned_at, activates_at,
               expires_at, unit_value_micros, program_version, origin, pending
        FROM lots
        WHERE shard = $1 AND member_no = $2 AND currency = $3 AND spendable
          AND (expires_at, lot) > ($4, $5)
        ORDER BY expires_at, lot LIMIT $6",
        stored(shard),
        member_no,
        currency.as_str(),
        to_pg(after.expires_at),
        after.lot.get(),
        limit,
    )
    .fetch_all(executor)
    .await?;
    lots(rows)
}

/// The open lots of a wallet that are pending or entirely held, from `after`
/// on, at most `limit`.
pub(crate) async fn not_spendable(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
    member_no: i64,
    currency: &CurrencyId,
    after: LotId,
    limit: i64,
) -> Result<Vec<Lot>, DatabaseError> {
    let rows = sqlx::query_as!(
        Row,
        r#"-- not_spendable
        SELECT l.lot AS "lot!", currency AS "currency!", brand AS "brand!", amount AS "amount!",
               remaining AS "remaining!", held AS "held!", expired AS "expired!",
               earned_at AS "earned_at!", activates_at, expires_at AS "expires_at!",
               unit_value_micros, program_version AS "program_version!", origin AS "origin!",
               pending AS "pending!"
        FROM (
            SELECT lot FROM lots
            WHERE shard = $1 AND member_no = $2 AND currency = $3 AND pending
            UNION
            SELECT unnest(lots) FROM holds
            WHERE shard = $1 AND member_no = $2 AND currency = $3 AND open
        ) AS asked (lot)
        CROSS JOIN LATERAL (
            SELECT * FROM lots WHERE shard = $1 AND lot = asked.lot LIMIT 1
        ) l
        WHERE NOT l.spendable AND (l.remaining > 0 OR l.held > 0) AND l.lot > $4
        ORDER BY l.lot LIMIT $5"#,
        stored(shard),
        member_no,
        currency.as_str(),
        after.get(),
        limit,
    )
    .fetch_all(executor)
    .await?;
    lots(rows)
}

/// A member's lots by name.
pub(crate) async fn named(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
    member_no: i64,
    names: &[i64],
) -> Result<Vec<Lot>, DatabaseError> {
    let rows = sqlx::query_as!(
        Row,
        r#"-- named
        SELECT l.lot AS "lot!", currency AS "currency!", brand AS "brand!", amount AS "amount!",
               remaining AS "remaining!", held AS "held!", expired AS "expired!",
               earned_at AS "earned_at!", activates_at, expires_at AS "expires_at!",
               unit_value_micros, program_version AS "program_version!", origin AS "origin!",
               pending AS "pending!"
        FROM unnest($3::bigint[]) AS asked (lot)
        CROSS JOIN LATERAL (
            SELECT * FROM lots WHERE shard = $1 AND lot = asked.lot LIMIT 1
        ) l
        WHERE l.member_no = $2"#,
        stored(shard),
        member_no,
        names,
    )
    .fetch_all(executor)
    .await?;
    lots(rows)
}

/// The next lots of a shard after `after`, in order of name: the member's
/// number and the lot.
pub(crate) async fn of_shard(
    connection: &mut PgConnection,
    shard: ShardId,
    after: LotId,
    limit: i64,
) -> Result<Vec<(i64, Lot)>, DatabaseError> {
    let rows = sqlx::query!(
        "-- of_shard
        SELECT member_no, lot, currency, brand, amount, remaining, held, expired, earned_at,
               activates_at, expires_at, unit_value_micros, program_version, origin, pending,
               spendable
        FROM lots WHERE shard = $1 AND lot > $2 ORDER BY lot LIMIT $3",
        stored(shard),
        after.get(),
        limit,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            if row.spendable != (!row.pending && row.remaining > 0) {
                return Err(corrupt("whether a lot can be spent"));
            }
            let lot = Row {
                lot: row.lot,
                currency: row.currency,
                brand: row.brand,
                amount: row.amount,
                remaining: row.remaining,
                held: row.held,
                expired: row.expired,
                earned_at: row.earned_at,
                activates_at: row.activates_at,
                expires_at: row.expires_at,
                unit_value_micros: row.unit_value_micros,
                program_version: row.program_version,
                origin: row.origin,
                pending: row.pending,
            };
            Ok((row.member_no, lot.try_into()?))
        })
        .collect()
}
