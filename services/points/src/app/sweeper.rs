//! Writes what is due, so that the feed and the books see it. A balance is
//! right without it, for every read and every request advances its wallet.
//!
//! Every instance sweeps; two that find the same wallet do no harm, for the
//! second finds nothing due.

use std::time::Duration;

use fealty_server::Rejection;
use fealty_types::{Clock as _, CurrencyId, MemberId, ProgramId};
use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use super::{App, lane::Work};
use crate::store;

const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Wallets of a shard in one go: no more than half a lane's queue.
const WALLETS_MAX: i64 = 1_000;

/// Sweeps until the service ends.
pub(super) async fn sweep(app: App, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(SWEEP_INTERVAL) => {}
        }
        if let Err(rejection) = sweep_once(&app).await {
            tracing::debug!(?rejection, "a sweep did not finish");
        }
    }
}

/// Writes everything that is due by now; answers how many wallets that took.
pub(super) async fn sweep_once(app: &App) -> Result<i64, Rejection> {
    let now = app.clock.now();
    let mut swept = 0;
    for shard in app.shard_ids() {
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
                break;
            }
        }
    }
    Ok(swept)
}
