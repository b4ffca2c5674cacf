//! Whether counters that count what was before they began come to what the log has.
//!
//! From the log's first entry on it is added up, for each version with such counters that is still
//! to begin in the shard, what they would count (`coming`). When it begins, that is held against what is
//! written for each member: before anything that reads the counters, and for all members before
//! the notice that says so.

use fealty_ledger::{Backfill, Cause, Command, Notice, Returned, Transaction};
use fealty_types::{Position, ProgramId, Timestamp};

use super::{
    Programs, VerifyError,
    coming::{ComesBack, Version},
    shard::Shard,
};
use crate::plan::is_backfilled_before;

impl Shard {
    /// What comes back with a transaction, where that is to be counted.
    pub(super) fn comes_back(&self, transaction: &Transaction) -> Option<ComesBack> {
        let Some(Command::Return(asked)) = transaction.command() else {
            return None;
        };
        if self.backfills.from_log.is_empty() {
            return None;
        }
        let original = self.originals.get(&asked.transaction)?.clone();
        let member = (transaction.program.clone(), transaction.member.clone());
        let known = self.members.get(&member)?;
        let before = known.book.returned(asked.transaction).cloned();
        let before = before.unwrap_or_else(|| Returned::nothing(original.moves()));
        Some(ComesBack { original, before })
    }

    /// Adds what a transaction records to what counters will count that begin later.
    pub(super) fn note_backfills(
        &mut self,
        transaction: &Transaction,
        comes_back: Option<&ComesBack>,
        programs: &Programs,
    ) {
        if self.backfills.from_log.is_empty() {
            return;
        }
        let member = (transaction.program.clone(), transaction.member.clone());
        let known = self.members.get(&member);
        let after = comes_back
            .zip(known)
            .and_then(|(back, known)| known.book.returned(back.original.position));
        let back = (comes_back, after);
        self.backfills.add(transaction, back, programs);
    }

    /// Checks that a member's counters are worked out before something moves or reads them;
    /// answers with what is to be written, if the transaction is that.
    pub(super) fn backfill(
        &mut self,
        transaction: &Transaction,
        programs: &Programs,
    ) -> Result<Option<Backfill>, VerifyError> {
        let (program, position) = (&transaction.program, transaction.position);
        let written = match &transaction.cause {
            Cause::Backfilled(backfilled) => Some(backfilled.program_version),
            _ => None,
        };
        let first = (program.clone(), 0)..=(program.clone(), u32::MAX);
        let open = self.backfills.open.range(first);
        let open: Vec<Version> = open.map(|(version, _)| version.clone()).collect();
        let is_open = |version| open.iter().any(|open| open.1 == version);
        if written.is_some_and(|written| !is_open(written)) {
            return Err(self.difference(position, "no counters were to be worked out"));
        }
        let in_force = self.versions.get(program);
        let in_force = in_force.and_then(|began| programs.get(&(program.clone(), began.version)));
        let is_asked =
            in_force.is_some_and(|applied| applied.program.earning.rules.has_backfilled());
        let member = (program.clone(), transaction.member.clone());
        for version in open {
            let is_last = written == Some(version.1);
            // The end of a period reads the counters of the version by which it is evaluated.
            let reads = match &transaction.cause {
                Cause::Ended(ended) => ended.program_version >= version.1,
                _ => is_backfilled_before(transaction, version.1),
            };
            if written.is_none() && !reads {
                continue;
            }
            let Some(known) = self.members.get(&member) else {
                continue;
            };
            let of_member = (&member.1, &known.book.counters, transaction.effective_at);
            let owed = self.backfills.owed(&version, of_member, programs);
            if let Some(open) = self.backfills.open.get_mut(&version)
                && !matches!(transaction.cause, Cause::Ended(_))
            {
                open.done.insert(member.1.clone());
            }
            match (is_last, owed) {
                (true, Some(owed)) => return Ok(Some(owed)),
                (true, None) => {
                    let what = "no counters of the member were to be worked out";
                    return Err(self.difference(position, what));
                }
                (false, Some(_)) if is_asked => {
                    return Err(self.difference(position, NOT_WORKED_OUT));
                }
                (false, _) => {}
            }
        }
        Ok(None)
    }

    /// Checks a notice that says that the counters up to a version are worked out for all.
    pub(super) fn counters_backfilled(
        &mut self,
        notice: &Notice,
        version: u32,
        programs: &Programs,
    ) -> Result<(), VerifyError> {
        let (program, position) = (&notice.program, notice.position);
        let last = (program.clone(), version);
        if !self.backfills.open.contains_key(&last) {
            return Err(self.difference(position, "no counters were to be worked out"));
        }
        let through = self.backfills.open.range((program.clone(), 0)..=last);
        let through: Vec<Version> = through.map(|(version, _)| version.clone()).collect();
        self.check_nobody_is_owed(notice, &through, programs)?;
        for version in through {
            self.backfills.open.remove(&version);
            self.backfills.from_log.remove(&version);
        }
        self.backfills.through.insert(program.clone(), version);
        Ok(())
    }

    /// Checks that the counters of versions are worked out for all members.
    fn check_nobody_is_owed(
        &self,
        notice: &Notice,
        versions: &[Version],
        programs: &Programs,
    ) -> Result<(), VerifyError> {
        let program = &notice.program;
        for version in versions {
            let of_program = self.members.iter().filter(|((of, _), _)| of == program);
            for ((_, member), known) in of_program {
                let of_member = (member, &known.book.counters, notice.written_at);
                if self.backfills.owed(version, of_member, programs).is_some() {
                    let what = format!("{NOT_WORKED_OUT}: {member}");
                    return Err(self.difference(notice.position, what));
                }
            }
        }
        Ok(())
    }

    /// Checks that counters are worked out for all before it is said that the ends of periods
    /// are written which read them: those after the versions began.
    pub(super) fn check_backfilled_before_ends(
        &self,
        notice: &Notice,
        through: Timestamp,
        programs: &Programs,
    ) -> Result<(), VerifyError> {
        let program = &notice.program;
        let begun = self.periods.begun.get(program).into_iter().flatten();
        let began = begun.filter(|(_, _, begun_at)| *begun_at < through);
        let began = began.map(|(version, ..)| (program.clone(), *version));
        let open: Vec<Version> = began
            .filter(|version| self.backfills.open.contains_key(version))
            .collect();
        let in_force = self.versions.get(program);
        let in_force = in_force.and_then(|began| programs.get(&(program.clone(), began.version)));
        if in_force.is_some_and(|applied| applied.program.earning.rules.has_backfilled()) {
            self.check_nobody_is_owed(notice, &open, programs)?;
        }
        Ok(())
    }

    /// Up to which version it is said to be done.
    pub(super) fn backfilled_through(&self, program: &ProgramId) -> u32 {
        let through = self.backfills.through.get(program);
        through.copied().unwrap_or_default()
    }

    /// Before the first entry, where it begins to look for counters that begin later.
    pub(super) fn looks_for_backfills(&mut self, programs: &Programs) -> bool {
        let is_first = self.position == Position::new(0);
        let versions = &self.versions;
        let in_force = |program: &ProgramId| versions.get(program).map(|began| began.version);
        self.backfills.look_for(programs, in_force, is_first)
    }
}

/// What is said where a member's counters were not worked out.
const NOT_WORKED_OUT: &str = "counters that count what was before are not worked out";
