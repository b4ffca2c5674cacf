//! Counters that count what was before they began. What is played by the versions that were in
//! force has them as the log does; where the version that is tried takes over in the middle, its
//! counters begin with what was played until then.

use fealty_ledger::{Backfilled, Command, Log, Returned, Transaction};
use fealty_postgres::DatabaseError;
use fealty_program::ProgramVersion;
use fealty_rules::BackfilledCounters;
use fealty_types::Timestamp;

use super::{Known, Replay, stopped};
use crate::plan::{FromLog, recorded_backfill};

/// How far a member is with the counters of the version that is tried.
#[derive(Default)]
pub(super) struct BackfillOfMember {
    from_log: FromLog,
    is_done: bool,
}

/// A purchase of which something comes back, and what of it was back before.
pub(super) struct ComesBack {
    original: Transaction,
    before: Returned,
}

impl Replay {
    /// Writes what the log has of it, where that is played as it was.
    pub(super) fn backfilled_as_recorded(
        &self,
        known: &mut Known,
        (backfilled, at): (&Backfilled, Timestamp),
        log: &mut Log,
    ) -> Result<(), DatabaseError> {
        let versions = &self.versions;
        let applied = versions.numbered(backfilled.program_version);
        let missing = DatabaseError::Broken("a version that was in force cannot be read");
        let mut backfill = recorded_backfill(applied.ok_or(missing)?, backfilled);
        if self.is_tried
            && let Some(changed) = &versions.changed
            && !versions.is_unchanged
        {
            // Of what it keeps of the version that it takes over from, what is recorded holds.
            let rules = &changed.program.earning.rules;
            let new = self.new_counters(changed);
            let is_new = |key: u64| rules.slots_of(&new).any(|(_, new)| new == key);
            let (all, moves) = (rules.backfilled(), &mut backfill.counter_moves);
            let is_kept = |key: u64| rules.slots_of(&all).any(|(_, kept)| kept == key);
            moves.retain(|moved| is_kept(moved.key) && !is_new(moved.key));
            if moves.is_empty() {
                return Ok(());
            }
        }
        let applied = fealty_ledger::apply_backfill(&mut known.book, &backfill, at, log);
        applied.map_err(|_| stopped())
    }

    /// The version that is to take over, where its counters count what was before.
    fn taking_over(&self) -> Option<&ProgramVersion> {
        let changed = self.versions.changed.as_ref()?;
        let counts = changed.program.earning.rules.has_backfilled();
        (counts && !self.versions.is_unchanged).then_some(changed)
    }

    /// The counters of it that the version before it has not. Where it was in force from the
    /// first entry on, nothing was before, and all of them count from there.
    fn new_counters(&self, changed: &ProgramVersion) -> BackfilledCounters {
        let rules = &changed.program.earning.rules;
        match &*self.in_force {
            [.., (_, Some(earlier)), _] => {
                rules.backfilled_since(Some(&earlier.program.earning.rules))
            }
            [.., (_, None), _] => rules.backfilled(),
            _ if self.has_changed => rules.backfilled(),
            _ => BackfilledCounters::default(),
        }
    }

    /// What comes back with a request that is played before that.
    pub(super) fn comes_back(&self, known: &Known, command: &Command) -> Option<ComesBack> {
        let Command::Return(asked) = command else {
            return None;
        };
        self.taking_over().filter(|_| !self.is_tried)?;
        let original = self.originals.get(&asked.transaction)?.clone();
        let before = known.book.returned(original.position).cloned();
        let before = before.unwrap_or_else(|| Returned::nothing(original.moves()));
        Some(ComesBack { original, before })
    }

    /// Adds what was played before that.
    pub(super) fn count_what_was_before(
        &self,
        known: &mut Known,
        comes_back: Option<&ComesBack>,
        log: &Log,
    ) {
        let Some(changed) = self.taking_over().filter(|_| !self.is_tried) else {
            return;
        };
        let counters = changed.program.earning.rules.backfilled();
        let of = (changed, &counters);
        let from_log = &mut known.backfill.from_log;
        for made in log.transactions() {
            from_log.add(of, (made, None));
        }
        let after = comes_back.and_then(|back| known.book.returned(back.original.position));
        if let (Some(back), Some(after)) = (comes_back, after) {
            from_log.take_off(of, (&back.original, Some(&back.before)));
            from_log.add(of, (&back.original, Some(after)));
        }
    }

    /// Writes what the counters of the version that is tried come to, once it has taken over.
    pub(super) fn backfill(
        &self,
        known: &mut Known,
        now: Timestamp,
        log: &mut Log,
    ) -> Result<(), DatabaseError> {
        let Some(changed) = self.taking_over().filter(|_| self.has_changed) else {
            return Ok(());
        };
        // Where it was in force from the first entry on, nothing was before.
        if self.in_force.len() < 2 || std::mem::replace(&mut known.backfill.is_done, true) {
            return Ok(());
        }
        let new = self.new_counters(changed);
        let from_log = std::mem::take(&mut known.backfill.from_log);
        let counters = &known.book.counters;
        if let Some(backfill) = from_log.backfill((changed, &new), (counters, now)) {
            let applied = fealty_ledger::apply_backfill(&mut known.book, &backfill, now, log);
            applied.map_err(|_| stopped())?;
        }
        Ok(())
    }
}
