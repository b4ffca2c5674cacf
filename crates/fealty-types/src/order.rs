//! Within what an order number is unique.

use std::{fmt, str::FromStr};

use borsh::{BorshDeserialize, BorshSerialize, io};
use jiff::civil::Date;

use crate::{Code, InvalidValue};

/// A day of a programme, in its time zone, such as `2026-11-26`. In canonical bytes: days
/// since 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BusinessDate(Date);

/// The first day that is numbered.
const EPOCH: Date = jiff::civil::date(1970, 1, 1);

impl BusinessDate {
    /// A day of the calendar.
    #[must_use]
    pub fn new(date: Date) -> Self {
        Self(date)
    }

    fn days(self) -> i32 {
        // The calendar has less than 2^23 days.
        (self.0 - EPOCH).get_days()
    }
}

impl fmt::Display for BusinessDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for BusinessDate {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        // Exactly as it is shown, so that one day has one text.
        let date = text.parse().ok().map(Self);
        let date = date.filter(|date| date.to_string() == text);
        date.ok_or(InvalidValue::new("must be a date such as `2026-11-26`"))
    }
}

impl BorshSerialize for BusinessDate {
    fn serialize<W: io::Write>(&self, writer: &mut W) -> io::Result<()> {
        self.days().serialize(writer)
    }
}

impl BorshDeserialize for BusinessDate {
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        let days = i32::deserialize_reader(reader)?;
        let span = jiff::Span::new().try_days(days);
        let date = span.and_then(|span| EPOCH.checked_add(span));
        date.map(Self)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "no day of the calendar"))
    }
}

/// Within what a brand's order numbers are unique: all of the brand, where nothing is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct OrderScope {
    /// A store, where receipt numbers come again in each.
    pub store: Option<Code>,
    /// A day, where they come again on each.
    pub business_date: Option<BusinessDate>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_what_it_was() {
        for text in ["1969-12-31", "1970-01-01", "2024-02-29", "9999-12-31"] {
            let day: BusinessDate = text.parse().expect("a day");
            assert_eq!(day.to_string(), text);
            let bytes = borsh::to_vec(&day).expect("to memory");
            assert_eq!(bytes.len(), 4);
            assert_eq!(
                borsh::from_slice::<BusinessDate>(&bytes).expect("ours"),
                day
            );
        }
        for text in ["2026-11-31", "20261126", "2026-11-26T00:00", ""] {
            text.parse::<BusinessDate>().expect_err(text);
        }
        borsh::from_slice::<BusinessDate>(&i32::MAX.to_le_bytes()).expect_err("no day");
    }
}
