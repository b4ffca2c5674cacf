//! `convert`: points that become something else at a period's end.

use fealty_rules::FormulaSource;
use fealty_types::{BrandId, CurrencyId, Points};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Context;
use crate::{
    Effect,
    faults::Check,
    sections::figure::Figure,
    words::{Exact, Words},
};

/// What a rule converts: points that a member has become something of a value.
#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConvertText {
    /// The currency of the points.
    pub(super) currency: CurrencyId,
    /// So many at a time; what is left over stays.
    #[schemars(range(min = 1))]
    each: i64,
    /// What they become.
    into: Into,
    /// What each time is worth, such as `0.50`.
    value: Figure,
    /// The brand that accepts the points; the one that does, if there is only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) accepted_by: Option<BrandId>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
enum Into {
    /// A voucher, one for all of them.
    Voucher,
}

impl ConvertText {
    /// What it converts, in words.
    pub(super) fn told(&self) -> String {
        format!(
            "a voucher of {} for each {} {}",
            self.value, self.each, self.currency
        )
    }
}

pub(super) fn check<'a>(
    path: &str,
    text: &ConvertText,
    context: &Context<'_>,
    check: &mut Check,
) -> Option<FormulaSource<'a>> {
    let each = Points::amount(text.each).ok();
    if each.is_none() {
        check.wrong(format!("{path}.each"), "must be 1 to 10^15");
    }
    let Into::Voucher = text.into;
    let value = format!("{path}.value");
    let amount = context
        .money
        .amount(&value, &text.value.to_string(), check)?;
    if amount.minor_units() == 0 {
        check.wrong(value, "must be above 0");
    }
    Some(FormulaSource::Convert {
        each: each?,
        minor_units: amount.minor_units(),
    })
}

/// The brand that accepts the points.
pub(super) fn accepted_by<'a>(
    path: &str,
    text: &'a ConvertText,
    context: &'a Context<'_>,
    check: &mut Check,
) -> Option<&'a BrandId> {
    let path = format!("{path}.accepted_by");
    let accepts = |id: &&BrandId| context.brands[*id].accepts.contains(&text.currency);
    if let Some(brand) = &text.accepted_by {
        if !context.brands.contains_key(brand) {
            let brands = context.brands.keys().map(BrandId::as_str);
            let hint = fealty_rules::hint(brand.as_str(), brands);
            check.wrong(path, format!("`{brand}` is not one of the brands{hint}"));
        } else if !accepts(&brand) {
            check.wrong(path, format!("`{brand}` does not accept {}", text.currency));
        }
        return Some(brand);
    }
    let mut brands = context.brands.keys().filter(accepts);
    let (first, another) = (brands.next(), brands.next());
    if first.is_none() || another.is_some() {
        let message = format!(
            "must say which brand accepts the points: {} accepts {}",
            if first.is_none() {
                "none"
            } else {
                "more than one"
            },
            text.currency
        );
        check.wrong(path, message);
    }
    first
}

/// What another conversion means.
pub(super) fn meaning(
    path: &str,
    id: &str,
    (before, after): (&ConvertText, &ConvertText),
    words: &mut Words,
) {
    if before.currency != after.currency || before.each != after.each {
        let message = format!("`{id}` makes {} instead of {}", after.told(), before.told());
        words.say(Effect::Depends, path, message);
        return;
    }
    let what = format!("`{id}` makes vouchers, for each {}, of", after.each);
    let values = (Exact(&before.value), Exact(&after.value));
    words.more_is_better(format!("{path}.value"), values, &what);
    if before.accepted_by != after.accepted_by {
        let message = format!("the points that `{id}` converts are accepted by another brand");
        words.say(Effect::Depends, format!("{path}.accepted_by"), message);
    }
}
