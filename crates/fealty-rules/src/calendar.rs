//! Calendar arithmetic in the programme's time zone: periods, and where days, weeks, months,
//! quarters and years begin.

use fealty_types::Timestamp;
use jiff::{
    Span, ToSpan as _,
    civil::{Date, DateTime, Weekday},
    tz::TimeZone,
};

/// A whole number of days or calendar months.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// Days of the calendar.
    Days(i32),
    /// Calendar months; a day the month lacks becomes its last.
    Months(i32),
}

/// The longest period, so that dates stay far from the calendar's end.
const DAYS_MAX: i32 = 36_600;
const MONTHS_MAX: i32 = 1_200;

impl Period {
    /// Reads `365 days`, `12 months`, `1 year`; `None` for anything else, or above 100 years.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (number, unit) = text.split_once(' ')?;
        let number: i32 = number.parse().ok().filter(|n| *n > 0)?;
        let period = match unit {
            "day" | "days" => Self::Days(number),
            "month" | "months" => Self::Months(number),
            "year" | "years" => Self::Months(number.checked_mul(12)?),
            _ => return None,
        };
        match period {
            Self::Days(days) if days <= DAYS_MAX => Some(period),
            Self::Months(months) if months <= MONTHS_MAX => Some(period),
            _ => None,
        }
    }

    fn span(self) -> Span {
        match self {
            Self::Days(days) => days.days(),
            Self::Months(months) => months.months(),
        }
    }

    /// The same time of day, one period earlier.
    #[must_use]
    pub fn before(self, moment: Timestamp, zone: &TimeZone) -> Timestamp {
        let zoned = moment
            .to_jiff()
            .to_zoned(zone.clone())
            .saturating_sub(self.span());
        Timestamp::new(zoned.timestamp())
    }

    /// The same time of day, one period later.
    #[must_use]
    pub fn after(self, moment: Timestamp, zone: &TimeZone) -> Timestamp {
        let zoned = moment.to_jiff().to_zoned(zone.clone());
        zone.to_ambiguous_zoned(self.after_date(zoned.date()).to_datetime(zoned.time()))
            .compatible()
            .map_or(Timestamp::new(jiff::Timestamp::MAX), |zoned| {
                Timestamp::new(zoned.timestamp())
            })
    }

    /// Days it has at the least.
    #[must_use]
    pub fn days_at_least(self) -> i32 {
        match self {
            Self::Days(days) => days,
            Self::Months(months) => months * 28,
        }
    }

    /// Days it has at the most.
    #[must_use]
    pub fn days_at_most(self) -> i32 {
        match self {
            Self::Days(days) => days,
            Self::Months(months) => months * 31,
        }
    }

    /// The same date, one period later.
    #[must_use]
    pub fn after_date(self, date: Date) -> Date {
        date.saturating_add(self.span())
    }
}

/// The moment that a date, or a local time, is in a zone; in the hour that a change of clocks
/// repeats or leaves out, as RFC 5545 takes it. Or the rule that the text breaks.
pub fn local_moment(text: &str, zone: &TimeZone) -> Result<Timestamp, &'static str> {
    // The parser would take further parts, such as a zone, and leave them out.
    let is_plain = |byte: u8| byte.is_ascii_digit() || b"-:. T".contains(&byte);
    let text = if text.bytes().all(is_plain) { text } else { "" };
    let local = if text.contains(['T', ' ']) {
        text.parse::<DateTime>()
    } else {
        text.parse::<Date>().map(|date| date.at(0, 0, 0, 0))
    };
    let Ok(local) = local else {
        return Err("must be a date such as 2026-11-30, or a local time such as 2026-11-30T18:00");
    };
    let zoned = zone.to_ambiguous_zoned(local).compatible();
    let zoned = zoned.map_err(|_| "is beyond the calendar's end")?;
    Ok(Timestamp::new(zoned.timestamp()))
}

/// The days of a week, from Monday.
pub(crate) const WEEKDAYS: [&str; 7] = [
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
];

/// A kind of period of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Every {
    /// A day.
    Day,
    /// A week.
    Week,
    /// A month.
    Month,
    /// Three months.
    Quarter,
    /// Twelve months.
    Year,
}

impl Every {
    /// All of them, from the shortest to the longest.
    pub const ALL: [Self; 5] = [
        Self::Day,
        Self::Week,
        Self::Month,
        Self::Quarter,
        Self::Year,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Quarter => "quarter",
            Self::Year => "year",
        }
    }
}

/// Where the programme's days, weeks, months, quarters and years begin.
#[derive(Clone, Debug)]
pub struct Calendar {
    /// Whose days count.
    pub zone: TimeZone,
    /// The first day of a week.
    pub week_starts: Weekday,
    /// Month and day (1 to 28) on which a quarter begins; the others begin on that day of
    /// each third month.
    pub quarter_starts: (i8, i8),
    /// Month and day (1 to 28) on which a year begins.
    pub year_starts: (i8, i8),
}

impl Calendar {
    /// The calendar of a zone in which weeks begin on Monday, and years and quarters on
    /// 1 January.
    #[must_use]
    pub fn of(zone: TimeZone) -> Self {
        Self {
            zone,
            week_starts: Weekday::Monday,
            quarter_starts: (1, 1),
            year_starts: (1, 1),
        }
    }

    /// The local date of a moment.
    #[must_use]
    pub fn date_of(&self, moment: Timestamp) -> Date {
        date_of(moment, &self.zone)
    }

    /// The first day of the period in which a date lies.
    #[must_use]
    pub fn first_day(&self, every: Every, date: Date) -> Date {
        match every {
            Every::Day => date,
            Every::Week => {
                let into = date.weekday().since(self.week_starts);
                date.saturating_sub(i32::from(into).days())
            }
            Every::Month => date.first_of_month(),
            Every::Quarter => begun(date, self.quarter_starts, 3),
            Every::Year => begun(date, self.year_starts, 12),
        }
    }

    /// The first day of the period after the one that begins on `first_day`.
    #[must_use]
    pub fn next(&self, every: Every, first_day: Date) -> Date {
        first_day.saturating_add(span_of(every))
    }

    /// The first day of the period before the one that begins on `first_day`.
    #[must_use]
    pub fn previous(&self, every: Every, first_day: Date) -> Date {
        first_day.saturating_sub(span_of(every))
    }
}

fn span_of(every: Every) -> Span {
    match every {
        Every::Day => 1.day(),
        Every::Week => 1.week(),
        Every::Month => 1.month(),
        Every::Quarter => 3.months(),
        Every::Year => 1.year(),
    }
}

/// The last beginning up to `date` of periods of so many months of which one begins on a
/// month and day; the day is one that every month has.
fn begun(date: Date, (month, day): (i8, i8), months: i8) -> Date {
    let into = (date.month() - month).rem_euclid(months);
    let this = Date::new(date.year(), date.month(), day).unwrap_or(date);
    let first = this.saturating_sub(i32::from(into).months());
    if first > date {
        first.saturating_sub(i32::from(months).months())
    } else {
        first
    }
}

/// Days from 1970-01-01 to a date; below zero before it.
#[must_use]
pub fn day_number(date: Date) -> i32 {
    let since = Date::constant(1970, 1, 1).until(date);
    since.map_or(i32::MAX, |since| since.get_days())
}

/// The date so many days after 1970-01-01.
#[must_use]
pub fn date_numbered(day: i32) -> Date {
    Date::constant(1970, 1, 1).saturating_add(day.days())
}

/// The date of a moment.
#[must_use]
pub fn date_of(moment: Timestamp, zone: &TimeZone) -> Date {
    moment.to_jiff().to_zoned(zone.clone()).date()
}

/// The moment a date begins.
#[must_use]
pub fn start_of(date: Date, zone: &TimeZone) -> Timestamp {
    zone.to_ambiguous_zoned(date.at(0, 0, 0, 0))
        .compatible()
        .map_or(Timestamp::new(jiff::Timestamp::MAX), |zoned| {
            Timestamp::new(zoned.timestamp())
        })
}

/// The moment a date ends: the start of the next.
#[must_use]
pub fn end_of(date: Date, zone: &TimeZone) -> Timestamp {
    start_of(date.saturating_add(1.day()), zone)
}

/// The moment the date's month ends: the start of the next.
#[must_use]
pub fn end_of_month(date: Date, zone: &TimeZone) -> Timestamp {
    end_of(date.last_of_month(), zone)
}

/// Reads a day of the year such as `12-31`.
#[must_use]
pub fn month_and_day(text: &str) -> Option<(i8, i8)> {
    let (month, day) = text.split_once('-')?;
    let (month, day) = (month.parse().ok()?, day.parse().ok()?);
    // A leap year has all days that any year has.
    Date::new(2000, month, day).ok()?;
    Some((month, day))
}

/// The first such day of a year from `date` on; 29 February is the 28th in
/// years that lack it.
#[must_use]
pub fn next_of_year(date: Date, month: i8, day: i8) -> Date {
    let of_year = |year: i16| {
        Date::new(year, month, day)
            .or_else(|_| Date::new(year, month, 28))
            .unwrap_or(Date::MAX)
    };
    let this_year = of_year(date.year());
    if this_year < date {
        of_year(date.year().saturating_add(1))
    } else {
        this_year
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_read() {
        assert_eq!(Period::parse("365 days"), Some(Period::Days(365)));
        assert_eq!(Period::parse("1 year"), Some(Period::Months(12)));
        for bad in [
            "",
            "12",
            "months",
            "0 days",
            "-1 days",
            "12  months",
            "9999 years",
        ] {
            assert_eq!(Period::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn periods_begin_where_the_calendar_says() {
        let mut calendar = Calendar::of(TimeZone::UTC);
        calendar.quarter_starts = (12, 1);
        calendar.year_starts = (3, 1);
        calendar.week_starts = Weekday::Sunday;
        let first = |every, date: &str| {
            let date: Date = date.parse().expect("a date");
            calendar.first_day(every, date).to_string()
        };
        assert_eq!(first(Every::Day, "2026-02-28"), "2026-02-28");
        // A Saturday, a Sunday.
        assert_eq!(first(Every::Week, "2026-02-28"), "2026-02-22");
        assert_eq!(first(Every::Week, "2026-03-01"), "2026-03-01");
        assert_eq!(first(Every::Month, "2026-02-28"), "2026-02-01");
        assert_eq!(first(Every::Quarter, "2026-02-28"), "2025-12-01");
        assert_eq!(first(Every::Quarter, "2026-03-01"), "2026-03-01");
        assert_eq!(first(Every::Quarter, "2026-12-31"), "2026-12-01");
        assert_eq!(first(Every::Year, "2026-02-28"), "2025-03-01");
        assert_eq!(first(Every::Year, "2026-03-01"), "2026-03-01");
        let quarter = Date::constant(2025, 12, 1);
        assert_eq!(
            calendar.next(Every::Quarter, quarter).to_string(),
            "2026-03-01"
        );
        assert_eq!(
            calendar.previous(Every::Year, quarter).to_string(),
            "2024-12-01"
        );
        calendar.quarter_starts = (1, 15);
        assert_eq!(
            calendar
                .first_day(Every::Quarter, Date::constant(2026, 4, 14))
                .to_string(),
            "2026-01-15"
        );
        assert_eq!(
            calendar
                .first_day(Every::Quarter, Date::constant(2026, 1, 14))
                .to_string(),
            "2025-10-15"
        );
    }

    #[test]
    fn days_are_numbered() {
        for (date, number) in [
            ("1970-01-01", 0),
            ("1969-12-31", -1),
            ("2000-03-01", 11_017),
        ] {
            let date: Date = date.parse().expect("a date");
            assert_eq!(day_number(date), number);
            assert_eq!(date_numbered(number), date);
        }
    }
}
