//! What a batch writes: all rows of its transactions, if the head of the shard is
//! still where the batch read it. Of two instances that read the same head, one
//! writes and the other learns that it has to read again.
//!
//! On one node it is one statement ([`at_once`]). Run by itself, it is a database
//! transaction of its own, with one round trip and one flush of the write-ahead
//! log. A distributed Postgres would take that statement apart on its coordinator,
//! so there it is one statement for each table that has rows ([`in_turn`]), each
//! for one shard and so for one node, in one transaction.

use fealty_ledger::AccountTotals;
use fealty_postgres::{DatabaseError, PgConnection, to_pg};
use fealty_types::ShardId;
use sqlx::Connection as _;

use super::{
    head::Head,
    orders,
    rows::{
        AccountRow, CountersRow, HoldRow, LeaseRow, LotRow, MemberRow, OrderRow, ReturnRow,
        ReversalRow, TransactionRow, VersionRow, WalletRow,
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
    /// Members' numbers, new and known.
    pub(crate) counters: Vec<CountersRow>,
    /// What the shard has of budgets that changed.
    pub(crate) leases: Vec<LeaseRow>,
    /// New lots.
    pub(crate) new_lots: Vec<LotRow>,
    /// Known lots.
    pub(crate) known_lots: Vec<LotRow>,
    /// Holds, new and known.
    pub(crate) holds: Vec<HoldRow>,
    /// Reversals, new and known.
    pub(crate) reversals: Vec<ReversalRow>,
    /// Returns, new and known; written by a statement of their own.
    pub(crate) returns: Vec<ReturnRow>,
    /// Versions of programmes that begin.
    pub(crate) versions: Vec<VersionRow>,
    /// New orders, sorted, so that two batches with the same ones wait for each
    /// other in one order; none where they are claimed before.
    pub(crate) orders: Vec<OrderRow>,
}

impl Rows {
    /// Whether no lot, hold or reversal that was there before changes, and no version
    /// begins.
    fn only_give(&self) -> bool {
        self.known_lots.is_empty()
            && self.holds.is_empty()
            && self.reversals.is_empty()
            && self.versions.is_empty()
    }
}

/// What came of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All is written.
    Written,
    /// The head is no longer there: nothing is.
    Overtaken,
    /// An order has been recorded by another batch: nothing is.
    OrderTaken,
}

/// The statement under a name, with further parts, and their arguments.
macro_rules! write_statement {
    ($name:literal, $further:literal, $shard:expr, $before:expr, $after:expr, $rows:expr,
     $accounts:expr $(, $argument:expr)*) => {
        sqlx::query_scalar!(
            $name
                + r#"
        WITH head AS (
            UPDATE shards SET position = $4, chain = $5, members = $6, written_at = $12
            WHERE shard = $1 AND position = $2 AND fence = $3 AND written_at <= $12
            RETURNING shard
        ),
        members_written AS (
            INSERT INTO members (shard, member_no, program, member)
            SELECT head.shard, new.* FROM head, unnest($7::member_row[]) AS new
        ),
        log_written AS (
            INSERT INTO transactions (shard, position, member_no, request_key, body, chain,
                                      currencies)
            SELECT head.shard, new.* FROM head, unnest($8::transaction_row[]) AS new
        ),
        accounts_written AS (
            INSERT INTO accounts (shard, program, currency, kind, brand, issuer, debits, credits,
                                  position)
            SELECT head.shard, program, currency, kind, brand, issuer, debits::numeric,
                   credits::numeric, $4
            FROM head, unnest($9::account_row[]) AS new
            ON CONFLICT (shard, program, currency, kind, brand, issuer) DO UPDATE SET
                debits = accounts.debits + excluded.debits,
                credits = accounts.credits + excluded.credits,
                position = excluded.position
        ),
        wallets_written AS (
            INSERT INTO wallets (shard, member_no, currency, pending, available, held, debt,
                                 sequence, last_position, last_at, next_due, inactive_at,
                                 debt_kinds, debt_brands, debt_points, earned, redeemed,
                                 inactivity)
            SELECT head.shard, new.* FROM head, unnest($10::wallet_row[]) AS new
            ON CONFLICT (shard, member_no, currency) DO UPDATE SET
                pending = excluded.pending, available = excluded.available, held = excluded.held,
                debt = excluded.debt, sequence = excluded.sequence,
                last_position = excluded.last_position, last_at = excluded.last_at,
                next_due = excluded.next_due, inactive_at = excluded.inactive_at,
                debt_kinds = excluded.debt_kinds, debt_brands = excluded.debt_brands,
                debt_points = excluded.debt_points, earned = excluded.earned,
                redeemed = excluded.redeemed, inactivity = excluded.inactivity
        ),
        "#
                + $further
                + r#"new_lots_written AS (
            INSERT INTO lots (shard, member_no, lot, currency, brand, amount, remaining, held,
                              expired, earned_at, activates_at, expires_at, unit_value_micros,
                              program_version, origin, pending, spendable, activates_on)
            SELECT head.shard, new.* FROM head, unnest($11::lot_row[]) AS new
        )
        SELECT count(*) AS "moved!" FROM head"#,
            stored($shard),
            $before.position.get(),
            $before.fence,
            $after.position.get(),
            &$after.chain[..],
            $after.members,
            &$rows.members as &[MemberRow],
            &$rows.log as &[TransactionRow],
            &$accounts as &[AccountRow],
            &$rows.wallets as &[WalletRow],
            &$rows.new_lots as &[LotRow],
            to_pg($after.written_at)
            $(, $argument)*
        )
    };
}

/// Writes a batch and moves the head from `before` to `after`, in one statement.
/// The plan for a batch that changes no lot that was there before is half as
/// large, and accruals and purchases need no other.
#[expect(clippy::too_many_lines, reason = "one statement and its variants")]
pub(crate) async fn at_once(
    connection: &mut PgConnection,
    shard: ShardId,
    before: &Head,
    after: &Head,
    rows: &Rows,
) -> Result<Outcome, DatabaseError> {
    let accounts = AccountRow::of(&rows.totals);
    // All of the answer is awaited, so that it is committed.
    let moved = match (
        rows.only_give(),
        rows.orders.is_empty(),
        rows.counters.is_empty() && rows.leases.is_empty(),
    ) {
        (true, true, true) => {
            write_statement!(
                "-- points.batch.write_grants",
                "",
                shard,
                before,
                after,
                rows,
                accounts
            )
            .fetch_all(connection)
            .await
        }
        (true, false, true) => {
            write_statement!(
                "-- points.batch.write_purchases",
                r"orders_written AS (
            INSERT INTO orders (shard, order_key, member_shard, request_key)
            SELECT new.shard, new.order_key, head.shard, new.request_key
            FROM head, unnest($13::order_row[]) AS new
        ),
        ",
                shard,
                before,
                after,
                rows,
                accounts,
                &rows.orders as &[OrderRow]
            )
            .fetch_all(connection)
            .await
        }
        (true, _, false) => {
            write_statement!(
                "-- points.batch.write_counted",
                r"orders_written AS (
            INSERT INTO orders (shard, order_key, member_shard, request_key)
            SELECT new.shard, new.order_key, head.shard, new.request_key
            FROM head, unnest($13::order_row[]) AS new
        ),
        counters_written AS (
            INSERT INTO counters (shard, member_no, body)
            SELECT head.shard, new.* FROM head, unnest($14::counters_row[]) AS new
            ON CONFLICT (member_no, shard) DO UPDATE SET body = excluded.body
        ),
        leases_written AS (
            INSERT INTO leases (shard, program, budget, lying, used, confirmed, leased, version, warned)
            SELECT head.shard, new.* FROM head, unnest($15::lease_row[]) AS new
            ON CONFLICT (program, budget, shard) DO UPDATE SET
                lying = excluded.lying, used = excluded.used, confirmed = excluded.confirmed,
                leased = excluded.leased, version = excluded.version,
                warned = excluded.warned
        ),
        ",
                shard,
                before,
                after,
                rows,
                accounts,
                &rows.orders as &[OrderRow],
                &rows.counters as &[CountersRow],
                &rows.leases as &[LeaseRow]
            )
            .fetch_all(connection)
            .await
        }
        (false, ..) => {
            write_statement!(
                "-- points.batch.write_all",
                r"orders_written AS (
            INSERT INTO orders (shard, order_key, member_shard, request_key)
            SELECT new.shard, new.order_key, head.shard, new.request_key
            FROM head, unnest($13::order_row[]) AS new
        ),
        known_lots_written AS (
            INSERT INTO lots (shard, member_no, lot, currency, brand, amount, remaining, held,
                              expired, earned_at, activates_at, expires_at, unit_value_micros,
                              program_version, origin, pending, spendable, activates_on)
            SELECT head.shard, new.* FROM head, unnest($14::lot_row[]) AS new
            ON CONFLICT (shard, lot) DO UPDATE SET
                remaining = excluded.remaining, held = excluded.held,
                expired = excluded.expired, expires_at = excluded.expires_at,
                pending = excluded.pending, spendable = excluded.spendable
        ),
        holds_written AS (
            INSERT INTO holds (shard, hold, member_no, currency, brand, expires_at, lots, points,
                               open)
            SELECT head.shard, new.* FROM head, unnest($15::hold_row[]) AS new
            ON CONFLICT (shard, hold) DO UPDATE SET
                expires_at = excluded.expires_at, lots = excluded.lots,
                points = excluded.points, open = excluded.open
        ),
        reversals_written AS (
            INSERT INTO reversals (shard, position, member_no, lots, points)
            SELECT head.shard, new.* FROM head, unnest($16::reversal_row[]) AS new
            ON CONFLICT (shard, position) DO UPDATE SET
                lots = excluded.lots, points = excluded.points
        ),
        versions_written AS (
            INSERT INTO begun_versions (shard, program, version, position, begun_at)
            SELECT head.shard, new.program, new.version, new.position, new.begun_at
            FROM head, unnest($17::version_row[]) AS new
            ON CONFLICT (program, shard) DO UPDATE SET
                version = excluded.version, position = excluded.position,
                begun_at = excluded.begun_at
        ),
        version_history_written AS (
            INSERT INTO version_history (shard, program, version, position, begun_at)
            SELECT head.shard, new.program, new.version, new.position, new.begun_at
            FROM head, unnest($17::version_row[]) AS new
        ),
        counters_written AS (
            INSERT INTO counters (shard, member_no, body)
            SELECT head.shard, new.* FROM head, unnest($18::counters_row[]) AS new
            ON CONFLICT (member_no, shard) DO UPDATE SET body = excluded.body
        ),
        leases_written AS (
            INSERT INTO leases (shard, program, budget, lying, used, confirmed, leased, version, warned)
            SELECT head.shard, new.* FROM head, unnest($19::lease_row[]) AS new
            ON CONFLICT (program, budget, shard) DO UPDATE SET
                lying = excluded.lying, used = excluded.used, confirmed = excluded.confirmed,
                leased = excluded.leased, version = excluded.version,
                warned = excluded.warned
        ),
        ",
                shard,
                before,
                after,
                rows,
                accounts,
                &rows.orders as &[OrderRow],
                &rows.known_lots as &[LotRow],
                &rows.holds as &[HoldRow],
                &rows.reversals as &[ReversalRow],
                &rows.versions as &[VersionRow],
                &rows.counters as &[CountersRow],
                &rows.leases as &[LeaseRow]
            )
            .fetch_all(connection)
            .await
        }
    };
    match moved {
        Ok(moved) if moved == [1] => Ok(Outcome::Written),
        Ok(_) => Ok(Outcome::Overtaken),
        Err(sqlx::Error::Database(refused)) if refused.constraint() == Some(orders::CONSTRAINT) => {
            Ok(Outcome::OrderTaken)
        }
        Err(error) => Err(error.into()),
    }
}

/// Writes a batch whose orders have been claimed, and moves the head from
/// `before` to `after`: a statement for each table that has rows.
pub(crate) async fn in_turn(
    connection: &mut PgConnection,
    shard: ShardId,
    before: &Head,
    after: &Head,
    rows: &Rows,
) -> Result<Outcome, DatabaseError> {
    let mut transaction = connection.begin().await?;
    let moved = sqlx::query!(
        "-- points.batch.move_head
        UPDATE shards SET position = $4, chain = $5, members = $6, written_at = $7
        WHERE shard = $1 AND position = $2 AND fence = $3 AND written_at <= $7",
        stored(shard),
        before.position.get(),
        before.fence,
        after.position.get(),
        &after.chain[..],
        after.members,
        to_pg(after.written_at),
    )
    .execute(&mut *transaction)
    .await?;
    if moved.rows_affected() != 1 {
        transaction.rollback().await?;
        return Ok(Outcome::Overtaken);
    }
    insert_log(&mut transaction, shard, after, rows).await?;
    put_wallets(&mut transaction, shard, rows).await?;
    put_holds(&mut transaction, shard, rows).await?;
    put_counters(&mut transaction, shard, rows).await?;
    put_leases(&mut transaction, shard, rows).await?;
    put_versions(&mut transaction, shard, rows).await?;
    transaction.commit().await?;
    Ok(Outcome::Written)
}

/// The log, the members that are new in it, and the accounts.
async fn insert_log(
    connection: &mut PgConnection,
    shard: ShardId,
    after: &Head,
    rows: &Rows,
) -> Result<(), DatabaseError> {
    if !rows.members.is_empty() {
        sqlx::query!(
            "-- points.batch.insert_members
            INSERT INTO members (shard, member_no, program, member)
            SELECT home.shard, new.*
            FROM shards AS home, unnest($2::member_row[]) AS new WHERE home.shard = $1",
            stored(shard),
            &rows.members as &[MemberRow],
        )
        .execute(&mut *connection)
        .await?;
    }
    if !rows.log.is_empty() {
        sqlx::query!(
            "-- points.batch.insert_log
            INSERT INTO transactions (shard, position, member_no, request_key, body, chain,
                                      currencies)
            SELECT home.shard, new.*
            FROM shards AS home, unnest($2::transaction_row[]) AS new WHERE home.shard = $1",
            stored(shard),
            &rows.log as &[TransactionRow],
        )
        .execute(&mut *connection)
        .await?;
    }
    let accounts = AccountRow::of(&rows.totals);
    if !accounts.is_empty() {
        sqlx::query!(
            "-- points.batch.add_to_accounts
            INSERT INTO accounts (shard, program, currency, kind, brand, issuer, debits, credits,
                                  position)
            SELECT home.shard, new.program, new.currency, new.kind, new.brand, new.issuer,
                   new.debits::numeric, new.credits::numeric, $3
            FROM shards AS home, unnest($2::account_row[]) AS new WHERE home.shard = $1
            ON CONFLICT (shard, program, currency, kind, brand, issuer) DO UPDATE SET
                debits = accounts.debits + excluded.debits,
                credits = accounts.credits + excluded.credits,
                position = excluded.position",
            stored(shard),
            &accounts as &[AccountRow],
            after.position.get(),
        )
        .execute(connection)
        .await?;
    }
    Ok(())
}

/// Wallets and lots.
async fn put_wallets(
    connection: &mut PgConnection,
    shard: ShardId,
    rows: &Rows,
) -> Result<(), DatabaseError> {
    if !rows.wallets.is_empty() {
        sqlx::query!(
            "-- points.batch.put_wallets
            INSERT INTO wallets (shard, member_no, currency, pending, available, held, debt,
                                 sequence, last_position, last_at, next_due, inactive_at,
                                 debt_kinds, debt_brands, debt_points, earned, redeemed,
                                 inactivity)
            SELECT home.shard, new.*
            FROM shards AS home, unnest($2::wallet_row[]) AS new WHERE home.shard = $1
            ON CONFLICT (shard, member_no, currency) DO UPDATE SET
                pending = excluded.pending, available = excluded.available, held = excluded.held,
                debt = excluded.debt, sequence = excluded.sequence,
                last_position = excluded.last_position, last_at = excluded.last_at,
                next_due = excluded.next_due, inactive_at = excluded.inactive_at,
                debt_kinds = excluded.debt_kinds, debt_brands = excluded.debt_brands,
                debt_points = excluded.debt_points, earned = excluded.earned,
                redeemed = excluded.redeemed, inactivity = excluded.inactivity",
            stored(shard),
            &rows.wallets as &[WalletRow],
        )
        .execute(&mut *connection)
        .await?;
    }
    for lots in [&rows.new_lots, &rows.known_lots] {
        if lots.is_empty() {
            continue;
        }
        sqlx::query!(
            "-- points.batch.put_lots
            INSERT INTO lots (shard, member_no, lot, currency, brand, amount, remaining, held,
                              expired, earned_at, activates_at, expires_at, unit_value_micros,
                              program_version, origin, pending, spendable, activates_on)
            SELECT home.shard, new.*
            FROM shards AS home, unnest($2::lot_row[]) AS new WHERE home.shard = $1
            ON CONFLICT (shard, lot) DO UPDATE SET
                remaining = excluded.remaining, held = excluded.held,
                expired = excluded.expired, expires_at = excluded.expires_at,
                pending = excluded.pending, spendable = excluded.spendable",
            stored(shard),
            lots as &[LotRow],
        )
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// What the shard has of budgets.
async fn put_leases(
    connection: &mut PgConnection,
    shard: ShardId,
    rows: &Rows,
) -> Result<(), DatabaseError> {
    if rows.leases.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "-- points.batch.put_leases
        INSERT INTO leases (shard, program, budget, lying, used, confirmed, leased, version, warned)
        SELECT home.shard, new.*
        FROM shards AS home, unnest($2::lease_row[]) AS new WHERE home.shard = $1
        ON CONFLICT (program, budget, shard) DO UPDATE SET
            lying = excluded.lying, used = excluded.used, confirmed = excluded.confirmed,
            leased = excluded.leased, version = excluded.version, warned = excluded.warned",
        stored(shard),
        &rows.leases as &[LeaseRow],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Holds and reversals.
async fn put_holds(
    connection: &mut PgConnection,
    shard: ShardId,
    rows: &Rows,
) -> Result<(), DatabaseError> {
    if !rows.holds.is_empty() {
        sqlx::query!(
            "-- points.batch.put_holds
            INSERT INTO holds (shard, hold, member_no, currency, brand, expires_at, lots, points,
                               open)
            SELECT home.shard, new.*
            FROM shards AS home, unnest($2::hold_row[]) AS new WHERE home.shard = $1
            ON CONFLICT (shard, hold) DO UPDATE SET
                expires_at = excluded.expires_at, lots = excluded.lots,
                points = excluded.points, open = excluded.open",
            stored(shard),
            &rows.holds as &[HoldRow],
        )
        .execute(&mut *connection)
        .await?;
    }
    if !rows.reversals.is_empty() {
        sqlx::query!(
            "-- points.batch.put_reversals
            INSERT INTO reversals (shard, position, member_no, lots, points)
            SELECT home.shard, new.*
            FROM shards AS home, unnest($2::reversal_row[]) AS new WHERE home.shard = $1
            ON CONFLICT (shard, position) DO UPDATE SET
                lots = excluded.lots, points = excluded.points",
            stored(shard),
            &rows.reversals as &[ReversalRow],
        )
        .execute(connection)
        .await?;
    }
    Ok(())
}

/// Members' numbers.
async fn put_counters(
    connection: &mut PgConnection,
    shard: ShardId,
    rows: &Rows,
) -> Result<(), DatabaseError> {
    if rows.counters.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "-- points.batch.put_counters
        INSERT INTO counters (shard, member_no, body)
        SELECT home.shard, new.*
        FROM shards AS home, unnest($2::counters_row[]) AS new WHERE home.shard = $1
        ON CONFLICT (member_no, shard) DO UPDATE SET body = excluded.body",
        stored(shard),
        &rows.counters as &[CountersRow],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Versions of programmes that begin.
async fn put_versions(
    connection: &mut PgConnection,
    shard: ShardId,
    rows: &Rows,
) -> Result<(), DatabaseError> {
    if rows.versions.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "-- points.batch.put_versions
        INSERT INTO begun_versions (shard, program, version, position, begun_at)
        SELECT home.shard, new.program, new.version, new.position, new.begun_at
        FROM shards AS home, unnest($2::version_row[]) AS new WHERE home.shard = $1
        ON CONFLICT (program, shard) DO UPDATE SET
            version = excluded.version, position = excluded.position,
            begun_at = excluded.begun_at",
        stored(shard),
        &rows.versions as &[VersionRow],
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "-- points.batch.put_version_history
        INSERT INTO version_history (shard, program, version, position, begun_at)
        SELECT home.shard, new.program, new.version, new.position, new.begun_at
        FROM shards AS home, unnest($2::version_row[]) AS new WHERE home.shard = $1",
        stored(shard),
        &rows.versions as &[VersionRow],
    )
    .execute(connection)
    .await?;
    Ok(())
}
