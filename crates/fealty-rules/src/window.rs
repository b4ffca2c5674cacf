//! Over what a counter counts: one arithmetic for counters, caps and tiers' metrics.
//!
//! A counter's values stand in **buckets**, each of a day or of a period, numbered by the
//! day (since 1970-01-01) with which it begins. A window says which bucket an event of a
//! date goes to, and what the buckets come to on a date.

use jiff::{ToSpan as _, civil::Date};

use crate::calendar::{Calendar, Every, Period, date_numbered, day_number};

/// The longest streak that is counted, in periods.
pub(crate) const STREAK_MAX: i64 = 64;
/// Days that a window of days has at the most.
pub(crate) const DAYS_MAX: i32 = 400;
/// Months that a window of months has at the most.
pub(crate) const MONTHS_MAX: i32 = 120;

/// Over what a counter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// The period of the calendar in which the date lies.
    Every(Every),
    /// So many days, of which the date is the last.
    LastDays(i32),
    /// Days, from the one after the same date so many months before.
    LastMonthsByDay(i32),
    /// Whole months, of which the date's is the last.
    LastMonths(i32),
    /// Periods in a row in which something was counted, up to the date's, or to the one
    /// before while that has none; 64 at the most.
    InARow(Every),
    /// From the first day on.
    Ever,
    /// Since the last activity of some type. It is reckoned where that is known, in `slot`:
    /// here it has no end, and knows single days.
    Since,
}

/// The bucket of a window without end.
const EVER: i32 = 0;

impl Window {
    /// The window of the last `period`.
    #[must_use]
    pub fn last(period: Period) -> Option<Self> {
        match period {
            Period::Days(days) if days <= DAYS_MAX => Some(Self::LastDays(days)),
            Period::Months(months) if months <= 12 => Some(Self::LastMonthsByDay(months)),
            Period::Months(months) if months <= MONTHS_MAX => Some(Self::LastMonths(months)),
            _ => None,
        }
    }

    /// The bucket of an event; `by_day` where the counter must know single days.
    #[must_use]
    pub fn bucket(self, calendar: &Calendar, date: Date, by_day: bool) -> i32 {
        let first = match self {
            Self::Every(every) if !by_day => calendar.first_day(every, date),
            Self::InARow(every) => calendar.first_day(every, date),
            Self::LastMonths(_) if !by_day => date.first_of_month(),
            Self::Every(_)
            | Self::LastMonths(_)
            | Self::LastDays(_)
            | Self::LastMonthsByDay(_)
            | Self::Since => date,
            Self::Ever if by_day => date,
            Self::Ever => return EVER,
        };
        day_number(first)
    }

    /// The first and the last bucket that count on a date.
    fn range(self, calendar: &Calendar, date: Date) -> (i32, i32) {
        let (first, last) = match self {
            Self::Every(every) => {
                let first = calendar.first_day(every, date);
                (first, calendar.next(every, first).saturating_sub(1.day()))
            }
            Self::LastDays(days) => (date.saturating_sub((days - 1).days()), date),
            Self::LastMonthsByDay(months) => (
                date.saturating_sub(months.months()).saturating_add(1.day()),
                date,
            ),
            Self::LastMonths(months) => {
                let first = date.first_of_month().saturating_sub((months - 1).months());
                (first, date.last_of_month())
            }
            Self::InARow(every) => {
                let first = calendar.first_day(every, date);
                (first, first)
            }
            Self::Ever | Self::Since => return (i32::MIN, i32::MAX),
        };
        (day_number(first), day_number(last))
    }

    /// What buckets come to on a date. `once` counts buckets that have something,
    /// whatever it is.
    #[must_use]
    pub fn value(self, calendar: &Calendar, buckets: &Buckets, date: Date, once: bool) -> i64 {
        if let Self::InARow(every) = self {
            return run(calendar, every, buckets, date);
        }
        let (first, last) = self.range(calendar, date);
        let within = buckets.range(first..=last).map(|(_, value)| *value);
        if once {
            return i64::try_from(within.filter(|value| *value > 0).count()).unwrap_or(i64::MAX);
        }
        within.fold(0, i64::saturating_add)
    }

    /// The most that the windows come to that have a date in them. Of a window that moves on
    /// day by day these are several, and what comes late is in those of later dates too.
    #[must_use]
    pub fn fullest(self, calendar: &Calendar, buckets: &Buckets, date: Date, once: bool) -> i64 {
        let own = self.value(calendar, buckets, date, once);
        if !self.moves_on() {
            return own;
        }
        let bucket = self.bucket(calendar, date, once);
        // They are fullest where one ends with something.
        let ends = buckets
            .range(bucket.saturating_add(1)..)
            .map(|(later, _)| date_numbered(*later));
        let has_date = |end: &Date| self.range(calendar, *end).0 <= bucket;
        let fullest = ends
            .take_while(has_date)
            .map(|end| self.value(calendar, buckets, end, once));
        fullest.fold(own, i64::max)
    }

    /// Periods in a row in which something was counted, from the one after a date's on; of
    /// other windows, none.
    #[must_use]
    pub fn run_beyond(self, calendar: &Calendar, buckets: &Buckets, date: Date) -> i64 {
        let Self::InARow(every) = self else {
            return 0;
        };
        let mut first = calendar.next(every, calendar.first_day(every, date));
        let mut run = 0;
        while run < STREAK_MAX && has(buckets, first) {
            run += 1;
            first = calendar.next(every, first);
        }
        run
    }

    /// The first and the last bucket of the periods in a row that a date's is among, as if
    /// something were counted in it; of other windows, those that count on the date.
    #[must_use]
    pub fn run_around(self, calendar: &Calendar, buckets: &Buckets, date: Date) -> (i32, i32) {
        let Self::InARow(every) = self else {
            return self.range(calendar, date);
        };
        let own = calendar.first_day(every, date);
        let (mut first, mut last) = (own, own);
        for _ in 0..STREAK_MAX {
            let before = calendar.previous(every, first);
            if !has(buckets, before) {
                break;
            }
            first = before;
        }
        for _ in 0..STREAK_MAX {
            let after = calendar.next(every, last);
            if !has(buckets, after) {
                break;
            }
            last = after;
        }
        (day_number(first), day_number(last))
    }

    /// Whether there is one for each day, or month, that overlaps with those of others.
    #[must_use]
    pub fn moves_on(self) -> bool {
        matches!(
            self,
            Self::LastDays(_) | Self::LastMonthsByDay(_) | Self::LastMonths(_)
        )
    }

    /// Its name: part of what a counter is known by, so it stays as it is.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Every(every) => format!("every {}", every.name()),
            Self::InARow(every) => format!("in a row: {}", every.name()),
            Self::LastDays(days) => format!("last {days} days"),
            Self::LastMonthsByDay(months) => format!("last {months} months by day"),
            Self::LastMonths(months) => format!("last {months} whole months"),
            Self::Ever => "ever".to_owned(),
            Self::Since => "since".to_owned(),
        }
    }

    /// When the period that a date lies in ends: the first day after it; `None` where the
    /// window moves on day by day, or never ends.
    #[must_use]
    pub fn ends(self, calendar: &Calendar, date: Date) -> Option<Date> {
        match self {
            Self::Every(every) | Self::InARow(every) => {
                Some(calendar.next(every, calendar.first_day(every, date)))
            }
            _ => None,
        }
    }

    /// Buckets that begin before this day count no more on a date, nor for anything that
    /// comes so many days late; `None` where all count for ever.
    #[must_use]
    pub fn forgets(self, calendar: &Calendar, date: Date, late_days: i32) -> Option<i32> {
        let back = date.saturating_sub(late_days.days());
        match self {
            Self::Ever | Self::Since => None,
            Self::InARow(every) => {
                let mut first = calendar.first_day(every, back);
                for _ in 0..STREAK_MAX {
                    first = calendar.previous(every, first);
                }
                Some(day_number(first))
            }
            _ => Some(self.range(calendar, back).0),
        }
    }
}

/// A counter's values by bucket; none is 0.
pub type Buckets = std::collections::BTreeMap<i32, i64>;

/// Whether something was counted in the period that begins on a day.
fn has(buckets: &Buckets, first: Date) -> bool {
    let value = buckets.get(&day_number(first));
    value.is_some_and(|value| *value > 0)
}

/// Periods in a row that have something, up to a date's.
fn run(calendar: &Calendar, every: Every, buckets: &Buckets, date: Date) -> i64 {
    let mut first = calendar.first_day(every, date);
    if !has(buckets, first) {
        first = calendar.previous(every, first);
    }
    let mut run = 0;
    while run < STREAK_MAX && has(buckets, first) {
        run += 1;
        first = calendar.previous(every, first);
    }
    run
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    fn calendar() -> Calendar {
        Calendar::of(TimeZone::UTC)
    }

    fn date(text: &str) -> Date {
        text.parse().expect("a date")
    }

    /// What a window comes to on a date, with one counted on each of these days.
    fn count(window: Window, days: &[&str], on: &str) -> i64 {
        let mut buckets = Buckets::new();
        for day in days {
            *buckets
                .entry(window.bucket(&calendar(), date(day), false))
                .or_default() += 1;
        }
        window.value(&calendar(), &buckets, date(on), false)
    }

    #[test]
    fn windows_begin_and_end_with_days() {
        let days = ["2026-03-01", "2026-03-02", "2026-03-31", "2026-04-01"];
        assert_eq!(count(Window::Every(Every::Month), &days, "2026-03-15"), 3);
        assert_eq!(count(Window::Every(Every::Day), &days, "2026-04-01"), 1);
        assert_eq!(count(Window::LastDays(2), &days, "2026-04-01"), 2);
        assert_eq!(count(Window::LastDays(31), &days, "2026-04-01"), 3);
        assert_eq!(count(Window::LastDays(32), &days, "2026-04-01"), 4);
        // From 2 March on.
        assert_eq!(count(Window::LastMonthsByDay(1), &days, "2026-04-01"), 3);
        assert_eq!(count(Window::LastMonths(2), &days, "2026-04-01"), 4);
        assert_eq!(count(Window::LastMonths(1), &days, "2026-04-30"), 1);
        assert_eq!(count(Window::Ever, &days, "2020-01-01"), 4);
    }

    #[test]
    fn a_streak_lives_until_its_next_period_is_over() {
        let weekly = Window::InARow(Every::Week);
        // Mondays.
        let days = ["2026-03-02", "2026-03-09", "2026-03-16"];
        assert_eq!(count(weekly, &days, "2026-03-16"), 3);
        assert_eq!(count(weekly, &days, "2026-03-29"), 3);
        assert_eq!(count(weekly, &days, "2026-03-30"), 0);
        assert_eq!(count(weekly, &[days[0], days[2]], "2026-03-20"), 1);
    }

    #[test]
    fn once_a_day_counts_days() {
        let window = Window::Every(Every::Week);
        let mut buckets = Buckets::new();
        for day in ["2026-03-02", "2026-03-02", "2026-03-04"] {
            *buckets
                .entry(window.bucket(&calendar(), date(day), true))
                .or_default() += 1;
        }
        assert_eq!(
            window.value(&calendar(), &buckets, date("2026-03-08"), true),
            2
        );
        assert_eq!(
            window.value(&calendar(), &buckets, date("2026-03-09"), true),
            0
        );
    }

    #[test]
    fn what_no_window_can_ask_for_is_forgotten() {
        let forgets = |window: Window| {
            let day = window.forgets(&calendar(), date("2026-03-15"), 30)?;
            Some(date_numbered(day).to_string())
        };
        assert_eq!(forgets(Window::Ever), None);
        assert_eq!(
            forgets(Window::Every(Every::Month)).as_deref(),
            Some("2026-02-01")
        );
        assert_eq!(forgets(Window::LastDays(10)).as_deref(), Some("2026-02-04"));
    }
}
