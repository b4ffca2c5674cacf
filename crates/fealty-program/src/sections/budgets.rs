//! `budgets`: points that rules give at the most, all members together.

use std::collections::BTreeMap;

use fealty_rules::{Budget, Builder, hint};
use fealty_types::{BrandId, BudgetId, CurrencyId, Points};
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Effect,
    faults::Check,
    sections::{
        earning::{Context, local_moment},
        figure::Percent,
    },
    words::{Told, Words, each},
};

/// Budgets of a programme at the most.
const BUDGETS_MAX: usize = 200;

#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BudgetText {
    /// The currency of its points.
    currency: CurrencyId,
    /// What its rules give at the most, all members together.
    #[schemars(range(min = 1))]
    points: i64,
    /// The brand that issues the points of its rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    funded_by: Option<BrandId>,
    /// The part of it at which the feed warns once, such as `80%`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Percent>")]
    warn_at: Option<String>,
    /// Until when it gives: a local date, or a time such as `2026-12-01T18:00`.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    /// Whether who wants more than is left gets the rest. Otherwise nothing, and the rest stays
    /// for who wants less. `true`, if nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    partial: Option<bool>,
}

/// The brands that issue the points of budgets' rules, where budgets say so.
pub(crate) fn funders(text: &BTreeMap<BudgetId, BudgetText>) -> BTreeMap<&BudgetId, &BrandId> {
    let funders = text
        .iter()
        .filter_map(|(id, budget)| Some((id, budget.funded_by.as_ref()?)));
    funders.collect()
}

/// Checks the budgets, and has rules know of them.
pub(crate) fn check(
    text: &BTreeMap<BudgetId, BudgetText>,
    context: &Context<'_>,
    builder: &mut Builder,
    check: &mut Check,
) {
    check.within("budgets", text.len(), BUDGETS_MAX);
    for (id, budget) in text {
        let path = format!("budgets.{id}");
        if let Some(known) = context.currencies
            && !known.contains_key(&budget.currency)
        {
            let name = budget.currency.as_str();
            let hint = hint(name, known.keys().map(CurrencyId::as_str));
            let rule = format!("`{name}` is not one of the currencies{hint}");
            check.wrong(format!("{path}.currency"), rule);
        }
        if Points::amount(budget.points).is_err() {
            check.wrong(format!("{path}.points"), "must be 1 to 10^15");
        }
        funding(&path, budget, context, check);
        let until = budget.until.as_deref().zip(context.calendar);
        let until = until.and_then(|(until, calendar)| {
            local_moment(&format!("{path}.until"), until, &calendar.zone, check)
        });
        let warn_at = budget.warn_at.as_deref();
        builder.budget(Budget {
            id: id.clone(),
            currency: budget.currency.clone(),
            points: budget.points,
            partial: budget.partial.unwrap_or(true),
            until,
            warn_at: warn_at.and_then(|text| percent(&format!("{path}.warn_at"), text, check)),
        });
    }
}

/// Whether the brand that is to issue a budget's points may.
fn funding(path: &str, budget: &BudgetText, context: &Context<'_>, check: &mut Check) {
    let Some(brand) = &budget.funded_by else {
        return;
    };
    let path = format!("{path}.funded_by");
    match context.brands.get(brand) {
        None => {
            let hint = hint(brand.as_str(), context.brands.keys().map(BrandId::as_str));
            check.wrong(path, format!("`{brand}` is not one of the brands{hint}"));
        }
        Some(known) if !known.issues.contains(&budget.currency) => {
            check.wrong(path, format!("`{brand}` does not issue its currency"));
        }
        Some(_) => {}
    }
}

/// A part of a hundred, such as `80%`.
fn percent(path: &str, text: &str, check: &mut Check) -> Option<u8> {
    let number = text.trim().strip_suffix('%').unwrap_or(text);
    let number = number.trim().parse().ok();
    let number = number.filter(|number| (1..=100).contains(number));
    if number.is_none() {
        check.wrong(path, "must be 1% to 100%, such as 80%");
    }
    number
}

/// What other budgets mean.
pub(crate) fn meaning(
    before: &BTreeMap<BudgetId, BudgetText>,
    after: &BTreeMap<BudgetId, BudgetText>,
    words: &mut Words,
) {
    for (id, before, after) in each(before, after) {
        let path = format!("budgets.{id}");
        let (Some(before), Some(after)) = (before, after) else {
            continue;
        };
        let points = (before.points, after.points);
        words.more_is_better(format!("{path}.points"), points, &format!("`{id}` has"));
        let until = (before.until.as_ref(), after.until.as_ref());
        until_meaning(&format!("{path}.until"), id.as_str(), until, words);
        let partial = |text: &BudgetText| text.partial.unwrap_or(true);
        if partial(before) != partial(after) {
            let (effect, gets) = if partial(after) {
                (Effect::MembersGain, "the rest")
            } else {
                (Effect::MembersLose, "nothing")
            };
            let message = format!("who wants more than `{id}` has left gets {gets}");
            words.say(effect, format!("{path}.partial"), message);
        }
    }
}

/// What another end means: later is better.
pub(crate) fn until_meaning(
    path: &str,
    id: &str,
    (before, after): (Option<&String>, Option<&String>),
    words: &mut Words,
) {
    if let (Some(was), Some(is)) = (before, after) {
        let order = later(is, was);
        if order != Some(std::cmp::Ordering::Equal) {
            let message = format!("`{id}` ends {is} instead of {was}");
            words.say(Effect::of_more(order), path, message);
        }
        return;
    }
    let told = Told {
        is: &format!("`{id}` ends"),
        was: &format!("`{id}` no longer ends"),
        good: Effect::MembersLose,
    };
    words.there_or_not(path, (before, after), &told);
}

/// Which of two local times is later; `None` where one is none.
pub(crate) fn later(one: &str, other: &str) -> Option<std::cmp::Ordering> {
    // Both are in one zone, so any will do.
    let moment = |text| fealty_rules::calendar::local_moment(text, &TimeZone::UTC).ok();
    Some(moment(one)?.cmp(&moment(other)?))
}
