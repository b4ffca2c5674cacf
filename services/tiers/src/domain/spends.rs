//! What a member has spent, by day: a window is the sum of its days, and of the purchases
//! of the two days at its edges. So a member with a hundred thousand purchases is judged as
//! quickly as one with ten.

use std::collections::{BTreeMap, BTreeSet};

use fealty_program::{Program, TierScheme};
use fealty_types::Timestamp;

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// A day, from 1970-01-01 in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Day(i32);

impl Day {
    /// The day of a moment.
    pub(crate) fn of(at: Timestamp) -> Self {
        let days = at.micros().div_euclid(DAY);
        Self(i32::try_from(days).expect("a timestamp is within the years that there are"))
    }

    /// Its number, as stored.
    pub(crate) fn number(self) -> i32 {
        self.0
    }

    /// The day with a number.
    pub(crate) fn numbered(number: i32) -> Self {
        Self(number)
    }

    /// Its first moment, and that of the next.
    pub(crate) fn bounds(self) -> (Timestamp, Timestamp) {
        let start = |day: i32| {
            let at = Timestamp::from_micros(i64::from(day) * DAY);
            at.unwrap_or(Timestamp::EPOCH)
        };
        (start(self.0), start(self.0 + 1))
    }
}

/// A purchase, as far as tiers go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spend {
    /// When it was made.
    pub(crate) at: Timestamp,
    /// What was paid, in minor units; below zero, what came back of it. Both have the same
    /// time, so every window has both or neither.
    pub(crate) minor_units: i64,
}

/// The window up to the moments of a day.
#[derive(Clone, Copy, Debug)]
pub(super) struct WindowOfDay {
    pub(super) day: Day,
    /// Where that of its first moment starts.
    pub(super) start: Timestamp,
    /// Money spent in it, at the most.
    pub(super) at_most: i64,
}

/// The purchases of this day must be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DayNeeded(pub(crate) Day);

/// What a member has spent, as far as it has been read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spends {
    /// What was spent on each day.
    days: BTreeMap<Day, i64>,
    /// The days of which there are stored purchases that have not been read.
    unread: BTreeSet<Day>,
    /// Purchases of some days, in their order.
    purchases: BTreeMap<Day, Vec<Spend>>,
    /// One of them that is not to count.
    left_out: Option<Spend>,
}

impl Spends {
    /// Adds what is stored of a day.
    pub(crate) fn add_day(&mut self, day: Day, minor_units: i64) {
        let known = self.days.entry(day).or_default();
        *known = known.saturating_add(minor_units);
        self.unread.insert(day);
    }

    /// The same without one of the purchases.
    pub(super) fn without(&self, left_out: Spend) -> Self {
        Self {
            left_out: Some(left_out),
            ..self.clone()
        }
    }

    /// Days from one on that have not been read, some of them.
    pub(crate) fn unread_from(&self, day: Day, max: usize) -> Vec<Day> {
        self.unread.range(day..).take(max).copied().collect()
    }

    /// Adds the stored purchases of a day, which is in here already.
    pub(crate) fn read_day(&mut self, day: Day, stored: impl IntoIterator<Item = Spend>) {
        if self.unread.remove(&day) {
            let purchases = self.purchases.entry(day).or_default();
            purchases.extend(stored);
            purchases.sort_by_key(|spend| spend.at);
        }
    }

    /// Adds a purchase that is not stored yet.
    pub(crate) fn add(&mut self, spend: Spend) {
        let day = Day::of(spend.at);
        let known = self.days.entry(day).or_default();
        *known = known.saturating_add(spend.minor_units);
        let purchases = self.purchases.entry(day).or_default();
        let place = purchases.partition_point(|known| known.at <= spend.at);
        purchases.insert(place, spend);
    }

    /// The purchases of a day.
    pub(super) fn of_day(&self, day: Day) -> Result<&[Spend], DayNeeded> {
        if self.unread.contains(&day) {
            return Err(DayNeeded(day));
        }
        Ok(self.purchases.get(&day).map_or(&[], Vec::as_slice))
    }

    /// Whether something was bought after a moment, on whose day something was.
    pub(super) fn has_later(&self, at: Timestamp) -> Result<bool, DayNeeded> {
        let day = Day::of(at);
        if self.days_from(day).nth(1).is_some() {
            return Ok(true);
        }
        let last = self.of_day(day)?.last();
        Ok(last.is_some_and(|last| last.at > at))
    }

    /// The days from one on on which something was bought.
    pub(super) fn days_from(&self, day: Day) -> impl Iterator<Item = Day> {
        self.days.range(day..).map(|(day, _)| *day)
    }

    /// Money spent in the scheme's window up to a moment, that moment included and the one
    /// a window before it not.
    pub(super) fn spent(
        &self,
        program: &Program,
        scheme: &TierScheme,
        at: Timestamp,
    ) -> Result<i64, DayNeeded> {
        let start = scheme.window.before(at, &program.calendar.zone);
        let (first, last) = (Day::of(start), Day::of(at));
        let mut sum = 0_i64;
        for (day, minor_units) in self.days.range(first..=last) {
            if *day > first && *day < last {
                sum = sum.saturating_add(*minor_units);
                continue;
            }
            let purchases = self.of_day(*day)?.iter();
            let inside = purchases.filter(|spend| start < spend.at && spend.at <= at);
            sum = inside.fold(sum, |sum, spend| sum.saturating_add(spend.minor_units));
        }
        let counted = |spend: &Spend| start < spend.at && spend.at <= at;
        let left_out = self.left_out.filter(counted);
        Ok(left_out.map_or(sum, |spend| sum.saturating_sub(spend.minor_units)))
    }

    /// The days from one on on which something was bought, and the most that was spent in the
    /// scheme's window up to any moment of each: a sum that moves on with its window, for
    /// there may be thousands of days.
    pub(super) fn windows_from(
        &self,
        program: &Program,
        scheme: &TierScheme,
        first: Day,
    ) -> impl Iterator<Item = WindowOfDay> {
        let start = |day: Day| scheme.window.before(day.bounds().0, &program.calendar.zone);
        let mut leaving = self.days.range(Day::of(start(first))..).peekable();
        let before = self.days.range(Day::of(start(first))..first);
        let mut sum: i128 = before.map(|(_, spent)| i128::from(*spent)).sum();
        self.days.range(first..).map(move |(day, spent)| {
            let start = start(*day);
            sum += i128::from(*spent);
            while let Some((_, left)) = leaving.next_if(|(left, _)| **left < Day::of(start)) {
                sum -= i128::from(*left);
            }
            WindowOfDay {
                day: *day,
                start,
                at_most: i64::try_from(sum).unwrap_or(i64::MAX),
            }
        })
    }
}
