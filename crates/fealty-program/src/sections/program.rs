//! `program`, `time_zone`, `money`: what everything else stands on.

use fealty_types::MoneyCurrency;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::check::{Check, DECIMALS_MAX};

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MoneyText {
    currency: MoneyCurrency,
    decimals: u8,
}

/// A currency of money with its minor unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MoneyUnit {
    /// The currency.
    pub currency: MoneyCurrency,
    /// Digits of the minor unit after the point, 0 to 4.
    pub decimals: u8,
}

pub(crate) fn time_zone(text: &str, check: &mut Check) -> Option<TimeZone> {
    let zone = TimeZone::get(text).ok();
    if zone.is_none() {
        let rule = "must be a name of the IANA time zone database";
        check.wrong("time_zone", rule);
    }
    zone
}

pub(crate) fn money(text: &MoneyText, check: &mut Check) -> Option<MoneyUnit> {
    if text.decimals > DECIMALS_MAX {
        check.wrong("money.decimals", format!("must be 0 to {DECIMALS_MAX}"));
        return None;
    }
    Some(MoneyUnit {
        currency: text.currency,
        decimals: text.decimals,
    })
}
