//! A member's holds.

use fealty_auth::InReach;
use fealty_ledger::{Hold, Refusal, Transaction};
use fealty_types::{
    Clock as _, MemberId, Position, ProgramId, ShardId, Timestamp, TransactionPlace,
};

use super::service::Ledger;
use crate::{error::Error, shard::store};

/// A hold, with the transaction that made it.
#[derive(Debug)]
pub(crate) struct HoldRead {
    /// The hold.
    pub(crate) hold: Hold,
    /// What made it.
    pub(crate) made: Transaction,
    /// Whether its points are still set aside: what has timed out is not, whether or
    /// not that has been written yet.
    pub(crate) is_open: bool,
}

impl Ledger {
    /// Reads a hold, open or ended.
    pub(crate) async fn hold(
        &self,
        program: &InReach<ProgramId>,
        member: &InReach<MemberId>,
        place: TransactionPlace,
    ) -> Result<HoldRead, Error> {
        self.programs.newest(program)?;
        let shard = self.shards.of(program, member);
        let hold = place.position;
        let not_found = || Error::refused(self.shards, place.shard, Refusal::HoldNotFound { hold });
        if place.shard != shard {
            return Err(not_found());
        }
        let pool = self.database.pool();
        let number = store::members::number(pool, shard, program, member).await?;
        let number = number.ok_or_else(not_found)?;
        let found = store::holds::named(pool, shard, number, hold).await?;
        let read = self.with_made(shard, found.into_iter().collect()).await?;
        read.into_iter().next().ok_or_else(not_found)
    }

    /// Reads a member's open holds after one of them, oldest first; answers also with
    /// the one that the next page comes after.
    pub(crate) async fn holds(
        &self,
        program: &InReach<ProgramId>,
        member: &InReach<MemberId>,
        after: Position,
        limit: usize,
    ) -> Result<(Vec<HoldRead>, Option<Position>), Error> {
        self.programs.newest(program)?;
        let shard = self.shards.of(program, member);
        let pool = self.database.pool();
        let Some(number) = store::members::number(pool, shard, program, member).await? else {
            return Ok((Vec::new(), None));
        };
        let now = self.clock.now();
        let mut holds = store::holds::open(pool, shard, number, after, now, limit + 1).await?;
        let next = (holds.len() > limit).then(|| {
            holds.truncate(limit);
            holds.last().map(|hold| hold.position)
        });
        let read = self.with_made(shard, holds).await?;
        Ok((read, next.flatten()))
    }

    async fn with_made(&self, shard: ShardId, holds: Vec<Hold>) -> Result<Vec<HoldRead>, Error> {
        let now: Timestamp = self.clock.now();
        let mut read = Vec::with_capacity(holds.len());
        for hold in holds {
            let row =
                store::log::transaction_at(self.database.pool(), shard, hold.position).await?;
            let mut made = row.ok_or(Error::Defect)?.transaction()?;
            self.unseal(std::slice::from_mut(&mut made)).await?;
            let is_open = !hold.lots.is_empty() && hold.expires_at > now;
            read.push(HoldRead {
                hold,
                made,
                is_open,
            });
        }
        Ok(read)
    }
}
