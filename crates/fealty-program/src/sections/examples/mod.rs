//! `examples`: purchases, activities and ends of periods with what they must earn, so that whoever changes
//! a rule sees what it does. They are asked of the rules themselves, before a file is applied
//! (`asked`).

mod asked;

use std::collections::{BTreeMap, BTreeSet};

use fealty_rules::{AttributeType, End, Rules, Subject};
use fealty_types::{ActivityType, AttributeName, BrandId, Code, RuleId, TenderKind, TierId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use asked::Asked;
pub use asked::Example;

use super::{counters::EveryText, figure::Figure};
use crate::{DeclaredActivity, DeclaredAttributes, MoneyUnit, TierScheme, faults::Check};
use asked::{Given, GivenLine};

/// Examples of a file at the most.
const EXAMPLES_MAX: usize = 500;
/// Purchases of an example at the most.
const PURCHASES_MAX: usize = 100;

#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExampleText {
    /// Purchases that were made before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    after: Vec<PurchaseText>,
    /// The purchase.
    given: PurchaseText,
    /// Every rule that gives something, and how much.
    earns: BTreeMap<RuleId, i64>,
}

#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
struct PurchaseText {
    /// The type of activity, such as `review`; a purchase, if nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    activity: Option<ActivityType>,
    /// The end of the day, week, month, quarter or year in which `time` is; a purchase, if
    /// nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    end_of: Option<EveryText>,
    /// At the end of a period, for rules that read the wallet: the points that can be spent then.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    available: Option<i64>,
    /// When: a local date, or a time such as `2026-11-03T12:00`.
    time: String,
    /// The tier that counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    tier: Option<TierId>,
    /// Where; the only brand, if nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    brand: Option<BrandId>,
    /// The channel, such as `web`.
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<Code>,
    /// The store.
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<Code>,
    /// The till.
    #[serde(skip_serializing_if = "Option::is_none")]
    terminal: Option<Code>,
    /// What it comes to; the sum of its lines, if nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    amount: Option<Figure>,
    /// Its lines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    lines: Vec<LineText>,
    /// What was paid how, such as `{ card: "10.00" }`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    tenders: BTreeMap<TenderKind, Figure>,
    /// Its attributes, as `attributes` declares them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<AttributeName, ValueText>,
}

#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
struct LineText {
    /// The article.
    #[serde(skip_serializing_if = "Option::is_none")]
    sku: Option<Code>,
    /// The category.
    #[serde(skip_serializing_if = "Option::is_none")]
    category: Option<Code>,
    /// The brand of the article.
    #[serde(skip_serializing_if = "Option::is_none")]
    brand: Option<Code>,
    /// How many; 1, if nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    quantity: Option<u32>,
    /// The line's total.
    amount: Figure,
    /// Tax in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    tax: Option<Figure>,
    /// Its attributes, as `attributes` declares them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<AttributeName, ValueText>,
}

#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(untagged)]
enum ValueText {
    Bool(bool),
    Number(i64),
    Text(String),
}

/// What examples refer to.
pub(crate) struct Context<'a> {
    pub(crate) money: MoneyUnit,
    pub(crate) brands: Vec<&'a BrandId>,
    pub(crate) tiers: Option<&'a TierScheme>,
    pub(crate) attributes: &'a DeclaredAttributes,
    pub(crate) activities: &'a BTreeMap<ActivityType, DeclaredActivity>,
    pub(crate) zone: &'a jiff::tz::TimeZone,
    pub(crate) rules: &'a Rules,
}

pub(crate) fn check(
    text: &[ExampleText],
    context: &Context<'_>,
    check: &mut Check,
) -> Vec<Example> {
    check.within("examples", text.len(), EXAMPLES_MAX);
    let each = text.iter().enumerate().take(EXAMPLES_MAX);
    let examples: Vec<Option<Example>> = each
        .map(|(at, text)| example(&format!("examples.{at}"), text, context, check))
        .collect();
    examples.into_iter().flatten().collect()
}

fn example(
    path: &str,
    text: &ExampleText,
    context: &Context<'_>,
    check: &mut Check,
) -> Option<Example> {
    check.within(&format!("{path}.after"), text.after.len(), PURCHASES_MAX);
    let ids = || context.rules.rules().iter().map(|rule| rule.id.as_str());
    let known: BTreeSet<&str> = ids().collect();
    for rule in text.earns.keys() {
        if check.is_full() {
            break;
        }
        if !known.contains(rule.as_str()) {
            let hint = fealty_rules::hint(rule.as_str(), ids());
            check.wrong(
                format!("{path}.earns.{rule}"),
                format!("is not one of the rules{hint}"),
            );
        }
    }
    let before = text.after.iter().enumerate();
    let before: Vec<Option<Given>> = before
        .map(|(at, text)| purchase(&format!("{path}.after.{at}"), text, context, check))
        .collect();
    let given = purchase(&format!("{path}.given"), &text.given, context, check);
    Some(Example {
        after: before.into_iter().collect::<Option<_>>()?,
        given: given?,
        earns: text.earns.clone(),
    })
}

fn purchase(
    path: &str,
    text: &PurchaseText,
    context: &Context<'_>,
    check: &mut Check,
) -> Option<Given> {
    let at = super::earning::local_moment(&format!("{path}.time"), &text.time, context.zone, check);
    if let Some(tier) = &text.tier
        && context.tiers.and_then(|scheme| scheme.rank(tier)).is_none()
    {
        check.wrong(format!("{path}.tier"), "is not one of the tiers");
    }
    let brand = match (&text.brand, &*context.brands) {
        // It belongs to no brand.
        (None, [first, ..]) if text.end_of.is_some() => Some((*first).clone()),
        (Some(brand), brands) if brands.contains(&brand) => Some(brand.clone()),
        (Some(_), _) => {
            check.wrong(format!("{path}.brand"), "is not one of the brands");
            None
        }
        (None, [only]) => Some((*only).clone()),
        (None, _) => {
            check.wrong(format!("{path}.brand"), "must be set: there are several");
            None
        }
    };
    let lines = text.lines.iter().enumerate();
    let lines: Vec<Option<GivenLine>> = lines
        .map(|(at, text)| line(&format!("{path}.lines.{at}"), text, context, check))
        .collect();
    let lines: Option<Vec<GivenLine>> = lines.into_iter().collect();
    let (subject, declared) = subject(path, text, context, check)?;
    values(
        &format!("{path}.attributes"),
        &text.attributes,
        declared,
        check,
    );
    let lines = lines?;
    let sum: i64 = lines.iter().map(|line| line.amount).sum();
    let amount = match &text.amount {
        Some(amount) => money(&format!("{path}.amount"), amount, context, check)?,
        None => sum,
    };
    if !lines.is_empty() && sum != amount {
        check.wrong(format!("{path}.lines"), "must sum to the amount");
    }
    let mut paid = [0; TenderKind::ALL.len()];
    for (kind, figure) in &text.tenders {
        let part = money(&format!("{path}.tenders"), figure, context, check)?;
        paid[*kind as usize] = part;
    }
    if !text.tenders.is_empty() && paid.iter().sum::<i64>() != amount {
        check.wrong(format!("{path}.tenders"), "must sum to the amount");
    }
    let at = match subject {
        Subject::End(every) => End::after(context.rules.calendar(), every, at?).last_instant(),
        Subject::Purchase | Subject::Activity(_) => at?,
    };
    Some(Given {
        subject,
        at,
        available: text.available.unwrap_or(0),
        tier: text.tier.clone(),
        brand: brand?,
        codes: [
            text.channel.clone(),
            text.store.clone(),
            text.terminal.clone(),
        ],
        amount,
        paid,
        lines,
        attributes: text.attributes.clone(),
    })
}

/// What an example is, and the attributes that it may have.
fn subject<'a>(
    path: &str,
    text: &PurchaseText,
    context: &Context<'a>,
    check: &mut Check,
) -> Option<(Subject, &'a BTreeMap<AttributeName, AttributeType>)> {
    let has_money = text.amount.is_some() || !text.lines.is_empty() || !text.tenders.is_empty();
    if text.available.is_some() && text.end_of.is_none() {
        check.wrong(format!("{path}.available"), "is for the ends of periods");
    }
    if let Some(every) = text.end_of {
        if has_money || text.activity.is_some() || !text.attributes.is_empty() {
            let path = format!("{path}.end_of");
            check.wrong(path, "has neither money nor attributes, and is no activity");
        }
        return Some((Subject::End(every.into()), &context.attributes.purchase));
    }
    let Some(of_type) = &text.activity else {
        return Some((Subject::Purchase, &context.attributes.purchase));
    };
    let path = format!("{path}.activity");
    if has_money {
        check.wrong(&path, "has no amount, lines or tenders");
    }
    let declared = context.activities.get(of_type);
    let subject = context.rules.activity(of_type);
    let (Some(declared), Some(subject)) = (declared, subject) else {
        let ids = context.activities.keys().map(ActivityType::as_str);
        let hint = fealty_rules::hint(of_type.as_str(), ids);
        check.wrong(
            path,
            format!("is not one of the activities that rules read{hint}"),
        );
        return None;
    };
    Some((subject, &declared.attributes))
}

fn line(
    path: &str,
    text: &LineText,
    context: &Context<'_>,
    check: &mut Check,
) -> Option<GivenLine> {
    let declared = &context.attributes.line;
    values(
        &format!("{path}.attributes"),
        &text.attributes,
        declared,
        check,
    );
    let amount = money(&format!("{path}.amount"), &text.amount, context, check);
    let tax = text.tax.as_ref();
    let tax = tax.map_or(Some(0), |tax| {
        money(&format!("{path}.tax"), tax, context, check)
    });
    Some(GivenLine {
        codes: [text.sku.clone(), text.category.clone(), text.brand.clone()],
        quantity: text.quantity.unwrap_or(1),
        amount: amount?,
        tax: tax?,
        attributes: text.attributes.clone(),
    })
}

fn money(path: &str, figure: &Figure, context: &Context<'_>, check: &mut Check) -> Option<i64> {
    let amount = context.money.amount(path, &figure.to_string(), check)?;
    Some(amount.minor_units())
}

fn values(
    path: &str,
    given: &BTreeMap<AttributeName, ValueText>,
    declared: &BTreeMap<AttributeName, AttributeType>,
    check: &mut Check,
) {
    for (name, value) in given {
        let fits = matches!(
            (declared.get(name), value),
            (Some(AttributeType::Bool), ValueText::Bool(_))
                | (Some(AttributeType::Number), ValueText::Number(_))
                | (
                    Some(AttributeType::Text | AttributeType::Personal),
                    ValueText::Text(_)
                )
        );
        if !fits {
            check.wrong(
                format!("{path}.{name}"),
                "is not declared so in `attributes`",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::Program;

    const CLUB: &str = include_str!("../../../../../examples/programs/record-club.yaml");

    fn examples(text: &str) -> Result<(), String> {
        let file = format!("{CLUB}\nexamples:\n{text}\n");
        let parsed = Program::parse(&file).map_err(|errors| errors.to_string())?;
        parsed.check_examples().map_err(|errors| errors.to_string())
    }

    #[test]
    fn examples_are_asked_of_the_rules() {
        examples(
            "  - given: { time: 1997-01-05T12:00, tier: gold, amount: \"11.77\" }
    earns: { base: 117, tier-bonus: 58 }
  - given: { time: 1997-01-05, amount: \"11.77\", tenders: { points: \"11.77\" } }
    earns: {}",
        )
        .expect("they hold");
        let wrong = examples(
            "  - given: { time: 1997-01-05, tier: gold, amount: \"11.77\" }
    earns: { base: 117 }",
        );
        let wrong = wrong.expect_err("it earns more");
        let expected = "examples.0: it earns base 117, tier-bonus 58, and was to earn base 117 (line 58, column 5)";
        assert_eq!(wrong, expected);
        let wrong = examples(
            "  - given: { time: noon, amount: \"11.77\" }
    earns: { basis: 117 }",
        );
        let wrong = wrong.expect_err("neither is there");
        assert!(
            wrong.contains("examples.0.earns.basis: is not one of the rules"),
            "{wrong}"
        );
        assert!(wrong.contains("examples.0.given.time"), "{wrong}");
    }
}
