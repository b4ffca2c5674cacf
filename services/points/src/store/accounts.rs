//! The accounts' totals.

use fealty_ledger::AccountTotals;
use fealty_postgres::{DatabaseError, PgConnection};
use fealty_types::{ProgramId, ShardId};

use super::{expect_rows, members::corrupt, stored};

/// An account's totals as stored.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// The programme.
    pub program: String,
    /// The currency of points.
    pub currency: String,
    /// The kind of account.
    pub kind: String,
    /// The brand; empty for wallet buckets.
    pub brand: String,
    /// Sum of what was debited.
    pub debits: i128,
    /// Sum of what was credited.
    pub credits: i128,
}

/// Adds a batch's debits and credits.
pub async fn add(
    connection: &mut PgConnection,
    shard: ShardId,
    totals: &AccountTotals,
) -> Result<(), DatabaseError> {
    let mut programs = Vec::new();
    let mut currencies = Vec::new();
    let mut kinds = Vec::new();
    let mut brands = Vec::new();
    let mut debits = Vec::new();
    let mut credits = Vec::new();
    for (program, currency, account, debited, credited) in totals.rows() {
        programs.push(program.to_string());
        currencies.push(currency.to_string());
        kinds.push(account.kind().to_owned());
        brands.push(account.brand().map(ToString::to_string).unwrap_or_default());
        debits.push(debited.to_string());
        credits.push(credited.to_string());
    }
    let written = sqlx::query!(
        "-- add
        INSERT INTO accounts (shard, program, currency, kind, brand, debits, credits)
        SELECT $1, program, currency, kind, brand, debits::numeric, credits::numeric
        FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
            AS new (program, currency, kind, brand, debits, credits)
        ON CONFLICT (shard, program, currency, kind, brand) DO UPDATE SET
            debits = accounts.debits + excluded.debits,
            credits = accounts.credits + excluded.credits",
        stored(shard),
        &programs,
        &currencies,
        &kinds,
        &brands,
        &debits,
        &credits,
    )
    .execute(connection)
    .await?;
    expect_rows(written.rows_affected(), programs.len())
}

fn sum(stored: &str) -> Result<i128, DatabaseError> {
    stored.parse().map_err(|_| corrupt("an account's total"))
}

/// The accounts of a programme over all shards, in order.
pub async fn of_program(
    connection: &mut PgConnection,
    program: &ProgramId,
) -> Result<Vec<Row>, DatabaseError> {
    let rows = sqlx::query!(
        r#"-- of_program
        SELECT currency, kind, brand, sum(debits)::text AS "debits!", sum(credits)::text AS "credits!"
        FROM accounts WHERE program = $1
        GROUP BY currency, kind, brand ORDER BY currency, kind, brand"#,
        program.as_str(),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Row {
                program: program.to_string(),
                currency: row.currency,
                kind: row.kind,
                brand: row.brand,
                debits: sum(&row.debits)?,
                credits: sum(&row.credits)?,
            })
        })
        .collect()
}

/// The accounts of a shard, in order.
pub async fn of_shard(
    connection: &mut PgConnection,
    shard: ShardId,
) -> Result<Vec<Row>, DatabaseError> {
    let rows = sqlx::query!(
        r#"-- of_shard
        SELECT program, currency, kind, brand, debits::text AS "debits!", credits::text AS "credits!"
        FROM accounts WHERE shard = $1 ORDER BY program, currency, kind, brand"#,
        stored(shard),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Row {
                program: row.program,
                currency: row.currency,
                kind: row.kind,
                brand: row.brand,
                debits: sum(&row.debits)?,
                credits: sum(&row.credits)?,
            })
        })
        .collect()
}
