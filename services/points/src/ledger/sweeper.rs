//! Writes what is due, so that the feed and the books see it. A balance is
//! right without it, for every read and every request advances its wallet.
//!
//! Every instance sweeps, without a leader: each goes through the shards in an
//! order of its own, and leaves out one that another instance is sweeping,
//! which an advisory lock tells. Two that meet all the same do no harm, for the
//! second finds nothing due.

use std::time::Duration;

use fealty_postgres::DatabaseError;
use fealty_types::{Clock as _, CurrencyId, MemberId, ProgramId, ShardId, Timestamp};
use futures::future::join_all;
use opentelemetry::{KeyValue, global, metrics::Gauge};
use rand::seq::SliceRandom as _;
use tokio_util::sync::CancellationToken;

use super::service::Ledger;
use crate::{error::Error, shard::store};

const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Wallets of a shard in one go: no more than a quarter of a lane's queue.
const WALLETS_MAX: i64 = 1_000;

impl Ledger {
    /// Writes what falls due until the service ends.
    pub(crate) async fn sweep(self, shutdown: CancellationToken) {
        sweep(self, shutdown).await;
    }

    /// Writes everything that is due by now; answers how many wallets that took.
    pub(crate) async fn sweep_once(&self) -> Result<i64, Error> {
        let now = self.clock.now();
        let mut swept = 0;
        for shard in self.shards.all() {
            swept += sweep_shard(self, shard, now).await?;
        }
        Ok(swept)
    }
}

async fn sweep(ledger: Ledger, shutdown: CancellationToken) {
    let lag = global::meter("fealty")
        .u64_gauge("fealty.sweeper.lag")
        .with_unit("s")
        .with_description("For how long the wallet that is longest due has been due")
        .build();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(SWEEP_INTERVAL) => {}
        }
        record_lag(&ledger, &lag).await;
        if let Err(error) = sweep_all(&ledger).await {
            tracing::debug!(%error, "a sweep did not finish");
        }
    }
}

/// Says how late the sweeper is, for each shard, before it sweeps.
async fn record_lag(ledger: &Ledger, lag: &Gauge<u64>) {
    let now = ledger.clock.now();
    for shard in ledger.shards.all() {
        let oldest = store::wallets::oldest_due(ledger.database.pool(), shard, now).await;
        let Ok(oldest) = oldest else {
            continue;
        };
        let micros = oldest.map_or(0, |oldest| now.micros() - oldest.micros());
        let seconds = u64::try_from(micros / 1_000_000).unwrap_or(0);
        lag.record(
            seconds,
            &[KeyValue::new("fealty.shard", i64::from(shard.get()))],
        );
    }
}

/// Sweeps the shards that nobody else is sweeping. One that cannot be swept, for its
/// node is down, keeps no other waiting.
async fn sweep_all(ledger: &Ledger) -> Result<(), Error> {
    let mut shards: Vec<ShardId> = ledger.shards.all().collect();
    shards.shuffle(&mut rand::rng());
    let mut swept = Ok(());
    for shard in shards {
        if let Err(error) = sweep_if_free(ledger, shard).await {
            swept = Err(error);
        }
    }
    swept
}

async fn sweep_if_free(ledger: &Ledger, shard: ShardId) -> Result<(), Error> {
    let (pool, now) = (ledger.database.pool(), ledger.clock.now());
    // Most of the time nothing is due, and no lock is needed to see that.
    let oldest = store::wallets::oldest_due(pool, shard, now).await?;
    if oldest.is_none() {
        return Ok(());
    }
    let mut transaction = pool.begin().await.map_err(DatabaseError::from)?;
    if store::head::try_sweep(&mut transaction, shard).await? {
        sweep_shard(ledger, shard, now).await?;
    }
    transaction.rollback().await.map_err(DatabaseError::from)?;
    Ok(())
}

async fn sweep_shard(ledger: &Ledger, shard: ShardId, now: Timestamp) -> Result<i64, Error> {
    let mut swept = 0;
    loop {
        let due = store::wallets::due(ledger.database.pool(), shard, now, WALLETS_MAX).await?;
        let found = i64::try_from(due.len()).unwrap_or(i64::MAX);
        let work = due.into_iter().filter_map(|wallet| {
            let program: ProgramId = wallet.program.parse().ok()?;
            let member: MemberId = wallet.member.parse().ok()?;
            let currency: CurrencyId = wallet.currency.parse().ok()?;
            let applied = ledger.programs.newest(&program).ok()?;
            Some(ledger.lanes.advance(shard, applied, member, currency))
        });
        for done in join_all(work).await {
            done?;
        }
        swept += found;
        if found < WALLETS_MAX {
            return Ok(swept);
        }
    }
}
