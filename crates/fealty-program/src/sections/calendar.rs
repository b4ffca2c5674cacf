//! `calendar`: where days, weeks, months, quarters and years begin, and how late an event
//! may come.

use fealty_rules::{Calendar, Period, calendar::month_and_day};
use jiff::{civil::Weekday, tz::TimeZone};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Effect,
    faults::Check,
    words::{Words, longer},
};

/// The longest that closed windows are kept for late events, in days.
const LATE_DAYS_MAX: i32 = 400;
/// Where nothing is said: thirteen months, or nearly.
const LATE_DAYS: i32 = 396;

#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CalendarText {
    /// The zone in which days begin, such as `Europe/London`.
    #[serde(skip_serializing_if = "Option::is_none")]
    time_zone: Option<String>,
    /// The first day of a week; Monday, if nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    week_starts: Option<Day>,
    /// The day on which a quarter begins, such as `12-01`; `01-01`, if nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    quarter_starts: Option<String>,
    /// The day on which a year begins, such as `03-01`; `01-01`, if nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    year_starts: Option<String>,
    /// How late an event may come and still count, such as `60 days`; 396 days, if nothing is
    /// said.
    #[serde(skip_serializing_if = "Option::is_none")]
    late_until: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
enum Day {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

impl From<Day> for Weekday {
    fn from(day: Day) -> Self {
        match day {
            Day::Monday => Self::Monday,
            Day::Tuesday => Self::Tuesday,
            Day::Wednesday => Self::Wednesday,
            Day::Thursday => Self::Thursday,
            Day::Friday => Self::Friday,
            Day::Saturday => Self::Saturday,
            Day::Sunday => Self::Sunday,
        }
    }
}

/// The calendar, and the days after which an event touches no counter. `time_zone` may
/// stand beside the section, where it stood before there was one.
pub(crate) fn check(
    beside: Option<&str>,
    text: Option<&CalendarText>,
    check: &mut Check,
) -> Option<(Calendar, i32)> {
    let inside = text.and_then(|text| text.time_zone.as_deref());
    let (path, zone) = match (beside, inside) {
        (Some(zone), None) => ("time_zone", zone),
        (None, Some(zone)) => ("calendar.time_zone", zone),
        (None, None) => {
            check.wrong("calendar.time_zone", "must be set");
            return None;
        }
        (Some(_), Some(_)) => {
            check.wrong("time_zone", "stands in `calendar` already");
            return None;
        }
    };
    let zone = TimeZone::get(zone).ok();
    if zone.is_none() {
        check.wrong(path, "must be a name of the IANA time zone database");
    }
    let mut calendar = zone.map(Calendar::of);
    let mut late_days = LATE_DAYS;
    if let Some(text) = text {
        let quarter = begins(
            "calendar.quarter_starts",
            text.quarter_starts.as_deref(),
            check,
        );
        let year = begins("calendar.year_starts", text.year_starts.as_deref(), check);
        late_days = late(text.late_until.as_deref(), check);
        if let Some(calendar) = &mut calendar {
            calendar.week_starts = text.week_starts.map_or(calendar.week_starts, Weekday::from);
            calendar.quarter_starts = quarter.unwrap_or(calendar.quarter_starts);
            calendar.year_starts = year.unwrap_or(calendar.year_starts);
        }
    }
    Some((calendar?, late_days))
}

fn begins(path: &str, text: Option<&str>, check: &mut Check) -> Option<(i8, i8)> {
    let text = text?;
    let day = month_and_day(text).filter(|(_, day)| *day <= 28);
    if day.is_none() {
        let rule = "must be a day that every month has, such as `12-01`";
        check.wrong(path, format!("`{text}` {rule}"));
    }
    day
}

fn late(text: Option<&str>, check: &mut Check) -> i32 {
    const PATH: &str = "calendar.late_until";
    let Some(text) = text else {
        return LATE_DAYS;
    };
    let days = match check.period(PATH, text) {
        None => return LATE_DAYS,
        Some(Period::Days(days)) => days,
        // 31 days a month are never too few, and 13 of them are 400.
        Some(Period::Months(months)) => months.saturating_mul(31).min(if months <= 13 {
            LATE_DAYS_MAX
        } else {
            i32::MAX
        }),
    };
    if days > LATE_DAYS_MAX {
        check.wrong(
            PATH,
            format!("must be at most {LATE_DAYS_MAX} days, or 13 months"),
        );
    }
    days.min(LATE_DAYS_MAX)
}

/// What it means that events may come more or less late.
pub(crate) fn meaning(
    before: Option<&CalendarText>,
    after: Option<&CalendarText>,
    words: &mut Words,
) {
    let late = |text: Option<&CalendarText>| {
        let said = text.and_then(|text| text.late_until.clone());
        said.unwrap_or_else(|| LATE.to_owned())
    };
    let (was, is) = (late(before), late(after));
    if was != is {
        let message = format!("what comes up to {is} late still counts, instead of {was}");
        let effect = Effect::of_more(longer(&is, &was));
        words.say(effect, "calendar.late_until", message);
    }
}

/// How late an event may come, if nothing is said.
const LATE: &str = "396 days";
