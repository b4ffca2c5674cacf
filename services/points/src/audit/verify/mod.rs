//! Proof: walks each log, checks its chain, runs the rules and the engine over
//! it again, and compares what that gives with what is stored.
//!
//! It reads the database alone, shard by shard, each at one moment of its own, and
//! needs no service to run. A task reads on while another checks, so that the
//! database and the engine work at the same time. What has been verified of a
//! shard can be kept in a file, and the next run goes on from there.

mod again;
mod backfills;
mod coming;
mod compare;
mod ends;
#[cfg(test)]
mod forged;
mod gifts;
mod leases;
mod periods;
mod referrals;
mod shard;
mod state;
mod time;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use fealty_ledger::{AccountTotals, canonical::Chain};
use fealty_postgres::{Database, DatabaseError, PgConnection, foundation, run};
use fealty_program::{Program, ProgramVersion};
use fealty_types::{Position, ProgramId, ShardId};
use uuid::Uuid;

use crate::{
    audit::store as accounts,
    shard::{
        Placement, Shards,
        store::{
            self,
            head::{Head, ends, head},
        },
    },
};
use compare::{OrdersMade, compare, no_order_without_purchase};
use leases::Sides;
use referrals::Brought;
use shard::{Chunk, Shard, Stopped};

/// Transactions read at a time.
const READ_LEN: i64 = 5_000;
/// Transactions after which the state is kept, where it is.
const KEEP_EVERY: i64 = 1_000_000;

/// What is said of accounts that would count beside those at a mark.
const NO_MARK: &str = "accounts are marked where no mark is";
/// What is said of a programme's text that was changed.
const OTHER_TEXT: &str = "the stored text of the programme is not the one that began";

/// What is wrong, and where.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A difference.
    #[error("shard {shard}, position {position}: {what}")]
    Difference {
        /// The shard.
        shard: ShardId,
        /// The position in its log; the head's where the state differs.
        position: Position,
        /// What differs.
        what: String,
    },
    /// An order is recorded that no purchase is of.
    #[error("shard {shard}: the order {order} is recorded, and no purchase is of it")]
    OrderWithoutPurchase {
        /// The order's shard.
        shard: ShardId,
        /// Its key.
        order: Uuid,
    },
    /// What members gave is not what members received.
    #[error("the two sides of transfers between members differ")]
    TransfersDiffer,
    /// The database could not be read.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The state could not be kept, or read.
    #[error("the state in {path} cannot be used")]
    State {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The task that checks has broken off.
    #[error("the check broke off")]
    BrokenOff,
}

impl fealty_postgres::HasDatabaseError for VerifyError {
    fn database_error(&self) -> Option<&DatabaseError> {
        match self {
            Self::Database(error) => Some(error),
            _ => None,
        }
    }
}

/// How to verify.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Folder in which what has been verified is kept, a file for each shard.
    pub state: Option<PathBuf>,
    /// Heads that a third party has kept.
    pub checkpoint: Vec<(ShardId, Position, Chain)>,
}

/// What was verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Shards.
    pub shards: usize,
    /// Transactions in the logs.
    pub transactions: i64,
    /// Of them, transactions that an earlier run had verified.
    pub verified_before: i64,
    /// Wallets.
    pub wallets: usize,
    /// Lots with points left.
    pub lots: usize,
    /// Whether the accounts' debits equal their credits.
    pub debits_equal_credits: bool,
}

/// The versions of the programmes, by id and number.
type Programs = HashMap<(ProgramId, u32), ProgramVersion>;

/// Verifies a points database. `progress` hears how many entries have been walked, and
/// how many there are.
pub async fn verify(
    database: &Database,
    options: &Options,
    progress: impl Fn(i64, i64) + Send + Sync,
) -> Result<Verified, VerifyError> {
    let ends = ends(database.pool()).await?;
    let all: i64 = ends.iter().map(|(position, _)| position).sum();
    let shards = Shards::known(database).await?;
    let shards = shards.ok_or(DatabaseError::Broken("the installation has no shards"))?;
    for (shard, position, _) in &options.checkpoint {
        if !shards.has(*shard) && position.get() > 0 {
            return Err(VerifyError::Difference {
                shard: *shard,
                position: *position,
                what: "the checkpoint has seen this shard, the ledger has none such".to_owned(),
            });
        }
    }
    let mut programs = read_programs(database).await?;
    let mut verified = Verified {
        shards: usize::from(shards.count()),
        ..Verified::default()
    };
    let (mut totals, mut gifts, mut heads) = (AccountTotals::default(), 0_u128, Vec::new());
    let (mut orders, mut leases) = (OrdersMade::default(), Sides::default());
    let mut brought = Brought::default();
    let mut walked = 0;
    for id in shards.all() {
        let told = |position: i64| progress(walked + position, all);
        let one = |programs| verify_shard(database, shards, id, programs, options, &told);
        let (mut shard, before) = match one(Arc::clone(&programs)).await {
            Err(error) => {
                // A programme may have been applied since they were read.
                let known = programs.len();
                programs = read_programs(database).await?;
                if programs.len() == known {
                    return Err(error);
                }
                one(Arc::clone(&programs)).await?
            }
            Ok(done) => done,
        };
        walked += shard.position.get();
        verified.verified_before += before;
        verified.transactions += shard.transactions;
        verified.wallets += shard.wallets().count();
        verified.lots += shard.open_lots().count();
        for (key, sums) in shard.totals.rows() {
            totals.add_sums(key.clone(), *sums);
        }
        gifts = gifts.wrapping_add(shard.gifts);
        leases.add(id, shard.position, &shard.budgets);
        orders.add(&shard);
        let referrals = std::mem::take(&mut shard.referrals);
        brought.add(id, shard.position, referrals);
        heads.push(shard.position);
    }
    if !gifts::settled(database, shards, &heads, gifts).await? {
        return Err(VerifyError::TransfersDiffer);
    }
    leases.check(database).await?;
    brought.check(database, shards).await?;
    if shards.placement() == Placement::OneNode {
        no_order_without_purchase(database, (shards, &heads), orders).await?;
    }
    let sums = totals.rows().map(|(_, sums)| sums);
    let (debits, credits) = sums.fold((0, 0), |(debits, credits), sums| {
        (debits + sums.debits, credits + sums.credits)
    });
    verified.debits_equal_credits = debits == credits;
    Ok(verified)
}

/// Verifies a shard as it is at one moment; answers also with how many transactions an
/// earlier run had verified.
async fn verify_shard(
    database: &Database,
    shards: Shards,
    id: ShardId,
    programs: Arc<Programs>,
    options: &Options,
    progress: &(dyn Fn(i64) + Send + Sync),
) -> Result<(Shard, i64), VerifyError> {
    let state = options.state.as_deref();
    let mut shard = match state {
        Some(folder) => Shard::load(id, shards, folder)?,
        None => Shard::new(id, shards.count()),
    };
    if !shard.looks_for_backfills(&programs) {
        // What counters come to that begin later is added up from the first entry on.
        shard = Shard::new(id, shards.count());
        shard.looks_for_backfills(&programs);
    }
    let before = shard.transactions;
    // What is written never changes, so it is walked without a snapshot, which would keep
    // Postgres from cleaning up what batches leave behind. One is taken for the rest of the
    // log, and for what is compared.
    let walking = database.pool().acquire().await;
    let mut walking = walking.map_err(DatabaseError::from)?;
    shard.confirm(&mut walking, &programs).await?;
    let far = head(&mut *walking, id).await?;
    let through = Walk::To(&far);
    shard = walk(&mut walking, shard, through, &programs, state, progress).await?;
    drop(walking);
    let mut walked = Some(shard);
    run!(database, "verify_shard", |connection| async {
        let mut shard = walked.take().ok_or(VerifyError::BrokenOff)?;
        foundation::read_one_moment(connection).await?;
        let head = head(&mut *connection, id).await?;
        let through = Walk::ToEnd(&head);
        shard = walk(connection, shard, through, &programs, state, progress).await?;
        if shard.chain != head.chain {
            return Err(shard.difference(shard.position, "the head has another chain value"));
        }
        check_checkpoint(connection, &shard, &options.checkpoint).await?;
        compare(connection, &shard, (&head, shards)).await?;
        if let Some(folder) = state {
            shard.keep(folder)?;
        }
        Ok((shard, before))
    })
}

async fn read_programs(database: &Database) -> Result<Arc<Programs>, DatabaseError> {
    let read: Result<_, DatabaseError> = run!(database, "programs", |connection| async {
        programs(connection).await
    });
    Ok(Arc::new(read?))
}

/// All versions of all programmes.
async fn programs(connection: &mut PgConnection) -> Result<Programs, DatabaseError> {
    let mut programs = Programs::new();
    for newest in foundation::newest_versions(&mut *connection).await? {
        let Ok(id) = newest.program.parse::<ProgramId>() else {
            continue;
        };
        for version in 1..=newest.version {
            let stored = foundation::program(&mut *connection, &id, Some(version)).await?;
            let parsed = stored.and_then(|stored| Program::parse(&stored.source).ok());
            if let (Some(parsed), Ok(number)) = (parsed, u32::try_from(version)) {
                programs.insert((id.clone(), number), parsed.numbered(version));
            }
        }
    }
    Ok(programs)
}

/// How far to walk a log.
#[derive(Clone, Copy)]
enum Walk<'a> {
    /// To where its head was, or a little further: it goes on meanwhile.
    To(&'a Head),
    /// To its end, which is where its head is.
    ToEnd(&'a Head),
}

/// Walks a shard's log: a chunk is checked while the next is read.
async fn walk(
    connection: &mut PgConnection,
    mut shard: Shard,
    through: Walk<'_>,
    programs: &Arc<Programs>,
    state: Option<&Path>,
    progress: &(dyn Fn(i64) + Send + Sync),
) -> Result<Shard, VerifyError> {
    let mut kept = shard.position;
    let (Walk::To(head) | Walk::ToEnd(head)) = through;
    let mut chunk = read(connection, shard.shard, shard.position).await?;
    while let Some(last) = chunk.last() {
        let id = shard.shard;
        let mut checking = tokio::task::spawn_blocking({
            let programs = Arc::clone(programs);
            move || shard.check(chunk, &programs)
        });
        let next = read(connection, id, last).await?;
        loop {
            let (checked, stopped) = checking.await.map_err(|_| VerifyError::BrokenOff)?;
            shard = checked;
            match stopped {
                Stopped::Done => break,
                Stopped::Different(error) => return Err(error),
                Stopped::OriginalNeeded(position, rest) => {
                    let named = store::log::transaction_at(&mut *connection, shard.shard, position);
                    let Some(row) = named.await? else {
                        let at = shard.position.next();
                        return Err(shard.difference(at, "what it names is no transaction"));
                    };
                    let original = Some((position, row.transaction()?));
                    let programs = Arc::clone(programs);
                    checking = tokio::task::spawn_blocking(move || {
                        shard.originals.extend(original);
                        shard.check(rest, &programs)
                    });
                }
            }
        }
        chunk = next;
        progress(shard.position.get());
        if let Some(folder) = state
            && shard.position.get() - kept.get() >= KEEP_EVERY
        {
            shard.keep(folder)?;
            kept = shard.position;
        }
        if matches!(through, Walk::To(_)) && shard.position >= head.position {
            break;
        }
    }
    if shard.position < head.position {
        let what = format!("the log ends here, the head says {}", head.position);
        return Err(shard.difference(shard.position.next(), what));
    }
    Ok(shard)
}

async fn read(
    connection: &mut PgConnection,
    shard: ShardId,
    after: Position,
) -> Result<Chunk, VerifyError> {
    let rows = store::log::read(&mut *connection, shard, after, READ_LEN).await?;
    let marks = match rows.last() {
        Some(last) => {
            let through = Position::new(last.position);
            if let Some(position) = accounts::stray_mark(connection, shard, after, through).await? {
                return Err(VerifyError::Difference {
                    shard,
                    position,
                    what: NO_MARK.to_owned(),
                });
            }
            accounts::marks_between(connection, shard, after, through).await?
        }
        None => Vec::new(),
    };
    Ok(Chunk {
        rows: rows.into(),
        marks: marks.into(),
    })
}

/// The heads that a third party has kept must be in the log.
async fn check_checkpoint(
    connection: &mut PgConnection,
    shard: &Shard,
    checkpoint: &[(ShardId, Position, Chain)],
) -> Result<(), VerifyError> {
    for (_, position, chain) in checkpoint.iter().filter(|head| head.0 == shard.shard) {
        if position.get() == 0 {
            continue;
        }
        let row = store::log::at(&mut *connection, shard.shard, *position).await?;
        match row {
            None => {
                let what = "the checkpoint has seen this transaction, the log ends before it";
                return Err(shard.difference(*position, what));
            }
            Some(row) if row.chain != chain => {
                let what = "the checkpoint has seen another chain value";
                return Err(shard.difference(*position, what));
            }
            Some(_) => {}
        }
    }
    Ok(())
}
