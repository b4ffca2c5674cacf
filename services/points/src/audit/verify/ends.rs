//! Whether the ends of periods are written as they must be: each by the version that was in force
//! just before, all of them, and again where something came late.
//!
//! Which tier a member had at an end the log does not say where the end came to nothing. So of
//! ends whose rules read the tier it is only checked that what is written is right.

use fealty_ledger::{
    Cause, EndOf, Ended, Log, MemberBook, Notice, PeriodEnd, Stamp, Transaction, apply_end,
    end_takes_effect,
};
use fealty_program::ProgramVersion;
use fealty_rules::{End, Every};
use fealty_types::{Position, ProgramId, Timestamp};

use super::{Programs, VerifyError, periods::EndName, shard::Shard};
use crate::plan::{AskedEnd, end_of, ends_due, every, plan_end};

/// Ends that one notice may be of.
const ENDS_MAX: usize = 100_000;

impl Shard {
    /// Notes that a version begins.
    pub(super) fn note_version(&mut self, notice: &Notice, version: u32) {
        let begun = self.periods.begun.entry(notice.program.clone());
        let begun = begun.or_default();
        begun.push((version, notice.position, notice.written_at));
    }

    /// The version that was in force just before a moment.
    fn in_force<'a>(
        &self,
        program: &ProgramId,
        moment: Timestamp,
        programs: &'a Programs,
    ) -> Option<&'a ProgramVersion> {
        let begun = self.periods.begun.get(program)?;
        let mut begun = begun.iter().rev();
        let (version, ..) = begun.find(|(_, _, begun_at)| *begun_at < moment)?;
        programs.get(&(program.clone(), *version))
    }

    /// The transaction that is to be read before the end of a period is checked: what was
    /// written of the same end before, where points are taken back.
    pub(super) fn needed_for_end(&self, transaction: &Transaction) -> Option<Position> {
        let Cause::Ended(ended) = &transaction.cause else {
            return None;
        };
        if ended.taken_back.parts.is_empty() {
            return None;
        }
        let before = self.written_before(transaction, ended);
        let is_read = |at: &&Position| self.originals.contains_key(at);
        before.iter().find(|at| !is_read(at)).copied()
    }

    fn written_before(&self, transaction: &Transaction, ended: &Ended) -> Vec<Position> {
        let member = (transaction.program.clone(), transaction.member.clone());
        let written = self.periods.written.get(&member);
        let written = written.and_then(|ends| ends.get(&(ended.of, ended.ends_at)));
        written.cloned().unwrap_or_default()
    }

    /// What the end of a period comes to, worked out again.
    pub(super) fn period_end(
        &mut self,
        transaction: &Transaction,
        programs: &Programs,
    ) -> Result<Option<PeriodEnd>, VerifyError> {
        let Cause::Ended(ended) = &transaction.cause else {
            return Ok(None);
        };
        let (program, position) = (&transaction.program, transaction.position);
        let different = |what: &str| Err(self.difference(position, what));
        let end = end(ended.of, ended.ends_at);
        let Some(applied) = self.in_force(program, end.at, programs) else {
            return different("no programme version was in force when the period ended");
        };
        let calendar = applied.program.earning.rules.calendar();
        if End::after(calendar, end.every, end.last_instant()) != end {
            return different("no period ended then");
        }
        if self.periods.through.get(program) >= Some(&end.at) && !ended.again {
            return different("the ends of the period were said to be written for all before");
        }
        if end.at > transaction.written_at {
            return different("the period has not ended yet");
        }
        let member = (program.clone(), transaction.member.clone());
        let Some(known) = self.members.get(&member) else {
            return different("the member is not known");
        };
        let rules = &applied.program.earning.rules;
        let first = end_takes_effect(&known.book, rules.currencies_of_end(end.every), end.at);
        if !ended.again && first != transaction.effective_at {
            return different("the end of a period took effect at another time");
        }
        let asked = AskedEnd {
            end,
            is_over: ended.again,
            at: transaction.effective_at,
        };
        let first = AskedEnd {
            is_over: false,
            at: first,
            ..asked
        };
        let is_said = self.periods.through.get(program) >= Some(&end.at);
        if ended.again
            && !is_said
            && let Ok(Some(first)) = plan_end(applied, first, (&known.book, None))
            && !first.ended.converted.is_empty()
        {
            return different("rules that read the wallet are left out");
        }
        let planned = plan_end(applied, asked, (&known.book, ended.facts.tier.clone()));
        let planned = planned.map_err(|error| self.difference(position, error.to_string()))?;
        let Some(mut planned) = planned else {
            return different("nothing comes of the end of the period");
        };
        if !planned.takes.is_empty() {
            for at in self.written_before(transaction, ended).iter().rev() {
                planned.before.extend(self.originals.remove(at));
            }
        }
        Ok(Some(planned))
    }

    /// Notes what was written of the end of a period, and which ends come to something else
    /// by what a transaction records.
    pub(super) fn note_ends(&mut self, transaction: &Transaction, programs: &Programs) {
        let member = (transaction.program.clone(), transaction.member.clone());
        if let Cause::Ended(ended) = &transaction.cause {
            let ends = self.periods.written.entry(member).or_default();
            let name = (ended.of, ended.ends_at);
            ends.entry(name).or_default().push(transaction.position);
            return;
        }
        let Some(at) = transaction.happened_at() else {
            return;
        };
        let owed = self.owed(transaction, at, programs);
        if !owed.is_empty() {
            self.periods.owed.insert(member, owed);
        }
    }

    /// The ends that come to something else by what a transaction records that was at a
    /// moment.
    fn owed(&self, transaction: &Transaction, at: Timestamp, programs: &Programs) -> Vec<EndName> {
        let program = &transaction.program;
        let Some(through) = self.periods.through.get(program).copied() else {
            return Vec::new();
        };
        let now = transaction.effective_at;
        let member = (program.clone(), transaction.member.clone());
        let Some(known) = self.members.get(&member) else {
            return Vec::new();
        };
        let newest = self.versions.get(program);
        let newest = newest.and_then(|newest| programs.get(&(program.clone(), newest.version)));
        let Some(newest) = newest else {
            return Vec::new();
        };
        let calendar = newest.program.earning.rules.calendar();
        let ends = End::all_after(calendar, at, through).into_iter();
        let owed = ends.filter(|end| {
            self.in_force(program, end.at, programs)
                .is_some_and(|applied| {
                    let rules = &applied.program.earning.rules;
                    rules.end_reads(*end, (at, &self.moved))
                        && self.is_missing((applied, *end), &known.book, (true, now))
                })
        });
        owed.map(|end| (end_of(end.every), end.at)).collect()
    }

    /// Whether an end comes to something that is not written, as far as the log tells.
    fn is_missing(
        &self,
        (applied, end): (&ProgramVersion, End),
        book: &MemberBook,
        (is_over, now): (bool, Timestamp),
    ) -> bool {
        if applied.program.end_waits_for_tiers(end.every) {
            return false;
        }
        let currencies = applied.program.earning.rules.currencies_of_end(end.every);
        let at = if is_over { now } else { end.at };
        let asked = AskedEnd {
            end,
            is_over,
            at: end_takes_effect(book, currencies, at),
        };
        // What cannot be worked out, or is refused, comes to nothing.
        let Ok(Some(planned)) = plan_end(applied, asked, (book, None)) else {
            return false;
        };
        let stamp = Stamp {
            written_at: asked.at,
            seed: [0; 32],
        };
        let mut log = Log::new(self.shard, self.position.next(), stamp);
        let planned = PeriodEnd {
            // Whether it could be taken back does not matter here.
            takes: Vec::new(),
            ..planned
        };
        apply_end(&mut book.clone(), &planned, asked.at, &mut log).is_ok()
    }

    /// Checks that what came late has had the ends of its periods evaluated again, before
    /// anything else is written for the member.
    pub(super) fn check_owed(&mut self, transaction: &Transaction) -> Result<(), VerifyError> {
        let member = (transaction.program.clone(), transaction.member.clone());
        let Some(owed) = self.periods.owed.get_mut(&member) else {
            return Ok(());
        };
        match &transaction.cause {
            Cause::Ended(ended) if owed.first() == Some(&(ended.of, ended.ends_at)) => {
                owed.remove(0);
            }
            // What is due comes before; of ends that go by the tier it is not known beforehand.
            Cause::Due(_) | Cause::Ended(_) => return Ok(()),
            _ => return Err(self.difference(transaction.position, NOT_AGAIN)),
        }
        if owed.is_empty() {
            self.periods.owed.remove(&member);
        }
        Ok(())
    }

    /// Checks that nothing is owed at the end of the log.
    pub(super) fn check_nothing_owed(&self) -> Result<(), VerifyError> {
        if self.periods.owed.is_empty() {
            return Ok(());
        }
        Err(self.difference(self.position, NOT_AGAIN))
    }

    /// Checks a notice that says that the ends up to a moment are written for all.
    pub(super) fn ends_written(
        &mut self,
        notice: &Notice,
        through: Timestamp,
        programs: &Programs,
    ) -> Result<(), VerifyError> {
        let (program, position) = (&notice.program, notice.position);
        let before = self.periods.through.get(program).copied();
        if before >= Some(through) {
            return Err(self.difference(position, "it was said before"));
        }
        let begun = self.periods.begun.get(program).into_iter().flatten();
        let begun = begun.filter_map(|(version, _, begun_at)| {
            let applied = programs.get(&(program.clone(), *version))?;
            Some((*begun_at, Some(applied.clone())))
        });
        let versions: Vec<(Timestamp, Option<ProgramVersion>)> = begun.collect();
        let due = ends_due(&versions, (before, through), ENDS_MAX);
        if due.last().is_none_or(|(_, end)| end.at != through) {
            return Err(self.difference(position, "no period ended then"));
        }
        if through > notice.written_at {
            return Err(self.difference(position, "the period has not ended yet"));
        }
        for (version, end) in due {
            let of_program = self.members.iter().filter(|((of, _), _)| of == program);
            for ((_, member), known) in of_program {
                let Some(applied) = &versions[version].1 else {
                    continue;
                };
                let of = (applied, end);
                if self.is_missing(of, &known.book, (false, end.at)) {
                    let what = format!(
                        "the end of a {} is not written for {member}",
                        end_of(end.every).name()
                    );
                    return Err(self.difference(position, what));
                }
            }
        }
        self.periods.through.insert(program.clone(), through);
        Ok(())
    }
}

/// What is said where an end was not evaluated again.
const NOT_AGAIN: &str = "what came late changes the end of a period, and that is not written";

fn end(of: EndOf, at: Timestamp) -> End {
    let every: Every = every(of);
    End { at, every }
}
