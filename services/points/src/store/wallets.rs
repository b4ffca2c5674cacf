//! Wallets.

use fealty_ledger::{Buckets, Wallet};
use fealty_postgres::{DatabaseError, PgConnection, PgTime, from_pg, to_pg};
use fealty_types::{CurrencyId, Position, ShardId, Timestamp};
use sqlx::PgExecutor;

use super::{
    expect_rows,
    members::{corrupt, points},
    stored,
};

/// Wallets to write, column by column.
#[derive(Debug, Default)]
pub struct Rows {
    member_nos: Vec<i64>,
    currencies: Vec<String>,
    pending: Vec<i64>,
    available: Vec<i64>,
    held: Vec<i64>,
    debt: Vec<i64>,
    sequences: Vec<i64>,
    last_positions: Vec<i64>,
    last_ats: Vec<PgTime>,
    next_dues: Vec<Option<PgTime>>,
}

impl Rows {
    /// Adds a wallet; one that no transaction has touched is not stored.
    pub fn push(&mut self, member_no: i64, currency: &CurrencyId, wallet: &Wallet) {
        let (Some(position), Some(at)) = (wallet.last_position, wallet.last_at) else {
            return;
        };
        self.member_nos.push(member_no);
        self.currencies.push(currency.to_string());
        self.pending.push(wallet.buckets.pending.get());
        self.available.push(wallet.buckets.available.get());
        self.held.push(wallet.buckets.held.get());
        self.debt.push(wallet.buckets.debt.get());
        self.sequences.push(wallet.sequence);
        self.last_positions.push(position.get());
        self.last_ats.push(to_pg(at));
        self.next_dues.push(wallet.next_due.map(to_pg));
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.member_nos.is_empty()
    }
}

/// Writes wallets, new ones and known ones.
pub async fn write(
    connection: &mut PgConnection,
    shard: ShardId,
    rows: &Rows,
) -> Result<(), DatabaseError> {
    let written = sqlx::query!(
        "-- write
        INSERT INTO wallets (shard, member_no, currency, pending, available, held, debt,
                             sequence, last_position, last_at, next_due)
        SELECT $1, * FROM unnest($2::bigint[], $3::text[], $4::bigint[], $5::bigint[],
            $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::timestamptz[],
            $11::timestamptz[])
        ON CONFLICT (shard, member_no, currency) DO UPDATE SET
            pending = excluded.pending, available = excluded.available, held = excluded.held,
            debt = excluded.debt, sequence = excluded.sequence,
            last_position = excluded.last_position, last_at = excluded.last_at,
            next_due = excluded.next_due",
        stored(shard),
        &rows.member_nos,
        &rows.currencies,
        &rows.pending,
        &rows.available,
        &rows.held,
        &rows.debt,
        &rows.sequences,
        &rows.last_positions,
        &rows.last_ats,
        &rows.next_dues as &[Option<PgTime>],
    )
    .execute(connection)
    .await?;
    expect_rows(written.rows_affected(), rows.member_nos.len())
}

/// A wallet in which something is due.
#[derive(Debug)]
pub struct DueWallet {
    /// The programme.
    pub program: String,
    /// The member.
    pub member: String,
    /// The currency.
    pub currency: String,
}

/// Wallets in which something is due by `now`, soonest first.
pub async fn due(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<DueWallet>, DatabaseError> {
    let rows = sqlx::query_as!(
        DueWallet,
        "-- due
        SELECT m.program, m.member, w.currency
        FROM wallets w JOIN members m USING (shard, member_no)
        WHERE w.shard = $1 AND w.next_due <= $2
        ORDER BY w.next_due LIMIT $3",
        stored(shard),
        to_pg(now),
        limit,
    )
    .fetch_all(executor)
    .await?;
    Ok(rows)
}

/// All wallets of a shard: the member's number, the currency, the wallet.
pub async fn all(
    connection: &mut PgConnection,
    shard: ShardId,
) -> Result<Vec<(i64, CurrencyId, Wallet)>, DatabaseError> {
    let rows = sqlx::query!(
        "-- all
        SELECT member_no, currency, pending, available, held, debt, sequence, last_position,
               last_at, next_due
        FROM wallets WHERE shard = $1",
        stored(shard),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let buckets = Buckets {
                pending: points(row.pending)?,
                available: points(row.available)?,
                held: points(row.held)?,
                debt: points(row.debt)?,
            };
            let wallet = Wallet {
                buckets,
                sequence: row.sequence,
                last_position: Some(Position::new(row.last_position)),
                last_at: Some(from_pg(row.last_at)),
                next_due: row.next_due.map(from_pg),
            };
            let currency = row.currency.parse().map_err(|_| corrupt("a currency"))?;
            Ok((row.member_no, currency, wallet))
        })
        .collect()
}
