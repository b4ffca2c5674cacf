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
//! it out, and when. What comes back later of a purchase from before, its return says.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use fealty_ledger::{Returned, Transaction};
use fealty_postgres::{DatabaseError, PgConnection};
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
/// Members of whom it is remembered that there is nothing to do, of a shard and a programme.
const DONE_MAX: usize = 100_000;

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

/// What an instance knows of a shard and a programme.
struct Known {
    /// The version in force, and up to which one all is done.
    version: BegunVersion,
    /// What is to be done for members who are not among those.
    due: Arc<[DueBackfill]>,
    done: HashSet<MemberId>,
}

/// What an instance knows of them.
#[derive(Clone, Default)]
pub(crate) struct Backfills {
    known: Arc<Mutex<HashMap<(ShardId, ProgramId), Known>>>,
}

impl Backfills {
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

    /// Whether there may be something to do for a member.
    pub(crate) fn are_open_for(
        &self,
        shard: ShardId,
        newest: &ProgramVersion,
        member: &MemberId,
    ) -> bool {
        self.are_open(shard, newest) && {
            let all = self.all();
            let known = all.get(&(shard, newest.program.id.clone()));
            let is_done = |known: &Known| {
                known.version.version == number(newest) && known.done.contains(member)
            };
            !known.is_some_and(is_done)
        }
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
        if let Some(known) = self
            .all()
            .get(&name)
            .filter(|known| known.version == version)
        {
            return Ok(Arc::clone(&known.due));
        }
        let due = read_due(connection, programs, (shard, program), version).await?;
        let known = Known {
            version,
            due: due.into(),
            done: HashSet::new(),
        };
        let due = Arc::clone(&known.due);
        self.all().insert(name, known);
        Ok(due)
    }

    /// Whether there is nothing to do for a member.
    fn is_done(&self, work: &ShardWork, slot: usize) -> bool {
        let book = work.book(slot);
        let all = self.all();
        let known = all.get(&(work.shard(), book.program.clone()));
        known.is_some_and(|known| known.done.contains(&book.member))
    }

    /// Notes that there is nothing to do for a member: what is stored says so.
    fn note_done(&self, work: &ShardWork, slot: usize) {
        let book = work.book(slot);
        let mut all = self.all();
        if let Some(known) = all.get_mut(&(work.shard(), book.program.clone()))
            && known.done.len() < DONE_MAX
        {
            known.done.insert(book.member.clone());
        }
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
    let missing = "a version of the programme is not to be had here";
    let mut due = Vec::new();
    let mut before: Option<ProgramVersion> = None;
    for (at, begun_version) in begun.iter().enumerate() {
        // The one before the first that is not done is read to see what is new.
        let next = begun.get(at + 1);
        let is_read = begun_version.version > in_force.backfilled
            || next.is_some_and(|next| next.version > in_force.backfilled);
        if !is_read {
            continue;
        }
        let applied = programs.version_in(&mut *connection, program, begun_version.version);
        let applied = applied.await?.ok_or(DatabaseError::Contended(missing))?;
        if let Some(before) = &before
            && begun_version.version > in_force.backfilled
        {
            let rules = &applied.program.earning.rules;
            let counters = rules.backfilled_since(&before.program.earning.rules);
            if !counters.is_empty() {
                due.push(DueBackfill {
                    begun: *begun_version,
                    applied: applied.clone(),
                    counters,
                });
            }
        }
        before = Some(applied);
    }
    Ok(due)
}

/// Works out the counters of a member that began with the version in force, or with one before
/// it, if that is not done; a version at hand that has such begins. Answers with how many entries
/// were read.
pub(crate) async fn write_backfills(
    work: &mut ShardWork,
    connection: &mut PgConnection,
    (backfills, programs): (&Backfills, &Programs),
    (slot, applied, now): (usize, &ProgramVersion, Timestamp),
) -> Result<usize, Interrupted> {
    if !applied.program.earning.rules.has_backfilled() {
        return Ok(0);
    }
    let program = &applied.program.id;
    work.begin_version(connection, applied).await?;
    let Some(version) = work.version(program) else {
        return Ok(0);
    };
    let of = (work.shard(), program);
    let due = backfills.due(connection, programs, of, version).await?;
    if due.is_empty() || backfills.is_done(work, slot) {
        return Ok(0);
    }
    let mut open: Vec<(&DueBackfill, FromLog)> = Vec::with_capacity(due.len());
    open.extend(due.iter().map(|due| (due, FromLog::default())));
    let entries = read_log(work, connection, slot, &mut open).await?;
    let mut is_written = false;
    for (due, from_log) in &open {
        let known = &work.book(slot).counters;
        if let Some(backfill) = from_log.backfill(due.of(), (known, now)) {
            is_written = true;
            work.apply_backfill(connection, slot, &backfill).await?;
        }
    }
    // What is written here may still not come to be.
    if !is_written {
        backfills.note_done(work, slot);
    }
    Ok(entries)
}

/// Reads a member's log, and adds what it has for each version before that began; those for which
/// it was done go. Answers with how many entries it has.
async fn read_log(
    work: &ShardWork,
    connection: &mut PgConnection,
    slot: usize,
    open: &mut Vec<(&DueBackfill, FromLog)>,
) -> Result<usize, DatabaseError> {
    let book = work.book(slot);
    let mut entries = 0;
    let mut returned: HashMap<Position, Returned> = HashMap::new();
    let mut done: HashSet<u32> = HashSet::new();
    let mut add = |recorded: &Transaction, returned: Option<&Returned>| {
        entries += 1;
        for (due, from_log) in &mut *open {
            let version = due.begun.version;
            if recorded.position < due.begun.position {
                from_log.add(due.of(), (recorded, returned));
            } else if is_backfilled_before(recorded, version) {
                done.insert(version);
            }
        }
    };
    if let Some(member_no) = work.member_no(slot) {
        let of = (work.shard(), member_no);
        returned = store::returns::of_member(&mut *connection, of).await?;
        let mut after = Position::new(0);
        loop {
            let rows = store::log::page_on(&mut *connection, of, after, READ_LEN).await?;
            let Some(last) = rows.last() else { break };
            after = Position::new(last.position);
            for row in &rows {
                let recorded = row.transaction()?;
                let here = book.returned(recorded.position);
                add(&recorded, here.or_else(|| returned.get(&recorded.position)));
            }
            if i64::try_from(rows.len()) != Ok(READ_LEN) {
                break;
            }
        }
    }
    // What is written in this batch is not stored yet.
    let is_own =
        |written: &&Transaction| written.program == book.program && written.member == book.member;
    for written in work.log().transactions().filter(is_own) {
        let here = book.returned(written.position);
        add(written, here.or_else(|| returned.get(&written.position)));
    }
    open.retain(|(due, _)| !done.contains(&due.begun.version));
    Ok(entries)
}
