//! The tiers that the jobs of a batch ask for.

use std::collections::HashMap;

use fealty_postgres::PgConnection;
use fealty_types::{ShardId, TierId, Timestamp};

use super::job::{Job, Work};
use crate::{
    plan::tier_moment,
    shard::{
        Interrupted, ReadOn,
        store::{batch_read, tier_changes},
    },
};

/// What jobs ask about tiers.
#[derive(Default)]
pub(super) struct AskedTiers {
    /// The jobs that ask for a tier.
    jobs: Vec<usize>,
    asked: batch_read::AskedTiers,
    /// Those among them that write what it means.
    changing: Vec<usize>,
    programs: Vec<String>,
    members: Vec<String>,
}

/// Members' tiers, by the job that asked.
#[derive(Default)]
pub(super) struct Tiers {
    /// The tier, where the member was told of one.
    pub(super) of: HashMap<usize, TierId>,
    /// Since when what it means is due to be written.
    pub(super) changed_since: HashMap<usize, Timestamp>,
}

impl AskedTiers {
    /// Asks for what a job needs.
    pub(super) fn job(&mut self, index: usize, job: &Job, now: Timestamp) {
        let name = || (job.applied.program.id.to_string(), job.member.to_string());
        let moment = match &job.work {
            Work::Request { command, .. } => tier_moment(&job.applied.program, command, now),
            Work::Advance { .. } => None,
            Work::ChangeTier => {
                let (program, member) = name();
                self.changing.push(index);
                self.programs.push(program);
                self.members.push(member);
                Some(now)
            }
        };
        if let Some(moment) = moment {
            let (program, member) = name();
            self.asked.push(program, member, moment);
            self.jobs.push(index);
        }
    }

    /// Reads it. What is due is taken first: a tier that is told of afterwards is due
    /// anew.
    pub(super) async fn read(
        self,
        connection: &mut PgConnection,
        shard: ShardId,
        now: Timestamp,
        read_on: ReadOn,
    ) -> Result<Tiers, Interrupted> {
        let mut tiers = Tiers::default();
        if !self.changing.is_empty() {
            if read_on == ReadOn::Never {
                return Err(Interrupted::NeedsLock);
            }
            let names = (&*self.programs, &*self.members);
            let taken = tier_changes::take(connection, shard, names, now).await?;
            let taken = taken.into_iter();
            tiers.changed_since = taken.map(|(at, due)| (self.changing[at], due)).collect();
        }
        if !self.asked.is_empty() {
            let read = batch_read::tiers(connection, shard, &self.asked).await?;
            let read = read.into_iter();
            tiers.of = read.map(|(at, tier)| (self.jobs[at], tier)).collect();
        }
        Ok(tiers)
    }
}
