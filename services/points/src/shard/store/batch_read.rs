//! What a batch reads, each in one statement whose answer is a single row of
//! arrays:
//!
//! - [`members`]: the head of the shard, the members with their wallets, and
//!   the request ids that were seen before; every batch;
//! - [`purchases`]: tiers and order numbers, where it has purchases;
//! - [`open`]: lots and holds of the wallets that are spent from or in which
//!   something is due.
//!
//! A small plan starts in a fraction of the time of one that could read
//! everything.

use std::collections::HashMap;

use fealty_ledger::{Hold, Lot, Wallet, canonical::Chain};
use fealty_postgres::{DatabaseError, PgConnection, PgTime, to_pg};
use fealty_types::{CurrencyId, Position, ShardId, TierId, Timestamp};
use uuid::Uuid;

use super::{
    head::Head,
    holds::hold_of,
    lots::LotColumns,
    members::{WalletColumns, corrupt},
    stored,
};

/// A transaction that a request has made before.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Its canonical bytes.
    pub(crate) body: Vec<u8>,
    /// The chain after it.
    pub(crate) chain: Vec<u8>,
}

/// The members of a batch.
#[derive(Debug)]
pub(crate) struct Members {
    /// The head of the shard.
    pub(crate) head: Head,
    /// Numbers of the members, by index.
    pub(crate) numbers: HashMap<usize, i64>,
    /// Their wallets: index of the member, currency, wallet.
    pub(crate) wallets: Vec<(usize, CurrencyId, Wallet)>,
    /// Requests that were seen before.
    pub(crate) seen: HashMap<Uuid, Seen>,
}

fn index(stored: i64) -> Result<usize, DatabaseError> {
    usize::try_from(stored - 1).map_err(|_| corrupt("an index"))
}

fn chain(stored: Vec<u8>) -> Result<Chain, DatabaseError> {
    stored
        .try_into()
        .map_err(|_| corrupt("a chain value of 32 bytes"))
}

/// Reads the head, members with their wallets, and request ids, all at one
/// moment.
#[expect(clippy::too_many_lines, reason = "one statement and its columns")]
pub(crate) async fn members(
    connection: &mut PgConnection,
    shard: ShardId,
    programs: &[&str],
    members: &[&str],
    requests: &[Uuid],
) -> Result<Members, DatabaseError> {
    let row = sqlx::query!(
        r#"-- members
        SELECT
            s.position, s.chain, s.members,
            w.indexes AS "w_indexes: Vec<i64>", w.member_nos AS "w_member_nos: Vec<i64>",
            w.currencies AS "w_currencies: Vec<Option<String>>",
            w.pending AS "w_pending: Vec<Option<i64>>",
            w.available AS "w_available: Vec<Option<i64>>",
            w.held AS "w_held: Vec<Option<i64>>", w.debt AS "w_debt: Vec<Option<i64>>",
            w.sequences AS "w_sequences: Vec<Option<i64>>",
            w.last_positions AS "w_last_positions: Vec<Option<i64>>",
            w.last_ats AS "w_last_ats: Vec<Option<PgTime>>",
            w.next_dues AS "w_next_dues: Vec<Option<PgTime>>",
            w.inactive_ats AS "w_inactive_ats: Vec<Option<PgTime>>",
            r.keys AS "r_keys: Vec<Uuid>", r.bodies AS "r_bodies: Vec<Vec<u8>>",
            r.chains AS "r_chains: Vec<Vec<u8>>"
        FROM shards s
        CROSS JOIN LATERAL (
            SELECT array_agg(asked.index) AS indexes, array_agg(m.member_no) AS member_nos,
                   array_agg(w.currency) AS currencies, array_agg(w.pending) AS pending,
                   array_agg(w.available) AS available, array_agg(w.held) AS held,
                   array_agg(w.debt) AS debt, array_agg(w.sequence) AS sequences,
                   array_agg(w.last_position) AS last_positions, array_agg(w.last_at) AS last_ats,
                   array_agg(w.next_due) AS next_dues, array_agg(w.inactive_at) AS inactive_ats
            FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS asked (program, member, index)
            CROSS JOIN LATERAL (
                SELECT member_no FROM members
                WHERE shard = $1 AND program = asked.program AND member = asked.member LIMIT 1
            ) m
            LEFT JOIN LATERAL (
                SELECT * FROM wallets WHERE shard = $1 AND member_no = m.member_no LIMIT 100
            ) w ON true
        ) w
        CROSS JOIN LATERAL (
            SELECT array_agg(t.request_key) AS keys, array_agg(t.body) AS bodies,
                   array_agg(t.chain) AS chains
            FROM unnest($4::uuid[]) AS asked (key)
            CROSS JOIN LATERAL (
                SELECT request_key, body, chain FROM transactions
                WHERE shard = $1 AND request_key = asked.key LIMIT 1
            ) t
        ) r
        WHERE s.shard = $1"#,
        stored(shard),
        programs as &[&str],
        members as &[&str],
        requests,
    )
    .fetch_one(connection)
    .await?;
    let mut found = Members {
        head: Head {
            position: Position::new(row.position),
            chain: chain(row.chain)?,
            members: row.members,
        },
        numbers: HashMap::new(),
        wallets: Vec::new(),
        seen: HashMap::new(),
    };
    let wallets = WalletColumns {
        currencies: row.w_currencies.unwrap_or_default(),
        pending: row.w_pending.unwrap_or_default(),
        available: row.w_available.unwrap_or_default(),
        held: row.w_held.unwrap_or_default(),
        debt: row.w_debt.unwrap_or_default(),
        sequences: row.w_sequences.unwrap_or_default(),
        last_positions: row.w_last_positions.unwrap_or_default(),
        last_ats: row.w_last_ats.unwrap_or_default(),
        next_dues: row.w_next_dues.unwrap_or_default(),
        inactive_ats: row.w_inactive_ats.unwrap_or_default(),
    };
    let of_members = row.w_indexes.unwrap_or_default();
    let numbers = row.w_member_nos.unwrap_or_default();
    for (at, (member, number)) in of_members.into_iter().zip(numbers).enumerate() {
        let member = index(member)?;
        found.numbers.insert(member, number);
        // A member without a wallet has a number and an empty row.
        if let Some((currency, wallet)) = wallets.wallet(at)? {
            found.wallets.push((member, currency, wallet));
        }
    }
    let seen = row
        .r_keys
        .unwrap_or_default()
        .into_iter()
        .zip(row.r_bodies.unwrap_or_default())
        .zip(row.r_chains.unwrap_or_default());
    found.seen = seen
        .map(|((key, body), chain)| (key, Seen { body, chain }))
        .collect();
    Ok(found)
}

/// What purchases need.
#[derive(Debug, Default)]
pub(crate) struct Purchases {
    /// Purchases whose tier is wanted: programme, member, moment.
    pub(crate) tiers: Vec<(String, String, Timestamp)>,
    /// Keys of their orders.
    pub(crate) orders: Vec<Uuid>,
}

/// Reads tiers, by index into what was asked, and the orders that were
/// recorded before.
pub(crate) async fn purchases(
    connection: &mut PgConnection,
    shard: ShardId,
    asked: &Purchases,
) -> Result<(HashMap<usize, TierId>, Vec<Uuid>), DatabaseError> {
    let programs: Vec<&str> = asked.tiers.iter().map(|tier| tier.0.as_str()).collect();
    let members: Vec<&str> = asked.tiers.iter().map(|tier| tier.1.as_str()).collect();
    let moments: Vec<PgTime> = asked.tiers.iter().map(|tier| to_pg(tier.2)).collect();
    let row = sqlx::query!(
        r#"-- purchases
        SELECT t.indexes AS "t_indexes: Vec<i64>", t.tiers AS "t_tiers: Vec<String>",
               o.keys AS "o_keys: Vec<Uuid>"
        FROM (
            SELECT array_agg(asked.index) AS indexes, array_agg(t.tier) AS tiers
            FROM unnest($2::text[], $3::text[], $4::timestamptz[])
                WITH ORDINALITY AS asked (program, member, moment, index)
            CROSS JOIN LATERAL (
                SELECT tier FROM member_tiers
                WHERE shard = $1 AND program = asked.program AND member = asked.member
                  AND effective_at <= asked.moment
                ORDER BY effective_at DESC LIMIT 1
            ) t
        ) t
        CROSS JOIN LATERAL (
            SELECT array_agg(o.order_key) AS keys
            FROM unnest($5::uuid[]) AS asked (key)
            CROSS JOIN LATERAL (
                SELECT order_key FROM orders WHERE order_key = asked.key LIMIT 1
            ) o
        ) o"#,
        stored(shard),
        &programs as &[&str],
        &members as &[&str],
        &moments,
        &asked.orders,
    )
    .fetch_one(connection)
    .await?;
    let mut tiers = HashMap::new();
    let indexes = row.t_indexes.unwrap_or_default().into_iter();
    for (at, tier) in indexes.zip(row.t_tiers.unwrap_or_default()) {
        tiers.insert(index(at)?, tier.parse().map_err(|_| corrupt("a tier"))?);
    }
    Ok((tiers, row.o_keys.unwrap_or_default()))
}

/// Wallets whose lots and holds are wanted, and holds by name.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// Numbers of the wallets' members.
    pub(crate) member_nos: Vec<i64>,
    /// Currencies of the wallets.
    pub(crate) currencies: Vec<String>,
    /// Numbers of the members of the named holds.
    pub(crate) hold_member_nos: Vec<i64>,
    /// The named holds.
    pub(crate) holds: Vec<i64>,
    /// Lots read at the most of each wallet, besides those pending or held.
    pub(crate) lots_max: i64,
}

/// Wallets' lots and holds.
#[derive(Debug)]
pub(crate) struct Opened {
    /// Where the head of the shard was when they were read.
    pub(crate) position: Position,
    /// Lots: index of the wallet, whether it was read in the order of spending,
    /// the lot.
    pub(crate) lots: Vec<(usize, bool, Lot)>,
    /// Open holds: index of the wallet, the hold.
    pub(crate) holds: Vec<(usize, Hold)>,
    /// Named holds, ended or not: index into what was asked, currency, the hold.
    pub(crate) named: Vec<(usize, CurrencyId, Hold)>,
}

/// Reads lots and holds of wallets, and holds by name, all at one moment.
#[expect(clippy::too_many_lines, reason = "one statement and its columns")]
pub(crate) async fn open(
    connection: &mut PgConnection,
    shard: ShardId,
    wanted: &Wanted,
) -> Result<Opened, DatabaseError> {
    let row = sqlx::query!(
        r#"-- open
        WITH wanted AS MATERIALIZED (
            SELECT * FROM unnest($2::bigint[], $3::text[]) WITH ORDINALITY
                AS wanted (member_no, currency, number)
        ),
        open_holds AS MATERIALIZED (
            SELECT wanted.number, h.*
            FROM wanted CROSS JOIN LATERAL (
                SELECT * FROM holds
                WHERE shard = $1 AND member_no = wanted.member_no AND currency = wanted.currency
                  AND open
                LIMIT 1000
            ) h
        )
        SELECT
            s.position,
            l.numbers AS "l_numbers: Vec<i64>", l.in_order AS "l_in_order: Vec<bool>",
            l.lots AS "l_lots: Vec<i64>", l.currencies AS "l_currencies: Vec<String>",
            l.brands AS "l_brands: Vec<String>", l.amounts AS "l_amounts: Vec<i64>",
            l.remaining AS "l_remaining: Vec<i64>", l.held AS "l_held: Vec<i64>",
            l.expired AS "l_expired: Vec<i64>", l.earned_ats AS "l_earned_ats: Vec<PgTime>",
            l.activates_ats AS "l_activates_ats: Vec<Option<PgTime>>",
            l.expires_ats AS "l_expires_ats: Vec<PgTime>",
            l.unit_values AS "l_unit_values: Vec<Option<i64>>",
            l.program_versions AS "l_program_versions: Vec<i32>",
            l.origins AS "l_origins: Vec<i16>", l.pending AS "l_pending: Vec<bool>",
            h.numbers AS "h_numbers: Vec<i64>", h.holds AS "h_holds: Vec<i64>",
            h.brands AS "h_brands: Vec<String>", h.expires_ats AS "h_expires_ats: Vec<PgTime>",
            h.lots AS "h_lots: Vec<String>", h.points AS "h_points: Vec<String>",
            n.indexes AS "n_indexes: Vec<i64>", n.currencies AS "n_currencies: Vec<String>",
            n.holds AS "n_holds: Vec<i64>", n.brands AS "n_brands: Vec<String>",
            n.expires_ats AS "n_expires_ats: Vec<PgTime>", n.lots AS "n_lots: Vec<String>",
            n.points AS "n_points: Vec<String>"
        FROM shards s
        CROSS JOIN LATERAL (
            SELECT array_agg(number) AS numbers, array_agg(in_order) AS in_order,
                   array_agg(lot) AS lots, array_agg(currency) AS currencies,
                   array_agg(brand) AS brands, array_agg(amount) AS amounts,
                   array_agg(remaining) AS remaining, array_agg(held) AS held,
                   array_agg(expired) AS expired, array_agg(earned_at) AS earned_ats,
                   array_agg(activates_at) AS activates_ats, array_agg(expires_at) AS expires_ats,
                   array_agg(unit_value_micros) AS unit_values,
                   array_agg(program_version) AS program_versions, array_agg(origin) AS origins,
                   array_agg(pending) AS pending
            FROM (
                SELECT wanted.number, true AS in_order, l.*
                FROM wanted CROSS JOIN LATERAL (
                    SELECT * FROM lots
                    WHERE shard = $1 AND member_no = wanted.member_no
                      AND currency = wanted.currency AND spendable
                    ORDER BY expires_at, lot LIMIT $6
                ) l
                UNION ALL
                SELECT wanted.number, false, l.*
                FROM wanted CROSS JOIN LATERAL (
                    SELECT * FROM lots
                    WHERE shard = $1 AND member_no = wanted.member_no
                      AND currency = wanted.currency AND pending AND remaining > 0
                    LIMIT 100000
                ) l
                UNION ALL
                SELECT of_hold.number, false, l.*
                FROM (SELECT DISTINCT number, unnest(lots) AS lot FROM open_holds) of_hold
                CROSS JOIN LATERAL (
                    SELECT * FROM lots WHERE shard = $1 AND lot = of_hold.lot LIMIT 1
                ) l
            ) lots
        ) l
        CROSS JOIN LATERAL (
            SELECT array_agg(number) AS numbers, array_agg(hold) AS holds,
                   array_agg(brand) AS brands, array_agg(expires_at) AS expires_ats,
                   array_agg(lots::text) AS lots, array_agg(points::text) AS points
            FROM open_holds
        ) h
        CROSS JOIN LATERAL (
            SELECT array_agg(asked.index) AS indexes, array_agg(h.currency) AS currencies,
                   array_agg(h.hold) AS holds, array_agg(h.brand) AS brands,
                   array_agg(h.expires_at) AS expires_ats, array_agg(h.lots::text) AS lots,
                   array_agg(h.points::text) AS points
            FROM unnest($4::bigint[], $5::bigint[]) WITH ORDINALITY
                AS asked (member_no, hold, index)
            CROSS JOIN LATERAL (
                SELECT * FROM holds
                WHERE shard = $1 AND hold = asked.hold AND member_no = asked.member_no LIMIT 1
            ) h
        ) n
        WHERE s.shard = $1"#,
        stored(shard),
        &wanted.member_nos,
        &wanted.currencies,
        &wanted.hold_member_nos,
        &wanted.holds,
        wanted.lots_max,
    )
    .fetch_one(connection)
    .await?;
    let mut opened = Opened {
        position: Position::new(row.position),
        lots: Vec::new(),
        holds: Vec::new(),
        named: Vec::new(),
    };
    let lots = LotColumns {
        lots: row.l_lots.unwrap_or_default(),
        currencies: row.l_currencies.unwrap_or_default(),
        brands: row.l_brands.unwrap_or_default(),
        amounts: row.l_amounts.unwrap_or_default(),
        remaining: row.l_remaining.unwrap_or_default(),
        held: row.l_held.unwrap_or_default(),
        expired: row.l_expired.unwrap_or_default(),
        earned_ats: row.l_earned_ats.unwrap_or_default(),
        activates_ats: row.l_activates_ats.unwrap_or_default(),
        expires_ats: row.l_expires_ats.unwrap_or_default(),
        unit_values: row.l_unit_values.unwrap_or_default(),
        program_versions: row.l_program_versions.unwrap_or_default(),
        origins: row.l_origins.unwrap_or_default(),
        pending: row.l_pending.unwrap_or_default(),
    };
    let numbers = row.l_numbers.unwrap_or_default();
    let in_order = row.l_in_order.unwrap_or_default();
    for (at, (number, in_order)) in numbers.into_iter().zip(in_order).enumerate() {
        opened.lots.push((index(number)?, in_order, lots.lot(at)?));
    }
    let holds = row
        .h_numbers
        .unwrap_or_default()
        .into_iter()
        .zip(row.h_holds.unwrap_or_default())
        .zip(row.h_brands.unwrap_or_default())
        .zip(row.h_expires_ats.unwrap_or_default())
        .zip(row.h_lots.unwrap_or_default())
        .zip(row.h_points.unwrap_or_default());
    for (((((number, hold), brand), expires_at), lots), points) in holds {
        let hold = hold_of(hold, &brand, expires_at, &lots, &points)?;
        opened.holds.push((index(number)?, hold));
    }
    let named = row
        .n_indexes
        .unwrap_or_default()
        .into_iter()
        .zip(row.n_currencies.unwrap_or_default())
        .zip(row.n_holds.unwrap_or_default())
        .zip(row.n_brands.unwrap_or_default())
        .zip(row.n_expires_ats.unwrap_or_default())
        .zip(row.n_lots.unwrap_or_default())
        .zip(row.n_points.unwrap_or_default());
    for ((((((asked, currency), hold), brand), expires_at), lots), points) in named {
        let currency = currency.parse().map_err(|_| corrupt("a currency"))?;
        let hold = hold_of(hold, &brand, expires_at, &lots, &points)?;
        opened.named.push((index(asked)?, currency, hold));
    }
    Ok(opened)
}
