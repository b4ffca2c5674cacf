//! The lanes of an instance.

use std::sync::Arc;

use fealty_postgres::Database;
use fealty_program::ProgramVersion;
use fealty_server::{Programs, ServiceClock};
use fealty_types::{CurrencyId, MemberId, ProgramId, ShardId, Timestamp};
use tokio::sync::Semaphore;

use super::{batch::Batches, job::Work, publish::Publisher, run::Lane};
use crate::{
    error::Error,
    shard::{Answer, Memory, Orders, Shards},
};

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
}

impl Lanes {
    /// Starts them; they end when the last who could submit has ended.
    pub(crate) fn start(
        database: &Database,
        shards: Shards,
        orders: &Orders,
        programs: Programs,
        clock: &ServiceClock,
        publisher: &Publisher,
        settings: LaneSettings,
    ) -> Self {
        let in_flight = Arc::new(Semaphore::new(usize::from(settings.batches_in_flight)));
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
                };
                Lane::start(
                    batches,
                    publisher.clone(),
                    Arc::clone(&in_flight),
                    Memory::new(remembered),
                )
            })
            .collect();
        Self {
            programs,
            shards,
            lanes,
        }
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

    fn lane(&self, shard: ShardId) -> &Lane {
        &self.lanes[usize::from(shard.get())]
    }
}
