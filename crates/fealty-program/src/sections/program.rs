//! `program`, `money`: what everything else stands on.

use fealty_rules::Ratio;
use fealty_types::{Money, MoneyCurrency};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::faults::Check;

#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MoneyText {
    /// Its code of ISO 4217, such as `USD`.
    currency: MoneyCurrency,
    /// Digits of its minor unit: what ISO 4217 says.
    #[serde(skip_serializing_if = "Option::is_none")]
    decimals: Option<u8>,
}

/// A currency of money with its minor unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MoneyUnit {
    /// The currency.
    pub currency: MoneyCurrency,
    /// Digits of the minor unit after the point, as ISO 4217 has them.
    pub decimals: u8,
}

impl MoneyUnit {
    /// The amount of it that a text such as `12.50` says, exactly; or what is wrong with the
    /// text.
    pub fn parse(self, text: &str) -> Result<Money, String> {
        let money = Ratio::parse(text)
            .and_then(|ratio| ratio.in_units(self.decimals))
            .and_then(|minor_units| Money::new(self.currency, minor_units).ok());
        money.ok_or_else(|| {
            let (currency, decimals) = (self.currency, self.decimals);
            format!(
                "`{text}` must be an amount of {currency} with at most {decimals} digits after \
                 the point"
            )
        })
    }

    /// An amount of it in the file.
    pub(crate) fn amount(self, path: &str, text: &str, check: &mut Check) -> Option<Money> {
        let money = self.parse(text);
        money.map_err(|wrong| check.wrong(path, wrong)).ok()
    }
}

pub(crate) fn money(text: &MoneyText, check: &mut Check) -> Option<MoneyUnit> {
    let (currency, decimals) = (text.currency, text.currency.decimals());
    if text.decimals.is_some_and(|said| said != decimals) {
        let rule = format!("must be {decimals}, which ISO 4217 gives {currency}, or be left out");
        check.wrong("money.decimals", rule);
        return None;
    }
    Some(MoneyUnit { currency, decimals })
}
