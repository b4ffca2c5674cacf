//! Money, in minor units.

use std::{fmt, str::FromStr};

use borsh::{BorshDeserialize, BorshSerialize};

use iso_currency::Currency;

use crate::InvalidValue;

/// An ISO 4217 currency code of a currency that is in use: three upper-case letters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct MoneyCurrency([u8; 3]);

impl MoneyCurrency {
    /// The code as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("???")
    }
}

impl MoneyCurrency {
    /// Digits after the point of an amount, by ISO 4217: 2 of USD, 0 of JPY, 3 of KWD;
    /// 0 where the standard has none, as for gold.
    #[must_use]
    pub fn decimals(self) -> u8 {
        let exponent = Currency::from_code(self.as_str()).and_then(Currency::exponent);
        exponent
            .and_then(|digits| u8::try_from(digits).ok())
            .unwrap_or(0)
    }
}

impl FromStr for MoneyCurrency {
    type Err = InvalidValue;

    fn from_str(code: &str) -> Result<Self, InvalidValue> {
        match <[u8; 3]>::try_from(code.as_bytes()) {
            Ok(bytes) if Currency::from_code(code).is_some() => Ok(Self(bytes)),
            _ => Err(InvalidValue::new(
                "must be an ISO 4217 code of a currency, three upper-case letters",
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

/// `12.50 USD`: with as many digits after the point as the currency has.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = self.currency.decimals();
        let unit = 10_i64.pow(u32::from(decimals));
        let (whole, rest) = (self.minor_units / unit, self.minor_units % unit);
        match decimals {
            0 => write!(f, "{whole} {}", self.currency),
            decimals => {
                let width = usize::from(decimals);
                write!(f, "{whole}.{rest:0width$} {}", self.currency)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_currency_has_its_digits() {
        let shown = |code: &str, minor_units| {
            let currency = code.parse().expect("a currency");
            Money::new(currency, minor_units)
                .expect("in range")
                .to_string()
        };
        assert_eq!(shown("USD", 1_205), "12.05 USD");
        assert_eq!(shown("JPY", 1_205), "1205 JPY");
        assert_eq!(shown("KWD", 1_205), "1.205 KWD");
        for wrong in ["usd", "US", "XQQ", "EURO", ""] {
            assert!(wrong.parse::<MoneyCurrency>().is_err(), "{wrong}");
        }
    }
}
