//! The ends of periods in a log that is played: as a lane writes them, in memory.

use std::collections::BTreeMap;

use fealty_ledger::{Cause, EndOf, Ended, Log, Moment, Request, Stop, Transaction};
use fealty_postgres::DatabaseError;
use fealty_program::ProgramVersion;
use fealty_rules::End;
use fealty_types::{TierId, Timestamp};

use super::{Known, Replay, let_tiers_decide, stopped};
use crate::{
    plan::{AskedEnd, end_of, ends_due, plan_end, written_before},
    shard::number,
};

/// Ends that are worked off in one go.
const ENDS_MAX: usize = 100_000;

/// The ends of a member's periods, as far as they were played.
#[derive(Debug)]
pub(super) struct EndsOfMember {
    /// Up to when all are written.
    through: Option<Timestamp>,
    /// What was written of each.
    written: BTreeMap<(EndOf, Timestamp), Vec<Transaction>>,
}

impl EndsOfMember {
    /// Nothing ended for the member up to a moment.
    pub(super) fn from(through: Option<Timestamp>) -> Self {
        Self {
            through,
            written: BTreeMap::new(),
        }
    }
}

/// Which ends have passed, whoever's they are.
#[derive(Debug, Default)]
pub(super) struct PassedEnds {
    last: Option<Timestamp>,
    /// When the next is; none, where there is none to come.
    next: Option<Timestamp>,
    /// Whether it was looked when that is.
    is_known: bool,
}

impl PassedEnds {
    /// When the last was.
    pub(super) fn last(&self) -> Option<Timestamp> {
        self.last
    }

    /// Has it looked again when the next is.
    pub(super) fn look_again(&mut self) {
        self.is_known = false;
    }
}

/// An end, and how it is written.
struct Written<'a> {
    end: End,
    applied: &'a ProgramVersion,
    tier: Option<TierId>,
    moment: Moment,
    is_over: bool,
}

impl Replay {
    /// Notes which ends have passed by a moment.
    fn pass_ends(&mut self, now: Timestamp) {
        if self.passed.is_known && self.passed.next.is_none_or(|next| next > now) {
            return;
        }
        let due = ends_due(&self.in_force, (self.passed.last, now), ENDS_MAX);
        let last = due.last().map(|(_, end)| end.at);
        self.passed.last = self.passed.last.max(last);
        let applied = self.in_force.last();
        let applied = applied.and_then(|(_, applied)| applied.as_ref());
        self.passed.next = applied.and_then(|applied| applied.program.earning.rules.next_end(now));
        self.passed.is_known = true;
    }

    /// Writes the ends that are due for a member, but for those that wait for its tier. `told`
    /// is one that the log has: by then the tier was known.
    pub(super) fn write_ends(
        &mut self,
        known: &mut Known,
        moment: Moment,
        told: Option<&Ended>,
        log: &mut Log,
    ) -> Result<(), DatabaseError> {
        self.backfill(known, moment.now, log)?;
        self.pass_ends(moment.now);
        if known.ends.through >= self.passed.last {
            return Ok(());
        }
        let until = (known.ends.through, moment.now);
        let due = ends_due(&self.in_force, until, ENDS_MAX);
        for (at, (version, end)) in due.iter().copied().enumerate() {
            let Some(applied) = self.in_force[version].1.clone() else {
                continue;
            };
            let waits = applied.program.end_waits_for_tiers(end.every)
                && moment.tiers_known < end.last_instant();
            if waits {
                return Ok(());
            }
            let tier = self.tier_at_end(known, (&applied, end), told);
            let written = Written {
                end,
                applied: &applied,
                tier,
                moment,
                is_over: false,
            };
            self.write_end(known, written, log)?;
            let next = due.get(at + 1);
            if next.is_none_or(|(_, next)| next.at > end.at) {
                known.ends.through = Some(end.at);
            }
        }
        Ok(())
    }

    /// The tier that counts for an end: the one that did before, else the one of its last
    /// instant.
    fn tier_at_end(
        &mut self,
        known: &Known,
        (applied, end): (&ProgramVersion, End),
        told: Option<&Ended>,
    ) -> Option<TierId> {
        if !applied.program.end_waits_for_tiers(end.every) {
            return None;
        }
        let name = (end_of(end.every), end.at);
        if written_before(applied, end, &known.book) > 0
            && let Some(Cause::Ended(before)) = known
                .ends
                .written
                .get(&name)
                .and_then(|written| written.last())
                .map(|written| &written.cause)
        {
            return before.facts.tier.clone();
        }
        let is_told = |told: &&Ended| (told.of, told.ends_at) == name;
        match told
            .filter(is_told)
            .filter(|_| self.tiers.are_told() || !self.is_tried)
        {
            Some(told) => told.facts.tier.clone(),
            None => self.tiers.at(&known.book.member, end.last_instant()),
        }
    }

    fn write_end(
        &self,
        known: &mut Known,
        asked: Written<'_>,
        log: &mut Log,
    ) -> Result<(), DatabaseError> {
        let (end, applied, moment) = (asked.end, asked.applied, asked.moment);
        let rules = &applied.program.earning.rules;
        let newest = self.applied()?;
        for currency in rules.currencies_of_end(end.every) {
            let book = &mut known.book;
            let advanced = if asked.is_over {
                let_tiers_decide(Some(&newest.program), book);
                fealty_ledger::advance(book, currency, moment, log)
            } else {
                let_tiers_decide(Some(&applied.program), book);
                let until = (end.at, moment.tiers_known);
                fealty_ledger::advance_to_end(book, currency, until, log)
            };
            advanced.map_err(|_| stopped())?;
        }
        let at = if asked.is_over { moment.now } else { end.at };
        let currencies = rules.currencies_of_end(end.every);
        let at = fealty_ledger::end_takes_effect(&known.book, currencies, at);
        let how = AskedEnd {
            end,
            is_over: asked.is_over,
            at,
        };
        // What cannot be worked out comes to nothing, as where it was recorded.
        let Ok(Some(mut planned)) = plan_end(applied, how, (&known.book, asked.tier.clone()))
        else {
            return Ok(());
        };
        if planned.ended.again && !asked.is_over {
            let again = Written {
                is_over: true,
                ..asked
            };
            return self.write_end(known, again, log);
        }
        let written = known.ends.written.entry((planned.ended.of, end.at));
        let written = written.or_default();
        if !planned.takes.is_empty() {
            planned.before = written.iter().rev().cloned().collect();
        }
        match fealty_ledger::apply_end(&mut known.book, &planned, at, log) {
            Ok(()) => {
                written.extend(log.transactions().next_back().cloned());
                Ok(())
            }
            Err(Stop::Refused(_)) => Ok(()),
            Err(_) => Err(stopped()),
        }
    }

    /// Writes again the ends of the periods in which something was that came late.
    pub(super) fn correct(
        &mut self,
        known: &mut Known,
        (request, now): (&Request, Timestamp),
        log: &mut Log,
    ) -> Result<(), DatabaseError> {
        let made = log.transactions().next_back();
        let at = made.and_then(Transaction::happened_at);
        let keys: Vec<u64> = request
            .counter_moves
            .iter()
            .map(|moved| moved.key)
            .collect();
        let (Some(at), Some(through), false) = (at, known.ends.through, keys.is_empty()) else {
            return Ok(());
        };
        let applied = self.applied()?;
        let calendar = applied.program.earning.rules.calendar();
        for end in End::all_after(calendar, at, through) {
            let Some(applied) = self.in_force_before(end.at) else {
                continue;
            };
            let rules = &applied.program.earning.rules;
            if !rules.end_reads(end, (at, &keys)) {
                continue;
            }
            let tier = self.tier_at_end(known, (&applied, end), None);
            // Before all have theirs, rules that read the wallet may still be asked.
            let is_said = self.ended_through >= Some(end.at);
            let is_over = is_said || !self.log_says_ends(&applied);
            let written = Written {
                end,
                applied: &applied,
                tier,
                moment: now.into(),
                is_over,
            };
            self.write_end(known, written, log)?;
        }
        Ok(())
    }

    /// Whether the log says when the ends under a version are written for all: it does for those
    /// that were in force.
    fn log_says_ends(&self, applied: &ProgramVersion) -> bool {
        self.versions.recorded.contains_key(&number(applied))
    }

    /// The version that was in force just before a moment.
    fn in_force_before(&self, moment: Timestamp) -> Option<ProgramVersion> {
        let mut began = self.in_force.iter().rev();
        let found = began.find(|(began_at, _)| *began_at < moment)?;
        found.1.clone()
    }
}
