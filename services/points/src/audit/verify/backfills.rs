//! Whether counters that count what was before they began come to what the log has.
//!
//! From the log's first entry on it is added up, for each version with such counters that is still
//! to begin in the shard, what they would count. When it begins, that is held against what is
//! written for each member: before anything that reads the counters, and for all members before
//! the notice that says so.

use std::collections::{BTreeMap, BTreeSet};

use borsh::{BorshDeserialize, BorshSerialize};
use fealty_ledger::{Backfill, Cause, Command, Counters, Notice, Returned, Transaction};
use fealty_program::ProgramVersion;
use fealty_rules::BackfilledCounters;
use fealty_types::{MemberId, Position, ProgramId, Timestamp};

use super::{Programs, VerifyError, shard::Shard};
use crate::plan::{FromLog, is_backfilled_before};

/// A version of a programme.
type Version = (ProgramId, u32);

/// A version that has begun, and whose counters are not yet said to be worked out for all.
#[derive(Debug, BorshSerialize, BorshDeserialize)]
struct Open {
    /// The version that was in force before.
    before: u32,
    /// Members for whom it is done, or nothing was to be done.
    done: BTreeSet<MemberId>,
}

/// What a shard's log says of such counters.
#[derive(Debug, Default, BorshSerialize, BorshDeserialize)]
pub(super) struct Backfills {
    /// Versions that were looked for from the log's beginning on.
    known: BTreeSet<Version>,
    /// What the counters of each come to, until it is said to be done.
    from_log: BTreeMap<Version, BTreeMap<MemberId, FromLog>>,
    open: BTreeMap<Version, Open>,
    /// Up to which version it is said to be done.
    pub(super) through: BTreeMap<ProgramId, u32>,
}

/// A purchase of which something comes back, and what of it was back before.
pub(super) struct ComesBack {
    original: Transaction,
    before: Returned,
}

impl Backfills {
    /// Looks for the counters of all versions that have such; `false` if there are some that
    /// would have to be looked for from an earlier entry on.
    pub(super) fn look_for(&mut self, programs: &Programs, is_first: bool) -> bool {
        let have = programs
            .iter()
            .filter(|(_, applied)| applied.program.earning.rules.has_backfilled());
        let have: BTreeSet<Version> = have.map(|(version, _)| version.clone()).collect();
        if !is_first {
            return have.is_subset(&self.known);
        }
        for version in &have {
            self.from_log.insert(version.clone(), BTreeMap::new());
        }
        self.known = have;
        true
    }

    /// Notes that a version begins after another.
    pub(super) fn begin(&mut self, version: &Version, before: Option<u32>, programs: &Programs) {
        let earlier = before.map(|before| (version.0.clone(), before));
        let earlier = earlier.and_then(|earlier| Some((programs.get(&earlier)?, earlier.1)));
        let (Some(applied), Some((earlier, before))) = (programs.get(version), earlier) else {
            self.from_log.remove(version);
            return;
        };
        if new_counters(applied, earlier).is_empty() {
            self.from_log.remove(version);
            return;
        }
        let open = Open {
            before,
            done: BTreeSet::new(),
        };
        self.open.insert(version.clone(), open);
    }

    /// Adds what a transaction records, for versions that have not begun.
    pub(super) fn add(
        &mut self,
        transaction: &Transaction,
        (comes_back, after): (Option<&ComesBack>, Option<&Returned>),
        programs: &Programs,
    ) {
        for (version, members) in &mut self.from_log {
            let has_begun = self.open.contains_key(version);
            let Some(applied) = programs.get(version).filter(|_| !has_begun) else {
                continue;
            };
            if version.0 != transaction.program {
                continue;
            }
            let counters = applied.program.earning.rules.backfilled();
            let of = (applied, &counters);
            let from_log = members.entry(transaction.member.clone()).or_default();
            from_log.add(of, (transaction, None));
            if let (Some(back), Some(after)) = (comes_back, after) {
                from_log.take_off(of, (&back.original, Some(&back.before)));
                from_log.add(of, (&back.original, Some(after)));
            }
        }
    }

    /// What is to be written for a member by a version; `None` where that is nothing, or done.
    fn owed(
        &self,
        version: &Version,
        (member, counters, now): (&MemberId, &Counters, Timestamp),
        programs: &Programs,
    ) -> Option<Backfill> {
        let open = self.open.get(version)?;
        if open.done.contains(member) {
            return None;
        }
        let earlier = programs.get(&(version.0.clone(), open.before))?;
        let applied = programs.get(version)?;
        let nothing = FromLog::default();
        let from_log = self.from_log.get(version)?.get(member);
        let from_log = from_log.unwrap_or(&nothing);
        let new = new_counters(applied, earlier);
        from_log.backfill((applied, &new), (counters, now))
    }
}

fn new_counters(applied: &ProgramVersion, earlier: &ProgramVersion) -> BackfilledCounters {
    let rules = &applied.program.earning.rules;
    rules.backfilled_since(&earlier.program.earning.rules)
}

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
            if !is_last && written.is_none() && !is_backfilled_before(transaction, version.1) {
                continue;
            }
            let Some(known) = self.members.get(&member) else {
                continue;
            };
            let of_member = (&member.1, &known.book.counters, transaction.effective_at);
            let owed = self.backfills.owed(&version, of_member, programs);
            if let Some(open) = self.backfills.open.get_mut(&version) {
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
        for version in &through {
            let of_program = self.members.iter().filter(|((of, _), _)| of == program);
            for ((_, member), known) in of_program {
                let of_member = (member, &known.book.counters, notice.written_at);
                if self.backfills.owed(version, of_member, programs).is_some() {
                    return Err(self.difference(position, format!("{NOT_WORKED_OUT}: {member}")));
                }
            }
        }
        for version in through {
            self.backfills.open.remove(&version);
            self.backfills.from_log.remove(&version);
        }
        self.backfills.through.insert(program.clone(), version);
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
        self.backfills.look_for(programs, is_first)
    }
}

/// What is said where a member's counters were not worked out.
const NOT_WORKED_OUT: &str = "counters that count what was before are not worked out";
