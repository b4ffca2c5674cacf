//! What a batch reads: in one statement, at one moment, the head of its shard
//! with the members, wallets, lots, holds, tiers, request ids and orders that
//! its jobs name.
//!
//! Each part is one subselect that gathers its rows into arrays, so that the
//! answer is a single row.

use std::collections::HashMap;

use fealty_ledger::{Hold, Lot, Wallet, canonical::Chain};
use fealty_postgres::{DatabaseError, PgConnection, PgTime, to_pg};
use fealty_types::{CurrencyId, Position, ShardId, TierId, Timestamp};
use uuid::Uuid;

use super::{
    holds::hold_of,
    lots::LotColumns,
    members::{WalletColumns, corrupt},
    shards::Head,
    stored,
};

/// What a batch asks for.
#[derive(Debug, Default)]
pub struct Asked {
    /// Programmes of the members.
    pub programs: Vec<String>,
    /// The members, each once.
    pub members: Vec<String>,
    /// Whether the member's lots and holds are wanted, whatever is due.
    pub spends: Vec<bool>,
    /// Keys of request ids.
    pub requests: Vec<Uuid>,
    /// Holds that are named: index of the member, position.
    pub holds: Vec<(i64, i64)>,
    /// Purchases whose tier is wanted: programme, member, moment.
    pub tiers: Vec<(String, String, Timestamp)>,
    /// Keys of orders.
    pub orders: Vec<Uuid>,
    /// Lots read at the most of each wallet, besides those pending or held.
    pub lots_max: i64,
}

/// A transaction that a request has made before.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its canonical bytes.
    pub body: Vec<u8>,
    /// The chain after it.
    pub chain: Vec<u8>,
}

/// A wallet with what was read of it.
#[derive(Debug)]
pub struct FoundWallet {
    /// Index of its member.
    pub member: usize,
    /// Its currency.
    pub currency: CurrencyId,
    /// Its row.
    pub wallet: Wallet,
    /// Whether its lots and holds were read.
    pub opened: bool,
}

/// What was found.
#[derive(Debug)]
pub struct Found {
    /// The head of the shard.
    pub head: Head,
    /// Numbers of the members, by index.
    pub member_nos: HashMap<usize, i64>,
    /// Their wallets.
    pub wallets: Vec<FoundWallet>,
    /// Lots of the opened wallets: index into `wallets`, whether it was read in
    /// the order of spending, the lot.
    pub lots: Vec<(usize, bool, Lot)>,
    /// Open holds of the opened wallets: index into `wallets`, the hold.
    pub holds: Vec<(usize, Hold)>,
    /// Named holds, ended or not: index of the member, currency, the hold.
    pub named_holds: Vec<(usize, CurrencyId, Hold)>,
    /// Requests that were seen before.
    pub seen: HashMap<Uuid, Seen>,
    /// Tiers: index into what was asked.
    pub tiers: HashMap<usize, TierId>,
    /// Orders that were recorded before.
    pub orders: Vec<Uuid>,
}

fn index(stored: i64) -> Result<usize, DatabaseError> {
    usize::try_from(stored - 1).map_err(|_| corrupt("an index"))
}

/// Reads all that a batch asks for.
pub async fn read(
    connection: &mut PgConnection,
    shard: ShardId,
    asked: &Asked,
    now: Timestamp,
) -> Result<Found, DatabaseError> {
    let (hold_members, holds): (Vec<i64>, Vec<i64>) = asked.holds.iter().copied().unzip();
    let tier_programs: Vec<&str> = asked.tiers.iter().map(|tier| tier.0.as_str()).collect();
    let tier_members: Vec<&str> = asked.tiers.iter().map(|tier| tier.1.as_str()).collect();
    let tier_moments: Vec<PgTime> = asked.tiers.iter().map(|tier| to_pg(tier.2)).collect();
    let row = sqlx::query!(
        r#"-- batch_read
        WITH found AS MATERIALIZED (
            SELECT asked.index, m.member_no, w.currency, w.pending, w.available, w.held, w.debt,
                   w.sequence, w.last_position, w.last_at, w.next_due, w.inactive_at,
                   asked.spends OR w.next_due <= $5 AS opened,
                   row_number() OVER () AS number
            FROM unnest($2::text[], $3::text[], $4::boolean[]) WITH ORDINALITY
                AS asked (program, member, spends, index)
            CROSS JOIN LATERAL (
                SELECT member_no FROM members
                WHERE shard = $1 AND program = asked.program AND member = asked.member LIMIT 1
            ) m
            LEFT JOIN LATERAL (
                SELECT * FROM wallets WHERE shard = $1 AND member_no = m.member_no LIMIT 100
            ) w ON true
        ),
        open_holds AS MATERIALIZED (
            SELECT found.number, h.*
            FROM found CROSS JOIN LATERAL (
                SELECT * FROM holds
                WHERE shard = $1 AND member_no = found.member_no AND currency = found.currency
                  AND open
                LIMIT 1000
            ) h
            WHERE found.opened AND found.held > 0
        )
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
            w.opened AS "w_opened: Vec<Option<bool>>",
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
            n.points AS "n_points: Vec<String>",
            r.keys AS "r_keys: Vec<Uuid>", r.bodies AS "r_bodies: Vec<Vec<u8>>",
            r.chains AS "r_chains: Vec<Vec<u8>>",
            t.indexes AS "t_indexes: Vec<i64>", t.tiers AS "t_tiers: Vec<String>",
            o.keys AS "o_keys: Vec<Uuid>"
        FROM shards s
        CROSS JOIN LATERAL (
            SELECT array_agg(index) AS indexes, array_agg(member_no) AS member_nos,
                   array_agg(currency) AS currencies, array_agg(pending) AS pending,
                   array_agg(available) AS available, array_agg(held) AS held,
                   array_agg(debt) AS debt, array_agg(sequence) AS sequences,
                   array_agg(last_position) AS last_positions, array_agg(last_at) AS last_ats,
                   array_agg(next_due) AS next_dues, array_agg(inactive_at) AS inactive_ats,
                   array_agg(opened) AS opened
            FROM found
        ) w
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
                SELECT found.number, true AS in_order, l.*
                FROM found CROSS JOIN LATERAL (
                    SELECT * FROM lots
                    WHERE shard = $1 AND member_no = found.member_no
                      AND currency = found.currency AND spendable
                    ORDER BY expires_at, lot LIMIT $13
                ) l
                WHERE found.opened
                UNION ALL
                SELECT found.number, false, l.*
                FROM found CROSS JOIN LATERAL (
                    SELECT * FROM lots
                    WHERE shard = $1 AND member_no = found.member_no
                      AND currency = found.currency AND pending AND remaining > 0
                    LIMIT 100000
                ) l
                WHERE found.opened AND found.pending > 0
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
            SELECT array_agg(asked.member_index) AS indexes, array_agg(h.currency) AS currencies,
                   array_agg(h.hold) AS holds, array_agg(h.brand) AS brands,
                   array_agg(h.expires_at) AS expires_ats, array_agg(h.lots::text) AS lots,
                   array_agg(h.points::text) AS points
            FROM unnest($6::bigint[], $7::bigint[]) AS asked (member_index, hold)
            CROSS JOIN LATERAL (
                SELECT * FROM holds WHERE shard = $1 AND hold = asked.hold LIMIT 1
            ) h
            WHERE h.member_no = (
                SELECT member_no FROM found WHERE index = asked.member_index LIMIT 1
            )
        ) n
        CROSS JOIN LATERAL (
            SELECT array_agg(t.request_key) AS keys, array_agg(t.body) AS bodies,
                   array_agg(t.chain) AS chains
            FROM unnest($8::uuid[]) AS asked (key)
            CROSS JOIN LATERAL (
                SELECT request_key, body, chain FROM transactions
                WHERE shard = $1 AND request_key = asked.key LIMIT 1
            ) t
        ) r
        CROSS JOIN LATERAL (
            SELECT array_agg(asked.index) AS indexes, array_agg(t.tier) AS tiers
            FROM unnest($9::text[], $10::text[], $11::timestamptz[])
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
            FROM unnest($12::uuid[]) AS asked (key)
            CROSS JOIN LATERAL (
                SELECT order_key FROM orders WHERE order_key = asked.key LIMIT 1
            ) o
        ) o
        WHERE s.shard = $1"#,
        stored(shard),
        &asked.programs,
        &asked.members,
        &asked.spends,
        to_pg(now),
        &hold_members,
        &holds,
        &asked.requests,
        &tier_programs as &[&str],
        &tier_members as &[&str],
        &tier_moments,
        &asked.orders,
        asked.lots_max,
    )
    .fetch_one(connection)
    .await?;

    let mut found = Found {
        head: Head {
            position: Position::new(row.position),
            chain: chain(row.chain)?,
            members: row.members,
        },
        member_nos: HashMap::new(),
        wallets: Vec::new(),
        lots: Vec::new(),
        holds: Vec::new(),
        named_holds: Vec::new(),
        seen: HashMap::new(),
        tiers: HashMap::new(),
        orders: row.o_keys.unwrap_or_default(),
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
    // A member without a wallet has a number and no row in `wallets`.
    let mut wallet_of_number = HashMap::new();
    let opened = row.w_opened.unwrap_or_default();
    let members = row.w_indexes.unwrap_or_default();
    let member_nos = row.w_member_nos.unwrap_or_default();
    for (number, (member, member_no)) in members.into_iter().zip(member_nos).enumerate() {
        let member = index(member)?;
        found.member_nos.insert(member, member_no);
        if let Some((currency, wallet)) = wallets.wallet(number)? {
            wallet_of_number.insert(number, found.wallets.len());
            found.wallets.push(FoundWallet {
                member,
                currency,
                wallet,
                opened: opened.get(number).copied().flatten().unwrap_or(false),
            });
        }
    }
    let wallet_of = |number: i64| -> Result<usize, DatabaseError> {
        let wallet = wallet_of_number.get(&index(number)?).copied();
        wallet.ok_or_else(|| corrupt("an index"))
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
        found
            .lots
            .push((wallet_of(number)?, in_order, lots.lot(at)?));
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
        found.holds.push((wallet_of(number)?, hold));
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
    for ((((((member, currency), hold), brand), expires_at), lots), points) in named {
        let currency = currency.parse().map_err(|_| corrupt("a currency"))?;
        let hold = hold_of(hold, &brand, expires_at, &lots, &points)?;
        found.named_holds.push((index(member)?, currency, hold));
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
    let tiers = row.t_indexes.unwrap_or_default().into_iter();
    for (at, tier) in tiers.zip(row.t_tiers.unwrap_or_default()) {
        let tier = tier.parse().map_err(|_| corrupt("a tier"))?;
        found.tiers.insert(index(at)?, tier);
    }
    Ok(found)
}

fn chain(stored: Vec<u8>) -> Result<Chain, DatabaseError> {
    stored
        .try_into()
        .map_err(|_| corrupt("a chain value of 32 bytes"))
}
