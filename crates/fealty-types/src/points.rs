//! Points, in the smallest unit of their currency.

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::InvalidValue;

/// A number of points: 0 to 10^15 of a currency's smallest unit.
///
/// All arithmetic is checked; what would leave the range is `None`.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    BorshSerialize,
    BorshDeserialize,
)]
pub struct Points(i64);

impl Points {
    /// No points.
    pub const ZERO: Self = Self(0);
    /// The most that an amount or a bucket can be: 10^15.
    pub const MAX: Self = Self(1_000_000_000_000_000);

    /// Points from a number in 0 to 10^15.
    pub const fn new(value: i64) -> Result<Self, InvalidValue> {
        if value < 0 || value > Self::MAX.0 {
            return Err(InvalidValue::new("must be 0 to 10^15 points"));
        }
        Ok(Self(value))
    }

    /// An amount that moves: 1 to 10^15.
    pub const fn amount(value: i64) -> Result<Self, InvalidValue> {
        if value < 1 || value > Self::MAX.0 {
            return Err(InvalidValue::new("must be 1 to 10^15 points"));
        }
        Ok(Self(value))
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum, unless it passes [`Points::MAX`].
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        // Both are at most 10^15, so the sum of the integers cannot overflow.
        let sum = self.0 + other.0;
        if sum > Self::MAX.0 {
            None
        } else {
            Some(Self(sum))
        }
    }

    /// The difference, unless it falls below zero.
    #[must_use]
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        if other.0 > self.0 {
            None
        } else {
            Some(Self(self.0 - other.0))
        }
    }
}

impl fmt::Display for Points {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
