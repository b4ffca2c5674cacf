//! Members by number, and their wallets as they come with them.

use fealty_ledger::{Buckets, Wallet};
use fealty_postgres::{DatabaseError, PgConnection, PgTime, from_pg};
use fealty_types::{CurrencyId, MemberId, Points, Position, ProgramId, ShardId};

use super::stored;

pub(crate) fn corrupt(what: &'static str) -> DatabaseError {
    DatabaseError::Defect(sqlx::Error::Protocol(format!("{what} cannot be read")))
}

pub(super) fn points(stored: i64) -> Result<Points, DatabaseError> {
    Points::new(stored).map_err(|_| corrupt("a number of points"))
}

/// Wallets column by column, as arrays are received; all empty for a member
/// without one.
pub(super) struct WalletColumns {
    pub(super) currencies: Vec<Option<String>>,
    pub(super) pending: Vec<Option<i64>>,
    pub(super) available: Vec<Option<i64>>,
    pub(super) held: Vec<Option<i64>>,
    pub(super) debt: Vec<Option<i64>>,
    pub(super) sequences: Vec<Option<i64>>,
    pub(super) last_positions: Vec<Option<i64>>,
    pub(super) last_ats: Vec<Option<PgTime>>,
    pub(super) next_dues: Vec<Option<PgTime>>,
    pub(super) inactive_ats: Vec<Option<PgTime>>,
}

impl WalletColumns {
    /// The wallet at an index, if there is one.
    pub(super) fn wallet(&self, at: usize) -> Result<Option<(CurrencyId, Wallet)>, DatabaseError> {
        let Some(currency) = &self.currencies[at] else {
            return Ok(None);
        };
        let currency = currency.parse().map_err(|_| corrupt("a currency"))?;
        let bucket = |column: &[Option<i64>]| points(column[at].unwrap_or_default());
        let wallet = Wallet {
            buckets: Buckets {
                pending: bucket(&self.pending)?,
                available: bucket(&self.available)?,
                held: bucket(&self.held)?,
                debt: bucket(&self.debt)?,
            },
            sequence: self.sequences[at].unwrap_or_default(),
            last_position: self.last_positions[at].map(Position::new),
            last_at: self.last_ats[at].map(from_pg),
            next_due: self.next_dues[at].map(from_pg),
            inactive_at: self.inactive_ats[at].map(from_pg),
        };
        Ok(Some((currency, wallet)))
    }
}

/// The number of one member.
pub(crate) async fn number(
    executor: impl sqlx::PgExecutor<'_>,
    shard: ShardId,
    program: &ProgramId,
    member: &MemberId,
) -> Result<Option<i64>, DatabaseError> {
    let number = sqlx::query_scalar!(
        "-- number
        SELECT member_no FROM members WHERE shard = $1 AND program = $2 AND member = $3",
        stored(shard),
        program.as_str(),
        member.as_str(),
    )
    .fetch_optional(executor)
    .await?;
    Ok(number)
}

/// All members of a shard: number, programme, member.
pub(crate) async fn all(
    connection: &mut PgConnection,
    shard: ShardId,
) -> Result<Vec<(i64, String, String)>, DatabaseError> {
    let rows = sqlx::query!(
        "-- all
        SELECT member_no, program, member FROM members WHERE shard = $1",
        stored(shard),
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.member_no, row.program, row.member))
        .collect())
}
