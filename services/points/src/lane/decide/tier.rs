//! What a member's tier means for its wallets, written in the order of time.

use fealty_ledger::TierChanged;
use fealty_postgres::{DatabaseError, PgConnection};
use fealty_types::{TierId, Timestamp};

use super::{Jobs, Pending};
use crate::{
    error::Error,
    lane::job::Job,
    plan::tier_effects,
    shard::{Driven, Interrupted, number, store},
};

impl Jobs {
    /// Writes what a member's tier means for its wallets, if that is due.
    pub(super) async fn change_tier(
        &mut self,
        connection: &mut PgConnection,
        index: usize,
        job: &Job,
    ) -> Result<Pending, Interrupted> {
        let changes = self.tiers.changes.remove(&index).unwrap_or_default();
        let program = &job.applied.program.id;
        if self.unplanned.contains(program) {
            self.put_back(connection, job, &changes).await?;
            return Ok(Pending::Final(Err(Error::Unavailable)));
        }
        if !changes.is_empty() {
            // What is taken is decided once, so by what is stored, not by what is known.
            self.insist_on_newest(connection, job).await?;
        }
        for (at, (since, tier)) in changes.iter().enumerate() {
            let since = *since;
            let change = TierChanged {
                tier: tier.clone(),
                since,
                program_version: number(&job.applied),
            };
            let (work, slot) = (&mut self.work, self.slot_of[index]);
            let effects = tier_effects(&job.applied.program, &change.tier, since);
            let changed = work.change_tier(connection, slot, &job.applied, (&change, &effects));
            if let Driven::MoreIsDue = changed.await? {
                self.put_back(connection, job, &changes[at..]).await?;
                return Ok(Pending::Postponed);
            }
        }
        Ok(Pending::Final(Ok(None)))
    }

    /// Has changes of a member's tier, which were taken, stay due.
    pub(super) async fn put_back(
        &self,
        connection: &mut PgConnection,
        job: &Job,
        changes: &[(Timestamp, TierId)],
    ) -> Result<(), DatabaseError> {
        let member = (job.applied.program.id.as_str(), job.member.as_str());
        for (since, _) in changes {
            store::tier_changes::note(connection, self.work.shard(), member, *since).await?;
        }
        Ok(())
    }
}
