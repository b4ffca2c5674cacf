//! What a batch writes: in one statement, all rows of its transactions.
//!
//! The statement moves the head from where the batch read it, and writes the
//! rest only if it could: of two instances that read the same head, one
//! writes and the other learns that it has to read again. Run by itself, the
//! statement is a database transaction of its own, with one round trip and
//! one flush of the write-ahead log.

use fealty_ledger::{AccountTotals, Hold, Lot, Reversal, Wallet};
use fealty_postgres::{DatabaseError, PgConnection, PgTime, to_pg};
use fealty_types::{CurrencyId, Position, ShardId};
use uuid::Uuid;

use super::{lots::LotColumns, orders, shards::Head, stored};

/// The rows of a batch, column by column.
#[derive(Debug, Default)]
pub struct Rows {
    /// New members.
    pub members: MemberRows,
    /// New transactions.
    pub log: LogRows,
    /// Debits and credits to add.
    pub totals: AccountTotals,
    /// Wallets, new and known.
    pub wallets: WalletRows,
    /// New lots: number of the member, the lot.
    pub new_lots: LotRows,
    /// Known lots.
    pub known_lots: LotRows,
    /// Holds, new and known.
    pub holds: HoldRows,
    /// Reversals, new and known.
    pub reversals: ReversalRows,
    /// New orders: key, position. Sorted by key, so that two batches with the
    /// same ones wait for each other in one order.
    pub orders: Vec<(Uuid, i64)>,
}

/// New members.
#[derive(Debug, Default)]
pub struct MemberRows {
    /// Their numbers.
    pub numbers: Vec<i64>,
    /// Their programmes.
    pub programs: Vec<String>,
    /// Their ids.
    pub members: Vec<String>,
}

/// New transactions.
#[derive(Debug, Default)]
pub struct LogRows {
    /// Places in the log.
    pub positions: Vec<i64>,
    /// Numbers of the members.
    pub member_nos: Vec<i64>,
    /// Keys of the requests; none for what fell due.
    pub request_keys: Vec<Option<Uuid>>,
    /// Canonical bytes.
    pub bodies: Vec<Vec<u8>>,
    /// The chain after each.
    pub chains: Vec<Vec<u8>>,
}

/// Wallets to write.
#[derive(Debug, Default)]
pub struct WalletRows {
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
    inactive_ats: Vec<Option<PgTime>>,
}

impl WalletRows {
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
        self.inactive_ats.push(wallet.inactive_at.map(to_pg));
    }
}

/// Lots to write.
#[derive(Debug, Default)]
pub struct LotRows {
    member_nos: Vec<i64>,
    columns: LotColumns,
    spendable: Vec<bool>,
}

impl LotRows {
    fn is_empty(&self) -> bool {
        self.member_nos.is_empty()
    }

    /// Adds a lot.
    pub fn push(&mut self, member_no: i64, lot: &Lot) {
        self.member_nos.push(member_no);
        self.columns.push(lot);
        self.spendable
            .push(!lot.pending && !lot.remaining.is_zero());
    }
}

/// Holds to write.
#[derive(Debug, Default)]
pub struct HoldRows {
    holds: Vec<i64>,
    member_nos: Vec<i64>,
    currencies: Vec<String>,
    brands: Vec<String>,
    expires_ats: Vec<PgTime>,
    lots: Vec<String>,
    points: Vec<String>,
}

/// An array of numbers as Postgres writes it: arrays of arrays of different
/// lengths cannot be sent otherwise.
fn array(numbers: impl Iterator<Item = i64>) -> String {
    let numbers: Vec<String> = numbers.map(|number| number.to_string()).collect();
    format!("{{{}}}", numbers.join(","))
}

impl HoldRows {
    fn is_empty(&self) -> bool {
        self.holds.is_empty()
    }

    /// Adds a hold.
    pub fn push(&mut self, member_no: i64, currency: &CurrencyId, hold: &Hold) {
        self.holds.push(hold.position.get());
        self.member_nos.push(member_no);
        self.currencies.push(currency.to_string());
        self.brands.push(hold.brand.to_string());
        self.expires_ats.push(to_pg(hold.expires_at));
        self.lots
            .push(array(hold.lots.iter().map(|part| part.lot.get())));
        self.points
            .push(array(hold.lots.iter().map(|part| part.points.get())));
    }
}

/// Reversals to write.
#[derive(Debug, Default)]
pub struct ReversalRows {
    positions: Vec<i64>,
    member_nos: Vec<i64>,
    lots: Vec<String>,
    points: Vec<String>,
}

impl ReversalRows {
    fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    /// Adds what has been reversed of a transaction.
    pub fn push(&mut self, member_no: i64, transaction: Position, reversal: &Reversal) {
        self.positions.push(transaction.get());
        self.member_nos.push(member_no);
        self.lots
            .push(array(reversal.parts.iter().map(|part| part.lot.get())));
        self.points
            .push(array(reversal.parts.iter().map(|part| part.points.get())));
    }
}

/// Accounts to add to.
#[derive(Default)]
struct AccountRows {
    programs: Vec<String>,
    currencies: Vec<String>,
    kinds: Vec<String>,
    brands: Vec<String>,
    issuers: Vec<String>,
    debits: Vec<String>,
    credits: Vec<String>,
}

impl From<&AccountTotals> for AccountRows {
    fn from(totals: &AccountTotals) -> Self {
        let mut rows = Self::default();
        for (key, sums) in totals.rows() {
            let brand = key.account.brand().map(ToString::to_string);
            rows.programs.push(key.program.to_string());
            rows.currencies.push(key.currency.to_string());
            rows.kinds.push(key.account.kind().to_owned());
            rows.brands.push(brand.unwrap_or_default());
            rows.issuers.push(key.issuer.to_string());
            rows.debits.push(sums.debits.to_string());
            rows.credits.push(sums.credits.to_string());
        }
        rows
    }
}

/// Writes a batch and moves the head from `before` to `after`; `false` if the
/// head is no longer there, and nothing was written.
pub async fn write(
    connection: &mut PgConnection,
    shard: ShardId,
    before: Position,
    after: &Head,
    rows: &Rows,
) -> Result<bool, DatabaseError> {
    let only_grants =
        rows.known_lots.is_empty() && rows.holds.is_empty() && rows.reversals.is_empty();
    if only_grants {
        write_grants(connection, shard, before, after, rows).await
    } else {
        write_all(connection, shard, before, after, rows).await
    }
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

/// Writes a batch that changes no lot that was there before: the plan for it is
/// half as large, and accruals and purchases need no other.
#[expect(clippy::too_many_lines, reason = "one statement and its columns")]
async fn write_grants(
    connection: &mut PgConnection,
    shard: ShardId,
    before: Position,
    after: &Head,
    rows: &Rows,
) -> Result<bool, DatabaseError> {
    let accounts = AccountRows::from(&rows.totals);
    let (wallets, new) = (&rows.wallets, &rows.new_lots);
    let (order_keys, order_positions): (Vec<Uuid>, Vec<i64>) = rows.orders.iter().copied().unzip();
    let moved = sqlx::query_scalar!(
        r#"-- write_grants
        WITH head AS (
            UPDATE shards SET position = $3, chain = $4, members = $5
            WHERE shard = $1 AND position = $2 RETURNING shard
        ),
        members_written AS (
            INSERT INTO members (shard, member_no, program, member)
            SELECT head.shard, new.* FROM head,
                unnest($6::bigint[], $7::text[], $8::text[]) AS new
        ),
        log_written AS (
            INSERT INTO transactions (shard, position, member_no, request_key, body, chain)
            SELECT head.shard, new.* FROM head,
                unnest($9::bigint[], $10::bigint[], $11::uuid[], $12::bytea[], $13::bytea[]) AS new
        ),
        accounts_written AS (
            INSERT INTO accounts (shard, program, currency, kind, brand, issuer, debits, credits,
                                  position)
            SELECT head.shard, program, currency, kind, brand, issuer, debits::numeric,
                   credits::numeric, $3
            FROM head, unnest($14::text[], $15::text[], $16::text[], $17::text[], $18::text[],
                              $19::text[], $20::text[])
                AS new (program, currency, kind, brand, issuer, debits, credits)
            ON CONFLICT (shard, program, currency, kind, brand, issuer) DO UPDATE SET
                debits = accounts.debits + excluded.debits,
                credits = accounts.credits + excluded.credits,
                position = excluded.position
        ),
        wallets_written AS (
            INSERT INTO wallets (shard, member_no, currency, pending, available, held, debt,
                                 sequence, last_position, last_at, next_due, inactive_at)
            SELECT head.shard, new.* FROM head,
                unnest($21::bigint[], $22::text[], $23::bigint[], $24::bigint[], $25::bigint[],
                       $26::bigint[], $27::bigint[], $28::bigint[], $29::timestamptz[],
                       $30::timestamptz[], $31::timestamptz[]) AS new
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
            SELECT head.shard, new.* FROM head,
                unnest($32::bigint[], $33::bigint[], $34::text[], $35::text[], $36::bigint[],
                       $37::bigint[], $38::bigint[], $39::bigint[], $40::timestamptz[],
                       $41::timestamptz[], $42::timestamptz[], $43::bigint[], $44::integer[],
                       $45::smallint[], $46::boolean[], $47::boolean[]) AS new
        ),
        orders_written AS (
            INSERT INTO orders (shard, order_key, position)
            SELECT head.shard, new.* FROM head, unnest($48::uuid[], $49::bigint[]) AS new
        )
        SELECT count(*) AS "moved!" FROM head"#,
        stored(shard),
        before.get(),
        after.position.get(),
        &after.chain[..],
        after.members,
        &rows.members.numbers,
        &rows.members.programs,
        &rows.members.members,
        &rows.log.positions,
        &rows.log.member_nos,
        &rows.log.request_keys as &[Option<Uuid>],
        &rows.log.bodies,
        &rows.log.chains,
        &accounts.programs,
        &accounts.currencies,
        &accounts.kinds,
        &accounts.brands,
        &accounts.issuers,
        &accounts.debits,
        &accounts.credits,
        &wallets.member_nos,
        &wallets.currencies,
        &wallets.pending,
        &wallets.available,
        &wallets.held,
        &wallets.debt,
        &wallets.sequences,
        &wallets.last_positions,
        &wallets.last_ats,
        &wallets.next_dues as &[Option<PgTime>],
        &wallets.inactive_ats as &[Option<PgTime>],
        &new.member_nos,
        &new.columns.lots,
        &new.columns.currencies,
        &new.columns.brands,
        &new.columns.amounts,
        &new.columns.remaining,
        &new.columns.held,
        &new.columns.expired,
        &new.columns.earned_ats,
        &new.columns.activates_ats as &[Option<PgTime>],
        &new.columns.expires_ats,
        &new.columns.unit_values as &[Option<i64>],
        &new.columns.program_versions,
        &new.columns.origins,
        &new.columns.pending,
        &new.spendable,
        &order_keys,
        &order_positions,
    )
    .fetch_one(connection)
    .await
    .map_err(refused)?;
    Ok(moved == 1)
}

/// Writes any batch.
#[expect(clippy::too_many_lines, reason = "one statement and its columns")]
async fn write_all(
    connection: &mut PgConnection,
    shard: ShardId,
    before: Position,
    after: &Head,
    rows: &Rows,
) -> Result<bool, DatabaseError> {
    let accounts = AccountRows::from(&rows.totals);
    let (wallets, new, known) = (&rows.wallets, &rows.new_lots, &rows.known_lots);
    let (order_keys, order_positions): (Vec<Uuid>, Vec<i64>) = rows.orders.iter().copied().unzip();
    let moved = sqlx::query_scalar!(
        r#"-- write_all
        WITH head AS (
            UPDATE shards SET position = $3, chain = $4, members = $5
            WHERE shard = $1 AND position = $2 RETURNING shard
        ),
        members_written AS (
            INSERT INTO members (shard, member_no, program, member)
            SELECT head.shard, new.* FROM head,
                unnest($6::bigint[], $7::text[], $8::text[]) AS new
        ),
        log_written AS (
            INSERT INTO transactions (shard, position, member_no, request_key, body, chain)
            SELECT head.shard, new.* FROM head,
                unnest($9::bigint[], $10::bigint[], $11::uuid[], $12::bytea[], $13::bytea[]) AS new
        ),
        accounts_written AS (
            INSERT INTO accounts (shard, program, currency, kind, brand, issuer, debits, credits,
                                  position)
            SELECT head.shard, program, currency, kind, brand, issuer, debits::numeric,
                   credits::numeric, $3
            FROM head, unnest($14::text[], $15::text[], $16::text[], $17::text[], $18::text[],
                              $19::text[], $20::text[])
                AS new (program, currency, kind, brand, issuer, debits, credits)
            ON CONFLICT (shard, program, currency, kind, brand, issuer) DO UPDATE SET
                debits = accounts.debits + excluded.debits,
                credits = accounts.credits + excluded.credits,
                position = excluded.position
        ),
        wallets_written AS (
            INSERT INTO wallets (shard, member_no, currency, pending, available, held, debt,
                                 sequence, last_position, last_at, next_due, inactive_at)
            SELECT head.shard, new.* FROM head,
                unnest($21::bigint[], $22::text[], $23::bigint[], $24::bigint[], $25::bigint[],
                       $26::bigint[], $27::bigint[], $28::bigint[], $29::timestamptz[],
                       $30::timestamptz[], $31::timestamptz[]) AS new
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
            SELECT head.shard, new.* FROM head,
                unnest($32::bigint[], $33::bigint[], $34::text[], $35::text[], $36::bigint[],
                       $37::bigint[], $38::bigint[], $39::bigint[], $40::timestamptz[],
                       $41::timestamptz[], $42::timestamptz[], $43::bigint[], $44::integer[],
                       $45::smallint[], $46::boolean[], $47::boolean[]) AS new
        ),
        known_lots_written AS (
            INSERT INTO lots (shard, member_no, lot, currency, brand, amount, remaining, held,
                              expired, earned_at, activates_at, expires_at, unit_value_micros,
                              program_version, origin, pending, spendable)
            SELECT head.shard, new.* FROM head,
                unnest($48::bigint[], $49::bigint[], $50::text[], $51::text[], $52::bigint[],
                       $53::bigint[], $54::bigint[], $55::bigint[], $56::timestamptz[],
                       $57::timestamptz[], $58::timestamptz[], $59::bigint[], $60::integer[],
                       $61::smallint[], $62::boolean[], $63::boolean[]) AS new
            ON CONFLICT (shard, lot) DO UPDATE SET
                remaining = excluded.remaining, held = excluded.held,
                expired = excluded.expired, expires_at = excluded.expires_at,
                pending = excluded.pending, spendable = excluded.spendable
        ),
        holds_written AS (
            INSERT INTO holds (shard, hold, member_no, currency, brand, expires_at, lots, points,
                               open)
            SELECT head.shard, hold, member_no, currency, brand, expires_at, lots::bigint[],
                   points::bigint[], lots <> '{}'
            FROM head, unnest($64::bigint[], $65::bigint[], $66::text[], $67::text[],
                              $68::timestamptz[], $69::text[], $70::text[])
                AS new (hold, member_no, currency, brand, expires_at, lots, points)
            ON CONFLICT (shard, hold) DO UPDATE SET
                lots = excluded.lots, points = excluded.points, open = excluded.open
        ),
        reversals_written AS (
            INSERT INTO reversals (shard, position, member_no, lots, points)
            SELECT head.shard, position, member_no, lots::bigint[], points::bigint[]
            FROM head, unnest($71::bigint[], $72::bigint[], $73::text[], $74::text[])
                AS new (position, member_no, lots, points)
            ON CONFLICT (shard, position) DO UPDATE SET
                lots = excluded.lots, points = excluded.points
        ),
        orders_written AS (
            INSERT INTO orders (shard, order_key, position)
            SELECT head.shard, new.* FROM head, unnest($75::uuid[], $76::bigint[]) AS new
        )
        SELECT count(*) AS "moved!" FROM head"#,
        stored(shard),
        before.get(),
        after.position.get(),
        &after.chain[..],
        after.members,
        &rows.members.numbers,
        &rows.members.programs,
        &rows.members.members,
        &rows.log.positions,
        &rows.log.member_nos,
        &rows.log.request_keys as &[Option<Uuid>],
        &rows.log.bodies,
        &rows.log.chains,
        &accounts.programs,
        &accounts.currencies,
        &accounts.kinds,
        &accounts.brands,
        &accounts.issuers,
        &accounts.debits,
        &accounts.credits,
        &wallets.member_nos,
        &wallets.currencies,
        &wallets.pending,
        &wallets.available,
        &wallets.held,
        &wallets.debt,
        &wallets.sequences,
        &wallets.last_positions,
        &wallets.last_ats,
        &wallets.next_dues as &[Option<PgTime>],
        &wallets.inactive_ats as &[Option<PgTime>],
        &new.member_nos,
        &new.columns.lots,
        &new.columns.currencies,
        &new.columns.brands,
        &new.columns.amounts,
        &new.columns.remaining,
        &new.columns.held,
        &new.columns.expired,
        &new.columns.earned_ats,
        &new.columns.activates_ats as &[Option<PgTime>],
        &new.columns.expires_ats,
        &new.columns.unit_values as &[Option<i64>],
        &new.columns.program_versions,
        &new.columns.origins,
        &new.columns.pending,
        &new.spendable,
        &known.member_nos,
        &known.columns.lots,
        &known.columns.currencies,
        &known.columns.brands,
        &known.columns.amounts,
        &known.columns.remaining,
        &known.columns.held,
        &known.columns.expired,
        &known.columns.earned_ats,
        &known.columns.activates_ats as &[Option<PgTime>],
        &known.columns.expires_ats,
        &known.columns.unit_values as &[Option<i64>],
        &known.columns.program_versions,
        &known.columns.origins,
        &known.columns.pending,
        &known.spendable,
        &rows.holds.holds,
        &rows.holds.member_nos,
        &rows.holds.currencies,
        &rows.holds.brands,
        &rows.holds.expires_ats,
        &rows.holds.lots,
        &rows.holds.points,
        &rows.reversals.positions,
        &rows.reversals.member_nos,
        &rows.reversals.lots,
        &rows.reversals.points,
        &order_keys,
        &order_positions,
    )
    .fetch_one(connection)
    .await
    .map_err(refused)?;
    Ok(moved == 1)
}
