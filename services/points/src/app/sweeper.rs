//! Writes what is due, so that the feed and the books see it. A balance is
//! right without it, for every read and every request advances its wallet.
//!
//! Every instance sweeps, without a leader: each goes through the shards in an
//! order of its own, and leaves out one that another instance is sweeping,
//! which an advisory lock tells. Two that meet all the same do no harm, for the
//! second finds nothing due.

use std::time::Duration;

use fealty_postgres::DatabaseError;
use fealty_server::Rejection;
use fealty_types::{Clock as _, CurrencyId, MemberId, ProgramId, ShardId, Timestamp};
use futures::future::join_all;
use opentelemetry::{KeyValue, global, metrics::Gauge};
use rand::seq::SliceRandom as _;
use tokio_util::sync::CancellationToken;

use super::{App, lane::Work};
use crate::store;

const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Wallets of a shard in one go: no more than a quarter of a lane's queue.
const WALLETS_MAX: i64 = 1_000;

/// Sweeps until the service ends.
pub(super) async fn sweep(app: App, shutdown: CancellationToken) {
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
        if let Err(error) = record_lag(&app, &lag).await {
            tracing::debug!(%error, "the sweeper's lag is not known");
        }
        if let Err(rejection) = sweep_all(&app).await {
            tracing::debug!(?rejection, "a sweep did not finish");
        }
    }
}

/// Says how late the sweeper is, for each shard, before it sweeps.
async fn record_lag(app: &App, lag: &Gauge<u64>) -> Result<(), DatabaseError> {
    let now = app.clock.now();
    for shard in app.shard_ids() {
        let oldest = store::wallets::oldest_due(app.database.pool(), shard, now).await?;
        let micros = oldest.map_or(0, |oldest| now.micros() - oldest.micros());
        let seconds = u64::try_from(micros / 1_000_000).unwrap_or(0);
        lag.record(
            seconds,
            &[KeyValue::new("fealty.shard", i64::from(shard.get()))],
        );
    }
    Ok(())
}

/// Sweeps the shards that nobody else is sweeping.
async fn sweep_all(app: &App) -> Result<(), Rejection> {
    let now = app.clock.now();
    let mut shards: Vec<ShardId> = app.shard_ids().collect();
    shards.shuffle(&mut rand::rng());
    for shard in shards {
        let pool = app.database.pool();
        // Most of the time nothing is due, and no lock is needed to see that.
        if store::wallets::oldest_due(pool, shard, now)
            .await?
            .is_none()
        {
            continue;
        }
        let mut transaction = pool.begin().await.map_err(DatabaseError::from)?;
        if store::shards::try_sweep(&mut transaction, shard).await? {
            sweep_shard(app, shard, now).await?;
        }
        transaction.rollback().await.map_err(DatabaseError::from)?;
    }
    Ok(())
}

/// Writes everything that is due by now; answers how many wallets that took.
pub(super) async fn sweep_once(app: &App) -> Result<i64, Rejection> {
    let now = app.clock.now();
    let mut swept = 0;
    for shard in app.shard_ids() {
        swept += sweep_shard(app, shard, now).await?;
    }
    Ok(swept)
}

async fn sweep_shard(app: &App, shard: ShardId, now: Timestamp) -> Result<i64, Rejection> {
    let mut swept = 0;
    loop {
        let due = store::wallets::due(app.database.pool(), shard, now, WALLETS_MAX).await?;
        let found = i64::try_from(due.len()).unwrap_or(i64::MAX);
        let lane = &app.lanes[usize::from(shard.get())];
        let work = due.into_iter().filter_map(|wallet| {
            let program: ProgramId = wallet.program.parse().ok()?;
            let member: MemberId = wallet.member.parse().ok()?;
            let currency: CurrencyId = wallet.currency.parse().ok()?;
            let applied = app.programs.newest(&program).ok()?;
            Some(lane.submit(applied, member, Work::Advance { currency }))
        });
        for done in join_all(work).await {
            done.map_err(|error| error.rejection(shard))?;
        }
        swept += found;
        if found < WALLETS_MAX {
            return Ok(swept);
        }
    }
}
