//! Examples, asked of the rules.

use std::{collections::BTreeMap, fmt::Write as _};

use fealty_rules::{
    AttributeValue, Book, Buckets, Event, GivenAttributes, Line, Move, Numbers, Rules, Silent,
    Subject, WalletPart, evaluate, evaluate_end,
};
use fealty_types::{
    AttributeName, BrandId, Code, CurrencyId, RuleId, TenderKind, TierId, Timestamp,
};

use super::ValueText;
use crate::{Brand, TierScheme};

/// A purchase, those before it, and what it must earn.
#[derive(Clone, Debug)]
pub struct Example {
    pub(super) after: Vec<Given>,
    pub(super) given: Given,
    pub(super) earns: BTreeMap<RuleId, i64>,
}

/// A purchase, an activity or the end of a period of an example. Money is in minor units.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) subject: Subject,
    pub(super) at: Timestamp,
    /// Points that can be spent, at the end of a period.
    pub(super) available: i64,
    pub(super) tier: Option<TierId>,
    pub(super) brand: BrandId,
    pub(super) codes: [Option<Code>; 3],
    pub(super) amount: i64,
    pub(super) paid: [i64; TenderKind::ALL.len()],
    pub(super) lines: Vec<GivenLine>,
    pub(super) attributes: BTreeMap<AttributeName, ValueText>,
}

#[derive(Clone, Debug)]
pub(super) struct GivenLine {
    pub(super) codes: [Option<Code>; 3],
    pub(super) quantity: u32,
    pub(super) amount: i64,
    pub(super) tax: i64,
    pub(super) attributes: BTreeMap<AttributeName, ValueText>,
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
            match before.evaluate(asked, &numbers) {
                Ok((_, moves)) => numbers.apply(rules, &moves),
                Err(error) => return Some(error),
            }
        }
        let given = match self.given.evaluate(asked, &numbers) {
            Ok((given, _)) => given,
            Err(error) => return Some(error),
        };
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
    /// What each rule gives, or converts, and what moves.
    fn evaluate(
        &self,
        asked: &Asked<'_>,
        numbers: &Numbers,
    ) -> Result<(BTreeMap<RuleId, i64>, Vec<Move>), String> {
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
            again: false,
        };
        let of_example = OfExample {
            numbers,
            available: self.available,
        };
        let inputs = event.inputs(rules, &of_example);
        let (given, moves): (Vec<(u16, i64)>, Vec<Move>) = match self.subject {
            Subject::End(_) => {
                let ended = evaluate_end(rules, &event, &inputs, &mut Silent);
                let ended = ended.map_err(|error| error.to_string())?;
                let given = ended.results.iter();
                let given = given.map(|result| (result.rule, result.points - result.before));
                (given.collect(), ended.moves)
            }
            Subject::Purchase | Subject::Activity(_) => {
                let outcome = evaluate(rules, &event, &inputs, &mut Silent);
                let outcome = outcome.map_err(|error| error.to_string())?;
                let given = outcome.given.iter();
                let given = given.map(|given| (given.rule, given.points.get()));
                (given.collect(), outcome.moves)
            }
        };
        let given = given.into_iter().filter_map(|(rule, points)| {
            let rule = rules.rule(rule)?;
            Some((rule.id.clone(), points))
        });
        Ok((given.collect(), moves))
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

/// A member's numbers, and the points that can be spent of whatever currency.
struct OfExample<'a> {
    numbers: &'a Numbers,
    available: i64,
}

impl Book for OfExample<'_> {
    fn buckets(&self, key: u64) -> Option<&Buckets> {
        self.numbers.buckets(key)
    }

    fn wallet(&self, _: &CurrencyId, part: WalletPart) -> i64 {
        match part {
            WalletPart::Available => self.available,
            WalletPart::Pending | WalletPart::Held | WalletPart::Debt => 0,
        }
    }
}
