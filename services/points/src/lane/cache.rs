//! Balances in Redis: written after each commit and before its answers, mended
//! by a tailer, and read only while it is known to be whole.
//!
//! Next to the balances stands how far each shard's log has been written to
//! Redis. The tailer compares that with the heads in Postgres, and writes what
//! a crash, a lost connection or a Redis that was away has left out. As soon as
//! a write fails, this instance reads balances from Postgres, until the tailer
//! has seen the cache whole again. Nothing is ever decided by a cached balance.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use borsh::BorshDeserialize as _;
use fealty_cache::{Cache, CacheError, Entry, Progress, Put, Reach};
use fealty_ledger::{
    Wallet,
    canonical::{CHAIN_START, Chain},
};
use fealty_postgres::{Database, DatabaseError, Heads};
use fealty_types::{CurrencyId, MemberId, Position, ProgramId, ShardId, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::shard::{KnownWallet, Shards, look_at_all_ends, store};

/// How often the tailer compares the cache with the log.
const TAIL_INTERVAL: Duration = Duration::from_millis(100);
const TAIL_BATCH_LEN: i64 = 1_000;
/// An instance that has not compared the cache with the log for so long does not know
/// whether it is whole.
const LOOK_MAX: Duration = Duration::from_secs(1);

fn key(program: &ProgramId, member: &MemberId, currency: &CurrencyId) -> String {
    format!("{program}/{currency}/{member}")
}

/// The cache of balances; without a Redis it always misses.
#[derive(Clone)]
pub(crate) struct BalanceCache(Option<Arc<Inner>>);

struct Inner {
    cache: Cache,
    /// Counts what failed to be written or read, from 1.
    failures: AtomicU64,
    /// How many had failed when the tailer last began a look after which
    /// everything committed was in the cache; 0 before the first.
    mended: AtomicU64,
    /// Whether something that was committed a look ago is not there yet.
    behind: AtomicBool,
    /// Milliseconds after `started` when the tailer last finished a look.
    looked_at_ms: AtomicU64,
    started: Instant,
}

impl BalanceCache {
    /// A cache over Redis.
    #[must_use]
    pub(crate) fn over(cache: Cache) -> Self {
        Self(Some(Arc::new(Inner {
            cache,
            failures: AtomicU64::new(1),
            mended: AtomicU64::new(0),
            behind: AtomicBool::new(false),
            looked_at_ms: AtomicU64::new(0),
            started: Instant::now(),
        })))
    }

    /// No cache.
    #[must_use]
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Reads a wallet; nothing if it is not there or may be old.
    pub(crate) async fn get(
        &self,
        program: &ProgramId,
        member: &MemberId,
        currency: &CurrencyId,
    ) -> Option<Wallet> {
        let inner = self.0.as_deref().filter(|inner| inner.is_whole())?;
        let read = match inner.cache.get(&key(program, member, currency)).await {
            Ok(read) => read?,
            Err(error) => {
                inner.failed(&error);
                return None;
            }
        };
        Wallet::try_from_slice(&read).ok()
    }

    /// Reads wallets of one currency; nothing for those that are not there or
    /// may be old.
    pub(crate) async fn get_many(
        &self,
        program: &ProgramId,
        members: &[&MemberId],
        currency: &CurrencyId,
    ) -> Vec<Option<Wallet>> {
        let nothing = || members.iter().map(|_| None).collect();
        let Some(inner) = self.0.as_deref().filter(|inner| inner.is_whole()) else {
            return nothing();
        };
        let keys: Vec<String> = members
            .iter()
            .map(|member| key(program, member, currency))
            .collect();
        match inner.cache.get_many(&keys).await {
            Ok(read) => read
                .into_iter()
                .map(|value| Wallet::try_from_slice(&value?).ok())
                .collect(),
            Err(error) => {
                inner.failed(&error);
                nothing()
            }
        }
    }

    /// Writes what a stretch of a shard's log brought about.
    pub(crate) async fn put(
        &self,
        shard: ShardId,
        after: (Position, Chain),
        through: (Position, Chain),
        wallets: &[KnownWallet],
    ) {
        let Some(inner) = self.0.as_deref() else {
            return;
        };
        let entries: Vec<Entry> = wallets.iter().map(entry).collect();
        let (after, through) = (progress(after), progress(through));
        let put = inner.cache.put(shard.get(), &after, &through, &entries);
        match put.await {
            Ok(Put::Through | Put::There) => {}
            Ok(Put::LeftOut) => inner.left_out(),
            Err(error) => inner.failed(&error),
        }
    }

    /// Writes wallets that were read when the log of their shard reached to `head`.
    pub(crate) async fn put_read(
        &self,
        shard: ShardId,
        head: (Position, Chain),
        wallets: &[KnownWallet],
    ) {
        let Some(inner) = self.0.as_deref() else {
            return;
        };
        let entries: Vec<Entry> = wallets.iter().map(entry).collect();
        let head = progress(head);
        let put = inner.cache.put_read(shard.get(), &head, &entries);
        if let Err(error) = put.await {
            inner.failed(&error);
        }
    }
}

impl Inner {
    /// Whether everything committed is known to be in the cache. A failure
    /// during the tailer's look counts as one after it. Other instances write, too: who
    /// has not looked for a while, or sees that something is missing, does not know.
    fn is_whole(&self) -> bool {
        let looked_at = Duration::from_millis(self.looked_at_ms.load(Ordering::SeqCst));
        self.mended.load(Ordering::SeqCst) == self.failures.load(Ordering::SeqCst)
            && !self.behind.load(Ordering::SeqCst)
            && self.started.elapsed().saturating_sub(looked_at) <= LOOK_MAX
    }

    fn looked(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.looked_at_ms.store(now, Ordering::SeqCst);
    }

    /// What was committed is not in the cache.
    fn left_out(&self) {
        let was_whole = self.is_whole();
        self.failures.fetch_add(1, Ordering::SeqCst);
        if was_whole {
            tracing::warn!("the cache took no more: balances are read from Postgres");
        }
    }

    fn failed(&self, error: &CacheError) {
        let was_whole = self.is_whole();
        self.failures.fetch_add(1, Ordering::SeqCst);
        if was_whole {
            let error = error as &dyn std::error::Error;
            tracing::warn!(error, "balances are read from Postgres");
        }
    }
}

fn progress((position, chain): (Position, Chain)) -> Progress {
    Progress {
        position: position.get(),
        mark: data_encoding::HEXLOWER.encode(&chain[..8]),
    }
}

fn entry(cached: &KnownWallet) -> Entry {
    let wallet = &cached.wallet;
    Entry {
        key: key(&cached.program, &cached.member, &cached.currency),
        // Between two transactions only that becomes known which was to be looked at later.
        version: (
            wallet.sequence,
            wallet.next_due.map_or(i64::MAX, Timestamp::micros),
        ),
        value: borsh::to_vec(wallet).expect("writing to memory does not fail"),
    }
}

/// Why the tailer stopped short.
#[derive(Debug, thiserror::Error)]
enum TailError {
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// Keeps the cache whole until the service ends.
pub(crate) async fn tail(
    cache: BalanceCache,
    database: Database,
    shards: Shards,
    heads: Heads,
    shutdown: CancellationToken,
) {
    let Some(inner) = cache.0 else {
        return;
    };
    let mut before = Vec::new();
    loop {
        let failures = inner.failures.load(Ordering::SeqCst);
        let mended = database.within(mend(&database, shards, &heads, &inner, &mut before));
        match mended.await.unwrap_or_else(|error| Err(error.into())) {
            Ok(()) => {
                let was_whole = inner.is_whole();
                inner.mended.store(failures, Ordering::SeqCst);
                inner.behind.store(false, Ordering::SeqCst);
                inner.looked();
                if !was_whole && inner.is_whole() {
                    tracing::info!("the cache of balances is whole");
                }
            }
            Err(TailError::Cache(error)) => inner.failed(&error),
            Err(TailError::Database(error)) => {
                let error: &(dyn std::error::Error + 'static) = &error;
                tracing::debug!(error, "the cache was not compared with the log");
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(TAIL_INTERVAL) => {}
        }
    }
}

/// Writes to the cache what the log has and it has not. `before` is how far the logs reached
/// at the last look.
async fn mend(
    database: &Database,
    shards: Shards,
    heads: &Heads,
    inner: &Inner,
    before: &mut Vec<i64>,
) -> Result<(), TailError> {
    let cache = &inner.cache;
    let ends = look_at_all_ends(database, shards, heads).await?;
    let written = cache.reach(shards.count()).await?;
    let mut reaches = Vec::with_capacity(written.len());
    for ((shard, written), (position, chain)) in shards.all().zip(written).zip(&ends) {
        let end = progress((Position::new(*position), *chain));
        match written {
            Some(written) if is_of_log(database, shard, &written, &end).await? => {
                reaches.push(written);
            }
            // It lost its memory, or part of it, or it is of another log: the database was
            // restored, or another one took its place. What it still holds may be old.
            _ => {
                tracing::warn!(%shard, "the cache is not of this log: it is emptied");
                let ends = ends.iter();
                let ends =
                    ends.map(|(position, chain)| progress((Position::new(*position), *chain)));
                cache.reset(&ends.collect::<Vec<_>>()).await?;
                before.clear();
                return Ok(());
            }
        }
    }
    let mut then = reaches.iter().zip(&*before);
    if then.any(|(written, before)| written.progress.position < *before) {
        inner.behind.store(true, Ordering::SeqCst);
    }
    *before = ends.iter().map(|(position, _)| *position).collect();
    for ((shard, reach), (head, _)) in shards.all().zip(reaches).zip(&ends) {
        let mut written = reach.progress;
        while written.position < *head {
            let through = mend_shard(database, cache, shard, &written).await?;
            if through == written {
                break;
            }
            written = through;
        }
        let come_to = |place: &Progress| place.position <= written.position;
        let reached: Vec<Progress> = reach.beyond.into_iter().filter(come_to).collect();
        if !reached.is_empty() {
            cache.come_to(shard.get(), &reached).await?;
        }
    }
    Ok(())
}

/// Whether a shard's log, which ends at `end`, has been everywhere where the cache says it
/// has. Where it has not been further than it was when that was read, the database is asked
/// for the rest.
async fn is_of_log(
    database: &Database,
    shard: ShardId,
    written: &Reach,
    end: &Progress,
) -> Result<bool, DatabaseError> {
    let places = written.beyond.iter().chain([&written.progress]);
    let places: Vec<&Progress> = places.filter(|place| *place != end).collect();
    let positions: Vec<i64> = places.iter().map(|place| place.position).collect();
    if positions.is_empty() {
        return Ok(true);
    }
    let chains = store::log::chains(database.pool(), shard, &positions).await?;
    Ok(places.iter().all(|place| {
        let chain = match place.position {
            0 => Some(&CHAIN_START),
            position => chains.get(&position),
        };
        chain.is_some_and(|chain| **place == progress((Position::new(place.position), *chain)))
    }))
}

async fn mend_shard(
    database: &Database,
    cache: &Cache,
    shard: ShardId,
    written: &Progress,
) -> Result<Progress, TailError> {
    let after = Position::new(written.position);
    let rows = store::log::read(database.pool(), shard, after, TAIL_BATCH_LEN).await?;
    let last = rows.last().and_then(|row| {
        let chain = row.chain.clone().try_into().ok()?;
        Some(progress((Position::new(row.position), chain)))
    });
    let Some(last) = last else {
        return Ok(written.clone());
    };
    let mut members = HashSet::new();
    for row in &rows {
        let transaction = row.entry()?.into_transaction();
        members.extend(transaction.map(|moved| (moved.program, moved.member)));
    }
    let mut connection = database
        .pool()
        .acquire()
        .await
        .map_err(DatabaseError::from)?;
    let members: Vec<(ProgramId, MemberId)> = members.into_iter().collect();
    let programs: Vec<&str> = members.iter().map(|member| member.0.as_str()).collect();
    let names: Vec<&str> = members.iter().map(|member| member.1.as_str()).collect();
    let found =
        store::batch_read::members(&mut connection, shard, (&programs, &names), &[], &[]).await?;
    let numbers = found.numbers.iter();
    let index_of: HashMap<i64, usize> = numbers.map(|(index, number)| (*number, *index)).collect();
    let mut entries = Vec::new();
    for (member_no, currency, wallet) in found.wallets {
        let (program, member) = members[index_of[&member_no]].clone();
        entries.push(entry(&KnownWallet {
            program,
            member,
            currency,
            wallet,
        }));
    }
    // Somebody else moved it, or it begins again: the next look sees where it is.
    let put = cache.put(shard.get(), written, &last, &entries).await?;
    Ok(if put == Put::Through {
        last
    } else {
        written.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Other instances write to the cache too: that nothing failed here is not enough.
    #[test]
    fn who_has_not_looked_or_sees_that_something_is_missing_does_not_call_it_whole() {
        let cache = Cache::open("redis://127.0.0.1:1", None, "test").expect("a URL");
        let BalanceCache(inner) = BalanceCache::over(cache);
        let mut inner = Arc::into_inner(inner.expect("there is one")).expect("nobody has it");
        assert!(!inner.is_whole(), "nobody has looked");
        inner.mended.store(1, Ordering::SeqCst);
        inner.looked();
        assert!(inner.is_whole());
        inner.behind.store(true, Ordering::SeqCst);
        assert!(!inner.is_whole(), "another instance left something out");
        inner.behind.store(false, Ordering::SeqCst);
        // The last look was a while ago.
        let longer = LOOK_MAX + Duration::from_millis(1);
        inner.started = inner.started.checked_sub(longer).expect("a time");
        assert!(!inner.is_whole());
        inner.looked();
        assert!(inner.is_whole());
    }
}
