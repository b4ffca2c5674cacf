//! The numbers of a member that rules read and move: counters, what caps have used, and
//! how often edges stand.

use std::{cell::RefCell, collections::BTreeMap};

use fealty_types::{CurrencyId, Timestamp};
use jiff::civil::Date;

use crate::{
    calendar::{Calendar, day_number},
    cel::WalletPart,
    outcome::{Move, SlotValue},
    rule::{Budget, Reads, Rules, Slot},
    subject::Subject,
    window::{Buckets, Window},
};

/// What a member's slots stand at.
pub trait Inputs {
    /// A slot of the version's, by its number.
    fn slot(&self, number: u16) -> SlotValue;
}

/// A member's numbers, by the keys of their slots.
pub trait Book {
    /// The buckets of a key.
    fn buckets(&self, key: u64) -> Option<&Buckets>;

    /// What is left of a budget; `None` where nobody keeps one, and its own numbers tell.
    fn left_of(&self, _budget: &Budget) -> Option<i64> {
        None
    }

    /// Points of a currency in a part of the member's wallet.
    fn wallet(&self, _currency: &CurrencyId, _part: WalletPart) -> i64 {
        0
    }
}

/// A member's numbers in memory: for examples, tests, and whoever keeps no ledger.
#[derive(Clone, Debug, Default)]
pub struct Numbers(BTreeMap<u64, Buckets>);

impl Book for Numbers {
    fn buckets(&self, key: u64) -> Option<&Buckets> {
        self.0.get(&key)
    }
}

impl Numbers {
    /// Forgets what no window reaches any more.
    pub fn forget(&mut self, rules: &Rules, now: Timestamp) {
        let keys: Vec<u64> = self.0.keys().copied().collect();
        for key in keys {
            let before = rules.forgets(key, self, now);
            if let Some((before, buckets)) = before.zip(self.0.get_mut(&key)) {
                *buckets = buckets.split_off(&before);
            }
        }
    }

    /// Moves them by what an event earned, or by what of it was taken back.
    pub fn apply(&mut self, rules: &Rules, moves: &[Move]) {
        for moved in moves {
            if let Some(key) = rules.key_of(moved.slot) {
                let buckets = self.0.entry(key).or_default();
                *buckets.entry(moved.bucket).or_default() += moved.by;
            }
        }
    }
}

/// What a member's slots stand at by what is stored of them.
pub struct Stored<'a, B> {
    /// The version.
    pub rules: &'a Rules,
    /// The member's numbers.
    pub book: &'a B,
    /// What the event is.
    pub subject: Subject,
    /// When it was.
    pub at: Timestamp,
}

/// What a cap has used where it has no room at all.
const NO_ROOM: i64 = i64::MAX;

impl<B: Book> Stored<'_, B> {
    /// What a slot came to since the last activity of a type, up to the next one; a type's
    /// own activity begins anew.
    fn since(&self, slot: &Slot, days: u16, date: Date) -> SlotValue {
        let none = Buckets::new();
        let of = |key| self.book.buckets(key).unwrap_or(&none);
        let date = day_number(date);
        let days_of = of(self.rules.slots[usize::from(days)].key);
        let is_own = match self.subject {
            Subject::Purchase | Subject::End(_) => false,
            Subject::Activity(of_type) => {
                self.rules.activities[usize::from(of_type)].days == Some(days)
            }
        };
        let last = days_of.range(..=date).next_back().map(|(day, _)| *day);
        let Some(first) = (if is_own { Some(date) } else { last }) else {
            // Before the first one nothing counts, whatever is added.
            return match slot.reads {
                Reads::UsedSince(_) => SlotValue {
                    before: NO_ROOM,
                    with_any: None,
                },
                _ => SlotValue {
                    before: 0,
                    with_any: Some(0),
                },
            };
        };
        let next = days_of.range(date.saturating_add(1)..).next();
        let next = next.map_or(i32::MAX, |(day, _)| *day);
        let within = of(slot.key).range(first..next);
        let some = within.filter(|(_, value)| **value > 0);
        if !slot.once_per_day {
            let sum = some.fold(0, |sum: i64, (_, value)| sum.saturating_add(*value));
            return SlotValue {
                before: sum,
                with_any: None,
            };
        }
        let counted: Vec<i32> = some.map(|(day, _)| *day).collect();
        let before = i64::try_from(counted.len()).unwrap_or(i64::MAX);
        let with_any = before + i64::from(!counted.contains(&date));
        SlotValue {
            before,
            with_any: Some(with_any),
        }
    }
}

impl<B: Book> Inputs for Stored<'_, B> {
    fn slot(&self, number: u16) -> SlotValue {
        let slot = &self.rules.slots[usize::from(number)];
        let (calendar, none) = (&self.rules.calendar, Buckets::new());
        let date = calendar.date_of(self.at);
        let of = |key| self.book.buckets(key).unwrap_or(&none);
        if let Reads::AlongRun(counter) = slot.reads {
            let counter = &self.rules.slots[usize::from(counter)];
            let run = of(counter.key);
            let (first, last) = counter.window.run_around(calendar, run, date);
            let along = of(slot.key).range(first..=last).map(|(_, value)| *value);
            return SlotValue {
                before: along.fold(0, i64::saturating_add),
                with_any: None,
            };
        }
        if let Reads::Budget(budget) = slot.reads {
            let terms = &self.rules.budgets[usize::from(budget)].terms;
            let used = || {
                of(slot.key)
                    .values()
                    .fold(0, |sum: i64, by| sum.saturating_add(*by))
            };
            let left = self.book.left_of(terms);
            return SlotValue {
                before: left.unwrap_or_else(|| terms.points.saturating_sub(used())),
                with_any: None,
            };
        }
        if let Reads::Wallet(number) = slot.reads {
            let (currency, part) = &self.rules.wallets[usize::from(number)];
            return SlotValue {
                before: self.book.wallet(currency, *part),
                with_any: None,
            };
        }
        if let Reads::Since(days) | Reads::UsedSince(days) = slot.reads {
            return self.since(slot, days, date);
        }
        slot.value(calendar, of(slot.key), date)
    }
}

/// What a member's slots stood at when an event was recorded, as far as that was read: the
/// same event, or what is left of it, earns the same by it for ever.
#[derive(Clone, Copy, Debug)]
pub struct Recorded<'a>(pub &'a [(u16, SlotValue)]);

impl Inputs for Recorded<'_> {
    fn slot(&self, number: u16) -> SlotValue {
        let read = self.0.iter().find(|(slot, _)| *slot == number);
        read.map_or(SlotValue::default(), |(_, value)| *value)
    }
}

impl Slot {
    /// What it stands at on a date.
    pub(crate) fn value(&self, calendar: &Calendar, buckets: &Buckets, date: Date) -> SlotValue {
        let (window, once) = (self.window, self.once_per_day);
        let value = |buckets: &Buckets| match self.reads {
            Reads::OwnDate
            | Reads::AlongRun(_)
            | Reads::Budget(_)
            | Reads::Since(_)
            | Reads::UsedSince(_)
            | Reads::Wallet(_) => window.value(calendar, buckets, date, once),
            Reads::Fullest => window.fullest(calendar, buckets, date, once),
            Reads::RunBeyond => window.run_beyond(calendar, buckets, date),
        };
        let before = value(buckets);
        let with_any = match self.window {
            Window::InARow(_) => self.reads == Reads::OwnDate,
            _ => once,
        };
        let with_any = with_any.then(|| {
            let bucket = self.bucket(calendar, date);
            if buckets.get(&bucket).is_some_and(|known| *known > 0) {
                return before;
            }
            let mut with = buckets.clone();
            with.insert(bucket, 1);
            value(&with)
        });
        SlotValue { before, with_any }
    }

    /// The bucket of an event of a date.
    pub(crate) fn bucket(&self, calendar: &Calendar, date: Date) -> i32 {
        self.window.bucket(calendar, date, self.once_per_day)
    }
}

/// Slots as one evaluation reads them: each once.
pub(crate) struct Slots<'a> {
    inputs: &'a dyn Inputs,
    read: RefCell<Vec<Option<SlotValue>>>,
    /// What the event adds to each counter.
    added: RefCell<Vec<i64>>,
}

impl<'a> Slots<'a> {
    pub(crate) fn new(rules: &Rules, inputs: &'a dyn Inputs) -> Self {
        Self {
            inputs,
            read: RefCell::new(vec![None; rules.slots.len()]),
            added: RefCell::new(vec![0; rules.counters.len()]),
        }
    }

    /// What a slot stands at.
    pub(crate) fn get(&self, number: u16) -> SlotValue {
        let mut read = self.read.borrow_mut();
        *read[usize::from(number)].get_or_insert_with(|| self.inputs.slot(number))
    }

    /// Notes what the event adds to a counter.
    pub(crate) fn add(&self, counter: u16, by: i64) {
        self.added.borrow_mut()[usize::from(counter)] = by;
    }

    /// What the event adds to a counter.
    pub(crate) fn added(&self, counter: u16) -> i64 {
        self.added.borrow()[usize::from(counter)]
    }

    pub(crate) fn counter(&self, rules: &Rules, counter: u16) -> i64 {
        self.get(rules.counters[usize::from(counter)].slot).before
    }

    pub(crate) fn counter_after(&self, rules: &Rules, counter: u16) -> i64 {
        let value = self.get(rules.counters[usize::from(counter)].slot);
        value.after(self.added(counter))
    }

    /// What was read that is not nothing, by slot.
    pub(crate) fn into_read(self) -> Vec<(u16, SlotValue)> {
        let read = self.read.into_inner().into_iter();
        let read = (0_u16..).zip(read);
        let some = read.filter_map(|(slot, value)| Some((slot, value?)));
        some.filter(|(_, value)| *value != SlotValue::default())
            .collect()
    }
}

impl Rules {
    /// The key of a slot: what it is known by from version to version.
    #[must_use]
    pub fn key_of(&self, slot: u16) -> Option<u64> {
        self.slots.get(usize::from(slot)).map(|slot| slot.key)
    }

    /// Whether a member's numbers are read or moved at all.
    #[must_use]
    pub fn has_slots(&self) -> bool {
        self.slots.len() > self.budgets.len()
    }

    /// Buckets of a key that begin before this one count for nothing any more, today and
    /// for what may still come late; `None` where all do, or another version's it is.
    #[must_use]
    pub fn forgets(&self, key: u64, book: &impl Book, now: Timestamp) -> Option<i32> {
        let number = *self.by_key.get(&key)?;
        let slot = &self.slots[usize::from(number)];
        let is_days = self.activities.iter().any(|kind| kind.days == Some(number));
        let days = match slot.reads {
            Reads::Since(days) | Reads::UsedSince(days) => Some(days),
            _ => is_days.then_some(number),
        };
        if let Some(days) = days {
            return Some(self.begins_at_the_latest(days, book, now));
        }
        // What stands of a streak is asked for over all of it.
        let window = match slot.reads {
            Reads::AlongRun(counter) => self.slots[usize::from(counter)].window,
            _ => slot.window,
        };
        window.forgets(&self.calendar, self.calendar.date_of(now), self.late_days)
    }

    /// The day with which what counts since an activity begins, for whatever may still come.
    fn begins_at_the_latest(&self, days: u16, book: &impl Book, now: Timestamp) -> i32 {
        let back = day_number(self.calendar.date_of(now)).saturating_sub(self.late_days);
        let days = book.buckets(self.slots[usize::from(days)].key);
        let last = days.and_then(|days| days.range(..=back).next_back());
        last.map_or(back, |(day, _)| *day)
    }

    /// Days after which an event touches no counter, cap or edge.
    #[must_use]
    pub fn late_days(&self) -> i32 {
        self.late_days
    }

    /// Whether an event of a moment counts for counters, caps and edges now.
    #[must_use]
    pub fn counts(&self, at: Timestamp, now: Timestamp) -> bool {
        let day = |moment| day_number(self.calendar.date_of(moment));
        day(now) - day(at) <= self.late_days
    }
}
