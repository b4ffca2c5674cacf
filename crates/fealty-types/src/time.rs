//! Time as an argument.

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};

/// A moment, in whole microseconds as Postgres keeps it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(jiff::Timestamp);

impl Timestamp {
    /// 1970-01-01T00:00Z.
    pub const EPOCH: Self = Self(jiff::Timestamp::UNIX_EPOCH);

    /// A moment known when compiling, in microseconds since 1970-01-01T00:00Z.
    ///
    /// # Panics
    /// If the calendar has no such moment.
    #[must_use]
    pub const fn constant(micros: i64) -> Self {
        assert!(micros % 1_000_000 == 0, "whole seconds");
        Self(jiff::Timestamp::constant(micros / 1_000_000, 0))
    }

    /// The moment, cut to whole microseconds.
    #[must_use]
    pub fn new(moment: jiff::Timestamp) -> Self {
        Self::from_micros(moment.as_microsecond()).unwrap_or(Self(moment))
    }

    /// The moment that many microseconds after 1970-01-01T00:00Z, if there is one.
    #[must_use]
    pub fn from_micros(micros: i64) -> Option<Self> {
        jiff::Timestamp::from_microsecond(micros).ok().map(Self)
    }

    /// Microseconds since 1970-01-01T00:00Z.
    #[must_use]
    pub fn micros(self) -> i64 {
        self.0.as_microsecond()
    }

    /// As jiff has it.
    #[must_use]
    pub fn to_jiff(self) -> jiff::Timestamp {
        self.0
    }

    /// The moment that much later, if there is one.
    #[must_use]
    pub fn checked_add(self, duration: std::time::Duration) -> Option<Self> {
        self.0.checked_add(duration).ok().map(Self::new)
    }

    /// The moment that much earlier, if there is one.
    #[must_use]
    pub fn checked_sub(self, duration: std::time::Duration) -> Option<Self> {
        self.0.checked_sub(duration).ok().map(Self::new)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl BorshSerialize for Timestamp {
    fn serialize<W: borsh::io::Write>(&self, writer: &mut W) -> borsh::io::Result<()> {
        self.micros().serialize(writer)
    }
}

impl BorshDeserialize for Timestamp {
    fn deserialize_reader<R: borsh::io::Read>(reader: &mut R) -> borsh::io::Result<Self> {
        Self::from_micros(i64::deserialize_reader(reader)?).ok_or_else(|| {
            borsh::io::Error::new(borsh::io::ErrorKind::InvalidData, "a moment out of range")
        })
    }
}

/// Where a service gets its time from: the machine, or a test.
pub trait Clock: Send + Sync {
    /// The present moment.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the machine's clock"
    )]
    fn now(&self) -> Timestamp {
        Timestamp::new(jiff::Timestamp::now())
    }
}
