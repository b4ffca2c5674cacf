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

use fealty_ledger::{MemberBook, Moment, PeriodEnd, Transaction};
use fealty_postgres::{DatabaseError, PgConnection};
use fealty_program::ProgramVersion;
use fealty_rules::{End, Every};
use fealty_server::Programs;
use fealty_types::{MemberId, ProgramId, ShardId, TierId, Timestamp};

use crate::{
    plan::{AskedEnd, ends_due, plan_end},
    shard::{
        Driven, Interrupted, ReadOn, ShardWork, ended_key, key_of,
        store::{
            self,
            batch_read::{self, AskedTiers},
            versions::BegunVersion,
        },
    },
};

/// Ends that are worked off in one go.
const ENDS_MAX: usize = 64;

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
    /// The version in force when that was looked at.
    version: BegunVersion,
    /// Up to when all ends are written.
    through: Option<Timestamp>,
    /// All versions that began, in their order.
    history: Arc<[BegunVersion]>,
    /// When the first end that is not written is; `None` where there is none to come.
    next: Option<Timestamp>,
}

/// What an instance knows of the ends of periods.
#[derive(Clone, Default)]
pub(crate) struct Ends {
    known: Arc<Mutex<HashMap<(ShardId, ProgramId), Known>>>,
}

/// How far a shard is: the version in force, and up to when all ends are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    pub(crate) version: BegunVersion,
    pub(crate) through: Option<Timestamp>,
}

impl Ends {
    /// Whether there may be ends that are not written for all: then whoever reads has the
    /// member's written first.
    pub(crate) fn are_open(
        &self,
        shard: ShardId,
        applied: &ProgramVersion,
        now: Timestamp,
    ) -> bool {
        match self.get(shard, &applied.program.id) {
            Some(known) => known.next.is_some_and(|next| next <= now),
            None => applied.program.earning.rules.ends().next().is_some(),
        }
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
    ) -> Result<Vec<DueEnd>, DatabaseError> {
        let Standing { version, through } = standing;
        let known = self.get(shard, program);
        let is_known = |known: &Known| (known.version, known.through) == (version, through);
        if let Some(known) = known.as_ref().filter(|known| is_known(known))
            && known.next.is_none_or(|next| next > now)
        {
            return Ok(Vec::new());
        }
        let history = self.history(connection, (shard, program), version).await?;
        let mut versions = Vec::with_capacity(history.len());
        for begun in &*history {
            let applied = version_of(connection, programs, program, *begun).await?;
            versions.extend(applied.map(|applied| (begun.begun_at, applied)));
        }
        let (due, next) = ends_due(&versions, (through, now), ENDS_MAX);
        let due = due.into_iter().map(|(at, end)| DueEnd {
            end,
            applied: versions[at].1.clone(),
        });
        let due = due.collect();
        let known = Known {
            version,
            through,
            history,
            next,
        };
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert((shard, program.clone()), known);
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
        if let Some(known) = known.filter(|known| known.version == version) {
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
            Some(begun) => version_of(connection, programs, program, *begun).await,
            None => Ok(None),
        }
    }
}

async fn version_of(
    connection: &mut PgConnection,
    programs: &Programs,
    program: &ProgramId,
    begun: BegunVersion,
) -> Result<Option<ProgramVersion>, DatabaseError> {
    if let Ok(newest) = programs.newest(program)
        && newest.version == i64::from(begun.version)
    {
        return Ok(Some(newest));
    }
    let found = programs
        .version_in(connection, program, begun.version)
        .await?;
    if found.is_none() {
        let version = begun.version;
        tracing::error!(%program, version, "a version that was in force cannot be read");
    }
    Ok(found)
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
    due: HashMap<ProgramId, Vec<DueEnd>>,
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
            let due = due.await?;
            if !due.is_empty() {
                batch.due.insert(program.clone(), due);
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
            let due = self.due.get(program).into_iter().flatten().enumerate();
            for (number, due) in due {
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

    /// Writes all ends that are due for a member, but for those that wait for its tier.
    pub(super) async fn write(
        &mut self,
        work: &mut ShardWork,
        connection: &mut PgConnection,
        slot: usize,
        moment: Moment,
    ) -> Result<Driven, Interrupted> {
        let nothing = Driven::Done(work.log().next());
        let due = self.due.get(&work.book(slot).program);
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
                    return Ok(Driven::Refused(refusal));
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
        let of_late = ends.of_late(connection, programs, (shard, version), late, moment.now);
        for again in of_late.await? {
            // What is still to be written comes to all that there is by then.
            let mut due = self.due.get(program).into_iter().flatten();
            let is_written = work.ended_through(program) >= Some(again.end.at)
                || due.any(|due| due.end == again.end && !due.waits(moment));
            if !is_written {
                continue;
            }
            let member = work.book(slot).member.clone();
            let tier = tier_at(connection, shard, (program, &member), &again).await?;
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
        now: Timestamp,
    ) -> Result<Vec<DueEnd>, DatabaseError> {
        let program = &late.applied.program;
        let calendar = program.earning.rules.calendar();
        let mut ends = Vec::new();
        if late.keys.is_empty() || End::after(calendar, Every::Day, late.at).at > now {
            return Ok(ends);
        }
        for every in ALL {
            let end = End::after(calendar, every, late.at);
            if end.at > now {
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
    let tier = tier.filter(|_| due.tier_moment().is_some());
    let planned = match plan_end(&due.applied, asked, (work.book(slot), tier)) {
        Ok(Some(planned)) => planned,
        Ok(None) => return Ok(Driven::Done(work.log().next())),
        Err(error) => {
            let member = &work.book(slot).member;
            tracing::error!(%error, %member, "the end of a period cannot be worked out");
            return Ok(Driven::Done(work.log().next()));
        }
    };
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

/// A member's tier at the last instant of a period, where that decides something.
async fn tier_at(
    connection: &mut PgConnection,
    shard: ShardId,
    (program, member): (&ProgramId, &MemberId),
    due: &DueEnd,
) -> Result<Option<TierId>, DatabaseError> {
    let Some(moment) = due.tier_moment() else {
        return Ok(None);
    };
    let mut asked = AskedTiers::default();
    asked.push(program.to_string(), member.to_string(), moment);
    let found = batch_read::tiers(connection, shard, &asked).await?;
    Ok(found.into_iter().next().map(|(_, tier)| tier))
}
