//! Moments on their way to and from `timestamptz`.

use fealty_types::Timestamp;

/// A `timestamptz` as sqlx has it.
pub type PgTime = ::time::OffsetDateTime;

/// To `timestamptz`; both keep whole microseconds.
#[must_use]
pub fn to_pg(moment: Timestamp) -> PgTime {
    PgTime::from_unix_timestamp_nanos(i128::from(moment.micros()) * 1_000)
        .expect("the calendars of both reach over the same years")
}

/// From `timestamptz`.
#[must_use]
pub fn from_pg(moment: PgTime) -> Timestamp {
    i64::try_from(moment.unix_timestamp_nanos() / 1_000)
        .ok()
        .and_then(Timestamp::from_micros)
        .expect("the calendars of both reach over the same years")
}
