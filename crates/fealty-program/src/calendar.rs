//! Calendar arithmetic in the programme's time zone.

use fealty_types::Timestamp;
use jiff::{Span, ToSpan as _, civil::Date, tz::TimeZone};

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
    /// Reads `365 days`, `12 months`, `1 year`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
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
    pub(crate) fn days_at_least(self) -> i32 {
        match self {
            Self::Days(days) => days,
            Self::Months(months) => months * 28,
        }
    }

    /// Days it has at the most.
    pub(crate) fn days_at_most(self) -> i32 {
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

/// The date of a moment.
pub(crate) fn date_of(moment: Timestamp, zone: &TimeZone) -> Date {
    moment.to_jiff().to_zoned(zone.clone()).date()
}

/// The moment a date begins.
pub(crate) fn start_of(date: Date, zone: &TimeZone) -> Timestamp {
    zone.to_ambiguous_zoned(date.at(0, 0, 0, 0))
        .compatible()
        .map_or(Timestamp::new(jiff::Timestamp::MAX), |zoned| {
            Timestamp::new(zoned.timestamp())
        })
}

/// The moment a date ends: the start of the next.
pub(crate) fn end_of(date: Date, zone: &TimeZone) -> Timestamp {
    start_of(date.saturating_add(1.day()), zone)
}

/// The moment the date's month ends: the start of the next.
pub(crate) fn end_of_month(date: Date, zone: &TimeZone) -> Timestamp {
    end_of(date.last_of_month(), zone)
}

/// Reads a day of the year such as `12-31`.
pub(crate) fn month_and_day(text: &str) -> Option<(i8, i8)> {
    let (month, day) = text.split_once('-')?;
    let (month, day) = (month.parse().ok()?, day.parse().ok()?);
    // A leap year has all days that any year has.
    Date::new(2000, month, day).ok()?;
    Some((month, day))
}

/// The first such day of a year from `date` on; 29 February is the 28th in
/// years that lack it.
pub(crate) fn next_of_year(date: Date, month: i8, day: i8) -> Date {
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
}
