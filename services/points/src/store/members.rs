//! Members by number, and their wallets with them.

use fealty_ledger::{Buckets, Wallet};
use fealty_postgres::{DatabaseError, PgConnection, from_pg};
use fealty_types::{CurrencyId, MemberId, Points, Position, ProgramId, ShardId};

use super::{expect_rows, stored};

/// A member that was found: which one asked for, its number, and one of its
/// wallets; a row for each wallet, one without where there is none.
#[derive(Debug)]
pub struct Found {
    /// Index into what was asked for.
    pub index: usize,
    /// The member's number.
    pub member_no: i64,
    /// A wallet.
    pub wallet: Option<(CurrencyId, Wallet)>,
}

pub(super) fn corrupt(what: &'static str) -> DatabaseError {
    DatabaseError::Defect(sqlx::Error::Protocol(format!("{what} cannot be read")))
}

pub(super) fn points(stored: i64) -> Result<Points, DatabaseError> {
    Points::new(stored).map_err(|_| corrupt("a number of points"))
}

/// Finds members with their wallets.
pub async fn find(
    connection: &mut PgConnection,
    shard: ShardId,
    programs: &[String],
    members: &[String],
) -> Result<Vec<Found>, DatabaseError> {
    let rows = sqlx::query!(
        r#"-- find
        SELECT asked.index AS "index!", m.member_no AS "member_no!", w.currency AS "currency?",
               w.pending AS "pending?", w.available AS "available?", w.held AS "held?",
               w.debt AS "debt?", w.sequence AS "sequence?", w.last_position AS "last_position?",
               w.last_at AS "last_at?", w.next_due AS "next_due?"
        FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS asked (program, member, index)
        CROSS JOIN LATERAL (
            SELECT member_no FROM members
            WHERE shard = $1 AND program = asked.program AND member = asked.member LIMIT 1
        ) m
        LEFT JOIN LATERAL (
            SELECT * FROM wallets WHERE shard = $1 AND member_no = m.member_no LIMIT 100
        ) w ON true"#,
        stored(shard),
        programs,
        members,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let wallet = match (row.currency, row.pending, row.available, row.held, row.debt) {
                (Some(currency), Some(pending), Some(available), Some(held), Some(debt)) => {
                    let currency = currency.parse().map_err(|_| corrupt("a currency"))?;
                    let buckets = Buckets {
                        pending: points(pending)?,
                        available: points(available)?,
                        held: points(held)?,
                        debt: points(debt)?,
                    };
                    let wallet = Wallet {
                        buckets,
                        sequence: row.sequence.unwrap_or_default(),
                        last_position: row.last_position.map(Position::new),
                        last_at: row.last_at.map(from_pg),
                        next_due: row.next_due.map(from_pg),
                    };
                    Some((currency, wallet))
                }
                _ => None,
            };
            let index = usize::try_from(row.index - 1).map_err(|_| corrupt("an index"))?;
            Ok(Found {
                index,
                member_no: row.member_no,
                wallet,
            })
        })
        .collect()
}

/// Gives new members their numbers.
pub async fn insert(
    connection: &mut PgConnection,
    shard: ShardId,
    numbers: &[i64],
    programs: &[String],
    members: &[String],
) -> Result<(), DatabaseError> {
    let written = sqlx::query!(
        "-- insert
        INSERT INTO members (shard, member_no, program, member)
        SELECT $1, * FROM unnest($2::bigint[], $3::text[], $4::text[])",
        stored(shard),
        numbers,
        programs,
        members,
    )
    .execute(connection)
    .await?;
    expect_rows(written.rows_affected(), numbers.len())
}

/// The number of one member.
pub async fn number(
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
pub async fn all(
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
