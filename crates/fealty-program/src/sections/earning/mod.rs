//! `earning`: the rules that a purchase or an activity earns by, and `groups`, of whose rules one gives.
//!
//! `on` is what a rule is asked of, `formula` how many points it gives, `convert` which points become
//! something else, `caps` how many at the most, `meaning` what a
//! change of them comes to. Rules are
//! compiled by `fealty-rules`, which says what is wrong with their conditions.

mod caps;
mod convert;
pub(crate) mod ends;
mod formula;
mod meaning;
mod on;

use std::collections::{BTreeMap, BTreeSet};

use fealty_rules::{Builder, Calendar, FormulaSource, Pick, RuleSource, Rules, TierAsOf, calendar};
use fealty_types::{BrandId, BudgetId, CurrencyId, GroupId, RuleId, Timestamp};
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    ActivationRule, Brand, Currency, Expiry, MoneyUnit, TierScheme,
    faults::Check,
    sections::{
        currencies::{self, ActivatesText},
        expiry::{self, ExpiresText},
    },
};
pub(crate) use meaning::{groups_meaning, meaning};

use caps::CapText;
use convert::ConvertText;
use formula::{EarnText, TierAsOfText};
use on::Asked;

/// Rules of a programme at the most.
const RULES_MAX: usize = 2_000;
const GROUPS_MAX: usize = 100;

#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuleText {
    /// The id of the rule.
    rule: RuleId,
    /// What it is asked of: a `purchase`, an activity such as `activity.review`, or the end of
    /// a period such as `end_of.month`.
    on: Asked,
    /// The first moment for which it holds: a local date, or a time such as `2026-11-01T18:00`.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    /// The moment from which on it no longer holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    /// A condition, such as `purchase.channel == "web"`. It always applies, if nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    when: Option<String>,
    /// Which lines it is about, such as `line.category != "gift-card"`. All, if nothing is
    /// said.
    #[serde(skip_serializing_if = "Option::is_none")]
    lines: Option<String>,
    /// A group, of whose rules one gives.
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<GroupId>,
    /// How many points it gives.
    #[serde(skip_serializing_if = "Option::is_none")]
    earn: Option<EarnText>,
    /// At the end of a period, instead of `earn`: points that become something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    convert: Option<ConvertText>,
    /// How much it gives at the most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    caps: Vec<CapText>,
    /// The budget from which its points come.
    #[serde(skip_serializing_if = "Option::is_none")]
    budget: Option<BudgetId>,
    /// The brand that issues its points, instead of the one where it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    funded_by: Option<BrandId>,
    /// When its points become available, where that is not their currency's.
    #[serde(skip_serializing_if = "Option::is_none")]
    activates: Option<ActivatesText>,
    /// When its points expire, where that is not their currency's.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<ExpiresText>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PickText {
    /// The rule that gives most after its own caps.
    Best,
    /// The first that applies.
    First,
}

/// How purchases earn.
#[derive(Clone, Debug)]
pub struct Earning {
    /// The rules.
    pub rules: Rules,
    /// The terms of the points of each, where they are not those of their currency.
    pub terms: Vec<RuleTerms>,
}

/// Terms of a rule's points, where they are not those of their currency.
#[derive(Clone, Debug, Default)]
pub struct RuleTerms {
    /// When they become available.
    pub activation: Option<ActivationRule>,
    /// When they expire.
    pub expiry: Option<Expiry>,
}

/// What the rules refer to.
pub(crate) struct Context<'a> {
    pub(crate) money: MoneyUnit,
    /// `None` where the currencies themselves are wrong.
    pub(crate) currencies: Option<&'a BTreeMap<CurrencyId, Currency>>,
    pub(crate) brands: &'a BTreeMap<BrandId, Brand>,
    /// The brands that issue the points of budgets' rules.
    pub(crate) funders: BTreeMap<&'a BudgetId, &'a BrandId>,
    pub(crate) tiers: Option<&'a TierScheme>,
    /// `None` where it is wrong.
    pub(crate) calendar: Option<&'a Calendar>,
}

/// The groups, with which of their rules gives.
pub(crate) fn groups(
    text: &BTreeMap<GroupId, PickText>,
    check: &mut Check,
) -> BTreeMap<GroupId, Pick> {
    check.within("groups", text.len(), GROUPS_MAX);
    let pick = |text: &PickText| match text {
        PickText::Best => Pick::Best,
        PickText::First => Pick::First,
    };
    text.iter()
        .map(|(id, text)| (id.clone(), pick(text)))
        .collect()
}

/// Which tier counts for a purchase: a programme whose rules disagree uses the start of
/// the day for all of them, so that one tier is the purchase's tier.
pub(crate) fn tier_as_of(text: &[RuleText]) -> TierAsOf {
    let at_start = |rule: &RuleText| {
        let as_of = rule.earn.as_ref().and_then(|earn| earn.tier_as_of);
        matches!(as_of, Some(TierAsOfText::StartOfDay))
    };
    if text.iter().any(at_start) {
        TierAsOf::StartOfDay
    } else {
        TierAsOf::Purchase
    }
}

/// Checks the rules and has them compiled; answers with the terms of their points.
pub(crate) fn check(
    text: &[RuleText],
    context: &Context<'_>,
    builder: &mut Builder,
    check: &mut Check,
) -> Vec<RuleTerms> {
    check.within("earning", text.len(), RULES_MAX);
    let mut terms = Vec::with_capacity(text.len());
    let mut seen = BTreeSet::new();
    for rule in text.iter().take(RULES_MAX) {
        if check.is_full() {
            break;
        }
        let path = format!("earning.{}", rule.rule);
        if !seen.insert(&rule.rule) {
            check.wrong(&path, "is named twice");
        }
        let currency = self::currency(&path, rule, context, check);
        let formula = formula_of(&path, rule, context, check);
        let from = moment(
            &format!("{path}.from"),
            rule.from.as_deref(),
            context,
            check,
        );
        let until = moment(
            &format!("{path}.until"),
            rule.until.as_deref(),
            context,
            check,
        );
        if let (Some(from), Some(until)) = (from, until)
            && from >= until
        {
            check.wrong(format!("{path}.until"), "must be after `from`");
        }
        let brand = brand_of(&path, rule, currency, context, check);
        terms.push(terms_of(&path, rule, context, check));
        let source = formula.map(|formula| RuleSource {
            id: rule.rule.clone(),
            on: (&rule.on).into(),
            currency: currency.cloned(),
            funded_by: brand.cloned(),
            from,
            until,
            when: rule.when.as_deref(),
            lines: rule.lines.as_deref(),
            group: rule.group.clone(),
            formula,
            caps: caps::check(&path, (&rule.caps, &rule.on), check),
            budget: rule.budget.clone(),
        });
        match source.map(|source| builder.rule(&source)) {
            None => builder.miss_rule(&rule.rule),
            Some(Ok(())) => {}
            Some(Err(faults)) => check.faults(&path, faults),
        }
    }
    terms
}

/// What a rule gives, or converts.
fn formula_of<'a>(
    path: &str,
    rule: &'a RuleText,
    context: &Context<'_>,
    check: &mut Check,
) -> Option<FormulaSource<'a>> {
    match (&rule.earn, &rule.convert) {
        (Some(earn), None) => formula::check(&format!("{path}.earn"), earn, context, check),
        (None, Some(convert)) => {
            convert::check(&format!("{path}.convert"), convert, context, check)
        }
        _ => {
            check.wrong(path, "must have either `earn` or `convert`");
            None
        }
    }
}

/// The brand that issues a rule's points wherever it was, or accepts those that it converts. At
/// the end of a period there is none where it was, so it must be known.
fn brand_of<'a>(
    path: &str,
    rule: &'a RuleText,
    currency: Option<&CurrencyId>,
    context: &'a Context<'a>,
    check: &mut Check,
) -> Option<&'a BrandId> {
    funding(path, rule, currency, context, check);
    if let Some(convert) = &rule.convert {
        if rule.funded_by.is_some() {
            let message = "is for rules that give points: say `accepted_by` in `convert`";
            check.wrong(format!("{path}.funded_by"), message);
        }
        let path = format!("{path}.convert");
        return convert::accepted_by(&path, convert, context, check);
    }
    let budget = rule.budget.as_ref();
    let of_budget = budget.and_then(|id| context.funders.get(id).copied());
    let said = rule.funded_by.as_ref().or(of_budget);
    let (None, Some(_), Some(currency)) = (said, rule.on.ends(), currency) else {
        return said;
    };
    let issues = |id: &&BrandId| context.brands[*id].issues.contains(currency);
    let mut brands = context.brands.keys().filter(issues);
    let (first, another) = (brands.next(), brands.next());
    if first.is_none() || another.is_some() {
        let message = format!(
            "must say which brand issues the points: {} issues {currency}",
            if first.is_none() {
                "none"
            } else {
                "more than one"
            },
        );
        check.wrong(format!("{path}.funded_by"), message);
    }
    first
}

fn currency<'a>(
    path: &str,
    rule: &'a RuleText,
    context: &Context<'_>,
    check: &mut Check,
) -> Option<&'a CurrencyId> {
    let (currency, field) = match (&rule.earn, &rule.convert) {
        (Some(earn), _) => (earn.currency.as_ref()?, "earn"),
        (None, Some(convert)) => (&convert.currency, "convert"),
        (None, None) => return None,
    };
    if let Some(known) = context.currencies
        && !known.contains_key(currency)
    {
        let hint = fealty_rules::hint(currency.as_str(), known.keys().map(CurrencyId::as_str));
        let rule = format!("`{currency}` is not one of the currencies{hint}");
        check.wrong(format!("{path}.{field}.currency"), rule);
    }
    Some(currency)
}

/// Whether the brand that is to issue a rule's points may.
fn funding(
    path: &str,
    rule: &RuleText,
    currency: Option<&CurrencyId>,
    context: &Context<'_>,
    check: &mut Check,
) {
    let Some(brand) = &rule.funded_by else {
        return;
    };
    let path = format!("{path}.funded_by");
    match context.brands.get(brand) {
        None => {
            let brands = context.brands.keys().map(BrandId::as_str);
            let hint = fealty_rules::hint(brand.as_str(), brands);
            check.wrong(path, format!("`{brand}` is not one of the brands{hint}"));
        }
        Some(known) if currency.is_some_and(|currency| !known.issues.contains(currency)) => {
            check.wrong(
                path,
                format!("`{brand}` does not issue what the rule gives"),
            );
        }
        Some(_) => {}
    }
}

/// A date, or a moment of a day, in the programme's zone.
fn moment(
    path: &str,
    text: Option<&str>,
    context: &Context<'_>,
    check: &mut Check,
) -> Option<Timestamp> {
    local_moment(path, text?, &context.calendar?.zone, check)
}

/// A date, or a moment of a day, in a zone.
pub(crate) fn local_moment(
    path: &str,
    text: &str,
    zone: &TimeZone,
    check: &mut Check,
) -> Option<Timestamp> {
    let moment = calendar::local_moment(text, zone);
    moment
        .map_err(|rule| check.wrong(path, format!("`{text}` {rule}")))
        .ok()
}

fn terms_of(path: &str, rule: &RuleText, context: &Context<'_>, check: &mut Check) -> RuleTerms {
    let activation = rule.activates.as_ref();
    let activation = activation
        .and_then(|text| currencies::activation_of(&format!("{path}.activates"), text, check));
    let expiry = rule.expires.as_ref();
    let path = format!("{path}.expires");
    let expiry = expiry.and_then(|text| expiry::check(&path, text, context.tiers, check));
    if matches!(expiry, Some(Expiry::Inactivity { .. })) {
        let rule = "inactivity is of a wallet as a whole: `inactive_for` stands in `currencies`";
        check.wrong(path, rule);
    }
    RuleTerms { activation, expiry }
}
