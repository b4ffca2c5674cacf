//! `brands`: the companies that issue and accept points.

use std::collections::BTreeMap;

use fealty_types::{BrandId, CurrencyId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Currency, Effect,
    faults::Check,
    words::{Words, each},
};

const BRANDS_MAX: usize = 1_000;

#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BrandText {
    /// The currencies of points that it issues.
    #[serde(default)]
    issues: Vec<CurrencyId>,
    /// The currencies of points that it accepts.
    #[serde(default)]
    accepts: Vec<CurrencyId>,
}

/// What a brand may do with points.
#[derive(Clone, Debug)]
pub struct Brand {
    /// Currencies it issues.
    pub issues: Vec<CurrencyId>,
    /// Currencies it accepts.
    pub accepts: Vec<CurrencyId>,
}

pub(crate) fn check(
    text: &BTreeMap<BrandId, BrandText>,
    currencies: Option<&BTreeMap<CurrencyId, Currency>>,
    check: &mut Check,
) -> BTreeMap<BrandId, Brand> {
    if text.is_empty() {
        check.wrong("brands", "must name at least one");
    }
    check.within("brands", text.len(), BRANDS_MAX);
    for (id, brand) in text {
        for (list, named) in [("issues", &brand.issues), ("accepts", &brand.accepts)] {
            let unknown =
                |id: &&CurrencyId| currencies.is_some_and(|known| !known.contains_key(*id));
            if let Some(unknown) = named.iter().find(unknown) {
                let path = format!("brands.{id}.{list}");
                check.wrong(path, format!("`{unknown}` is not one of the currencies"));
            }
        }
    }
    let brands = text.iter().map(|(id, brand)| {
        let brand = Brand {
            issues: brand.issues.clone(),
            accepts: brand.accepts.clone(),
        };
        (id.clone(), brand)
    });
    brands.collect()
}

/// What other brands mean.
pub(crate) fn meaning(
    before: &BTreeMap<BrandId, BrandText>,
    after: &BTreeMap<BrandId, BrandText>,
    words: &mut Words,
) {
    for (id, before, after) in each(before, after) {
        let (Some(before), Some(after)) = (before, after) else {
            continue;
        };
        for (what, before, after) in [
            ("issues", &before.issues, &after.issues),
            ("accepts", &before.accepts, &after.accepts),
        ] {
            let path = format!("brands.{id}.{what}");
            for currency in before.iter().filter(|known| !after.contains(known)) {
                let message = format!("{id} no longer {what} {currency}");
                words.say(Effect::MembersLose, &*path, message);
            }
            for currency in after.iter().filter(|known| !before.contains(known)) {
                words.say(
                    Effect::MembersGain,
                    &*path,
                    format!("{id} {what} {currency}"),
                );
            }
        }
    }
}
