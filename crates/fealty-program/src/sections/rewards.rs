//! `rewards`: what points buy.

use std::collections::BTreeMap;

use fealty_types::{BrandId, CurrencyId, Points, RewardId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Brand, Effect,
    faults::Check,
    words::{Told, Words, each},
};

const REWARDS_MAX: usize = 10_000;
const STOCK_MAX: i64 = 1_000_000_000;
const NAME_LEN_MAX: usize = 200;

#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RewardText {
    /// Its name for people.
    name: String,
    /// What it costs.
    price: PriceText,
    /// The brand that accepts the points.
    accepted_by: BrandId,
    /// How many there are in all; without limit, if nothing is said.
    #[schemars(range(min = 0))]
    stock: Option<i64>,
}

#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
struct PriceText {
    /// The currency of points.
    currency: CurrencyId,
    /// So many.
    #[schemars(range(min = 1))]
    points: i64,
}

/// A reward of the catalogue.
#[derive(Clone, Debug)]
pub struct Reward {
    /// Its name for people.
    pub name: String,
    /// The currency of points it is paid in.
    pub currency: CurrencyId,
    /// The points it costs.
    pub points: Points,
    /// The brand that accepts the points.
    pub accepted_by: BrandId,
    /// How many there are in all; without limit, if there is nothing.
    pub stock: Option<i64>,
}

pub(crate) fn check(
    text: &BTreeMap<RewardId, RewardText>,
    brands: &BTreeMap<BrandId, Brand>,
    check: &mut Check,
) -> BTreeMap<RewardId, Reward> {
    check.within("rewards", text.len(), REWARDS_MAX);
    let mut rewards = BTreeMap::new();
    for (id, text) in text {
        let path = format!("rewards.{id}");
        match brands.get(&text.accepted_by) {
            None => check.wrong(format!("{path}.accepted_by"), "is not one of the brands"),
            Some(brand) if !brand.accepts.contains(&text.price.currency) => {
                let rule = format!("`{}` does not accept it", text.accepted_by);
                check.wrong(format!("{path}.price.currency"), rule);
            }
            Some(_) => {}
        }
        let allowed = 0..=STOCK_MAX;
        if text.stock.is_some_and(|stock| !allowed.contains(&stock)) {
            let rule = format!("must be 0 to {STOCK_MAX}");
            check.wrong(format!("{path}.stock"), rule);
        }
        if text.name.is_empty() || text.name.chars().count() > NAME_LEN_MAX {
            let rule = format!("must be 1 to {NAME_LEN_MAX} characters");
            check.wrong(format!("{path}.name"), rule);
        }
        match Points::amount(text.price.points) {
            Err(error) => check.wrong(format!("{path}.price.points"), error.to_string()),
            Ok(points) => {
                let reward = Reward {
                    name: text.name.clone(),
                    currency: text.price.currency.clone(),
                    points,
                    accepted_by: text.accepted_by.clone(),
                    stock: text.stock,
                };
                rewards.insert(id.clone(), reward);
            }
        }
    }
    rewards
}

/// What another catalogue means.
pub(crate) fn meaning(
    before: &BTreeMap<RewardId, RewardText>,
    after: &BTreeMap<RewardId, RewardText>,
    words: &mut Words,
) {
    for (id, before, after) in each(before, after) {
        let path = format!("rewards.{id}");
        match (before, after) {
            (None, Some(reward)) => {
                let PriceText { currency, points } = &reward.price;
                let message = format!("`{id}` is new, for {points} {currency}");
                words.say(Effect::MembersGain, path, message);
            }
            (Some(_), None) => {
                words.say(
                    Effect::MembersLose,
                    path,
                    format!("`{id}` can be had no more"),
                );
            }
            (Some(before), Some(after)) => another(&path, id.as_str(), (before, after), words),
            (None, None) => {}
        }
    }
}

/// What another form of a reward means.
fn another(path: &str, id: &str, (before, after): (&RewardText, &RewardText), words: &mut Words) {
    let (was, is) = (&before.price, &after.price);
    if was.currency == is.currency {
        let price = (was.points, is.points);
        words.less_is_better(format!("{path}.price"), price, &format!("`{id}` costs"));
    } else {
        let message = format!(
            "`{id}` costs {} {} instead of {} {}",
            is.points, is.currency, was.points, was.currency
        );
        words.say(Effect::Depends, format!("{path}.price"), message);
    }
    let told = Told {
        is: &format!("of `{id}` there are"),
        was: &format!("of `{id}` there are no longer only"),
        good: Effect::MembersLose,
    };
    match (&before.stock, &after.stock) {
        (Some(was), Some(is)) => {
            words.more_is_better(format!("{path}.stock"), (was, is), told.is);
        }
        (was, is) => {
            words.there_or_not(format!("{path}.stock"), (was.as_ref(), is.as_ref()), &told);
        }
    }
    if before.accepted_by != after.accepted_by {
        let message = format!("{} accepts the points for `{id}`", after.accepted_by);
        words.say(Effect::Depends, format!("{path}.accepted_by"), message);
    }
}
