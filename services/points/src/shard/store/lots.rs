//! Lots.

use fealty_ledger::{Lot, LotOrigin, LotTerms, PendingKey, SpendKey};
use fealty_postgres::{DatabaseError, PgConnection, PgTime, StoredRow, from_pg, to_pg};
use fealty_types::{CurrencyId, LotId, Points, ShardId};
use sqlx::PgExecutor;

use super::{rows::LotRow, stored};

impl LotRow {
    /// The member's number and the lot.
    pub(crate) fn into_lot(self) -> Result<(i64, Lot), DatabaseError> {
        let row = StoredRow::of("lots", self.lot);
        let points = |column, points| row.check(column, Points::new(points).ok());
        if self.spendable != (!self.pending && self.remaining > 0) {
            return Err(row.corrupt("spendable"));
        }
        let expires_at = from_pg(self.expires_at);
        let version = u32::try_from(self.program_version).ok();
        let lot = Lot {
            terms: LotTerms {
                lot: LotId::from_stored(self.lot),
                currency: row.parse("currency", &self.currency)?,
                brand: row.parse("brand", &self.brand)?,
                amount: points("amount", self.amount)?,
                earned_at: from_pg(self.earned_at),
                activates_at: self.activates_at.map(from_pg),
                activates_on: match &self.activates_on {
                    None => None,
                    Some(event) => Some(row.parse("activates_on", event)?),
                },
                expires_at: (expires_at != LotTerms::NEVER).then_some(expires_at),
                origin: match self.origin {
                    1 => LotOrigin::Purchase,
                    2 => LotOrigin::Promotion,
                    3 => LotOrigin::Adjustment,
                    _ => return Err(row.corrupt("origin")),
                },
                unit_value_micros: self.unit_value_micros,
                program_version: row.check("program_version", version)?,
            },
            remaining: points("remaining", self.remaining)?,
            held: points("held", self.held)?,
            expired: points("expired", self.expired)?,
            pending: self.pending,
        };
        Ok((self.member_no, lot))
    }
}

fn lots(rows: Vec<LotRow>) -> Result<Vec<Lot>, DatabaseError> {
    let lots = rows.into_iter().map(LotRow::into_lot);
    lots.map(|read| read.map(|(_, lot)| lot)).collect()
}

/// Points of a member's open lots of which the same becomes at the same moment.
#[derive(Debug)]
pub(crate) struct Stretch {
    /// Their currency.
    pub(crate) currency: String,
    /// Whether they wait for their activation.
    pub(crate) pending: bool,
    /// When they become available; none for those that do not wait.
    pub(crate) activates_at: Option<PgTime>,
    /// What they wait for.
    pub(crate) activates_on: Option<String>,
    /// When they are gone; none for those that wait.
    pub(crate) expires_at: Option<PgTime>,
    /// How many.
    pub(crate) points: i64,
    /// Whether they are all that is later than the rows before.
    pub(crate) rest: bool,
}

impl Stretch {
    /// What is left of a lot.
    pub(crate) fn of(lot: &Lot) -> Self {
        let terms = &lot.terms;
        let expires_at = to_pg(terms.expires_at.unwrap_or(LotTerms::NEVER));
        Self {
            currency: terms.currency.to_string(),
            pending: lot.pending,
            activates_at: terms.activates_at.filter(|_| lot.pending).map(to_pg),
            activates_on: terms.activates_on.as_ref().map(ToString::to_string),
            expires_at: (!lot.pending).then_some(expires_at),
            points: lot.remaining.get(),
            rest: false,
        }
    }
}

/// A member's points in open lots, but for some: for each currency what expires by its
/// moment, and what waits by its activation, `rows_max` of each; and what is later, in
/// one row. What has no date of its own is not counted among these.
pub(crate) async fn stretches(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
    member_no: i64,
    but_for: &[i64],
    rows_max: i64,
) -> Result<Vec<Stretch>, DatabaseError> {
    let rows = sqlx::query_file_as!(
        Stretch,
        "src/shard/store/sql/stretches.sql",
        stored(shard),
        member_no,
        but_for,
        to_pg(LotTerms::WITH_ACTIVITY),
        rows_max,
        to_pg(LotTerms::NEVER),
    )
    .fetch_all(executor)
    .await?;
    Ok(rows)
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
        LotRow,
        "-- points.lots.spendable
        SELECT member_no, lot, currency, brand, amount, remaining, held, expired, earned_at,
               activates_at, expires_at, unit_value_micros, program_version, origin, pending,
               spendable, activates_on
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

/// The next pending lots of a wallet, at most `limit`, in the order in which something
/// becomes of them.
pub(crate) async fn pending(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
    member_no: i64,
    currency: &CurrencyId,
    after: PendingKey,
    limit: i64,
) -> Result<Vec<Lot>, DatabaseError> {
    let rows = sqlx::query_as!(
        LotRow,
        "-- points.lots.pending
        SELECT member_no, lot, currency, brand, amount, remaining, held, expired, earned_at,
               activates_at, expires_at, unit_value_micros, program_version, origin, pending,
               spendable, activates_on
        FROM lots
        WHERE shard = $1 AND member_no = $2 AND currency = $3 AND waiting
          AND (least(activates_at, expires_at), activates_at, lot) > ($4, $5, $6)
        ORDER BY least(activates_at, expires_at), activates_at, lot LIMIT $7",
        stored(shard),
        member_no,
        currency.as_str(),
        to_pg(after.due),
        to_pg(after.activates_at),
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
        LotRow,
        r#"-- points.lots.not_spendable
        SELECT l.member_no AS "member_no!", l.lot AS "lot!", currency AS "currency!",
               brand AS "brand!", amount AS "amount!", remaining AS "remaining!",
               held AS "held!", expired AS "expired!", earned_at AS "earned_at!", activates_at,
               expires_at AS "expires_at!", unit_value_micros,
               program_version AS "program_version!", origin AS "origin!",
               pending AS "pending!", spendable AS "spendable!", activates_on
        FROM (
            SELECT lot FROM lots
            WHERE shard = $1 AND member_no = $2 AND currency = $3 AND waiting
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
        LotRow,
        r#"-- points.lots.named
        SELECT l.member_no AS "member_no!", l.lot AS "lot!", currency AS "currency!",
               brand AS "brand!", amount AS "amount!", remaining AS "remaining!",
               held AS "held!", expired AS "expired!", earned_at AS "earned_at!", activates_at,
               expires_at AS "expires_at!", unit_value_micros,
               program_version AS "program_version!", origin AS "origin!",
               pending AS "pending!", spendable AS "spendable!", activates_on
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
    let rows = sqlx::query_as!(
        LotRow,
        "-- points.lots.of_shard
        SELECT member_no, lot, currency, brand, amount, remaining, held, expired, earned_at,
               activates_at, expires_at, unit_value_micros, program_version, origin, pending,
               spendable, activates_on
        FROM lots WHERE shard = $1 AND lot > $2 ORDER BY lot LIMIT $3",
        stored(shard),
        after.get(),
        limit,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(LotRow::into_lot).collect()
}
