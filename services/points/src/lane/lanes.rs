//! The lanes of an instance.

use std::{sync::Arc, time::Duration};

use fealty_postgres::Database;
use fealty_program::ProgramVersion;
use fealty_server::{Programs, ServiceClock, Trouble, Troubles};
use fealty_types::{CurrencyId, MemberId, ProgramId, ShardId, Timestamp};
use futures::{StreamExt as _, stream};
use tokio_util::sync::CancellationToken;

use super::{
    backfills::Backfills,
    batch::Batches,
    ends::Ends,
    job::Work,
    lease::Leasing,
    permits::{Permits, under_way_max},
    publish::Publisher,
    run::Lane,
};
use crate::{
    error::Error,
    shard::{Answer, Orders, Shards},
};

/// How often it is looked how the lanes are.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);
/// A batch that takes longer keeps its shard from working.
const STUCK_AFTER: Duration = Duration::from_secs(10);
/// Members written for at once where nobody waits for it.
const AT_ONCE: usize = 512;
/// How long that waits where a lane has too much to do.
const OVERLOADED: Duration = Duration::from_millis(50);
/// For how long the health tells that a lane broke off.
const BROKE_OFF_SHOWN: Duration = Duration::from_mins(1);

/// How an instance's lanes work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LaneSettings {
    /// Batches that are committed at once, over all shards.
    pub(crate) batches_in_flight: u16,
    /// Members whose wallets are remembered, over all shards.
    pub(crate) members_in_memory: usize,
}

/// The lanes of an instance, one for each shard.
#[derive(Clone)]
pub(crate) struct Lanes {
    programs: Programs,
    shards: Shards,
    lanes: Arc<[Lane]>,
    /// Batches that can be under way at once.
    under_way_max: usize,
    ends: Ends,
    backfills: Backfills,
}

impl Lanes {
    /// Starts them, over connections of their own, and others for what is locked beside a
    /// batch; they end when the last who could submit has ended.
    pub(crate) fn start(
        (database, beside): (&Database, &Database),
        shards: Shards,
        orders: &Orders,
        programs: Programs,
        clock: &ServiceClock,
        publisher: &Publisher,
        settings: LaneSettings,
    ) -> Self {
        let leasing = Leasing::new(
            beside.clone(),
            shards,
            programs.clone(),
            clock.clone(),
            publisher.clone(),
        );
        let (ends, backfills) = (Ends::default(), Backfills::new(beside));
        let permits = Permits::new(shards, settings.batches_in_flight);
        let remembered = settings.members_in_memory / usize::from(shards.count());
        let lanes: Arc<[Lane]> = shards
            .all()
            .map(|shard| {
                let batches = Batches {
                    shard,
                    database: database.clone(),
                    programs: programs.clone(),
                    orders: orders.clone(),
                    clock: clock.clone(),
                    leasing: leasing.clone(),
                    ends: ends.clone(),
                    backfills: backfills.clone(),
                };
                Lane::start(batches, publisher.clone(), permits.clone(), remembered)
            })
            .collect();
        Self {
            programs,
            shards,
            lanes,
            under_way_max: under_way_max(shards, settings.batches_in_flight).into(),
            ends,
            backfills,
        }
    }

    /// What is known of counters that count what was before they began.
    pub(crate) fn backfills(&self) -> &Backfills {
        &self.backfills
    }

    /// What is known of the ends of periods.
    pub(crate) fn ends(&self) -> &Ends {
        &self.ends
    }

    /// Writes the ends of periods that are due for a member, where it is known who had which
    /// tier up to a moment, and before them what counters come to by the log.
    pub(crate) async fn end_periods(
        &self,
        shard: ShardId,
        applied: ProgramVersion,
        (member, tiers_known): (MemberId, Timestamp),
    ) -> Result<(), Error> {
        let work = Work::EndPeriods { tiers_known };
        let done = self.lane(shard).submit(applied, member, work).await?;
        debug_assert!(done.is_none(), "ends of periods have no answer");
        Ok(())
    }

    /// The same for some members; answers with those for whom it could not be done.
    pub(crate) async fn end_periods_of(
        &self,
        (shard, applied): (ShardId, &ProgramVersion),
        members: Vec<MemberId>,
        tiers_known: Timestamp,
    ) -> Vec<(MemberId, Error)> {
        let work = members.into_iter().map(|member| async move {
            loop {
                let ended = (member.clone(), tiers_known);
                match self.end_periods(shard, applied.clone(), ended).await {
                    // Others have filled the lane's queue.
                    Err(Error::Overloaded) => tokio::time::sleep(OVERLOADED).await,
                    Err(error) => return Some((member, error)),
                    Ok(()) => return None,
                }
            }
        });
        let work: Vec<_> = work.collect();
        let done = stream::iter(work).buffer_unordered(AT_ONCE);
        let done: Vec<Option<(MemberId, Error)>> = done.collect().await;
        done.into_iter().flatten().collect()
    }

    /// Does what a request asks, once, however often it is sent.
    pub(crate) async fn submit(
        &self,
        program: &ProgramId,
        member: MemberId,
        request: Work,
    ) -> Result<Answer, Error> {
        let applied = self.programs.newest(program)?;
        let shard = self.shards.of(program, &member);
        let done = self.lane(shard).submit(applied, member, request).await?;
        done.ok_or(Error::Defect)
    }

    /// Writes what is due in a wallet, where it is known who had which tier up to a
    /// moment.
    pub(crate) async fn advance(
        &self,
        shard: ShardId,
        applied: ProgramVersion,
        member: MemberId,
        (currency, tiers_known): (CurrencyId, Timestamp),
    ) -> Result<(), Error> {
        let work = Work::Advance {
            currency,
            tiers_known,
        };
        let done = self.lane(shard).submit(applied, member, work).await?;
        debug_assert!(done.is_none(), "an advance has no answer");
        Ok(())
    }

    /// Writes what a member's tier means for its wallets, if that is due.
    pub(crate) async fn change_tier(
        &self,
        shard: ShardId,
        applied: ProgramVersion,
        member: MemberId,
    ) -> Result<(), Error> {
        let lane = self.lane(shard);
        let done = lane.submit(applied, member, Work::ChangeTier).await?;
        debug_assert!(done.is_none(), "a change of tier has no answer");
        Ok(())
    }

    /// Says how the lanes are, until the service ends.
    pub(crate) async fn watch(self, troubles: Troubles, shutdown: CancellationToken) {
        loop {
            troubles.report("lanes", self.trouble());
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(WATCH_INTERVAL) => {}
            }
        }
    }

    /// What is wrong with a lane, if something is. One that is stuck does not keep the
    /// others from working, on another node perhaps; as many as can be under way do.
    fn trouble(&self) -> Option<Trouble> {
        let lanes = || self.shards.all().zip(&*self.lanes);
        let stuck = lanes().filter_map(|(shard, lane)| {
            let since = lane.progress().under_way_for()?;
            let seconds = since.as_secs();
            let told = format!("a batch of shard {shard} has been under way for {seconds} s");
            (since > STUCK_AFTER).then_some(told)
        });
        let stuck: Vec<String> = stuck.collect();
        let all = stuck.len() >= self.lanes.len().min(self.under_way_max);
        let trouble = if all { Trouble::Stops } else { Trouble::Limits };
        let mut stuck = stuck.into_iter().map(trouble);
        let mut broken = lanes().filter_map(|(shard, lane)| {
            let ago = lane.progress().broke_off_ago()?;
            let told = format!("a batch of shard {shard} broke off by a defect of ours");
            (ago < BROKE_OFF_SHOWN).then_some(Trouble::Limits(told))
        });
        stuck.next().or_else(|| broken.next())
    }

    fn lane(&self, shard: ShardId) -> &Lane {
        &self.lanes[usize::from(shard.get())]
    }
}
