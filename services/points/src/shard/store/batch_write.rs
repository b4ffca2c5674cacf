//! What a batch writes: in one statement, all rows of its transactions.
//!
//! The statement moves the head from where the batch read it, and writes the
//! rest only if it could: of two instances that read the same head, one
//! writes and the other learns that it has to read again. Run by itself, the
//! statement is a database transaction of its own, with one round trip and
//! one flush of the write-ahead log.

use fealty_ledger::AccountTotals;
use fealty_postgres::{DatabaseError, PgConnection};
use fealty_types::{Position, ShardId};

use super::{
    head::Head,
    orders,
    rows::{
        AccountRow, HoldRow, LotRow, MemberRow, OrderRow, ReversalRow, TransactionRow, WalletRow,
    },
    stored,
};

/// The rows of a batch.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    /// New members.
    pub(crate) members: Vec<MemberRow>,
    /// New transactions.
    pub(crate) log: Vec<TransactionRow>,
    /// Debits and credits to add.
    pub(crate) totals: AccountTotals,
    /// Wallets, new and known.
    pub(crate) wallets: Vec<WalletRow>,
    /// New lots.
    pub(crate) new_lots: Vec<LotRow>,
    /// Known lots.
    pub(crate) known_lots: Vec<LotRow>,
    /// Holds, new and known.
    pub(crate) holds: Vec<HoldRow>,
    /// Reversals, new and known.
    pub(crate) reversals: Vec<ReversalRow>,
    /// New orders, sorted by key, so that two batches with the same ones wait
    /// for each other in one order.
    pub(crate) orders: Vec<OrderRow>,
}

/// The statement under a name, with further parts, and their arguments.
macro_rules! write_statement {
    ($name:literal, $further:literal, $shard:expr, $before:expr, $after:expr, $rows:expr,
     $accounts:expr $(, $argument:expr)*) => {
        sqlx::query_scalar!(
            $name
                + r#"
        WITH head AS (
            UPDATE shards SET position = $3, chain = $4, members = $5
            WHERE shard = $1 AND position = $2 RETURNING shard
        ),
        members_written AS (
            INSERT INTO members (shard, member_no, program, member)
            SELECT head.shard, new.* FROM head, unnest($6::member_row[]) AS new
        ),
        log_written AS (
            INSERT INTO transactions (shard, position, member_no, request_key, body, chain)
            SELECT head.shard, new.* FROM head, unnest($7::transaction_row[]) AS new
        ),
        accounts_written AS (
            INSERT INTO accounts (shard, program, currency, kind, brand, issuer, debits, credits,
                                  position)
            SELECT head.shard, program, currency, kind, brand, issuer, debits::numeric,
                   credits::numeric, $3
            FROM head, unnest($8::account_row[]) AS new
            ON CONFLICT (shard, program, currency, kind, brand, issuer) DO UPDATE SET
                debits = accounts.debits + excluded.debits,
                credits = accounts.credits + excluded.credits,
                position = excluded.position
        ),
        wallets_written AS (
            INSERT INTO wallets (shard, member_no, currency, pending, available, held, debt,
                                 sequence, last_position, last_at, next_due, inactive_at)
            SELECT head.shard, new.* FROM head, unnest($9::wallet_row[]) AS new
            ON CONFLICT (shard, member_no, currency) DO UPDATE SET
                pending = excluded.pending, available = excluded.available, held = excluded.held,
                debt = excluded.debt, sequence = excluded.sequence,
                last_position = excluded.last_position, last_at = excluded.last_at,
                next_due = excluded.next_due, inactive_at = excluded.inactive_at
        ),
        new_lots_written AS (
            INSERT INTO lots (shard, member_no, lot, currency, brand, amount, remaining, held,
                              expired, earned_at, activates_at, expires_at, unit_value_micros,
                              program_version, origin, pending, spendable)
            SELECT head.shard, new.* FROM head, unnest($10::lot_row[]) AS new
        ),"#
                + $further
                + r#"
        orders_written AS (
            INSERT INTO orders (shard, order_key, position)
            SELECT head.shard, new.* FROM head, unnest($11::order_row[]) AS new
        )
        SELECT count(*) AS "moved!" FROM head"#,
            stored($shard),
            $before.get(),
            $after.position.get(),
            &$after.chain[..],
            $after.members,
            &$rows.members as &[MemberRow],
            &$rows.log as &[TransactionRow],
            &$accounts as &[AccountRow],
            &$rows.wallets as &[WalletRow],
            &$rows.new_lots as &[LotRow],
            &$rows.orders as &[OrderRow]
            $(, $argument)*
        )
    };
}

/// Writes a batch and moves the head from `before` to `after`; `false` if the
/// head is no longer there, and nothing was written.
pub(crate) async fn write(
    connection: &mut PgConnection,
    shard: ShardId,
    before: Position,
    after: &Head,
    rows: &Rows,
) -> Result<bool, DatabaseError> {
    let accounts = AccountRow::of(&rows.totals);
    let only_grants =
        rows.known_lots.is_empty() && rows.holds.is_empty() && rows.reversals.is_empty();
    // The plan for a batch that changes no lot that was there before is half as
    // large, and accruals and purchases need no other.
    let moved = if only_grants {
        write_statement!("-- write_grants", "", shard, before, after, rows, accounts)
            .fetch_all(connection)
            .await
    } else {
        write_statement!(
            "-- write_all",
            r"
        known_lots_written AS (
            INSERT INTO lots (shard, member_no, lot, currency, brand, amount, remaining, held,
                              expired, earned_at, activates_at, expires_at, unit_value_micros,
                              program_version, origin, pending, spendable)
            SELECT head.shard, new.* FROM head, unnest($12::lot_row[]) AS new
            ON CONFLICT (shard, lot) DO UPDATE SET
                remaining = excluded.remaining, held = excluded.held,
                expired = excluded.expired, expires_at = excluded.expires_at,
                pending = excluded.pending, spendable = excluded.spendable
        ),
        holds_written AS (
            INSERT INTO holds (shard, hold, member_no, currency, brand, expires_at, lots, points,
                               open)
            SELECT head.shard, new.* FROM head, unnest($13::hold_row[]) AS new
            ON CONFLICT (shard, hold) DO UPDATE SET
                lots = excluded.lots, points = excluded.points, open = excluded.open
        ),
        reversals_written AS (
            INSERT INTO reversals (shard, position, member_no, lots, points)
            SELECT head.shard, new.* FROM head, unnest($14::reversal_row[]) AS new
            ON CONFLICT (shard, position) DO UPDATE SET
                lots = excluded.lots, points = excluded.points
        ),",
            shard,
            before,
            after,
            rows,
            accounts,
            &rows.known_lots as &[LotRow],
            &rows.holds as &[HoldRow],
            &rows.reversals as &[ReversalRow]
        )
        .fetch_all(connection)
        .await
    };
    // All of the answer is awaited, so that it is committed.
    Ok(moved.map_err(refused)? == [1])
}

/// An order that another shard has just recorded: to be read again.
fn refused(error: sqlx::Error) -> DatabaseError {
    match error.as_database_error() {
        Some(refused) if refused.constraint() == Some(orders::CONSTRAINT) => {
            DatabaseError::Conflict(error)
        }
        _ => error.into(),
    }
}
