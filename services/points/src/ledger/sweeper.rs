//! Writes what is due, so that the feed and the books see it. A balance is
//! right without it, for every read and every request advances its wallet.
//!
//! Every instance sweeps, without a leader: each goes through the shards in an
//! order of its own, and leaves out one that another instance is sweeping,
//! which an advisory lock tells. Two that meet all the same do no harm, for the
//! second finds nothing due.

use std::{collections::BTreeSet, time::Duration};

use fealty_postgres::{DatabaseError, foundation, run};
use fealty_types::{Clock as _, CurrencyId, MemberId, ProgramId, ShardId, Timestamp};
use futures::future::join_all;
use opentelemetry::{KeyValue, global, metrics::Gauge};
use rand::seq::SliceRandom as _;
use tokio_util::sync::CancellationToken;

use super::{ends, service::Ledger};
use crate::{
    error::Error,
    members,
    shard::store::{self, head::Sweep},
};

const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Wallets of a shard in one go: no more than a quarter of a lane's queue.
const WALLETS_MAX: i64 = 1_000;
/// Members of a shard whose tier changed in one go: what that means is written under the
/// lock of the head.
const MEMBERS_MAX: i64 = 200;
/// Members noted in one go whom another version of their programme concerns.
const RENEWED_MAX: i64 = 1_000;

impl Ledger {
    /// Writes what falls due until the service ends.
    pub(crate) async fn sweep(self, shutdown: CancellationToken) {
        sweep(self, shutdown).await;
    }

    /// Sweeps a shard, unless another instance does the same in it: then nothing is swept.
    pub(crate) async fn sweep_alone(
        &self,
        sweep: Sweep,
        shard: ShardId,
        sweeping: impl Future<Output = Result<i64, Error>>,
    ) -> Result<i64, Error> {
        let (database, pool) = (&self.database, self.database.pool());
        let mut transaction = pool.begin().await.map_err(DatabaseError::from)?;
        let is_free = store::head::try_sweep(&mut transaction, sweep, shard);
        let swept = if database.within(is_free).await?? {
            sweeping.await
        } else {
            Ok(0)
        };
        let ended = database.within(transaction.rollback()).await?;
        ended.map_err(DatabaseError::from)?;
        swept
    }

    /// Writes everything that is due by now; answers how many wallets that took.
    pub(crate) async fn sweep_once(&self) -> Result<i64, Error> {
        let now = self.clock.now();
        let mut swept = 0;
        let mut failed = None;
        for shard in self.shards.all() {
            match sweep_shard(self, shard, now).await {
                Ok(wallets) => swept += wallets,
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(swept), Err)
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
    let programs: Vec<String> = ledger
        .programs
        .ids()
        .iter()
        .map(ToString::to_string)
        .collect();
    let changed = store::tier_changes::due(pool, shard, &programs, now, 1).await?;
    let renewing = store::tier_changes::renewing(pool, shard).await?;
    let ends = ends::may_be_due(ledger, shard, now);
    if !ends && oldest.is_none() && changed.is_empty() && renewing.is_empty() {
        return Ok(());
    }
    let sweeping = Box::pin(sweep_shard(ledger, shard, now));
    ledger.sweep_alone(Sweep::Due, shard, sweeping).await?;
    Ok(())
}

/// Writes what changed tiers mean; answers of how many members, and of which programmes
/// not all is written. What cannot be done now is left to a later sweep, and keeps no other
/// programme waiting.
async fn change_tiers(
    ledger: &Ledger,
    shard: ShardId,
    now: Timestamp,
) -> Result<(i64, BTreeSet<ProgramId>), Error> {
    let pool = ledger.database.pool();
    let mut programs: BTreeSet<ProgramId> = ledger.programs.ids().into_iter().collect();
    let mut behind: BTreeSet<ProgramId> = BTreeSet::new();
    let mut before = BTreeSet::new();
    let mut changed = 0;
    loop {
        let names: Vec<String> = programs.iter().map(ToString::to_string).collect();
        let due = store::tier_changes::due(pool, shard, &names, now, MEMBERS_MAX).await?;
        changed += i64::try_from(due.len()).unwrap_or(i64::MAX);
        let members: BTreeSet<(ProgramId, MemberId)> = due.into_iter().collect();
        if members.is_empty() {
            behind.extend(store::tier_changes::renewing(pool, shard).await?);
            return Ok((changed, behind));
        }
        // A lane takes none of them while its clock is behind the one that found them due.
        if members == before {
            behind.extend(members.into_iter().map(|(program, _)| program));
            return Ok((changed, behind));
        }
        before.clone_from(&members);
        let work = members.into_iter().map(|(program, member)| async {
            let applied = ledger.programs.newest(&program).map_err(Error::from);
            let done = match applied {
                Ok(applied) => ledger.lanes.change_tier(shard, applied, member).await,
                Err(error) => Err(error),
            };
            (program, done)
        });
        for (program, done) in join_all(work).await {
            if let Err(error) = done {
                tracing::debug!(%error, %program, %shard, "what a tier means was not written");
                programs.remove(&program);
                behind.insert(program);
            }
        }
    }
}

/// Goes on with the members whom another version of their programme concerns.
async fn renew_tiers(ledger: &Ledger, shard: ShardId) -> Result<(), Error> {
    let some: Result<bool, DatabaseError> =
        run!(ledger.database, "renew_tiers", |connection| async {
            store::tier_changes::renew_some(connection, shard, RENEWED_MAX).await
        });
    some?;
    Ok(())
}

async fn sweep_shard(ledger: &Ledger, shard: ShardId, now: Timestamp) -> Result<i64, Error> {
    renew_tiers(ledger, shard).await?;
    // Before the changes of tier are looked for, so that all that is known is written.
    let tiers_known = foundation::feed_known_at(ledger.database.pool(), members::SOURCE).await?;
    let tiers_known = tiers_known.unwrap_or(Timestamp::EPOCH).min(now);
    // At one instant the ends of periods come before changes of tier, and expiries last.
    let ended = ends::sweep(ledger, shard, (now, tiers_known)).await;
    let (mut swept, behind) = change_tiers(ledger, shard, now).await?;
    swept += ended.as_ref().copied().unwrap_or_default();
    // Those that cannot be read here keep none of the others waiting.
    let programs = ledger.programs.ids().into_iter();
    let programs: Vec<String> = programs.map(|program| program.to_string()).collect();
    loop {
        let pool = ledger.database.pool();
        let due = store::wallets::due(pool, shard, &programs, now, WALLETS_MAX).await?;
        let found = i64::try_from(due.len()).unwrap_or(i64::MAX);
        let mut made = 0;
        let work = due.into_iter().filter_map(|wallet| {
            let program: ProgramId = wallet.program.parse().ok()?;
            let member: MemberId = wallet.member.parse().ok()?;
            let currency: CurrencyId = wallet.currency.parse().ok()?;
            let applied = ledger.programs.newest(&program).ok()?;
            let is_behind = behind.contains(&program);
            let known = if is_behind {
                Timestamp::EPOCH
            } else {
                tiers_known
            };
            let due = (currency, known);
            made += 1;
            Some(ledger.lanes.advance(shard, applied, member, due))
        });
        let work: Vec<_> = work.collect();
        let done = join_all(work).await.into_iter().filter_map(Result::err);
        let failed: Vec<Error> = done.collect();
        swept += found;
        // What cannot be written, and programmes that cannot be read here, keep none of the
        // others waiting, and are not tried without end.
        if found < WALLETS_MAX || made == failed.len() {
            let failed = failed.into_iter().next().map_or(Ok(swept), Err);
            return ended.and(failed);
        }
    }
}
