//! `earning`: the rules that a purchase earns by.

use std::collections::{BTreeMap, BTreeSet};

use fealty_types::{CurrencyId, Points, RuleId, TierId};
use serde::{Deserialize, Serialize};

use crate::{Currency, MoneyUnit, Ratio, TierScheme, faults::Check};

const RULES_MAX: usize = 200;
/// The highest multiplier, and the most points per unit of money: with a
/// purchase of at most 10^13 minor units, products stay far inside i128.
const FACTOR_MAX: i64 = 1_000;

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuleText {
    rule: RuleId,
    on: On,
    earn: EarnText,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum On {
    Purchase,
}

/// Either `currency` and `rate`, or `multiply` and `by_tier`; the check sees to
/// it, with a clearer message than an untagged enum gives.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct EarnText {
    currency: Option<CurrencyId>,
    rate: Option<RateText>,
    multiply: Option<RuleId>,
    by_tier: Option<BTreeMap<TierId, String>>,
    tier_as_of: Option<TierAsOf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    of: Option<MultipliedOf>,
    round: Round,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RateText {
    points: i64,
    per: String,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Round {
    Floor,
}

/// An earning rule.
#[derive(Clone, Debug)]
pub struct EarningRule {
    /// Its id.
    pub id: RuleId,
    /// The currency it gives.
    pub currency: CurrencyId,
    /// How many points it gives.
    pub formula: EarnFormula,
}

/// How many points an earning rule gives; always rounded down.
#[derive(Clone, Debug)]
pub enum EarnFormula {
    /// `points` for each `per` minor units of money.
    Rate {
        /// Points given.
        points: Points,
        /// Minor units of money for which they are given; above 0.
        per: i64,
    },
    /// A multiple of what the rule `base` gave, on top of it.
    Multiply {
        /// The rule whose points are multiplied.
        base: RuleId,
        /// The whole factor for each tier, at least 1: 1.25 adds a quarter.
        by_tier: BTreeMap<TierId, Ratio>,
        /// Which tier counts.
        tier_as_of: TierAsOf,
        /// What is multiplied.
        of: MultipliedOf,
    },
}

/// What a multiplier multiplies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MultipliedOf {
    /// What its base gives exactly: rules over one base round together, each gives what
    /// they come to so far less what was given before. 4.75 at 1 per 1.00 and a factor
    /// of 1.2 give 4 and 1.
    #[default]
    Exact,
    /// What its base gave, rounded as it was; what it adds is rounded by itself. 4.75
    /// at 1 per 1.00 and a factor of 1.2 give 4 and 0.
    Rounded,
}

/// Which of a member's tiers counts for a purchase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TierAsOf {
    /// The one held at the time of purchase.
    Purchase,
    /// The one held when the day of the purchase began.
    StartOfDay,
}

/// What the rules refer to.
pub(crate) struct Context<'a> {
    pub(crate) money: MoneyUnit,
    /// `None` where the currencies themselves are wrong.
    pub(crate) currencies: Option<&'a BTreeMap<CurrencyId, Currency>>,
    pub(crate) tiers: Option<&'a TierScheme>,
}

pub(crate) fn check(
    text: &[RuleText],
    context: &Context<'_>,
    check: &mut Check,
) -> Vec<EarningRule> {
    check.within("earning", text.len(), RULES_MAX);
    let mut rules: Vec<EarningRule> = Vec::new();
    let mut seen = BTreeSet::new();
    for rule in text {
        let path = format!("earning.{}", rule.rule);
        if !seen.insert(&rule.rule) {
            check.wrong(&path, "is named twice");
        }
        let earn = &rule.earn;
        let formula = match (&earn.currency, &earn.rate, &earn.multiply, &earn.by_tier) {
            (Some(currency), Some(rate), None, None)
                if earn.tier_as_of.is_none() && earn.of.is_none() =>
            {
                if context
                    .currencies
                    .is_some_and(|known| !known.contains_key(currency))
                {
                    let rule = format!("`{currency}` is not one of the currencies");
                    check.wrong(format!("{path}.earn.currency"), rule);
                }
                let formula = self::rate(&path, rate, context.money, check);
                formula.map(|formula| (currency.clone(), formula))
            }
            (None, None, Some(base), Some(by_tier)) => {
                let by_tier = factors(&path, by_tier, context.tiers, check);
                multiplied(&path, base, &rules, check).map(|currency| {
                    let formula = EarnFormula::Multiply {
                        base: base.clone(),
                        by_tier,
                        tier_as_of: earn.tier_as_of.unwrap_or(TierAsOf::Purchase),
                        of: earn.of.unwrap_or_default(),
                    };
                    (currency, formula)
                })
            }
            _ => {
                let rule = "must have either `currency` and `rate`, or `multiply` and `by_tier`";
                check.wrong(format!("{path}.earn"), rule);
                None
            }
        };
        if let Some((currency, formula)) = formula {
            rules.push(EarningRule {
                id: rule.rule.clone(),
                currency,
                formula,
            });
        }
    }
    rules
}

fn rate(path: &str, text: &RateText, money: MoneyUnit, check: &mut Check) -> Option<EarnFormula> {
    let points = Points::amount(text.points).ok();
    let points = points.filter(|points| points.get() <= FACTOR_MAX);
    if points.is_none() {
        let rule = format!("must be 1 to {FACTOR_MAX}");
        check.wrong(format!("{path}.earn.rate.points"), rule);
    }
    let path = format!("{path}.earn.rate.per");
    let per = money.amount(&path, &text.per, check)?.minor_units();
    if per == 0 {
        check.wrong(path, "must be above 0");
        return None;
    }
    Some(EarnFormula::Rate {
        points: points?,
        per,
    })
}

/// The currency of the rule that is multiplied.
fn multiplied(
    path: &str,
    base: &RuleId,
    before: &[EarningRule],
    check: &mut Check,
) -> Option<CurrencyId> {
    let rated =
        |rule: &&EarningRule| rule.id == *base && matches!(rule.formula, EarnFormula::Rate { .. });
    let found = before.iter().find(rated);
    if found.is_none() {
        let rule = format!("`{base}` must be a rule with a rate, further up");
        check.wrong(format!("{path}.earn.multiply"), rule);
    }
    found.map(|rule| rule.currency.clone())
}

fn factors(
    path: &str,
    by_tier: &BTreeMap<TierId, String>,
    tiers: Option<&TierScheme>,
    check: &mut Check,
) -> BTreeMap<TierId, Ratio> {
    let mut factors = BTreeMap::new();
    for (tier, text) in by_tier {
        let path = format!("{path}.earn.by_tier.{tier}");
        if tiers.and_then(|scheme| scheme.rank(tier)).is_none() {
            check.wrong(path, "is not one of the tiers");
            continue;
        }
        let in_range = |ratio: &Ratio| {
            ratio.numerator >= ratio.denominator && ratio.numerator / ratio.denominator < FACTOR_MAX
        };
        if let Some(ratio) = Ratio::parse(text).filter(in_range) {
            factors.insert(tier.clone(), ratio);
        } else {
            let range = format!("at least 1 and below {FACTOR_MAX}");
            check.wrong(
                path,
                format!("`{text}` must be a factor of {range}, such as `1.25`"),
            );
        }
    }
    factors
}
