//! From the shape of the file to its meaning.

mod terms;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use fealty_types::{CurrencyId, Money, Points, RuleId, TierId};
use jiff::tz::TimeZone;
use sha2::{Digest as _, Sha256};

use crate::{
    Brand, Currency, EarnFormula, EarningRule, MoneyUnit, Program, ProgramError, ProgramSource,
    Ratio, Reward, SOURCE_LEN_MAX, TierAsOf, TierLevel, TierScheme,
    calendar::Period,
    file::{self, File},
};

const DECIMALS_MAX: u8 = 4;
const RULES_MAX: usize = 200;
const LEVELS_MAX: usize = 20;
const BRANDS_MAX: usize = 1_000;
const REWARDS_MAX: usize = 10_000;
const STOCK_MAX: i64 = 1_000_000_000;
const NAME_LEN_MAX: usize = 200;
/// The highest multiplier, and the most points per unit of money: with a
/// purchase of at most 10^13 minor units, products stay far inside i128.
const FACTOR_MAX: i64 = 1_000;

fn at(path: impl fmt::Display, message: impl Into<String>) -> ProgramError {
    ProgramError {
        path: path.to_string(),
        message: message.into(),
        location: None,
    }
}

pub(crate) fn parse(source: &str) -> Result<ProgramSource, ProgramError> {
    if source.len() > SOURCE_LEN_MAX {
        return Err(at(
            "file",
            format!("must be at most {SOURCE_LEN_MAX} bytes"),
        ));
    }
    let file = read(source)?;
    let program = Arc::new(program(&file)?);
    let meaning = serde_json::to_vec(&file).map_err(|error| at("file", error.to_string()))?;
    let digest = hex(&Sha256::digest(meaning));
    Ok(ProgramSource {
        program,
        source: source.to_owned(),
        digest,
    })
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

pub(crate) fn read(source: &str) -> Result<File, ProgramError> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(source, options).map_err(|error| ProgramError {
        path: "file".to_owned(),
        location: error
            .location()
            .map(|location| (location.line(), location.column())),
        message: error.to_string(),
    })
}

fn program(file: &File) -> Result<Program, ProgramError> {
    let time_zone = TimeZone::get(&file.time_zone)
        .map_err(|_| at("time_zone", "must be a name of the IANA time zone database"))?;
    if file.money.decimals > DECIMALS_MAX {
        return Err(at("money.decimals", format!("must be 0 to {DECIMALS_MAX}")));
    }
    let money = MoneyUnit {
        currency: file.money.currency,
        decimals: file.money.decimals,
    };
    let tiers = file
        .tiers
        .as_ref()
        .map(|tiers| scheme(tiers, money))
        .transpose()?;
    let currencies = terms::currencies(file, tiers.as_ref())?;
    let brands = brands(file, &currencies)?;
    let earning = earning(file, money, &currencies, tiers.as_ref())?;
    let rewards = rewards(file, &brands)?;
    Ok(Program {
        id: file.program.clone(),
        time_zone,
        money,
        currencies,
        brands,
        earning,
        tiers,
        rewards,
        refunds: terms::refunds(file)?,
        adjustments: terms::adjustments(file)?,
    })
}

fn within(path: &str, len: usize, len_max: usize) -> Result<(), ProgramError> {
    if len > len_max {
        Err(at(path, format!("must have at most {len_max} entries")))
    } else {
        Ok(())
    }
}

fn period(path: impl fmt::Display, text: &str) -> Result<Period, ProgramError> {
    Period::parse(text).ok_or_else(|| {
        at(path, format!("`{text}` must be a period such as `365 days`, `12 months` or `1 year`, at most 100 years"))
    })
}

fn money_amount(
    path: impl fmt::Display,
    text: &str,
    unit: MoneyUnit,
) -> Result<Money, ProgramError> {
    Ratio::parse(text)
        .and_then(|ratio| ratio.in_units(unit.decimals))
        .and_then(|minor_units| Money::new(unit.currency, minor_units).ok())
        .ok_or_else(|| {
            at(
                path,
                format!(
                    "`{text}` must be an amount of {} with at most {} digits after the point",
                    unit.currency, unit.decimals
                ),
            )
        })
}

fn brands(
    file: &File,
    currencies: &BTreeMap<CurrencyId, Currency>,
) -> Result<BTreeMap<fealty_types::BrandId, Brand>, ProgramError> {
    if file.brands.is_empty() {
        return Err(at("brands", "must name at least one"));
    }
    within("brands", file.brands.len(), BRANDS_MAX)?;
    let mut brands = BTreeMap::new();
    for (id, brand) in &file.brands {
        for (list, named) in [("issues", &brand.issues), ("accepts", &brand.accepts)] {
            if let Some(unknown) = named
                .iter()
                .find(|currency| !currencies.contains_key(*currency))
            {
                return Err(at(
                    format_args!("brands.{id}.{list}"),
                    format!("`{unknown}` is not one of the currencies"),
                ));
            }
        }
        brands.insert(
            id.clone(),
            Brand {
                issues: brand.issues.clone(),
                accepts: brand.accepts.clone(),
            },
        );
    }
    Ok(brands)
}

fn scheme(tiers: &file::Tiers, money: MoneyUnit) -> Result<TierScheme, ProgramError> {
    within("tiers.levels", tiers.levels.len(), LEVELS_MAX)?;
    let mut levels: Vec<TierLevel> = Vec::new();
    for level in &tiers.levels {
        let path = format!("tiers.levels.{}.from", level.tier);
        let threshold = money_amount(&path, &level.from, money)?;
        match levels.last() {
            None if threshold.minor_units() != 0 => {
                return Err(at(
                    path,
                    "must be 0 for the first level, which everybody has",
                ));
            }
            Some(below) if threshold.minor_units() <= below.threshold.minor_units() => {
                return Err(at(path, "must be above the level before it"));
            }
            _ => {}
        }
        if levels.iter().any(|other| other.tier == level.tier) {
            return Err(at(
                format_args!("tiers.levels.{}", level.tier),
                "is named twice",
            ));
        }
        levels.push(TierLevel {
            tier: level.tier.clone(),
            threshold,
        });
    }
    if levels.is_empty() {
        return Err(at("tiers.levels", "must name at least one"));
    }
    Ok(TierScheme {
        window: period("tiers.window", &tiers.window)?,
        validity: period("tiers.validity", &tiers.validity)?,
        levels,
    })
}

fn earning(
    file: &File,
    money: MoneyUnit,
    currencies: &BTreeMap<CurrencyId, Currency>,
    tiers: Option<&TierScheme>,
) -> Result<Vec<EarningRule>, ProgramError> {
    within("earning", file.earning.len(), RULES_MAX)?;
    let mut rules: Vec<EarningRule> = Vec::new();
    let mut seen = BTreeSet::new();
    for rule in &file.earning {
        let path = format!("earning.{}", rule.rule);
        if !seen.insert(&rule.rule) {
            return Err(at(path, "is named twice"));
        }
        let earn = &rule.earn;
        let (currency, formula) = match (&earn.currency, &earn.rate, &earn.multiply, &earn.by_tier)
        {
            (Some(currency), Some(rate), None, None) if earn.tier_as_of.is_none() => {
                if !currencies.contains_key(currency) {
                    return Err(at(
                        format_args!("{path}.earn.currency"),
                        format!("`{currency}` is not one of the currencies"),
                    ));
                }
                (currency.clone(), rate_formula(&path, rate, money)?)
            }
            (None, None, Some(base), Some(by_tier)) => {
                multiply_formula(&path, base, by_tier, earn.tier_as_of, &rules, tiers)?
            }
            _ => {
                return Err(at(
                    format_args!("{path}.earn"),
                    "must have either `currency` and `rate`, or `multiply` and `by_tier`",
                ));
            }
        };
        rules.push(EarningRule {
            id: rule.rule.clone(),
            currency,
            formula,
        });
    }
    Ok(rules)
}

fn rate_formula(
    path: &str,
    rate: &file::Rate,
    money: MoneyUnit,
) -> Result<EarnFormula, ProgramError> {
    let points = Points::amount(rate.points)
        .ok()
        .filter(|points| points.get() <= FACTOR_MAX)
        .ok_or_else(|| {
            at(
                format_args!("{path}.earn.rate.points"),
                format!("must be 1 to {FACTOR_MAX}"),
            )
        })?;
    let per_path = format!("{path}.earn.rate.per");
    let per = money_amount(&per_path, &rate.per, money)?.minor_units();
    if per == 0 {
        return Err(at(per_path, "must be above 0"));
    }
    Ok(EarnFormula::Rate { points, per })
}

fn multiply_formula(
    path: &str,
    base: &RuleId,
    by_tier: &BTreeMap<TierId, String>,
    as_of: Option<file::AsOf>,
    before: &[EarningRule],
    tiers: Option<&TierScheme>,
) -> Result<(CurrencyId, EarnFormula), ProgramError> {
    let multiplied = before
        .iter()
        .find(|rule| rule.id == *base && matches!(rule.formula, EarnFormula::Rate { .. }))
        .ok_or_else(|| {
            at(
                format_args!("{path}.earn.multiply"),
                format!("`{base}` must be a rule with a rate, further up"),
            )
        })?;
    let mut factors = BTreeMap::new();
    for (tier, factor) in by_tier {
        let path = format!("{path}.earn.by_tier.{tier}");
        if tiers.and_then(|scheme| scheme.rank(tier)).is_none() {
            return Err(at(path, "is not one of the tiers"));
        }
        let ratio = Ratio::parse(factor)
            .filter(|ratio| {
                ratio.numerator >= ratio.denominator && ratio.numerator / ratio.denominator < FACTOR_MAX
            })
            .ok_or_else(|| {
                at(path, format!("`{factor}` must be a factor of at least 1 and below {FACTOR_MAX}, such as `1.25`"))
            })?;
        factors.insert(tier.clone(), ratio);
    }
    let tier_as_of = match as_of {
        Some(file::AsOf::StartOfDay) => TierAsOf::StartOfDay,
        Some(file::AsOf::Purchase) | None => TierAsOf::Purchase,
    };
    let formula = EarnFormula::Multiply {
        base: base.clone(),
        by_tier: factors,
        tier_as_of,
    };
    Ok((multiplied.currency.clone(), formula))
}

fn rewards(
    file: &File,
    brands: &BTreeMap<fealty_types::BrandId, Brand>,
) -> Result<BTreeMap<fealty_types::RewardId, Reward>, ProgramError> {
    within("rewards", file.rewards.len(), REWARDS_MAX)?;
    let mut rewards = BTreeMap::new();
    for (id, reward) in &file.rewards {
        let path = format!("rewards.{id}");
        let points = Points::amount(reward.price.points)
            .map_err(|error| at(format_args!("{path}.price.points"), error.to_string()))?;
        let brand = brands.get(&reward.accepted_by).ok_or_else(|| {
            at(
                format_args!("{path}.accepted_by"),
                "is not one of the brands",
            )
        })?;
        if !brand.accepts.contains(&reward.price.currency) {
            return Err(at(
                format_args!("{path}.price.currency"),
                format!("`{}` does not accept it", reward.accepted_by),
            ));
        }
        if reward
            .stock
            .is_some_and(|stock| !(0..=STOCK_MAX).contains(&stock))
        {
            return Err(at(
                format_args!("{path}.stock"),
                format!("must be 0 to {STOCK_MAX}"),
            ));
        }
        if reward.name.is_empty() || reward.name.chars().count() > NAME_LEN_MAX {
            return Err(at(
                format_args!("{path}.name"),
                format!("must be 1 to {NAME_LEN_MAX} characters"),
            ));
        }
        rewards.insert(
            id.clone(),
            Reward {
                name: reward.name.clone(),
                currency: reward.price.currency.clone(),
                points,
                accepted_by: reward.accepted_by.clone(),
                stock: reward.stock,
            },
        );
    }
    Ok(rewards)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD_CLUB: &str = include_str!("../../../../examples/programs/record-club.yaml");

    fn refusal(change: impl FnOnce(String) -> String) -> ProgramError {
        let changed = change(RECORD_CLUB.to_owned());
        assert_ne!(changed, RECORD_CLUB, "the change must change the file");
        parse(&changed).expect_err("must be refused")
    }

    fn moment(text: &str) -> fealty_types::Timestamp {
        fealty_types::Timestamp::new(text.parse().expect("a moment"))
    }

    #[test]
    fn the_example_is_read() {
        let program = parse(RECORD_CLUB).expect("valid").program;
        assert_eq!(program.earning.len(), 2);
        assert_eq!(
            program.rewards["concert-evening".parse().as_ref().expect("id")].stock,
            Some(300)
        );
        let points = "points".parse().expect("id");
        assert_eq!(
            program.expiry_of(&points, moment("1997-01-15T12:00:00Z"), None),
            crate::ExpiryTerms::At(moment("1998-02-01T00:00:00Z"))
        );
        let scheme = program.tiers.as_ref().expect("tiers");
        let judged = scheme.first_evaluation(moment("1997-01-15T12:00:00Z"), &program.time_zone);
        assert_eq!(judged, moment("1998-01-16T00:00:00Z"));
        let again = scheme.next_evaluation(judged, &program.time_zone);
        assert_eq!(again, moment("1999-01-16T00:00:00Z"));
        assert_eq!(scheme.rank_of(29_999), 1);
        assert_eq!(scheme.rank_of(30_000), 2);
    }

    #[test]
    fn layout_does_not_change_the_digest() {
        let first = parse(RECORD_CLUB).expect("valid").digest;
        let second = parse(&format!("# a remark\n{RECORD_CLUB}"))
            .expect("valid")
            .digest;
        assert_eq!(first, second);
    }

    #[test]
    fn what_is_unknown_is_refused_by_name_and_place() {
        let error = refusal(|file| {
            file.replace(
                "    on: purchase\n",
                "    on: purchase\n    when: purchase.channel == \"web\"\n",
            )
        });
        assert!(error.message.contains("when"), "{error}");
        assert!(error.location.is_some(), "{error}");
        let error = refusal(|file| file.replacen("on: purchase", "on: activity.review", 1));
        assert!(error.message.contains("activity.review"), "{error}");
    }

    #[test]
    fn what_does_not_resolve_is_refused() {
        let cases: [(&str, &str, &str); 9] = [
            ("time_zone: UTC", "time_zone: Moon/Tranquility", "time_zone"),
            (
                "multiply: base",
                "multiply: basis",
                "earning.tier-bonus.earn.multiply",
            ),
            (
                "gold: \"1.50\"",
                "golden: \"1.50\"",
                "earning.tier-bonus.earn.by_tier.golden",
            ),
            (
                "gold: \"1.50\"",
                "gold: \"0.50\"",
                "earning.tier-bonus.earn.by_tier.gold",
            ),
            (
                "per: \"1.00\"",
                "per: \"0.001\"",
                "earning.base.earn.rate.per",
            ),
            (
                "points: 10, ",
                "points: -10, ",
                "earning.base.earn.rate.points",
            ),
            (
                "from: \"300.00\"",
                "from: \"50.00\"",
                "tiers.levels.gold.from",
            ),
            (
                "points: 5000",
                "points: 0",
                "rewards.concert-evening.price.points",
            ),
            ("stock: 300", "stock: -1", "rewards.concert-evening.stock"),
        ];
        for (from, to, path) in cases {
            let error = refusal(|file| file.replace(from, to));
            assert_eq!(error.path, path, "{error}");
        }
    }
}
