//! Counters that count what was before they began: what the log has of that comes to.
//!
//! A condition of a counter reads what was bought or done, when, where, and the tier that counted
//! then: all of it stands in the log, so whoever counts later comes to the same.

use crate::{
    evaluate::Evaluation,
    event::Event,
    outcome::Move,
    rule::{Counter, Rules},
    slot::{Recorded, Slots},
};

/// Counters of a version, by their numbers in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackfilledCounters(Vec<u16>);

impl BackfilledCounters {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Rules {
    /// The counters that count what was before they began, as far as another version, by which
    /// that was recorded, does not count by them; all, where that one has no such counters at all.
    #[must_use]
    pub fn backfilled_since(&self, before: Option<&Self>) -> BackfilledCounters {
        let is_new = |counter: &Counter| {
            let key = self.slots[usize::from(counter.slot)].key;
            let was_there = |before: &Self| before.by_key.contains_key(&key);
            counter.backfill && !before.is_some_and(was_there)
        };
        let numbered = (0_u16..).zip(&self.counters);
        let new = numbered.filter(|(_, counter)| is_new(counter));
        BackfilledCounters(new.map(|(number, _)| number).collect())
    }

    /// All counters that count what was before they began.
    #[must_use]
    pub fn backfilled(&self) -> BackfilledCounters {
        self.backfilled_since(None)
    }

    /// Whether there are such counters.
    #[must_use]
    pub fn has_backfilled(&self) -> bool {
        self.counters.iter().any(|counter| counter.backfill)
    }

    /// The slots of counters, with their keys.
    pub fn slots_of<'a>(
        &'a self,
        counters: &'a BackfilledCounters,
    ) -> impl Iterator<Item = (u16, u64)> + 'a {
        let slots = counters.0.iter();
        let slots = slots.map(|number| self.counters[usize::from(*number)].slot);
        slots.map(|slot| (slot, self.slots[usize::from(slot)].key))
    }

    /// What an event moves of some counters; each slot once.
    #[must_use]
    pub fn count(&self, event: &Event<'_>, counters: &BackfilledCounters) -> Vec<Move> {
        let mut moves = Vec::new();
        if !event.counts || counters.is_empty() {
            return moves;
        }
        let slots = Slots::new(self, &Recorded(&[]));
        let evaluation = Evaluation::new(self, event, &slots);
        for number in &counters.0 {
            let counter = &self.counters[usize::from(*number)];
            evaluation.shift(counter.slot, evaluation.added(counter), &mut moves);
        }
        moves
    }
}
