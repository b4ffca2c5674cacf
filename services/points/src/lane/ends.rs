//! The ends of periods that are due in a shard: which, by which version of the programme, and
//! what each comes to for a member.
//!
//! An end belongs to a member, not to a wallet: whatever is done for the member after it, the end
//! is written before. For who does nothing the sweeper has it written, and then says in the log
//! that the ends up to that moment are written for all ([`fealty_ledger::Said::EndsWritten`]).
//! Between the moment and that notice each batch looks; else nobody has to.
//!
//! What a member's tier decides waits until that is known, an hour at the longest; the member's
//! requests do not wait for it.
//!
//! A purchase, an activity or a return that comes late counts in its own time. The ends of the
//! periods in which that was are evaluated again, by the version that was in force then, and the
//! difference is written in the same batch.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use fealty_ledger::{Cause, MemberBook, Moment, PeriodEnd, Transaction};
use fealty_postgres::{DatabaseError, PgConnection};
use fealty_program::ProgramVersion;
use fealty_rules::{End, Every};
use fealty_server::Programs;
use fealty_types::{MemberId, ProgramId, ShardId, TierId, Timestamp};

use crate::{
    plan::{AskedEnd, end_of, ends_due, plan_end, written_before},
    shard::{
        DUE_WITH_A_CHANGE, Driven, Interrupted, ReadOn, ShardWork, ended_key, key_of,
        store::{
            self,
            batch_read::{self, AskedTiers},
            versions::BegunVersion,
        },
    },
};

/// Ends that are worked off in one go, or a few more.
const ENDS_MAX: usize = 64;
/// Members of whom it is remembered that they were read, of a shard and a programme.
const READ_MAX: usize = 10_000;

/// The kinds of periods, from the shortest to the longest: their order at one instant.
const ALL: [Every; 5] = [
    Every::Day,
    Every::Week,
    Every::Month,
    Every::Quarter,
    Every::Year,
];

/// An end that is due, with the version of the programme that was in force just before.
#[derive(Clone, Debug)]
pub(crate) struct DueEnd {
    pub(crate) end: End,
    pub(crate) applied: ProgramVersion,
}

impl DueEnd {
    /// Whether it waits for members' tiers that are known up to a moment.
    pub(crate) fn waits(&self, moment: Moment) -> bool {
        self.applied.program.end_waits_for_tiers(self.end.every)
            && moment.tiers_known < self.end.last_instant()
    }

    /// The moment whose tier counts, where one does.
    pub(crate) fn tier_moment(&self) -> Option<Timestamp> {
        let waits = self.applied.program.end_waits_for_tiers(self.end.every);
        waits.then(|| self.end.last_instant())
    }
}

/// How far a shard is with a programme.
#[derive(Clone, Debug)]
struct Known {
    standing: Standing,
    /// All versions that began, in their order.
    history: Arc<[BegunVersion]>,
    /// The ends that are due, as far as was looked.
    due: Arc<[DueEnd]>,
    /// When the next one is after that; `None` where there is none to come.
    next: Option<Timestamp>,
    /// Members who were read since the first of those, for whom they were written then.
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

impl Ends {
    /// Whether there may be ends that are not written for all.
    pub(crate) fn are_open(
        &self,
        shard: ShardId,
        applied: &ProgramVersion,
        now: Timestamp,
    ) -> Open {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get(&(shard, applied.program.id.clone()));
        // Another version may have begun by somebody else.
        let Some(known) = known.filter(|known| known.is_of(applied)) else {
            return Open::Yes;
        };
        if let Some(first) = known.due.first() {
            return if first.waits(now.into()) {
                Open::Waits
            } else {
                Open::Yes
            };
        }
        match known.next {
            Some(next) if next <= now => Open::Yes,
            _ => Open::No,
        }
    }

    /// Whether somebody who reads a member's wallet is to have its ends written first.
    pub(crate) fn before_read(
        &self,
        shard: ShardId,
        applied: &ProgramVersion,
        (member, now): (&MemberId, Timestamp),
    ) -> bool {
        let has_ends = || applied.program.earning.rules.ends().next().is_some();
        if self.are_open(shard, applied, now) != Open::Yes {
            return false;
        }
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(&(shard, applied.program.id.clone())) {
            Some(known) if known.is_of(applied) => {
                let is_next_due = known.next.is_some_and(|next| next <= now);
                is_next_due || !known.read.contains(member)
            }
            _ => has_ends(),
        }
    }

    /// Notes that a member's are written that were due by a moment.
    pub(crate) fn note_read(&self, shard: ShardId, program: &ProgramId, member: &MemberId) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get_mut(&(shard, program.clone()))
            && known.read.len() < READ_MAX
        {
            known.read.insert(member.clone());
        }
    }

    /// Forgets what was known of a shard in which a version begins.
    pub(super) fn forget(&self, shard: ShardId, program: &ProgramId) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(&(shard, program.clone()));
    }

    fn get(&self, shard: ShardId, program: &ProgramId) -> Option<Known> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&(shard, program.clone())).cloned()
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
        {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = known.get(&name)
                && known.standing == standing
                && known.next.is_none_or(|next| next > now)
            {
                return Ok(Arc::clone(&known.due));
            }
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
        let (due, _) = ends_due(&versions, (standing.through, now), ENDS_MAX);
        let due = due.into_iter().map(|(at, end)| DueEnd {
            end,
            applied: versions[at].1.clone(),
        });
        let due: Arc<[DueEnd]> = due.collect();
        let newest = versions.last().map(|(_, applied)| applied);
        let known = Known {
            standing,
            history,
            due: Arc::clone(&due),
            next: newest.and_then(|newest| newest.program.earning.rules.next_end(now)),
            read: HashSet::new(),
        };
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(name, known);
        Ok(due)
    }

    /// All versions that began in a shard.
    async fn history(
        &self,
        connection: &mut PgConnection,
        (shard, program): (ShardId, &ProgramId),
        version: BegunVersion,
    ) -> Result<Arc<[BegunVersion]>, DatabaseError> {
        let known = self.get(shard, program);
        if let Some(known) = known.filter(|known| known.standing.version == version) {
            return Ok(known.history);
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
    async fn in_force(
        &self,
        connection: &mut PgConnection,
        programs: &Programs,
        (shard, program): (ShardId, &ProgramId),
        (version, moment): (BegunVersion, Timestamp),
    ) -> Result<Option<ProgramVersion>, DatabaseError> {
        let history = self.history(connection, (shard, program), version).await?;
        let mut begun = history.iter().rev();
        match begun.find(|begun| begun.begun_at < moment) {
            Some(begun) => {
                let applied = version_of(connection, programs, program, *begun).await?;
                Ok(Some(applied))
            }
            None => Ok(None),
        }
    }
}

impl Known {
    /// Whether the version in force is this one.
    fn is_of(&self, applied: &ProgramVersion) -> bool {
        i64::from(self.standing.version.version) == applied.version
    }
}

/// A version that is or was in force; without it nothing can be said of the ends under it.
async fn version_of(
    connection: &mut PgConnection,
    programs: &Programs,
    program: &ProgramId,
    begun: BegunVersion,
) -> Result<ProgramVersion, DatabaseError> {
    if let Ok(newest) = programs.newest(program)
        && newest.version == i64::from(begun.version)
    {
        return Ok(newest);
    }
    let found = programs
        .version_in(connection, program, begun.version)
        .await?;
    found.ok_or_else(|| {
        let version = begun.version;
        tracing::error!(%program, version, "a version that was in force cannot be read here");
        DatabaseError::Contended("a version of the programme is not to be had here")
    })
}

/// Something that may have come late.
pub(super) struct Late<'a> {
    /// A version of the programme.
    pub(super) applied: &'a ProgramVersion,
    /// When it was.
    pub(super) at: Timestamp,
    /// The numbers that it moved.
    pub(super) keys: Vec<u64>,
}

/// The ends of periods in a batch.
pub(super) struct EndsOfBatch {
    ends: Ends,
    programs: Programs,
    due: HashMap<ProgramId, Arc<[DueEnd]>>,
    /// Programmes of which that cannot be said here.
    unknown: HashSet<ProgramId>,
    /// Who had which tier, by the member's slot and the place of the end among those due.
    tiers: HashMap<(usize, usize), TierId>,
    /// Slots of the members for whom all are written.
    done: HashSet<usize>,
}

impl EndsOfBatch {
    /// Finds out which ends are due, and who had which tier then.
    pub(super) async fn read(
        connection: &mut PgConnection,
        (ends, programs): (&Ends, &Programs),
        work: &ShardWork,
        now: Timestamp,
    ) -> Result<Self, DatabaseError> {
        let mut batch = Self {
            ends: ends.clone(),
            programs: programs.clone(),
            due: HashMap::new(),
            unknown: HashSet::new(),
            tiers: HashMap::new(),
            done: HashSet::new(),
        };
        let shard = work.shard();
        let of_batch = (0..work.len()).map(|slot| &work.book(slot).program);
        let of_batch: BTreeSet<&ProgramId> = of_batch.collect();
        for program in of_batch {
            let Some(version) = work.version(program) else {
                continue;
            };
            let standing = Standing {
                version,
                through: work.ended_through(program),
            };
            let due = ends.due(connection, programs, (shard, program), standing, now);
            match due.await {
                Ok(due) if due.is_empty() => {}
                Ok(due) => {
                    batch.due.insert(program.clone(), due);
                }
                // Its members wait, the others need not.
                Err(DatabaseError::Contended(_)) => {
                    batch.unknown.insert(program.clone());
                }
                Err(error) => return Err(error),
            }
        }
        batch.read_tiers(connection, work).await?;
        Ok(batch)
    }

    async fn read_tiers(
        &mut self,
        connection: &mut PgConnection,
        work: &ShardWork,
    ) -> Result<(), DatabaseError> {
        let (mut asked, mut names) = (AskedTiers::default(), Vec::new());
        for slot in 0..work.len() {
            let MemberBook {
                program, member, ..
            } = work.book(slot);
            let due = self.due.get(program);
            let due = due.into_iter().flat_map(|due| due.iter());
            for (number, due) in due.enumerate() {
                if let Some(moment) = due.tier_moment() {
                    asked.push(program.to_string(), member.to_string(), moment);
                    names.push((slot, number));
                }
            }
        }
        if !asked.is_empty() {
            let found = batch_read::tiers(connection, work.shard(), &asked).await?;
            let found = found.into_iter().map(|(at, tier)| (names[at], tier));
            self.tiers = found.collect();
        }
        Ok(())
    }

    /// Whether nothing can be said of a programme's ends here, so its members wait.
    pub(super) fn are_unknown(&self, program: &ProgramId) -> bool {
        self.unknown.contains(program)
    }

    /// Writes all ends that are due for a member, but for those that wait for its tier.
    pub(super) async fn write(
        &mut self,
        work: &mut ShardWork,
        connection: &mut PgConnection,
        slot: usize,
        moment: Moment,
    ) -> Result<Driven, Interrupted> {
        let nothing = Driven::Done(work.log().next());
        let program = &work.book(slot).program;
        let due = self.due.get(program).cloned();
        let Some(due) = due.filter(|_| !self.done.contains(&slot)) else {
            return Ok(nothing);
        };
        for (number, due) in due.iter().enumerate() {
            if due.waits(moment) {
                return Ok(nothing);
            }
            let tier = self.tiers.get(&(slot, number)).cloned();
            let written = write_end(work, connection, slot, (due, tier), (moment, false));
            match written.await? {
                Driven::Done(_) => {}
                Driven::Refused(refusal) => {
                    let member = &work.book(slot).member;
                    tracing::error!(%refusal, %member, "the end of a period is refused");
                }
                Driven::MoreIsDue => return Ok(Driven::MoreIsDue),
            }
        }
        self.done.insert(slot);
        Ok(nothing)
    }

    /// Writes again the ends of the periods in which something was that came late.
    pub(super) async fn correct(
        &self,
        work: &mut ShardWork,
        connection: &mut PgConnection,
        slot: usize,
        (late, moment): (&Late<'_>, Moment),
    ) -> Result<(), Interrupted> {
        let (shard, program) = (work.shard(), &late.applied.program.id);
        let Some(version) = work.version(program) else {
            return Ok(());
        };
        let (ends, programs) = (&self.ends, &self.programs);
        // Another instance's clock may be ahead of this one's.
        let through = work.ended_through(program);
        let over = through.map_or(moment.now, |through| through.max(moment.now));
        let of_late = ends.of_late(connection, programs, (shard, version), late, over);
        for again in of_late.await? {
            // What is still to be written comes to all that there is by then.
            let due = self.due.get(program);
            let mut due = due.into_iter().flat_map(|due| due.iter());
            let is_written = through >= Some(again.end.at)
                || due.any(|due| due.end == again.end && !due.waits(moment));
            if !is_written {
                continue;
            }
            let member = work.book(slot).member.clone();
            let tier = tier_of(work, connection, slot, &again).await?;
            loop {
                // It belongs to what was just written, however much is due before it.
                work.allow_due(usize::MAX);
                let again = (&again, tier.clone());
                let written = write_end(work, connection, slot, again, (moment, true));
                match written.await? {
                    Driven::MoreIsDue => {}
                    Driven::Done(_) => break,
                    Driven::Refused(refusal) => {
                        tracing::error!(%refusal, %member, "the end of a period is refused");
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}

impl Ends {
    /// The ends of periods in which something was that came late, where they read what it
    /// moved.
    async fn of_late(
        &self,
        connection: &mut PgConnection,
        programs: &Programs,
        (shard, version): (ShardId, BegunVersion),
        late: &Late<'_>,
        over: Timestamp,
    ) -> Result<Vec<DueEnd>, DatabaseError> {
        let program = &late.applied.program;
        let calendar = program.earning.rules.calendar();
        let mut ends = Vec::new();
        if late.keys.is_empty() || End::after(calendar, Every::Day, late.at).at > over {
            return Ok(ends);
        }
        for every in ALL {
            let end = End::after(calendar, every, late.at);
            if end.at > over {
                continue;
            }
            let of = (shard, &program.id);
            let in_force = self.in_force(connection, programs, of, (version, end.at));
            let Some(applied) = in_force.await? else {
                continue;
            };
            let rules = &applied.program.earning.rules;
            // The calendar was another one, or nothing of it is read.
            let is_its_own = End::after(rules.calendar(), every, late.at) == end;
            if is_its_own && rules.end_counts(every, late.keys.iter().copied()) {
                ends.push(DueEnd { end, applied });
            }
        }
        ends.sort_unstable_by_key(|due| due.end);
        Ok(ends)
    }
}

/// Writes all that is due for all members of a shard at work, but for what waits; `false` if
/// that is more than can be written at once.
pub(crate) async fn write_all(
    work: &mut ShardWork,
    connection: &mut PgConnection,
    (ends, programs): (&Ends, &Programs),
    moment: Moment,
) -> Result<bool, Interrupted> {
    let mut batch = EndsOfBatch::read(connection, (ends, programs), work, moment.now).await?;
    for slot in 0..work.len() {
        work.allow_due(DUE_WITH_A_CHANGE);
        if let Driven::MoreIsDue = batch.write(work, connection, slot, moment).await? {
            return Ok(false);
        }
    }
    Ok(batch.unknown.is_empty())
}

/// Writes an end for a member, if it comes to anything.
async fn write_end(
    work: &mut ShardWork,
    connection: &mut PgConnection,
    slot: usize,
    (due, tier): (&DueEnd, Option<TierId>),
    (moment, is_over): (Moment, bool),
) -> Result<Driven, Interrupted> {
    let (program, end) = (&due.applied.program, due.end);
    let rules = &program.earning.rules;
    let currencies = || rules.currencies_of_end(end.every);
    for currency in currencies() {
        let advanced = if is_over {
            let advanced = work.advance(connection, slot, program, currency, moment);
            advanced.await?
        } else {
            let until = (end.at, moment.tiers_known);
            let of = (&**program, currency);
            let advanced = work.advance_to_end(connection, slot, of, until);
            advanced.await?
        };
        if let Driven::MoreIsDue = advanced {
            return Ok(advanced);
        }
    }
    let at = if is_over { moment.now } else { end.at };
    let at = fealty_ledger::end_takes_effect(work.book(slot), currencies(), at);
    let asked = AskedEnd { end, is_over, at };
    let planned = match plan_end(&due.applied, asked, (work.book(slot), tier.clone())) {
        Ok(Some(planned)) => planned,
        Ok(None) => return Ok(Driven::Done(work.log().next())),
        Err(error) => {
            let member = &work.book(slot).member;
            tracing::error!(%error, %member, "the end of a period cannot be worked out");
            return Ok(Driven::Done(work.log().next()));
        }
    };
    if planned.ended.again && !is_over {
        // It was written before, so it takes effect now, and what is due by now comes before.
        let again = write_end(work, connection, slot, (due, tier), (moment, true));
        return Box::pin(again).await;
    }
    let planned = with_what_was_before(work, connection, slot, planned).await?;
    work.apply_end(connection, slot, (&planned, at)).await
}

/// Adds what was written of the same end before, where points of it are taken back.
async fn with_what_was_before(
    work: &mut ShardWork,
    connection: &mut PgConnection,
    slot: usize,
    mut planned: PeriodEnd,
) -> Result<PeriodEnd, Interrupted> {
    if planned.takes.is_empty() {
        return Ok(planned);
    }
    if work.read_on() == ReadOn::Never {
        return Err(Interrupted::NeedsLock);
    }
    let MemberBook {
        program, member, ..
    } = work.book(slot);
    let (program, member) = (program.clone(), member.clone());
    for number in (0..planned.ended.number).rev() {
        let name = (planned.ended.of, planned.ended.ends_at, number);
        let key = ended_key(&program, &member, name);
        let before = written(work, connection, key).await?;
        planned.before.push(before);
    }
    work.read_for_end(connection, slot, &planned).await?;
    Ok(planned)
}

/// What was written under a key: here, or before.
async fn written(
    work: &ShardWork,
    connection: &mut PgConnection,
    key: uuid::Uuid,
) -> Result<Transaction, DatabaseError> {
    let here = work.log().transactions().rev();
    let mut here = here.filter(|written| key_of(written) == Some(key));
    if let Some(written) = here.next() {
        return Ok(written.clone());
    }
    let row = store::log::by_request(&mut *connection, work.shard(), key).await?;
    let missing = DatabaseError::Broken("an earlier end of the period is missing");
    row.ok_or(missing)?.transaction()
}

/// The tier that counts for an end that is written once more: the one that did before, else the
/// one that the member had at the last instant of the period.
async fn tier_of(
    work: &ShardWork,
    connection: &mut PgConnection,
    slot: usize,
    due: &DueEnd,
) -> Result<Option<TierId>, DatabaseError> {
    let Some(moment) = due.tier_moment() else {
        return Ok(None);
    };
    let MemberBook {
        program, member, ..
    } = work.book(slot);
    if let Some(number) = written_before(&due.applied, due.end, work.book(slot)).checked_sub(1) {
        let name = (end_of(due.end.every), due.end.at, number);
        let before = written(work, connection, ended_key(program, member, name)).await?;
        if let Cause::Ended(before) = before.cause {
            return Ok(before.facts.tier);
        }
    }
    let mut asked = AskedTiers::default();
    asked.push(program.to_string(), member.to_string(), moment);
    let found = batch_read::tiers(connection, work.shard(), &asked).await?;
    Ok(found.into_iter().next().map(|(_, tier)| tier))
}
