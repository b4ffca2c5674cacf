//! What a batch does with the ends of periods.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use fealty_ledger::{Cause, MemberBook, Moment, PeriodEnd, Transaction};
use fealty_postgres::{DatabaseError, PgConnection};
use fealty_program::{Program, ProgramVersion};
use fealty_rules::End;
use fealty_server::Programs;
use fealty_types::{ProgramId, ShardId, TierId, Timestamp};

use super::{
    due::DueEnd,
    known::{Ends, Standing},
};
use crate::{
    plan::{AskedEnd, end_of, plan_end, written_before},
    shard::{
        DUE_WITH_A_CHANGE, Driven, Interrupted, ReadOn, ShardWork, ended_key, key_of,
        store::{
            self,
            batch_read::{self, AskedTiers},
            versions::BegunVersion,
        },
    },
};

/// Something that may have come late.
pub(in crate::lane) struct Late<'a> {
    /// A version of the programme.
    pub(in crate::lane) applied: &'a ProgramVersion,
    /// When it was.
    pub(in crate::lane) at: Timestamp,
    /// The numbers that it moved.
    pub(in crate::lane) keys: Vec<u64>,
}

/// The ends of periods in a batch.
pub(in crate::lane) struct EndsOfBatch {
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
    pub(in crate::lane) async fn read(
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
                ends.note_none(shard, program, now);
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
    pub(in crate::lane) fn are_unknown(&self, program: &ProgramId) -> bool {
        self.unknown.contains(program)
    }

    /// Writes all ends that are due for a member, but for those that wait for its tier.
    pub(in crate::lane) async fn write(
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
            let tier = match written_before(&due.applied, due.end, work.book(slot)) {
                0 => self.tiers.get(&(slot, number)).cloned(),
                // It is corrected by the tier that counted.
                _ => tier_of(work, connection, slot, due).await?,
            };
            let now = self.newest(due);
            let end = (due, tier, &*now.program);
            let written = write_end(work, connection, slot, end, (moment, false));
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

    /// The newest version of the programme of an end.
    fn newest(&self, due: &DueEnd) -> ProgramVersion {
        let newest = self.programs.newest(&due.applied.program.id);
        newest.unwrap_or_else(|_| due.applied.clone())
    }

    /// Writes again the ends of the periods in which something was that came late.
    pub(in crate::lane) async fn correct(
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
            // Before all are, rules that read the wallet may still be asked for the first time.
            let is_over = through >= Some(again.end.at);
            let member = work.book(slot).member.clone();
            let tier = tier_of(work, connection, slot, &again).await?;
            loop {
                // It belongs to what was just written, however much is due before it.
                work.allow_due(usize::MAX);
                let again = (&again, tier.clone(), &*late.applied.program);
                let written = write_end(work, connection, slot, again, (moment, is_over));
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
        if late.keys.is_empty() {
            return Ok(ends);
        }
        for end in End::all_after(calendar, late.at, over) {
            let of = (shard, &program.id);
            let in_force = self.in_force(connection, programs, of, (version, end.at));
            let Some(applied) = in_force.await? else {
                continue;
            };
            let rules = &applied.program.earning.rules;
            if rules.end_reads(end, (late.at, &late.keys)) {
                ends.push(DueEnd { end, applied });
            }
        }
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
    (due, tier, newest): (&DueEnd, Option<TierId>, &Program),
    (moment, is_over): (Moment, bool),
) -> Result<Driven, Interrupted> {
    let (program, end) = (&due.applied.program, due.end);
    let rules = &program.earning.rules;
    let currencies = || rules.currencies_of_end(end.every);
    for currency in currencies() {
        let advanced = if is_over {
            // What waits for tiers now, the newest version says.
            let advanced = work.advance(connection, slot, newest, currency, moment);
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
        let end = (due, tier, newest);
        let again = write_end(work, connection, slot, end, (moment, true));
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
