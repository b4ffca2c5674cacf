//! What a batch reads, each in one statement whose answer is a single row with
//! an array of rows for each table:
//!
//! - [`members`]: the head of the shard, the members with their wallets, and
//!   the request ids that were seen before; every batch;
//! - [`tiers`]: where it has purchases of a programme with tiers;
//! - [`open`]: lots and holds of the wallets that are spent from or in which
//!   something is due.
//!
//! A small plan starts in a fraction of the time of one that could read
//! everything.

use std::collections::HashMap;

use fealty_ledger::{Counters, Hold, Lot, Wallet};
use fealty_postgres::{DatabaseError, PgConnection, PgTime, StoredRow, from_pg, to_pg};
use fealty_types::{CurrencyId, Position, ProgramId, ShardId, TierId, Timestamp};
use uuid::Uuid;

use super::{
    head::Head,
    rows::{
        AskedWallet, CountersRow, HoldRow, LotRow, MemberNumber, PeriodEndsRow, SeenRow, TierRow,
        VersionRow, WalletRow,
    },
    stored,
    versions::BegunVersion,
};

/// The members of a batch.
#[derive(Debug)]
pub(crate) struct Members {
    /// The head of the shard.
    pub(crate) head: Head,
    /// Numbers of the members that have one, by index.
    pub(crate) numbers: HashMap<usize, i64>,
    /// Their wallets: number of the member, currency, wallet.
    pub(crate) wallets: Vec<(i64, CurrencyId, Wallet)>,
    /// The numbers that earning rules read and move, by number of the member.
    pub(crate) counters: Vec<(i64, Counters)>,
    /// Requests that were seen before.
    pub(crate) seen: HashMap<Uuid, SeenRow>,
    /// The versions of programmes that are in force in the shard.
    pub(crate) versions: HashMap<ProgramId, BegunVersion>,
    /// Up to when the ends of their periods are written.
    pub(crate) ends: HashMap<ProgramId, Timestamp>,
}

fn index(stored: i64) -> Result<usize, DatabaseError> {
    let index = usize::try_from(stored - 1);
    index.map_err(|_| DatabaseError::Broken("rows are numbered from 1"))
}

/// Reads the head, members with their wallets, request ids, and the versions of
/// programmes, all at one moment.
pub(crate) async fn members(
    connection: &mut PgConnection,
    shard: ShardId,
    (programs, members): (&[&str], &[&str]),
    requests: &[Uuid],
    versions: &[&str],
) -> Result<Members, DatabaseError> {
    let row = sqlx::query_file!(
        "src/shard/store/sql/members.sql",
        stored(shard),
        programs as &[&str],
        members as &[&str],
        requests,
        versions as &[&str],
    )
    .fetch_one(connection)
    .await?;
    let chain = row.chain.try_into().ok();
    let head = Head {
        position: Position::new(row.position),
        chain: StoredRow::of("shards", shard).check("chain", chain)?,
        members: row.members,
        fence: row.fence,
        written_at: from_pg(row.written_at),
    };
    let numbers = row.numbers.unwrap_or_default().into_iter();
    let wallets = row.wallets.unwrap_or_default().into_iter();
    let counters = row.counters.unwrap_or_default().into_iter();
    let seen = row.seen.unwrap_or_default().into_iter();
    let versions = row.versions.unwrap_or_default().into_iter();
    let ends = row.ends.unwrap_or_default().into_iter();
    Ok(Members {
        head,
        numbers: numbers
            .map(|row| Ok((index(row.index)?, row.member_no)))
            .collect::<Result<_, DatabaseError>>()?,
        wallets: wallets
            .map(WalletRow::into_wallet)
            .collect::<Result<_, _>>()?,
        counters: counters
            .map(CountersRow::into_counters)
            .collect::<Result<_, _>>()?,
        seen: seen.map(|row| (row.request_key, row)).collect(),
        versions: versions
            .map(VersionRow::into_version)
            .collect::<Result<_, _>>()?,
        ends: ends
            .map(PeriodEndsRow::into_end)
            .collect::<Result<_, _>>()?,
    })
}

/// Purchases whose tier is wanted.
#[derive(Debug, Default)]
pub(crate) struct AskedTiers {
    programs: Vec<String>,
    members: Vec<String>,
    moments: Vec<PgTime>,
}

impl AskedTiers {
    /// Whether none is wanted.
    pub(crate) fn is_empty(&self) -> bool {
        self.moments.is_empty()
    }

    /// Asks for a member's tier at a moment.
    pub(crate) fn push(&mut self, program: String, member: String, moment: Timestamp) {
        self.programs.push(program);
        self.members.push(member);
        self.moments.push(to_pg(moment));
    }
}

/// Reads tiers, by index into what was asked.
pub(crate) async fn tiers(
    connection: &mut PgConnection,
    shard: ShardId,
    asked: &AskedTiers,
) -> Result<Vec<(usize, TierId)>, DatabaseError> {
    let rows = sqlx::query_file_scalar!(
        "src/shard/store/sql/tiers.sql",
        stored(shard),
        &asked.programs,
        &asked.members,
        &asked.moments,
    )
    .fetch_one(connection)
    .await?;
    let rows = rows.unwrap_or_default().into_iter();
    rows.map(|row: TierRow| {
        let at = index(row.index)?;
        let member = StoredRow::of("member_tiers", &asked.members[at]);
        Ok((at, member.parse("tier", &row.tier)?))
    })
    .collect()
}

/// Wallets whose lots and holds are wanted, and holds by name.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// The wallets.
    pub(crate) wallets: Vec<AskedWallet>,
    /// Numbers of the members of the named holds.
    pub(crate) hold_member_nos: Vec<i64>,
    /// The named holds.
    pub(crate) holds: Vec<i64>,
}

/// Wallets' lots and holds, each with the number of its member.
#[derive(Debug)]
pub(crate) struct Opened {
    /// Where the head of the shard was when they were read.
    pub(crate) position: Position,
    /// Lots in the order of spending.
    pub(crate) spendable: Vec<(i64, Lot)>,
    /// Lots that are pending or held.
    pub(crate) others: Vec<(i64, Lot)>,
    /// Holds that are open or were named, with their currency.
    pub(crate) holds: Vec<(i64, CurrencyId, Hold)>,
}

/// Pending lots read of a wallet in which something is due.
pub(crate) const PENDING_MAX: i64 = 512;

/// Reads lots and holds of wallets, and holds by name, all at one moment.
pub(crate) async fn open(
    connection: &mut PgConnection,
    shard: ShardId,
    wanted: &Wanted,
) -> Result<Opened, DatabaseError> {
    let row = sqlx::query_file!(
        "src/shard/store/sql/open.sql",
        stored(shard),
        &wanted.wallets as &[AskedWallet],
        &wanted.hold_member_nos,
        &wanted.holds,
        PENDING_MAX,
    )
    .fetch_one(connection)
    .await?;
    let lots = |rows: Option<Vec<LotRow>>| -> Result<Vec<(i64, Lot)>, DatabaseError> {
        let rows = rows.unwrap_or_default().into_iter();
        rows.map(LotRow::into_lot).collect()
    };
    let holds = row.holds.unwrap_or_default().into_iter();
    Ok(Opened {
        position: Position::new(row.position),
        spendable: lots(row.spendable)?,
        others: lots(row.others)?,
        holds: holds.map(HoldRow::into_hold).collect::<Result<_, _>>()?,
    })
}
