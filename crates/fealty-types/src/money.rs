//! Money, in minor units.

use std::{fmt, str::FromStr};

use borsh::{BorshDeserialize, BorshSerialize};

use crate::InvalidValue;

/// An ISO 4217 currency code: three upper-case letters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct MoneyCurrency([u8; 3]);

impl MoneyCurrency {
    /// The code as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("???")
    }
}

impl FromStr for MoneyCurrency {
    type Err = InvalidValue;

    fn from_str(code: &str) -> Result<Self, InvalidValue> {
        match <[u8; 3]>::try_from(code.as_bytes()) {
            Ok(code) if code.iter().all(u8::is_ascii_uppercase) => Ok(Self(code)),
            _ => Err(InvalidValue::new(
                "must be an ISO 4217 code of three upper-case letters",
            )),
        }
    }
}

impl fmt::Display for MoneyCurrency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for MoneyCurrency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<'de> serde::Deserialize<'de> for MoneyCurrency {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <String as serde::Deserialize>::deserialize(deserializer)?;
        text.parse().map_err(|error: InvalidValue| {
            serde::de::Error::custom(format_args!("`{text}` {error}"))
        })
    }
}

impl serde::Serialize for MoneyCurrency {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// An amount of money: 0 to 10^13 minor units of its currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Money {
    currency: MoneyCurrency,
    minor_units: i64,
}

impl Money {
    /// The most that a purchase can be: 10^13 minor units.
    pub const MINOR_UNITS_MAX: i64 = 10_000_000_000_000;

    /// An amount of 0 to 10^13 minor units.
    pub const fn new(currency: MoneyCurrency, minor_units: i64) -> Result<Self, InvalidValue> {
        if minor_units < 0 || minor_units > Self::MINOR_UNITS_MAX {
            return Err(InvalidValue::new("must be 0 to 10^13 minor units"));
        }
        Ok(Self {
            currency,
            minor_units,
        })
    }

    /// The currency.
    #[must_use]
    pub const fn currency(self) -> MoneyCurrency {
        self.currency
    }

    /// The amount in the currency's minor unit.
    #[must_use]
    pub const fn minor_units(self) -> i64 {
        self.minor_units
    }
}
