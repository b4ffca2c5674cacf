//! What counters will count that begin later, added up from the log's first entry on.

use std::collections::{BTreeMap, BTreeSet};

use borsh::{BorshDeserialize, BorshSerialize};
use fealty_ledger::{Backfill, Counters, Returned, Transaction};
use fealty_program::ProgramVersion;
use fealty_rules::BackfilledCounters;
use fealty_types::{MemberId, ProgramId, Timestamp};

use super::Programs;
use crate::plan::FromLog;

/// A version of a programme.
pub(super) type Version = (ProgramId, u32);

/// A version that has begun, and whose counters are not yet said to be worked out for all.
#[derive(Debug, BorshSerialize, BorshDeserialize)]
pub(super) struct Open {
    /// The version that was in force before.
    before: u32,
    /// Members for whom it is done, or nothing was to be done.
    pub(super) done: BTreeSet<MemberId>,
}

/// What a shard's log says of such counters.
#[derive(Debug, Default, BorshSerialize, BorshDeserialize)]
pub(super) struct Backfills {
    /// What the counters of each come to, until it is said to be done.
    pub(super) from_log: BTreeMap<Version, BTreeMap<MemberId, FromLog>>,
    pub(super) open: BTreeMap<Version, Open>,
    /// Up to which version it is said to be done.
    pub(super) through: BTreeMap<ProgramId, u32>,
}

/// A purchase of which something comes back, and what of it was back before.
pub(super) struct ComesBack {
    pub(super) original: Transaction,
    pub(super) before: Returned,
}

impl Backfills {
    /// Looks for the counters of all versions that have some which a version that may be in force
    /// before them has not; `false` if there are some that would have to be looked for from an
    /// earlier entry on.
    pub(super) fn look_for(
        &mut self,
        programs: &Programs,
        in_force: impl Fn(&ProgramId) -> Option<u32>,
        is_first: bool,
    ) -> bool {
        let have = programs.iter().filter(|((program, version), applied)| {
            let first = in_force(program).unwrap_or(0);
            let mut earlier = programs
                .iter()
                .filter(|((of, earlier), _)| of == program && (first..*version).contains(earlier));
            let has_begun = *version <= first;
            !has_begun
                && applied.program.earning.rules.has_backfilled()
                && earlier.any(|(_, earlier)| !new_counters(applied, earlier).is_empty())
        });
        let have: Vec<Version> = have.map(|(version, _)| version.clone()).collect();
        if !is_first {
            return have
                .iter()
                .all(|version| self.from_log.contains_key(version));
        }
        let have = have.into_iter().map(|version| (version, BTreeMap::new()));
        self.from_log = have.collect();
        true
    }

    /// Notes that a version begins after another.
    pub(super) fn begin(&mut self, version: &Version, before: Option<u32>, programs: &Programs) {
        let earlier = before.map(|before| (version.0.clone(), before));
        let earlier = earlier.and_then(|earlier| Some((programs.get(&earlier)?, earlier.1)));
        // What it passed over does not begin any more.
        let open = &self.open;
        self.from_log
            .retain(|of, _| of.0 != version.0 || of.1 >= version.1 || open.contains_key(of));
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
    pub(super) fn owed(
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
    rules.backfilled_since(Some(&earlier.program.earning.rules))
}
