//! Lots.

use std::collections::HashMap;

use fealty_ledger::{Lot, LotOrigin, LotTerms, SpendKey};
use fealty_postgres::{DatabaseError, PgConnection, PgTime, from_pg, to_pg};
use fealty_types::{LotId, ShardId, Timestamp};

use super::{
    expect_rows,
    members::{corrupt, points},
    stored,
};

struct Row {
    lot: i64,
    currency: String,
    brand: String,
    amount: i64,
    remaining: i64,
    held: i64,
    earned_at: PgTime,
    activates_at: Option<PgTime>,
    expires_at: PgTime,
    program_version: i64,
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
                expires_at: (expires_at != SpendKey::never()).then_some(expires_at),
                origin: match row.origin {
                    1 => LotOrigin::Purchase,
                    2 => LotOrigin::Promotion,
                    _ => return Err(corrupt("an origin")),
                },
                program_version: row.program_version,
            },
            remaining: points(row.remaining)?,
            held: points(row.held)?,
            pending: row.pending,
        })
    }
}

fn origin(origin: LotOrigin) -> i16 {
    match origin {
        LotOrigin::Purchase => 1,
        LotOrigin::Promotion => 2,
    }
}

fn lots(rows: Vec<Row>) -> Result<Vec<Lot>, DatabaseError> {
    rows.into_iter().map(Lot::try_from).collect()
}

/// A wallet whose lots are wanted.
#[derive(Debug, Default)]
pub struct Wanted {
    /// Numbers of the members.
    pub member_nos: Vec<i64>,
    /// Currencies.
    pub currencies: Vec<String>,
    /// Where to read on, in the order of spending; from the first lot, if
    /// nothing is said.
    pub after: Vec<Option<SpendKey>>,
}

fn indexed(index: i64) -> Result<usize, DatabaseError> {
    usize::try_from(index - 1).map_err(|_| corrupt("an index"))
}

/// The next lots of each wallet that can be spent, at most `limit` of each, in
/// the order of spending.
pub async fn spendable(
    connection: &mut PgConnection,
    shard: ShardId,
    wanted: &Wanted,
    limit: i64,
) -> Result<Vec<(usize, Lot)>, DatabaseError> {
    let start = Timestamp::from_micros(-62_000_000_000_000_000).expect("the year 5 is in range");
    let first = SpendKey {
        expires_at: start,
        earned_at: start,
        lot: LotId::from_stored(0),
    };
    let after = || wanted.after.iter().map(|after| after.unwrap_or(first));
    let expires_after: Vec<PgTime> = after().map(|key| to_pg(key.expires_at)).collect();
    let earned_after: Vec<PgTime> = after().map(|key| to_pg(key.earned_at)).collect();
    let lot_after: Vec<i64> = after().map(|key| key.lot.get()).collect();
    let rows = sqlx::query!(
        r#"-- spendable
        SELECT wanted.index AS "index!", l.lot AS "lot!", l.currency AS "currency!",
               l.brand AS "brand!", l.amount AS "amount!", l.remaining AS "remaining!",
               l.held AS "held!", l.earned_at AS "earned_at!", l.activates_at,
               l.expires_at AS "expires_at!", l.program_version AS "program_version!",
               l.origin AS "origin!", l.pending AS "pending!"
        FROM unnest($2::bigint[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::bigint[])
            WITH ORDINALITY
            AS wanted (member_no, currency, expires_after, earned_after, lot_after, index)
        CROSS JOIN LATERAL (
            SELECT * FROM lots
            WHERE shard = $1 AND member_no = wanted.member_no AND currency = wanted.currency
              AND remaining > 0 AND NOT pending
              AND (expires_at, earned_at, lot)
                > (wanted.expires_after, wanted.earned_after, wanted.lot_after)
            ORDER BY expires_at, earned_at, lot LIMIT $7
        ) l"#,
        stored(shard),
        &wanted.member_nos,
        &wanted.currencies,
        &expires_after,
        &earned_after,
        &lot_after,
        limit,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let lot = Row {
                lot: row.lot,
                currency: row.currency,
                brand: row.brand,
                amount: row.amount,
                remaining: row.remaining,
                held: row.held,
                earned_at: row.earned_at,
                activates_at: row.activates_at,
                expires_at: row.expires_at,
                program_version: row.program_version,
                origin: row.origin,
                pending: row.pending,
            };
            Ok((indexed(row.index)?, lot.try_into()?))
        })
        .collect()
}

/// All pending lots of each wallet.
pub async fn pending(
    connection: &mut PgConnection,
    shard: ShardId,
    wanted: &Wanted,
) -> Result<Vec<(usize, Lot)>, DatabaseError> {
    let rows = sqlx::query!(
        r#"-- pending
        SELECT wanted.index AS "index!", l.lot AS "lot!"
        FROM unnest($2::bigint[], $3::text[]) WITH ORDINALITY AS wanted (member_no, currency, index)
        CROSS JOIN LATERAL (
            SELECT lot FROM lots
            WHERE shard = $1 AND member_no = wanted.member_no AND currency = wanted.currency
              AND remaining > 0 AND pending
            ORDER BY activates_at LIMIT 100000
        ) l"#,
        stored(shard),
        &wanted.member_nos,
        &wanted.currencies,
    )
    .fetch_all(&mut *connection)
    .await?;
    let names: Vec<i64> = rows.iter().map(|row| row.lot).collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let index_of: HashMap<i64, i64> = rows.into_iter().map(|row| (row.lot, row.index)).collect();
    let lots = named(connection, shard, &names).await?;
    lots.into_iter()
        .map(|lot| Ok((indexed(index_of[&lot.terms.lot.get()])?, lot)))
        .collect()
}

/// Lots by name.
pub async fn named(
    connection: &mut PgConnection,
    shard: ShardId,
    names: &[i64],
) -> Result<Vec<Lot>, DatabaseError> {
    let rows = sqlx::query_as!(
        Row,
        r#"-- named
        SELECT l.lot AS "lot!", currency AS "currency!", brand AS "brand!", amount AS "amount!",
               remaining AS "remaining!", held AS "held!", earned_at AS "earned_at!", activates_at,
               expires_at AS "expires_at!", program_version AS "program_version!",
               origin AS "origin!", pending AS "pending!"
        FROM unnest($2::bigint[]) AS asked (lot)
        CROSS JOIN LATERAL (
            SELECT * FROM lots WHERE shard = $1 AND lot = asked.lot LIMIT 1
        ) l"#,
        stored(shard),
        names,
    )
    .fetch_all(connection)
    .await?;
    lots(rows)
}

/// All lots of a shard that have points left or held: the member's number and
/// the lot.
pub async fn open(
    connection: &mut PgConnection,
    shard: ShardId,
) -> Result<Vec<(i64, Lot)>, DatabaseError> {
    let rows = sqlx::query!(
        "-- open
        SELECT member_no, lot, currency, brand, amount, remaining, held, earned_at, activates_at,
               expires_at, program_version, origin, pending
        FROM lots WHERE shard = $1 AND (remaining > 0 OR held > 0)",
        stored(shard),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let lot = Row {
                lot: row.lot,
                currency: row.currency,
                brand: row.brand,
                amount: row.amount,
                remaining: row.remaining,
                held: row.held,
                earned_at: row.earned_at,
                activates_at: row.activates_at,
                expires_at: row.expires_at,
                program_version: row.program_version,
                origin: row.origin,
                pending: row.pending,
            };
            Ok((row.member_no, lot.try_into()?))
        })
        .collect()
}

/// Lots to write, column by column.
#[derive(Debug, Default)]
pub struct Rows {
    lots: Vec<i64>,
    member_nos: Vec<i64>,
    currencies: Vec<String>,
    brands: Vec<String>,
    amounts: Vec<i64>,
    remaining: Vec<i64>,
    held: Vec<i64>,
    earned_ats: Vec<PgTime>,
    activates_ats: Vec<Option<PgTime>>,
    expires_ats: Vec<PgTime>,
    program_versions: Vec<i64>,
    origins: Vec<i16>,
    pending: Vec<bool>,
}

impl Rows {
    /// Adds a lot.
    pub fn push(&mut self, member_no: i64, lot: &Lot) {
        let terms = &lot.terms;
        self.lots.push(terms.lot.get());
        self.member_nos.push(member_no);
        self.currencies.push(terms.currency.to_string());
        self.brands.push(terms.brand.to_string());
        self.amounts.push(terms.amount.get());
        self.remaining.push(lot.remaining.get());
        self.held.push(lot.held.get());
        self.earned_ats.push(to_pg(terms.earned_at));
        self.activates_ats.push(terms.activates_at.map(to_pg));
        self.expires_ats
            .push(to_pg(terms.expires_at.unwrap_or_else(SpendKey::never)));
        self.program_versions.push(terms.program_version);
        self.origins.push(origin(terms.origin));
        self.pending.push(lot.pending);
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lots.is_empty()
    }
}

/// Writes new lots.
pub async fn insert(
    connection: &mut PgConnection,
    shard: ShardId,
    rows: &Rows,
) -> Result<(), DatabaseError> {
    let written = sqlx::query!(
        "-- insert
        INSERT INTO lots (shard, lot, member_no, currency, brand, amount, remaining, held,
                          earned_at, activates_at, expires_at, program_version, origin, pending)
        SELECT $1, * FROM unnest($2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::bigint[],
            $7::bigint[], $8::bigint[], $9::timestamptz[], $10::timestamptz[],
            $11::timestamptz[], $12::bigint[], $13::smallint[], $14::boolean[])",
        stored(shard),
        &rows.lots,
        &rows.member_nos,
        &rows.currencies,
        &rows.brands,
        &rows.amounts,
        &rows.remaining,
        &rows.held,
        &rows.earned_ats,
        &rows.activates_ats as &[Option<PgTime>],
        &rows.expires_ats,
        &rows.program_versions,
        &rows.origins,
        &rows.pending,
    )
    .execute(connection)
    .await?;
    expect_rows(written.rows_affected(), rows.lots.len())
}

/// Writes what has changed in known lots.
pub async fn update(
    connection: &mut PgConnection,
    shard: ShardId,
    rows: &Rows,
) -> Result<(), DatabaseError> {
    let written = sqlx::query!(
        "-- update
        UPDATE lots SET remaining = new.remaining, held = new.held, expires_at = new.expires_at,
                        pending = new.pending
        FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::timestamptz[], $6::boolean[])
            AS new (lot, remaining, held, expires_at, pending)
        WHERE lots.shard = $1 AND lots.lot = new.lot",
        stored(shard),
        &rows.lots,
        &rows.remaining,
        &rows.held,
        &rows.expires_ats,
        &rows.pending,
    )
    .execute(connection)
    .await?;
    expect_rows(written.rows_affected(), rows.lots.len())
}
