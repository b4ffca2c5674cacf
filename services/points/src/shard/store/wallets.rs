//! Wallets.

use fealty_ledger::{Account, Buckets, Debt, Inactivity, Wallet};
use fealty_postgres::{DatabaseError, PgConnection, StoredRow, from_pg, to_pg};
use fealty_types::{BrandId, CurrencyId, Points, Position, ShardId, Timestamp};
use sqlx::PgExecutor;

use super::{rows::WalletRow, stored};

impl WalletRow {
    /// The member's number, the currency and the wallet.
    pub(crate) fn into_wallet(self) -> Result<(i64, CurrencyId, Wallet), DatabaseError> {
        let row = StoredRow::of("wallets", format!("{} {}", self.member_no, self.currency));
        let points = |column, points| row.check(column, Points::new(points).ok());
        let wallet = Wallet {
            buckets: Buckets {
                pending: points("pending", self.pending)?,
                available: points("available", self.available)?,
                held: points("held", self.held)?,
                debt: points("debt", self.debt)?,
            },
            sequence: self.sequence,
            last_position: Some(Position::new(self.last_position)),
            last_at: Some(from_pg(self.last_at)),
            next_due: self.next_due.map(from_pg),
            inactive_at: self.inactive_at.map(from_pg),
            earned: self.earned,
            redeemed: self.redeemed,
            inactivity: row.check("inactivity", inactivity(self.inactivity))?,
            debts: debts(&row, self.debt_kinds, self.debt_brands, self.debt_points)?,
        };
        let currency = row.parse("currency", &self.currency)?;
        Ok((self.member_no, currency, wallet))
    }
}

/// Whether points that go with inactivity go.
fn inactivity(stored: i16) -> Option<Inactivity> {
    match stored {
        0 => Some(Inactivity::Counts),
        1 => Some(Inactivity::Waived),
        _ => None,
    }
}

/// What is owed to whom.
fn debts(
    row: &StoredRow<String>,
    kinds: Option<Vec<String>>,
    brands: Option<Vec<String>>,
    points: Option<Vec<i64>>,
) -> Result<Vec<Debt>, DatabaseError> {
    let (kinds, brands) = (kinds.unwrap_or_default(), brands.unwrap_or_default());
    let points = points.unwrap_or_default();
    let fit = kinds.len() == points.len() && brands.len() == points.len();
    row.check("debt_points", fit.then_some(()))?;
    let debts = kinds.into_iter().zip(brands).zip(points);
    let debts = debts.map(|((kind, brand), points)| {
        let brand: BrandId = row.parse("debt_brands", &brand)?;
        let account = match &*kind {
            "issued" => Some(Account::Issued(brand)),
            "adjusted" => Some(Account::Adjusted(brand)),
            _ => None,
        };
        Ok(Debt {
            account: row.check("debt_kinds", account)?,
            points: row.check("debt_points", Points::new(points).ok())?,
        })
    });
    debts.collect()
}

/// A wallet in which something is due.
#[derive(Debug)]
pub(crate) struct DueWallet {
    /// The programme.
    pub(crate) program: String,
    /// The member.
    pub(crate) member: String,
    /// The currency.
    pub(crate) currency: String,
}

/// Wallets in which something is due by `now`, soonest first.
pub(crate) async fn due(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
    programs: &[String],
    now: Timestamp,
    limit: i64,
) -> Result<Vec<DueWallet>, DatabaseError> {
    let rows = sqlx::query_as!(
        DueWallet,
        "-- points.wallets.due
        SELECT m.program, m.member, w.currency
        FROM wallets w JOIN members m USING (shard, member_no)
        WHERE w.shard = $1 AND w.next_due <= $2 AND m.program = ANY($4)
        ORDER BY w.next_due LIMIT $3",
        stored(shard),
        to_pg(now),
        limit,
        programs,
    )
    .fetch_all(executor)
    .await?;
    Ok(rows)
}

/// Since when the longest-due wallet of a shard has been due.
pub(crate) async fn oldest_due(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
    now: Timestamp,
) -> Result<Option<Timestamp>, DatabaseError> {
    let oldest = sqlx::query_scalar!(
        r#"-- points.wallets.oldest_due
        SELECT next_due AS "next_due!" FROM wallets WHERE shard = $1 AND next_due <= $2
        ORDER BY next_due LIMIT 1"#,
        stored(shard),
        to_pg(now),
    )
    .fetch_optional(executor)
    .await?;
    Ok(oldest.map(from_pg))
}

/// All wallets of a shard: the member's number, the currency, the wallet.
pub(crate) async fn all(
    connection: &mut PgConnection,
    shard: ShardId,
) -> Result<Vec<(i64, CurrencyId, Wallet)>, DatabaseError> {
    let rows = sqlx::query_as!(
        WalletRow,
        "-- points.wallets.all
        SELECT member_no, currency, pending, available, held, debt, sequence, last_position,
               last_at, next_due, inactive_at, debt_kinds, debt_brands, debt_points,
               earned, redeemed, inactivity
        FROM wallets WHERE shard = $1",
        stored(shard),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(WalletRow::into_wallet).collect()
}
