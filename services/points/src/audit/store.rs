//! The accounts' totals, now and at marks of the past.

use fealty_ledger::{Account, AccountKey, AccountTotals, BucketName, Sums};
use fealty_postgres::{DatabaseError, PgConnection, StoredRow};
use fealty_types::{BrandId, Position, ProgramId, ShardId};

use crate::shard::store::stored;

struct Row {
    program: String,
    currency: String,
    kind: String,
    brand: String,
    issuer: String,
    debits: String,
    credits: String,
}

impl Row {
    /// The account, and what it has been debited and credited.
    fn into_sums(self) -> Result<(AccountKey, Sums), DatabaseError> {
        let key = [
            &*self.program,
            &self.currency,
            &self.kind,
            &self.brand,
            &self.issuer,
        ];
        let row = StoredRow::of("accounts", key.join("/"));
        let brand = || row.parse::<BrandId>("brand", &self.brand);
        let account = match &*self.kind {
            "pending" => Account::Wallet(BucketName::Pending),
            "available" => Account::Wallet(BucketName::Available),
            "held" => Account::Wallet(BucketName::Held),
            "debt" => Account::Wallet(BucketName::Debt),
            "issued" => Account::Issued(brand()?),
            "redeemed" => Account::Redeemed(brand()?),
            "expired" => Account::Expired(brand()?),
            "adjusted" => Account::Adjusted(brand()?),
            "gift" => Account::Gift,
            _ => return Err(row.corrupt("kind")),
        };
        let key = AccountKey {
            program: row.parse("program", &self.program)?,
            currency: row.parse("currency", &self.currency)?,
            account,
            issuer: row.parse("issuer", &self.issuer)?,
        };
        let sums = Sums {
            debits: row.parse("debits", &self.debits)?,
            credits: row.parse("credits", &self.credits)?,
        };
        Ok((key, sums))
    }
}

fn totals(rows: Vec<Row>) -> Result<AccountTotals, DatabaseError> {
    let mut totals = AccountTotals::default();
    for row in rows {
        let (key, sums) = row.into_sums()?;
        totals.add_sums(key, sums);
    }
    Ok(totals)
}

/// The accounts of a programme in a shard.
pub(crate) async fn of_program(
    connection: &mut PgConnection,
    shard: ShardId,
    program: &ProgramId,
) -> Result<AccountTotals, DatabaseError> {
    let rows = sqlx::query_as!(
        Row,
        r#"-- points.accounts.of_program
        SELECT program, currency, kind, brand, issuer, debits::text AS "debits!",
               credits::text AS "credits!"
        FROM accounts WHERE shard = $1 AND program = $2"#,
        stored(shard),
        program.as_str(),
    )
    .fetch_all(connection)
    .await?;
    totals(rows)
}

/// The accounts of a shard.
pub(crate) async fn of_shard(
    connection: &mut PgConnection,
    shard: ShardId,
) -> Result<AccountTotals, DatabaseError> {
    let rows = sqlx::query_as!(
        Row,
        r#"-- points.accounts.of_shard
        SELECT program, currency, kind, brand, issuer, debits::text AS "debits!",
               credits::text AS "credits!"
        FROM accounts WHERE shard = $1"#,
        stored(shard),
    )
    .fetch_all(connection)
    .await?;
    totals(rows)
}

/// The last mark of a shard at `position` or before it; 0 where there is none.
pub(crate) async fn last_mark(
    connection: &mut PgConnection,
    shard: ShardId,
    position: Position,
) -> Result<Position, DatabaseError> {
    let mark = sqlx::query_scalar!(
        r#"-- points.accounts.last_mark
        SELECT coalesce(max(position), 0) AS "position!" FROM marks
        WHERE shard = $1 AND position <= $2"#,
        stored(shard),
        position.get(),
    )
    .fetch_one(connection)
    .await?;
    Ok(Position::new(mark))
}

/// The accounts of a programme in a shard, at a mark.
pub(crate) async fn at_mark(
    connection: &mut PgConnection,
    shard: ShardId,
    program: &ProgramId,
    mark: Position,
) -> Result<AccountTotals, DatabaseError> {
    let rows = sqlx::query_as!(
        Row,
        r#"-- points.accounts.at_mark
        SELECT a.program, a.currency, a.kind, a.brand, a.issuer, m.debits::text AS "debits!",
               m.credits::text AS "credits!"
        FROM accounts a
        CROSS JOIN LATERAL (
            SELECT debits, credits FROM account_marks m
            WHERE m.shard = $1 AND m.program = a.program AND m.currency = a.currency
              AND m.kind = a.kind AND m.brand = a.brand AND m.issuer = a.issuer
              AND m.position <= $3
            ORDER BY m.position DESC LIMIT 1
        ) m
        WHERE a.shard = $1 AND a.program = $2"#,
        stored(shard),
        program.as_str(),
        mark.get(),
    )
    .fetch_all(connection)
    .await?;
    totals(rows)
}

/// The marks of a shard after a position and through another: the position,
/// and the accounts that were marked there.
pub(crate) async fn marks_between(
    connection: &mut PgConnection,
    shard: ShardId,
    after: Position,
    through: Position,
) -> Result<Vec<(Position, AccountTotals)>, DatabaseError> {
    let positions = sqlx::query_scalar!(
        "-- points.accounts.marks_between: positions
        SELECT position FROM marks WHERE shard = $1 AND position > $2 AND position <= $3
        ORDER BY position",
        stored(shard),
        after.get(),
        through.get(),
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut marks = Vec::with_capacity(positions.len());
    for position in positions {
        let rows = sqlx::query_as!(
            Row,
            r#"-- points.accounts.marks_between: accounts
            SELECT program, currency, kind, brand, issuer, debits::text AS "debits!",
                   credits::text AS "credits!"
            FROM account_marks WHERE shard = $1 AND position = $2"#,
            stored(shard),
            position,
        )
        .fetch_all(&mut *connection)
        .await?;
        marks.push((Position::new(position), totals(rows)?));
    }
    Ok(marks)
}

/// The first position of a part of a log at which accounts are marked and no mark is.
pub(crate) async fn stray_mark(
    connection: &mut PgConnection,
    shard: ShardId,
    after: Position,
    through: Position,
) -> Result<Option<Position>, DatabaseError> {
    // Before the first entry there are none, at whatever position.
    let after = Some(after.get()).filter(|after| *after > 0);
    let stray = sqlx::query_scalar!(
        "-- points.accounts.stray_mark
        SELECT a.position FROM account_marks a
        WHERE a.shard = $1 AND a.position > $2 AND a.position <= $3
          AND NOT EXISTS (
              SELECT FROM marks m WHERE m.shard = $1 AND m.position = a.position
          )
        ORDER BY a.position LIMIT 1",
        stored(shard),
        after.unwrap_or(i64::MIN),
        through.get(),
    )
    .fetch_optional(connection)
    .await?;
    Ok(stray.map(Position::new))
}
