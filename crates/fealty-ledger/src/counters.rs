//! A member's numbers that earning rules read and move: counters, what caps have used,
//! how often edges stand. What each means is the programme's; here they are only added up.

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};

/// The values of one number by bucket: a day or a period, numbered by the day since
/// 1970-01-01 with which it begins. None is 0.
pub type Buckets = BTreeMap<i32, i64>;

/// A member's numbers, by what they are known by.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Counters {
    by_key: BTreeMap<u64, Buckets>,
    changed: bool,
}

/// A number that moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CounterMove {
    /// What it is known by.
    pub key: u64,
    /// Which bucket.
    pub bucket: i32,
    /// By how much.
    pub by: i64,
}

/// Buckets that no window reaches any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// What the number is known by.
    pub key: u64,
    /// Buckets before this one.
    pub before: i32,
}

impl Counters {
    /// Numbers that are stored.
    #[must_use]
    pub fn stored(by_key: BTreeMap<u64, Buckets>) -> Self {
        Self {
            by_key,
            changed: false,
        }
    }

    /// All numbers, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Buckets)> {
        self.by_key.iter().map(|(key, buckets)| (*key, buckets))
    }

    /// The buckets of a number.
    #[must_use]
    pub fn buckets(&self, key: u64) -> Option<&Buckets> {
        self.by_key.get(&key)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Whether they were changed since they were read.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.changed
    }

    /// Whether they are the same, whichever was changed.
    #[must_use]
    pub fn are_same(&self, other: &Self) -> bool {
        self.by_key == other.by_key
    }

    pub(crate) fn apply(&mut self, moves: &[CounterMove], forgotten: &[Forgotten]) {
        for moved in moves {
            let buckets = self.by_key.entry(moved.key).or_default();
            let value = buckets.entry(moved.bucket).or_default();
            *value = value.saturating_add(moved.by);
            if *value == 0 {
                buckets.remove(&moved.bucket);
            }
            self.changed = true;
        }
        for old in forgotten {
            if let Some(buckets) = self.by_key.get_mut(&old.key) {
                let kept = buckets.split_off(&old.before);
                self.changed |= !buckets.is_empty();
                *buckets = kept;
            }
        }
        if self.changed {
            self.by_key.retain(|_, buckets| !buckets.is_empty());
        }
    }

    pub(crate) fn settle(&mut self) {
        self.changed = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_add_up_and_what_is_nothing_is_not_there() {
        let mut counters = Counters::default();
        let moved = |key, bucket, by| CounterMove { key, bucket, by };
        counters.apply(&[moved(1, 10, 3), moved(1, 17, 4), moved(2, 0, 5)], &[]);
        assert!(counters.is_changed());
        assert_eq!(
            counters.buckets(1),
            Some(&Buckets::from([(10, 3), (17, 4)]))
        );
        counters.settle();
        counters.apply(&[moved(2, 0, -5)], &[Forgotten { key: 1, before: 17 }]);
        assert!(counters.is_changed());
        assert_eq!(counters.buckets(2), None);
        let kept = Counters::stored(BTreeMap::from([(1, Buckets::from([(17, 4)]))]));
        assert!(counters.are_same(&kept));
        counters.settle();
        counters.apply(&[], &[Forgotten { key: 1, before: 17 }]);
        assert!(!counters.is_changed(), "there was nothing before it");
    }
}
