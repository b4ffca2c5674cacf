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
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use borsh::BorshDeserialize as _;
use fealty_cache::{Cache, CacheError, Entry};
use fealty_ledger::Wallet;
use fealty_postgres::{Database, DatabaseError, Heads};
use fealty_types::{CurrencyId, MemberId, Position, ProgramId, ShardId};
use tokio_util::sync::CancellationToken;

use crate::shard::{KnownWallet, Shards, look_at_all_heads, store};

/// How often the tailer compares the cache with the log.
const TAIL_INTERVAL: Duration = Duration::from_millis(100);
const TAIL_BATCH_LEN: i64 = 1_000;

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
}

impl BalanceCache {
    /// A cache over Redis.
    #[must_use]
    pub(crate) fn over(cache: Cache) -> Self {
        Self(Some(Arc::new(Inner {
            cache,
            failures: AtomicU64::new(1),
            mended: AtomicU64::new(0),
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
        after: Position,
        through: Position,
        wallets: &[KnownWallet],
    ) {
        let Some(inner) = self.0.as_deref() else {
            return;
        };
        let entries: Vec<Entry> = wallets.iter().map(entry).collect();
        if let Err(error) = inner
            .cache
            .put(shard.get(), after.get(), through.get(), &entries)
            .await
        {
            inner.failed(&error);
        }
    }
}

impl Inner {
    /// Whether everything committed is known to be in the cache. A failure
    /// during the tailer's look counts as one after it.
    fn is_whole(&self) -> bool {
        self.mended.load(Ordering::SeqCst) == self.failures.load(Ordering::SeqCst)
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

fn entry(cached: &KnownWallet) -> Entry {
    let wallet = &cached.wallet;
    Entry {
        key: key(&cached.program, &cached.member, &cached.currency),
        version: wallet.sequence,
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
    loop {
        let failures = inner.failures.load(Ordering::SeqCst);
        let mended = database.within(mend(&database, shards, &heads, &inner.cache));
        match mended.await.unwrap_or_else(|error| Err(error.into())) {
            Ok(()) => {
                let was_whole = inner.is_whole();
                inner.mended.store(failures, Ordering::SeqCst);
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

/// Writes to the cache what the log has and it has not.
async fn mend(
    database: &Database,
    shards: Shards,
    heads: &Heads,
    cache: &Cache,
) -> Result<(), TailError> {
    let heads = look_at_all_heads(database, heads).await?;
    let progress = cache.progress(shards.count()).await?;
    if progress.iter().any(Option::is_none) {
        // It lost its memory, or part of it. What it still holds may be old.
        cache.reset(heads.positions()).await?;
        return Ok(());
    }
    for ((shard, written), head) in shards.all().zip(progress).zip(heads.positions()) {
        let mut written = written.unwrap_or_default();
        while written < *head {
            let through = mend_shard(database, cache, shard, written).await?;
            if through == written {
                break;
            }
            written = through;
        }
    }
    Ok(())
}

async fn mend_shard(
    database: &Database,
    cache: &Cache,
    shard: ShardId,
    written: i64,
) -> Result<i64, TailError> {
    let after = Position::new(written);
    let rows = store::log::read(database.pool(), shard, after, TAIL_BATCH_LEN).await?;
    let Some(last) = rows.last().map(|row| row.position) else {
        return Ok(written);
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
    cache.put(shard.get(), written, last, &entries).await?;
    Ok(last)
}
