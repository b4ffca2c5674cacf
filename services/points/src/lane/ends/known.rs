//! What an instance knows of the ends of periods in its shards: between them nobody looks.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use fealty_postgres::{DatabaseError, PgConnection, foundation};
use fealty_program::ProgramVersion;
use fealty_server::Programs;
use fealty_types::{MemberId, ProgramId, ShardId, Timestamp};

use super::due::DueEnd;
use crate::{
    plan::ends_due,
    shard::store::{self, versions::BegunVersion},
};

/// Ends that are worked off in one go, or a few more: more than a year's days.
const ENDS_MAX: usize = 400;
/// Members of whom it is remembered that they were read, of a shard and a programme.
const READ_MAX: usize = 10_000;
/// What every programme text with rules for ends has in it.
const END_OF: &str = "end_of.";

/// How far a shard is with a programme.
#[derive(Clone, Debug)]
struct Known {
    /// `None` where no version has begun.
    standing: Option<Standing>,
    /// All versions that began, in their order.
    history: Arc<[BegunVersion]>,
    /// The ends that are due, as far as was looked.
    due: Arc<[DueEnd]>,
    /// When it was looked.
    looked_at: Timestamp,
    /// When the next one is after that, by the version in force; `None` where there is none to
    /// come.
    next: Option<Timestamp>,
    /// Members who were read since then, for whom they were written.
    read: HashSet<MemberId>,
}

/// What an instance knows of the ends of periods.
#[derive(Clone, Default)]
pub(crate) struct Ends {
    known: Arc<Mutex<HashMap<(ShardId, ProgramId), Known>>>,
}

/// How far a shard is: the version in force, and up to when all ends are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) version: BegunVersion,
    pub(crate) through: Option<Timestamp>,
}

/// Whether there may be ends that are not written for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Open {
    /// There are none.
    No,
    /// There are, or it is not known.
    Yes,
    /// There are, and they wait for members' tiers.
    Waits,
}

impl Known {
    /// When the next end is after it was looked, where the newest version may have begun since.
    fn next(&self, newest: &ProgramVersion) -> Option<Timestamp> {
        let version = self.standing.map(|standing| standing.version.version);
        if version.map(i64::from) == Some(newest.version) {
            return self.next;
        }
        let of_newest = newest.program.earning.rules.next_end(self.looked_at);
        self.next.into_iter().chain(of_newest).min()
    }
}

impl Ends {
    fn all(&self) -> MutexGuard<'_, HashMap<(ShardId, ProgramId), Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there may be ends that are not written for all.
    pub(crate) fn are_open(&self, shard: ShardId, newest: &ProgramVersion, now: Timestamp) -> Open {
        let all = self.all();
        let Some(known) = all.get(&(shard, newest.program.id.clone())) else {
            return Open::Yes;
        };
        if known.next(newest).is_some_and(|next| next <= now) {
            return Open::Yes;
        }
        match known.due.first() {
            Some(first) if first.waits(now.into()) => Open::Waits,
            Some(_) => Open::Yes,
            None => Open::No,
        }
    }

    /// Whether somebody who reads a member's wallet is to have its ends written first.
    pub(crate) fn before_read(
        &self,
        shard: ShardId,
        newest: &ProgramVersion,
        (member, now): (&MemberId, Timestamp),
    ) -> bool {
        if self.are_open(shard, newest, now) != Open::Yes {
            return false;
        }
        let all = self.all();
        let known = all.get(&(shard, newest.program.id.clone()));
        known.is_none_or(|known| {
            let is_over = known.next(newest).is_some_and(|next| next <= now);
            is_over || !known.read.contains(member)
        })
    }

    /// Notes that a member's are written.
    pub(crate) fn note_read(&self, shard: ShardId, program: &ProgramId, member: &MemberId) {
        let mut all = self.all();
        if let Some(known) = all.get_mut(&(shard, program.clone()))
            && known.read.len() < READ_MAX
        {
            known.read.insert(member.clone());
        }
    }

    /// Forgets what was known of a shard in which a version begins.
    pub(in crate::lane) fn forget(&self, shard: ShardId, program: &ProgramId) {
        self.all().remove(&(shard, program.clone()));
    }

    /// Notes that no version of a programme has begun in a shard.
    pub(crate) fn note_none(&self, shard: ShardId, program: &ProgramId, now: Timestamp) {
        let known = Known {
            standing: None,
            history: Arc::new([]),
            due: Arc::new([]),
            looked_at: now,
            next: None,
            read: HashSet::new(),
        };
        self.all().insert((shard, program.clone()), known);
    }

    /// The ends that are due in a shard and not written for all its members.
    pub(crate) async fn due(
        &self,
        connection: &mut PgConnection,
        programs: &Programs,
        (shard, program): (ShardId, &ProgramId),
        standing: Standing,
        now: Timestamp,
    ) -> Result<Arc<[DueEnd]>, DatabaseError> {
        let name = (shard, program.clone());
        if let Some(known) = self.all().get(&name)
            && known.standing == Some(standing)
            && known.next.is_none_or(|next| next > now)
        {
            return Ok(Arc::clone(&known.due));
        }
        let of = (shard, program);
        let history = self.history(connection, of, standing.version).await?;
        let mut versions = Vec::new();
        for (at, begun) in history.iter().enumerate() {
            // All that ended under it is written.
            let until = history.get(at + 1).map(|next| next.begun_at);
            if until.is_some_and(|until| Some(until) <= standing.through) {
                continue;
            }
            let applied = version_of(connection, programs, program, *begun).await?;
            versions.push((begun.begun_at, applied));
        }
        let due = ends_due(&versions, (standing.through, now), ENDS_MAX);
        let due = due.into_iter().filter_map(|(at, end)| {
            let applied = versions[at].1.clone()?;
            Some(DueEnd { end, applied })
        });
        let due: Arc<[DueEnd]> = due.collect();
        let in_force = versions.last().and_then(|(_, applied)| applied.as_ref());
        let known = Known {
            standing: Some(standing),
            history,
            due: Arc::clone(&due),
            looked_at: now,
            next: in_force.and_then(|version| version.program.earning.rules.next_end(now)),
            read: HashSet::new(),
        };
        self.all().insert(name, known);
        Ok(due)
    }

    /// All versions that began in a shard.
    async fn history(
        &self,
        connection: &mut PgConnection,
        (shard, program): (ShardId, &ProgramId),
        version: BegunVersion,
    ) -> Result<Arc<[BegunVersion]>, DatabaseError> {
        if let Some(known) = self.all().get(&(shard, program.clone()))
            && known.standing.map(|standing| standing.version) == Some(version)
        {
            return Ok(Arc::clone(&known.history));
        }
        let rows = store::versions::history(connection, shard, Some(program)).await?;
        let begun = rows.into_iter().map(|row| Ok(row.into_version()?.1));
        let begun: Result<Vec<BegunVersion>, DatabaseError> = begun.collect();
        // What began after the head was read is none of this batch's.
        let mut begun = begun?;
        begun.retain(|begun| begun.position <= version.position);
        Ok(begun.into())
    }

    /// The version that was in force just before a moment, of those that began up to the one in
    /// force.
    pub(super) async fn in_force(
        &self,
        connection: &mut PgConnection,
        programs: &Programs,
        (shard, program): (ShardId, &ProgramId),
        (version, moment): (BegunVersion, Timestamp),
    ) -> Result<Option<ProgramVersion>, DatabaseError> {
        let history = self.history(connection, (shard, program), version).await?;
        let mut begun = history.iter().rev();
        match begun.find(|begun| begun.begun_at < moment) {
            Some(begun) => version_of(connection, programs, program, *begun).await,
            None => Ok(None),
        }
    }
}

/// A version that is or was in force; `None` where it cannot be read any more and says nothing
/// of ends. Without one that does, nothing can be said of the ends under it.
async fn version_of(
    connection: &mut PgConnection,
    programs: &Programs,
    program: &ProgramId,
    begun: BegunVersion,
) -> Result<Option<ProgramVersion>, DatabaseError> {
    let version = i64::from(begun.version);
    if let Ok(newest) = programs.newest(program)
        && newest.version == version
    {
        return Ok(Some(newest));
    }
    let found = programs.version_in(&mut *connection, program, begun.version);
    if let Some(found) = found.await? {
        return Ok(Some(found));
    }
    let stored = foundation::program(connection, program, Some(version)).await?;
    if stored.is_some_and(|stored| !stored.source.contains(END_OF)) {
        return Ok(None);
    }
    tracing::error!(%program, version, "a version that was in force cannot be read here");
    let what = "a version of the programme is not to be had here";
    Err(DatabaseError::Contended(what))
}
