//! Counters that count what was before they began (`backfill` in the programme file): when a
//! version begins that has such, they are worked out from each member's log.
//!
//! That is done for a member before anything else is done for it under the version, so whatever
//! reads the counters reads them whole. For who does nothing the sweeper has it done, and then
//! says in the log that it is done for all ([`fealty_ledger::Said::CountersBackfilled`]). Between
//! the beginning of the version and that notice each batch looks; else, and under programmes
//! without such counters, nobody has to.
//!
//! What stands in the log before a version began does not change, so it does not matter who works
//! it out, and when. What comes back later of a purchase from before, its return says. A long log
//! is read beside the lane; until then its member waits.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use fealty_ledger::{Returned, Transaction};
use fealty_postgres::{Database, DatabaseError, PgConnection, foundation};
use fealty_program::ProgramVersion;
use fealty_rules::BackfilledCounters;
use fealty_server::Programs;
use fealty_types::{MemberId, Position, ProgramId, ShardId, Timestamp};

use crate::{
    plan::{FromLog, is_backfilled_before},
    shard::{
        Interrupted, ShardWork, number,
        store::{self, versions::BegunVersion},
    },
};

/// Entries of a member's log that are read at a time.
const READ_LEN: i64 = 1_000;
/// Entries of one that are read in a batch.
const READ_IN_BATCH_MAX: usize = 2_000;
/// What the text of every version with such counters has in it.
const BACKFILL: &str = "backfill";

/// A version that began with counters which count what was before.
#[derive(Clone, Debug)]
pub(crate) struct DueBackfill {
    pub(crate) begun: BegunVersion,
    pub(crate) applied: ProgramVersion,
    pub(crate) counters: BackfilledCounters,
}

impl DueBackfill {
    fn of(&self) -> (&ProgramVersion, &BackfilledCounters) {
        (&self.applied, &self.counters)
    }
}

/// What a member's log has.
#[derive(Clone)]
struct OfLog {
    /// For each version that is due, what stands before it began.
    from_logs: Vec<FromLog>,
    /// For which of them it is still to be done: after the others there stands what comes only
    /// after that.
    open: Vec<bool>,
    /// Up to where it was read, and the chain there where that was beside the lane.
    through: Position,
    chain: Vec<u8>,
}

impl OfLog {
    /// Whether it is of the log that is stored: a database may be restored meanwhile.
    async fn is_of(
        &self,
        connection: &mut PgConnection,
        shard: ShardId,
    ) -> Result<bool, DatabaseError> {
        let row = store::log::at(connection, shard, self.through).await?;
        Ok(row.is_some_and(|row| row.chain == self.chain))
    }
}

/// What an instance knows of a shard and a programme.
struct Known {
    /// The version in force, and up to which one all is done.
    version: BegunVersion,
    /// What is to be done for members who are not among those.
    due: Arc<[DueBackfill]>,
    /// Members whose logs are long, with what they have, once that is known.
    long: HashMap<MemberId, Option<Arc<OfLog>>>,
}

/// What an instance knows of them.
#[derive(Clone)]
pub(crate) struct Backfills {
    /// Connections for what is read beside the lanes.
    beside: Database,
    known: Arc<Mutex<HashMap<(ShardId, ProgramId), Known>>>,
}

impl Backfills {
    pub(super) fn new(beside: &Database) -> Self {
        Self {
            beside: beside.clone(),
            known: Arc::default(),
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<(ShardId, ProgramId), Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there may be something to do for members of a shard.
    pub(crate) fn are_open(&self, shard: ShardId, newest: &ProgramVersion) -> bool {
        if !newest.program.earning.rules.has_backfilled() {
            return false;
        }
        let all = self.all();
        let known = all.get(&(shard, newest.program.id.clone()));
        known.is_none_or(|known| known.version.version != number(newest) || !known.due.is_empty())
    }

    /// The versions whose counters are not worked out for all members of a shard, in their order.
    pub(crate) async fn due(
        &self,
        connection: &mut PgConnection,
        programs: &Programs,
        (shard, program): (ShardId, &ProgramId),
        version: BegunVersion,
    ) -> Result<Arc<[DueBackfill]>, DatabaseError> {
        let name = (shard, program.clone());
        if let Some(known) = self.all().get(&name)
            && known.version == version
        {
            return Ok(Arc::clone(&known.due));
        }
        let due = read_due(connection, programs, (shard, program), version).await?;
        let due: Arc<[DueBackfill]> = due.into();
        let known = Known {
            version,
            due: Arc::clone(&due),
            long: HashMap::new(),
        };
        self.all().insert(name, known);
        Ok(due)
    }

    /// What a member's log has that was read beside the lane.
    fn of_long_log(
        &self,
        (shard, program, member): (ShardId, &ProgramId, &MemberId),
        version: BegunVersion,
    ) -> Option<Arc<OfLog>> {
        let all = self.all();
        let known = all.get(&(shard, program.clone()))?;
        let is_same = known.version == version;
        known.long.get(member).filter(|_| is_same).cloned()?
    }

    /// Has a member's log be read beside the lane.
    fn want(&self, work: &ShardWork, slot: usize, due: Arc<[DueBackfill]>) {
        let (shard, book) = (work.shard(), work.book(slot));
        let name = (shard, book.program.clone());
        if let Some(known) = self.all().get_mut(&name) {
            let before = known.long.insert(book.member.clone(), None);
            if before.is_some_and(|before| before.is_none()) {
                return;
            }
        }
        let backfills = self.clone();
        tokio::spawn(async move {
            let read = backfills.read_wanted(&name, &due).await;
            if let Err(error) = read {
                tracing::debug!(%error, %shard, "a long log was not read");
                if let Some(known) = backfills.all().get_mut(&name) {
                    known.long.retain(|_, read| read.is_some());
                }
            }
        });
    }

    async fn read_wanted(
        &self,
        (shard, program): &(ShardId, ProgramId),
        due: &[DueBackfill],
    ) -> Result<(), DatabaseError> {
        let pool = self.beside.pool();
        let mut connection = pool.acquire().await.map_err(DatabaseError::from)?;
        let of = (*shard, program);
        self.read_long_logs(&mut connection, of, due).await
    }

    /// Reads the long logs of members, as far as that is wanted, for versions that are due.
    pub(crate) async fn read_long_logs(
        &self,
        connection: &mut PgConnection,
        (shard, program): (ShardId, &ProgramId),
        due: &[DueBackfill],
    ) -> Result<(), DatabaseError> {
        let name = (shard, program.clone());
        let wanted: Vec<MemberId> = match self.all().get(&name) {
            Some(known) => {
                let open = known.long.iter().filter(|(_, read)| read.is_none());
                open.map(|(member, _)| member.clone()).collect()
            }
            None => Vec::new(),
        };
        for member in wanted {
            let number = store::members::number(&mut *connection, shard, program, &member).await?;
            let Some(member_no) = number else { continue };
            let of = (shard, member_no);
            let (mut log, open) = (MemberLog::new(connection, of).await?, None);
            let read = log.read(connection, due, (usize::MAX, open), |_| None);
            let read = read.await?;
            let is_due = |known: &Known| {
                let of_known = known.due.iter().map(|due| due.begun);
                of_known.eq(due.iter().map(|due| due.begun))
            };
            if let Some(known) = self.all().get_mut(&name).filter(|known| is_due(known)) {
                known.long.insert(member, read.map(Arc::new));
            }
        }
        Ok(())
    }
}

/// The versions that began after the one up to which all is done, with what is to be done.
async fn read_due(
    connection: &mut PgConnection,
    programs: &Programs,
    (shard, program): (ShardId, &ProgramId),
    in_force: BegunVersion,
) -> Result<Vec<DueBackfill>, DatabaseError> {
    let rows = store::versions::history(&mut *connection, shard, Some(program)).await?;
    let begun = rows.into_iter().map(|row| Ok(row.into_version()?.1));
    let mut begun: Vec<BegunVersion> = begun.collect::<Result<_, DatabaseError>>()?;
    // What began after the head was read is none of this batch's, and what begins in it is not
    // stored.
    begun.retain(|begun| begun.position < in_force.position);
    begun.push(in_force);
    let with = foundation::versions_with(&mut *connection, program, BACKFILL).await?;
    let with: HashSet<i64> = with.into_iter().collect();
    let mut due = Vec::new();
    // One that has no such counters leaves nothing to do of those before it.
    if !with.contains(&i64::from(in_force.version)) {
        return Ok(due);
    }
    let newest = version_of(connection, programs, program, in_force).await?;
    if !newest.program.earning.rules.has_backfilled() {
        return Ok(due);
    }
    for pair in begun.windows(2) {
        let [before, begun] = pair else { continue };
        if begun.version <= in_force.backfilled || !with.contains(&i64::from(begun.version)) {
            continue;
        }
        let applied = version_of(connection, programs, program, *begun).await?;
        // One without the word has none of the counters.
        let before = if with.contains(&i64::from(before.version)) {
            Some(version_of(connection, programs, program, *before).await?)
        } else {
            None
        };
        let rules = &applied.program.earning.rules;
        let earlier = before.as_ref().map(|before| &before.program.earning.rules);
        let counters = rules.backfilled_since(earlier);
        if !counters.is_empty() {
            due.push(DueBackfill {
                begun: *begun,
                applied,
                counters,
            });
        }
    }
    Ok(due)
}

async fn version_of(
    connection: &mut PgConnection,
    programs: &Programs,
    program: &ProgramId,
    begun: BegunVersion,
) -> Result<ProgramVersion, DatabaseError> {
    let applied = programs.version_in(connection, program, begun.version);
    let missing = "a version of the programme is not to be had here";
    applied.await?.ok_or(DatabaseError::Contended(missing))
}

/// What came of a look at a member.
pub(super) enum Looked {
    /// All is worked out; so many entries were read.
    Done(usize),
    /// The member's log is long, and is read beside the lane.
    LogIsLong,
}

/// Works out the counters of a member that began with the version in force, or with one before
/// it, if that is not done; a version at hand that has such begins.
pub(super) async fn write_backfills(
    work: &mut ShardWork,
    connection: &mut PgConnection,
    (backfills, programs): (&Backfills, &Programs),
    (slot, applied, now): (usize, &ProgramVersion, Timestamp),
) -> Result<Looked, Interrupted> {
    let program = &applied.program.id;
    let in_force = work.version(program);
    if in_force.is_some_and(|in_force| in_force.version > number(applied)) {
        // It may have such counters.
        return Err(Interrupted::VersionPassed(program.clone()));
    }
    if !applied.program.earning.rules.has_backfilled() {
        if let Some(in_force) = in_force.filter(|in_force| in_force.version < number(applied)) {
            // Nothing may be written by one that has such counters and is passed over here.
            let due = backfills.due(connection, programs, (work.shard(), program), in_force);
            match due.await {
                Ok(due) if due.is_empty() => {}
                Ok(_) | Err(DatabaseError::Contended(_)) => {
                    work.begin_version(connection, applied).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        return Ok(Looked::Done(0));
    }
    work.begin_version(connection, applied).await?;
    let Some(version) = work.version(program) else {
        return Ok(Looked::Done(0));
    };
    let shard = work.shard();
    let due = backfills.due(connection, programs, (shard, program), version);
    let due = due.await?;
    let Some(last) = due.last().map(|due| due.begun.version) else {
        return Ok(Looked::Done(0));
    };
    if work.backfilled(slot) >= last {
        return Ok(Looked::Done(0));
    }
    let member = work.book(slot).member.clone();
    let mut long = backfills.of_long_log((shard, program, &member), version);
    if let Some(known) = &long
        && !known.is_of(connection, shard).await?
    {
        long = None;
    }
    let Some((of_log, entries)) = read_in_batch(work, connection, slot, (&due, long)).await? else {
        backfills.want(work, slot, Arc::clone(&due));
        return Ok(Looked::LogIsLong);
    };
    let of_due = due.iter().zip(&of_log.from_logs).zip(&of_log.open);
    for ((due, from_log), _) in of_due.filter(|(_, open)| **open) {
        let known = &work.book(slot).counters;
        if let Some(backfill) = from_log.backfill(due.of(), (known, now)) {
            work.apply_backfill(connection, slot, &backfill).await?;
        }
    }
    work.note_backfilled(slot, last);
    Ok(Looked::Done(entries + 1))
}

/// What was written in a batch for a slot's member, which is not stored yet.
fn written_here(work: &ShardWork, slot: usize) -> impl Iterator<Item = &Transaction> {
    let book = work.book(slot);
    let here = work.log().transactions();
    here.filter(|written| written.program == book.program && written.member == book.member)
}

/// Notes for which versions it is done, by what stands after they began.
fn see(due: &[DueBackfill], open: &mut [bool], written: &Transaction) {
    for (due, open) in due.iter().zip(open) {
        let begun = due.begun;
        let is_after = written.position > begun.position;
        *open &= !(is_after && is_backfilled_before(written, begun.version));
    }
}

/// Reads a member's log in a batch, and how many entries that were; `None` if it is too long for
/// that. What was read beside the lane is not read again.
async fn read_in_batch(
    work: &ShardWork,
    connection: &mut PgConnection,
    slot: usize,
    (due, long): (&[DueBackfill], Option<Arc<OfLog>>),
) -> Result<Option<(OfLog, usize)>, DatabaseError> {
    let (book, mut entries) = (work.book(slot), 0);
    let first = due
        .first()
        .map_or(Position::new(0), |due| due.begun.position);
    let mut of_log = OfLog {
        from_logs: vec![FromLog::default(); due.len()],
        open: vec![true; due.len()],
        through: first,
        chain: Vec::new(),
    };
    if let Some(long) = &long {
        of_log.clone_from(long);
    }
    for written in written_here(work, slot) {
        see(due, &mut of_log.open, written);
    }
    let Some(member_no) = work.member_no(slot) else {
        for written in written_here(work, slot) {
            add(
                due,
                &mut of_log.from_logs,
                (written, book.returned(written.position)),
            );
        }
        return Ok(Some((of_log, entries)));
    };
    let of = (work.shard(), member_no);
    // First what came since: most often it shows that all is done.
    while of_log.open.iter().any(|open| *open) {
        let rows = store::log::page_on(&mut *connection, of, of_log.through, READ_LEN).await?;
        entries += rows.len();
        for row in &rows {
            see(due, &mut of_log.open, &row.transaction()?);
            of_log.through = Position::new(row.position);
        }
        if i64::try_from(rows.len()) != Ok(READ_LEN) {
            break;
        }
        if entries >= READ_IN_BATCH_MAX {
            return Ok(None);
        }
    }
    if long.is_some() || !of_log.open.iter().any(|open| *open) {
        return Ok(Some((of_log, entries)));
    }
    // What came back in this batch is not stored yet.
    let here = |position| book.returned(position);
    let mut log = MemberLog::new(connection, of).await?;
    let read = log.read(connection, due, (READ_IN_BATCH_MAX, Some(of_log)), here);
    let Some(mut of_log) = read.await? else {
        return Ok(None);
    };
    for written in written_here(work, slot) {
        let back = here(written.position).or_else(|| log.returned.get(&written.position));
        add(due, &mut of_log.from_logs, (written, back));
    }
    Ok(Some((of_log, entries + log.entries)))
}

/// Adds what a transaction has for each version before which it stands.
fn add(
    due: &[DueBackfill],
    from_logs: &mut [FromLog],
    (recorded, returned): (&Transaction, Option<&Returned>),
) {
    for (due, from_log) in due.iter().zip(from_logs) {
        if recorded.position < due.begun.position {
            from_log.add(due.of(), (recorded, returned));
        }
    }
}

/// A member's log, as it is read.
struct MemberLog {
    of: (ShardId, i64),
    /// What has come back of the member's purchases.
    returned: HashMap<Position, Returned>,
    entries: usize,
}

impl MemberLog {
    async fn new(connection: &mut PgConnection, of: (ShardId, i64)) -> Result<Self, DatabaseError> {
        let mut returned = store::returns::of_member(&mut *connection, of).await?;
        store::returns::fill_in_parts(connection, of, &mut returned).await?;
        Ok(Self {
            of,
            returned,
            entries: 0,
        })
    }

    /// What it has for versions, where it is known what stands after they began, or else of all
    /// of it; `None` if it has more entries than are to be read.
    async fn read<'a>(
        &mut self,
        connection: &mut PgConnection,
        due: &[DueBackfill],
        (entries_max, known): (usize, Option<OfLog>),
        here: impl Fn(Position) -> Option<&'a Returned>,
    ) -> Result<Option<OfLog>, DatabaseError> {
        let is_known = known.is_some();
        let mut of_log = known.unwrap_or_else(|| OfLog {
            from_logs: vec![FromLog::default(); due.len()],
            open: vec![true; due.len()],
            through: Position::new(0),
            chain: Vec::new(),
        });
        let last = due
            .last()
            .map_or(Position::new(0), |due| due.begun.position);
        let mut after = Position::new(0);
        loop {
            let rows = store::log::page_on(&mut *connection, self.of, after, READ_LEN).await?;
            let is_last = i64::try_from(rows.len()) != Ok(READ_LEN);
            for row in rows {
                after = Position::new(row.position);
                if is_known && after >= last {
                    return Ok(Some(of_log));
                }
                self.entries += 1;
                let recorded = row.transaction()?;
                let back = here(after).or_else(|| self.returned.get(&after));
                add(due, &mut of_log.from_logs, (&recorded, back));
                if !is_known {
                    see(due, &mut of_log.open, &recorded);
                    (of_log.through, of_log.chain) = (after, row.chain);
                }
            }
            if is_last {
                return Ok(Some(of_log));
            }
            if self.entries >= entries_max {
                return Ok(None);
            }
        }
    }
}
