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
    /// The jobs that ask for a tier, and since when what it means is due, if it is.
    jobs: Vec<(usize, Option<Timestamp>)>,
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
    /// The tiers whose meaning is due to be written, each with since when, in order.
    pub(super) changes: HashMap<usize, Vec<(Timestamp, TierId)>>,
}

impl AskedTiers {
    /// Asks for what a job needs.
    pub(super) fn job(&mut self, index: usize, job: &Job, now: Timestamp) {
        let (program, member) = (&job.applied.program, &job.member);
        match &job.work {
            Work::Request { command, .. } => {
                if let Some(moment) = tier_moment(program, command, now) {
                    let (program, member) = (program.id.to_string(), member.to_string());
                    self.asked.push(program, member, moment);
                    self.jobs.push((index, None));
                }
            }
            Work::Advance { .. } | Work::EndPeriods { .. } => {}
            Work::ChangeTier => {
                self.changing.push(index);
                self.programs.push(program.id.to_string());
                self.members.push(member.to_string());
            }
        }
    }

    /// Reads it. What is due is taken first: a tier that is told of afterwards is due
    /// anew.
    pub(super) async fn read(
        mut self,
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
            for (at, due_at) in taken {
                // Of each moment the tier that held then.
                let (program, member) = (self.programs[at].clone(), self.members[at].clone());
                self.asked.push(program, member, due_at);
                self.jobs.push((self.changing[at], Some(due_at)));
            }
        }
        if !self.asked.is_empty() {
            for (at, tier) in batch_read::tiers(connection, shard, &self.asked).await? {
                match self.jobs[at] {
                    (job, None) => {
                        tiers.of.insert(job, tier);
                    }
                    (job, Some(since)) => {
                        let changes = tiers.changes.entry(job).or_default();
                        changes.push((since, tier));
                    }
                }
            }
        }
        for changes in tiers.changes.values_mut() {
            changes.sort();
        }
        Ok(tiers)
    }
}
