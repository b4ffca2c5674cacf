//! `earn`: how many points a rule gives; `meaning` is what a change of that comes to.

mod meaning;

use std::collections::BTreeMap;

use fealty_rules::{FormulaSource, MultipliedOf, Rate, Ratio};
use fealty_types::{CounterId, CurrencyId, Points, RuleId, TierId};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::IntoDeserializer as _};

pub(super) use meaning::{meaning, told};

use super::Context;
use crate::{
    TierScheme,
    faults::Check,
    sections::counters::CounterName,
    sections::figure::{self, Expression, Figure, RoundText},
};

/// The highest multiplier, and the most points per unit of money: with a
/// purchase of at most 10^13 minor units, products stay far inside i128.
const FACTOR_MAX: i64 = 1_000;
/// Bands of a rule at the most.
const BANDS_MAX: usize = 20;

/// One of five: `rate`, `bands`, `fixed`, `of` a counter (all with `currency`), or `multiply`; the
/// check sees to it, with a clearer message than an untagged enum gives.
#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EarnText {
    /// The currency of the points; for all but `multiply`.
    pub(super) currency: Option<CurrencyId>,
    /// Points for each so much money. A base, which others multiply.
    rate: Option<RateText>,
    /// The base, further up, that is multiplied. By 2 gives as much again.
    multiply: Option<RuleId>,
    /// The factors of `multiply` by tier; 1 where a tier is not named.
    by_tier: Option<BTreeMap<TierId, Figure>>,
    /// At which moment the tier counts: for all rules, so one that says `start_of_day` says it
    /// for all. That of the purchase, if none says anything.
    pub(super) tier_as_of: Option<TierAsOfText>,
    /// For `multiply`: whether what the base gives is multiplied exactly or rounded; exactly,
    /// if nothing is said. At the end of a period: the counter of which a part is given, such as
    /// `counters.earned`; all of it, if there is neither `by` nor `steps`.
    #[serde(skip_serializing_if = "Option::is_none")]
    of: Option<OfText>,
    /// Once a rule's own, now the currency's: of a rule with a currency it must be that, and
    /// of a multiplier it says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    round: Option<RoundText>,
    /// The factor of `multiply`, or the part `of` a counter.
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<Figure>,
    /// For `multiply`: whether it multiplies what the others come to. Otherwise factors add:
    /// two doubles make triple.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    compound: bool,
    /// Points for each so much money, by what the purchase adds to a counter. A base.
    #[serde(skip_serializing_if = "Option::is_none")]
    bands: Option<BandsText>,
    /// At the end of a period: the part `of` a counter by what another stands at.
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<StepsText>,
    /// So many points.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    fixed: Option<i64>,
    /// For `fixed`: how often, as an expression such as `lines.quantity`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Expression>")]
    times: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
struct RateText {
    /// Points.
    #[serde(serialize_with = "figure::whole_or_text")]
    points: Figure,
    /// For each so much money, such as `1.00`.
    per: Figure,
    /// Other points by tier.
    #[serde(skip_serializing_if = "Option::is_none")]
    by_tier: Option<BTreeMap<TierId, Figure>>,
    /// Whether tax counts; it does, if nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    of: Option<MoneyOf>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
enum MoneyOf {
    /// With tax.
    Gross,
    /// Without tax.
    Net,
}

#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
struct BandsText {
    /// A counter of money.
    by: CounterId,
    /// For each so much money, such as `1.00`.
    per: Figure,
    /// Points by the counter's value from which on they are given: `{ "0.00": 5, "25000.00": 1
    /// }`.
    points: BTreeMap<String, Figure>,
}

/// A word, or a counter.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(untagged)]
enum OfText {
    Word(MultipliedOfText),
    /// A counter, such as `counters.earned`.
    Counter(CounterName),
}

impl<'de> Deserialize<'de> for OfText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.starts_with(CounterName::PREFIX) {
            return CounterName::deserialize(text.into_deserializer()).map(Self::Counter);
        }
        MultipliedOfText::deserialize(text.into_deserializer()).map(Self::Word)
    }
}

#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
struct StepsText {
    /// A counter that ends with the period, such as `counters.spent`.
    by: CounterName,
    /// The part by that counter's value from which on it is given: `{ "500.00": "0.5", "1000.00":
    /// "1" }`. Below the first, nothing.
    factors: BTreeMap<String, Figure>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
enum MultipliedOfText {
    /// What the base gives before it is rounded.
    Exact,
    /// What the base gave, rounded.
    Rounded,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TierAsOfText {
    /// The moment of the purchase.
    Purchase,
    /// The beginning of its day.
    StartOfDay,
}

impl EarnText {
    /// The counter of which a part is given.
    fn of_counter(&self) -> Option<&CounterId> {
        match &self.of {
            Some(OfText::Counter(counter)) => Some(&counter.0),
            Some(OfText::Word(_)) | None => None,
        }
    }
}

pub(super) fn check<'a>(
    path: &str,
    text: &'a EarnText,
    context: &Context<'_>,
    check: &mut Check,
) -> Option<FormulaSource<'a>> {
    rounding(path, text, context, check);
    let of_counter = match &text.of {
        Some(OfText::Counter(counter)) => Some(counter),
        Some(OfText::Word(_)) | None => None,
    };
    let named = [
        text.rate.is_some(),
        text.bands.is_some(),
        text.fixed.is_some(),
        text.multiply.is_some(),
        of_counter.is_some(),
    ];
    let is_multiplier = text.multiply.is_some();
    if named.iter().filter(|named| **named).count() != 1
        || (!is_multiplier && text.currency.is_none())
    {
        let rule = "must have `currency` and one of `rate`, `bands`, `fixed` and `of` a counter, or \
                    `multiply` with `by` or `by_tier`";
        check.wrong(path, rule);
        return None;
    }
    misplaced(path, text, check);
    if let Some(counter) = of_counter {
        return share(path, (text, counter), check);
    }
    if let Some(rate) = &text.rate {
        return self::rate(&format!("{path}.rate"), rate, context, check);
    }
    if let Some(bands) = &text.bands {
        return Some(self::bands(&format!("{path}.bands"), bands, context, check));
    }
    if let Some(fixed) = text.fixed {
        let points = Points::amount(fixed).ok();
        if points.is_none() {
            check.wrong(format!("{path}.fixed"), "must be 1 to 10^15");
        }
        return Some(FormulaSource::Fixed {
            points: points?,
            times: text.times.as_deref(),
        });
    }
    let base = text.multiply.as_ref()?;
    Some(FormulaSource::Multiply {
        base: base.clone(),
        factors: factors(path, text, context.tiers, check)?,
        of: match text.of {
            Some(OfText::Word(MultipliedOfText::Rounded)) => MultipliedOf::Rounded,
            _ => MultipliedOf::Exact,
        },
        compound: text.compound,
    })
}

/// What stands beside a form of which it is none.
fn misplaced(path: &str, text: &EarnText, check: &mut Check) {
    let of_multipliers = [
        ("by", text.by.is_some() && text.of_counter().is_none()),
        ("by_tier", text.by_tier.is_some()),
        ("of", text.of.is_some() && text.of_counter().is_none()),
        ("compound", text.compound),
    ];
    for (name, _) in of_multipliers
        .iter()
        .filter(|(_, set)| *set && text.multiply.is_none())
    {
        check.wrong(format!("{path}.{name}"), "is for rules that `multiply`");
    }
    if text.times.is_some() && text.fixed.is_none() {
        check.wrong(
            format!("{path}.times"),
            "is for rules that give `fixed` points",
        );
    }
    if text.steps.is_some() && text.of_counter().is_none() {
        let rule = "is for rules that give a part `of` a counter";
        check.wrong(format!("{path}.steps"), rule);
    }
}

/// `round` is its currency's.
fn rounding(path: &str, text: &EarnText, context: &Context<'_>, check: &mut Check) {
    let (Some(round), Some(currency)) = (text.round, &text.currency) else {
        return;
    };
    let of_currency = context.currencies.and_then(|known| known.get(currency));
    if of_currency.is_some_and(|currency| currency.round != round.into()) {
        let rule = "is not how its currency rounds: leave it out, or say it there";
        check.wrong(format!("{path}.round"), rule);
    }
}

/// A part of a counter.
fn share<'a>(
    path: &str,
    (text, of): (&EarnText, &CounterName),
    check: &mut Check,
) -> Option<FormulaSource<'a>> {
    let figures: Vec<(String, &Figure)> = match (&text.by, &text.steps) {
        (Some(_), Some(_)) => {
            check.wrong(
                path,
                "must have either `by` or `steps` beside `of` a counter",
            );
            return None;
        }
        (Some(by), None) => vec![("0".to_owned(), by)],
        (None, Some(steps)) => {
            let path = format!("{path}.steps.factors");
            check.within(&path, steps.factors.len(), BANDS_MAX);
            if steps.factors.is_empty() {
                check.wrong(path, "must have at least one step");
            }
            let factors = steps.factors.iter();
            let factors = factors.map(|(from, part)| (from.clone(), part));
            factors.collect()
        }
        (None, None) => Vec::new(),
    };
    let one = Ratio {
        numerator: 1,
        denominator: 1,
    };
    let mut steps = Vec::with_capacity(figures.len().max(1));
    for (from, part) in figures {
        match part.ratio() {
            Some(part) => steps.push((from, part)),
            None => check.wrong(path, format!("`{part}` must be a factor such as `0.5`")),
        }
    }
    if text.by.is_none() && text.steps.is_none() {
        steps.push(("0".to_owned(), one));
    }
    Some(FormulaSource::Share {
        of: of.0.clone(),
        by: text.steps.as_ref().map(|steps| steps.by.0.clone()),
        steps,
    })
}

fn rate<'a>(
    path: &str,
    text: &RateText,
    context: &Context<'_>,
    check: &mut Check,
) -> Option<FormulaSource<'a>> {
    let per = per(&format!("{path}.per"), &text.per, context, check);
    let points = points(&format!("{path}.points"), &text.points, check);
    let by_tier = text.by_tier.iter().flatten();
    let mut of_tiers = BTreeMap::new();
    for (tier, figure) in by_tier {
        let path = format!("{path}.by_tier.{tier}");
        if !is_tier(&path, tier, context.tiers, check) {
            continue;
        }
        if let Some(points) = self::points(&path, figure, check) {
            of_tiers.insert(tier.clone(), points);
        }
    }
    let (points, per) = (points?, per?);
    let rates = by_rank(context.tiers, |tier| {
        let of_tier = tier.and_then(|tier| of_tiers.get(tier));
        Rate::new(*of_tier.unwrap_or(&points), per)
    });
    let Some(rates) = rates else {
        check.wrong(path, "has too many digits");
        return None;
    };
    Some(FormulaSource::Rate {
        rates,
        net: matches!(text.of, Some(MoneyOf::Net)),
    })
}

fn bands<'a>(
    path: &str,
    text: &BandsText,
    context: &Context<'_>,
    check: &mut Check,
) -> FormulaSource<'a> {
    let per = per(&format!("{path}.per"), &text.per, context, check);
    check.within(&format!("{path}.points"), text.points.len(), BANDS_MAX);
    let mut bands = Vec::with_capacity(text.points.len());
    for (from, figure) in &text.points {
        let path = format!("{path}.points.{from}");
        let from = context.money.amount(&path, from, check);
        let points = points(&path, figure, check);
        if let (Some(from), Some(points), Some(per)) = (from, points, per) {
            bands.extend(Rate::new(points, per).map(|rate| (from.minor_units(), rate)));
        }
    }
    bands.sort_unstable_by_key(|(from, _)| *from);
    let first = bands.first().map(|(from, _)| *from);
    let twice = bands.windows(2).any(|pair| pair[0].0 == pair[1].0);
    if bands.len() == text.points.len() && (first != Some(0) || twice) {
        let rule = "must have a band from 0.00 on, and each begin once";
        check.wrong(format!("{path}.points"), rule);
    }
    FormulaSource::Bands {
        counter: text.by.clone(),
        bands,
    }
}

/// Points for so much money, which may be a fraction.
fn points(path: &str, figure: &Figure, check: &mut Check) -> Option<Ratio> {
    let in_range = |ratio: &Ratio| ratio.numerator / ratio.denominator <= FACTOR_MAX;
    let points = figure
        .ratio()
        .filter(|points| points.numerator > 0)
        .filter(in_range);
    if points.is_none() {
        check.wrong(path, format!("must be above 0 and at most {FACTOR_MAX}"));
    }
    points
}

/// Minor units of money for which points are given.
fn per(path: &str, figure: &Figure, context: &Context<'_>, check: &mut Check) -> Option<i64> {
    let per = context
        .money
        .amount(path, &figure.to_string(), check)?
        .minor_units();
    if per == 0 {
        check.wrong(path, "must be above 0");
        return None;
    }
    Some(per)
}

/// A value for each tier, from the lowest up, and last one for who has none of them.
fn by_rank<V>(
    tiers: Option<&TierScheme>,
    of: impl FnMut(Option<&TierId>) -> Option<V>,
) -> Option<Vec<V>> {
    let levels = tiers.into_iter().flat_map(|scheme| &scheme.levels);
    let tiers = levels.map(|level| Some(&level.tier)).chain([None]);
    tiers.map(of).collect()
}

fn is_tier(path: &str, tier: &TierId, tiers: Option<&TierScheme>, check: &mut Check) -> bool {
    let known = tiers.is_some_and(|scheme| scheme.rank(tier).is_some());
    if !known {
        check.wrong(path, "is not one of the tiers");
    }
    known
}

/// The factor of each tier: `by` for all, or `by_tier`; a tier that is not named has 1.
fn factors(
    path: &str,
    text: &EarnText,
    tiers: Option<&TierScheme>,
    check: &mut Check,
) -> Option<Vec<Ratio>> {
    let one = Ratio {
        numerator: 1,
        denominator: 1,
    };
    match (&text.by, &text.by_tier) {
        (Some(by), None) => {
            let by = factor(format!("{path}.by"), by, check)?;
            by_rank(tiers, |_| Some(by))
        }
        (None, Some(by_tier)) => {
            let mut of_tiers = BTreeMap::new();
            for (tier, figure) in by_tier {
                let path = format!("{path}.by_tier.{tier}");
                if is_tier(&path, tier, tiers, check) {
                    of_tiers.extend(factor(path, figure, check).map(|by| (tier.clone(), by)));
                }
            }
            by_rank(tiers, |tier| {
                Some(
                    tier.and_then(|tier| of_tiers.get(tier))
                        .copied()
                        .unwrap_or(one),
                )
            })
        }
        _ => {
            check.wrong(path, "must have either `by` or `by_tier` beside `multiply`");
            None
        }
    }
}

fn factor(path: String, figure: &Figure, check: &mut Check) -> Option<Ratio> {
    let in_range = |ratio: &Ratio| {
        ratio.numerator >= ratio.denominator && ratio.numerator / ratio.denominator < FACTOR_MAX
    };
    let factor = figure.ratio().filter(in_range);
    if factor.is_none() {
        let range = format!("at least 1 and below {FACTOR_MAX}");
        check.wrong(
            path,
            format!("`{figure}` must be a factor of {range}, such as `1.25`"),
        );
    }
    factor
}
