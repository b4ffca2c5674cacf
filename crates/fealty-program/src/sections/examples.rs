//! `examples`: purchases and activities with what they must earn, so that whoever changes a rule sees what
//! it does. They are asked of the rules themselves, before a file is applied.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use fealty_rules::{
    AttributeType, AttributeValue, Event, GivenAttributes, Line, Numbers, Outcome, Rules, Silent,
    Subject, evaluate,
};
use fealty_types::{
    ActivityType, AttributeName, BrandId, Code, CurrencyId, RuleId, TenderKind, TierId, Timestamp,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::figure::Figure;
use crate::{Brand, DeclaredActivity, DeclaredAttributes, MoneyUnit, TierScheme, faults::Check};

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

/// A purchase, those before it, and what it must earn.
#[derive(Clone, Debug)]
pub struct Example {
    after: Vec<Given>,
    given: Given,
    earns: BTreeMap<RuleId, i64>,
}

/// A purchase or an activity of an example. Money is in minor units.
#[derive(Clone, Debug)]
struct Given {
    subject: Subject,
    at: Timestamp,
    tier: Option<TierId>,
    brand: BrandId,
    codes: [Option<Code>; 3],
    amount: i64,
    paid: [i64; TenderKind::ALL.len()],
    lines: Vec<GivenLine>,
    attributes: BTreeMap<AttributeName, ValueText>,
}

#[derive(Clone, Debug)]
struct GivenLine {
    codes: [Option<Code>; 3],
    quantity: u32,
    amount: i64,
    tax: i64,
    attributes: BTreeMap<AttributeName, ValueText>,
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
    Some(Given {
        subject,
        at: at?,
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
    let Some(of_type) = &text.activity else {
        return Some((Subject::Purchase, &context.attributes.purchase));
    };
    let path = format!("{path}.activity");
    let has_money = text.amount.is_some() || !text.lines.is_empty() || !text.tenders.is_empty();
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
                | (Some(AttributeType::Text), ValueText::Text(_))
        );
        if !fits {
            check.wrong(
                format!("{path}.{name}"),
                "is not declared so in `attributes`",
            );
        }
    }
}

/// What examples are asked of.
pub(crate) struct Asked<'a> {
    pub(crate) rules: &'a Rules,
    pub(crate) brands: &'a BTreeMap<BrandId, Brand>,
    pub(crate) tiers: Option<&'a TierScheme>,
}

impl Example {
    /// Why the programme does not earn what the example says; `None` if it does.
    pub(crate) fn fails(&self, asked: &Asked<'_>) -> Option<String> {
        let rules = asked.rules;
        let mut numbers = Numbers::default();
        for before in &self.after {
            let outcome = match before.evaluate(asked, &numbers) {
                Ok(outcome) => outcome,
                Err(error) => return Some(error),
            };
            numbers.apply(rules, &outcome.moves);
        }
        let outcome = match self.given.evaluate(asked, &numbers) {
            Ok(outcome) => outcome,
            Err(error) => return Some(error),
        };
        let given = outcome.given.iter().filter_map(|given| {
            let rule = rules.rule(given.rule)?;
            Some((rule.id.clone(), given.points.get()))
        });
        let given: BTreeMap<RuleId, i64> = given.collect();
        let expected = self.earns.iter().filter(|(_, points)| **points != 0);
        let expected: BTreeMap<RuleId, i64> = expected
            .map(|(rule, points)| (rule.clone(), *points))
            .collect();
        (given != expected).then(|| {
            format!(
                "it earns {}, and was to earn {}",
                listed(&given),
                listed(&expected)
            )
        })
    }
}

fn listed(points: &BTreeMap<RuleId, i64>) -> String {
    if points.is_empty() {
        return "nothing".to_owned();
    }
    let mut list = String::new();
    for (at, (rule, points)) in points.iter().enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        let _ = write!(list, "{comma}{rule} {points}");
    }
    list
}

impl Given {
    fn evaluate(&self, asked: &Asked<'_>, numbers: &Numbers) -> Result<Outcome, String> {
        let (rules, scheme) = (asked.rules, asked.tiers);
        let lowest = || scheme?.levels.first().map(|level| &level.tier);
        let tier = self.tier.as_ref().or_else(lowest);
        let rank = tier.and_then(|tier| scheme?.rank(tier));
        let issues: &[CurrencyId] = asked
            .brands
            .get(&self.brand)
            .map_or(&[], |brand| &brand.issues);
        let [channel, store, terminal] = &self.codes;
        let event = Event {
            subject: self.subject,
            at: self.at,
            brand: self.brand.as_str(),
            channel: code(channel.as_ref()),
            store: code(store.as_ref()),
            terminal: code(terminal.as_ref()),
            amount: self.amount,
            whole_amount: self.amount,
            paid: self.paid,
            lines: self.lines.iter().map(GivenLine::line).collect(),
            attributes: attributes(&self.attributes),
            issues,
            tier_rank: rank.and_then(|rank| u16::try_from(rank).ok()),
            tier: tier.map(TierId::as_str).unwrap_or_default(),
            counts: true,
        };
        let inputs = event.inputs(rules, numbers);
        evaluate(rules, &event, &inputs, &mut Silent).map_err(|error| error.to_string())
    }
}

impl GivenLine {
    fn line(&self) -> Line<'_> {
        let [sku, category, brand] = &self.codes;
        Line {
            sku: code(sku.as_ref()),
            category: code(category.as_ref()),
            brand: code(brand.as_ref()),
            quantity: self.quantity.into(),
            amount: self.amount,
            tax: self.tax,
            attributes: attributes(&self.attributes),
        }
    }
}

fn code(code: Option<&Code>) -> &str {
    code.map(Code::as_str).unwrap_or_default()
}

fn attributes(given: &BTreeMap<AttributeName, ValueText>) -> GivenAttributes<'_> {
    let value = |value| match value {
        &ValueText::Bool(value) => AttributeValue::Bool(value),
        &ValueText::Number(value) => AttributeValue::Number(value),
        ValueText::Text(text) => AttributeValue::Text(text),
    };
    given
        .iter()
        .map(|(name, given)| (name, value(given)))
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::Program;

    const CLUB: &str = include_str!("../../../../examples/programs/record-club.yaml");

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
