//! The terms of points.

use std::{collections::BTreeMap, time::Duration};

use fealty_types::{CurrencyId, Points};

use super::{DECIMALS_MAX, at, period, within};
use crate::{
    ActivationRule, Activity, Adjustments, Currency, Expiry, ProgramError, Ratio, RefundPolicy,
    Refunds, TierScheme,
    calendar::{self, Period},
    file::{self, File},
};

const CURRENCIES_MAX: usize = 20;
/// The highest worth of a point, in units of the programme's money.
const UNIT_VALUE_MAX: i64 = 1_000_000;

pub(super) fn currencies(
    file: &File,
    tiers: Option<&TierScheme>,
) -> Result<BTreeMap<CurrencyId, Currency>, ProgramError> {
    if file.currencies.is_empty() {
        return Err(at("currencies", "must name at least one"));
    }
    within("currencies", file.currencies.len(), CURRENCIES_MAX)?;
    let mut currencies = BTreeMap::new();
    for (id, currency) in &file.currencies {
        let path = format!("currencies.{id}");
        if currency.decimals > DECIMALS_MAX {
            return Err(at(
                format_args!("{path}.decimals"),
                format!("must be 0 to {DECIMALS_MAX}"),
            ));
        }
        let expires = currency.expires.as_ref();
        let expiry = expires
            .map(|expires| expiry(&format!("{path}.expires"), expires, tiers))
            .transpose()?;
        let activates = currency.activates.as_ref();
        let activation = activates
            .map(|activates| activation(&format!("{path}.activates"), activates))
            .transpose()?;
        if let (Some(ActivationRule::After(wait)), Some(Expiry::After { period, .. })) =
            (activation, &expiry)
            && wait.days_at_most() >= period.days_at_least()
        {
            let path = format_args!("{path}.activates.after").to_string();
            return Err(at(path, "must be shorter than the points live"));
        }
        let unit_value = currency.unit_value.as_deref();
        let unit_value_micros = unit_value
            .map(|text| unit_value_of(&format!("{path}.unit_value"), text))
            .transpose()?;
        currencies.insert(
            id.clone(),
            Currency {
                decimals: currency.decimals,
                expiry,
                activation,
                unit_value_micros,
            },
        );
    }
    Ok(currencies)
}

fn unit_value_of(path: &str, text: &str) -> Result<i64, ProgramError> {
    Ratio::parse(text)
        .and_then(|ratio| ratio.in_units(6))
        .filter(|micros| (1..=UNIT_VALUE_MAX * 1_000_000).contains(micros))
        .ok_or_else(|| {
            let rule = "must be what a point is worth in the programme's money, such as `0.01`";
            at(path, format!("`{text}` {rule}"))
        })
}

fn expiry(
    path: &str,
    expires: &file::Expires,
    tiers: Option<&TierScheme>,
) -> Result<Expiry, ProgramError> {
    let end_of_month = matches!(expires.round_to, Some(file::RoundTo::EndOfMonth));
    match (&expires.after, &expires.on, &expires.inactive_for) {
        (Some(after), None, None) if expires.activity.is_none() => {
            let mut by_tier = BTreeMap::new();
            for (tier, text) in expires.by_tier.iter().flatten() {
                let path = format!("{path}.by_tier.{tier}");
                if tiers.and_then(|scheme| scheme.rank(tier)).is_none() {
                    return Err(at(path, "is not one of the tiers"));
                }
                let of_tier = match text.as_str() {
                    "never" => None,
                    text => Some(period(path, text)?),
                };
                by_tier.insert(tier.clone(), of_tier);
            }
            Ok(Expiry::After {
                period: period(format_args!("{path}.after"), after)?,
                by_tier,
                end_of_month,
            })
        }
        (None, Some(on), None)
            if !end_of_month && expires.by_tier.is_none() && expires.activity.is_none() =>
        {
            let (month, day) = calendar::month_and_day(on).ok_or_else(|| {
                at(
                    format_args!("{path}.on"),
                    format!("`{on}` must be a day of the year such as `12-31`"),
                )
            })?;
            let at_least = expires.at_least.as_ref();
            let at_least = at_least
                .map(|text| period(format_args!("{path}.at_least"), text))
                .transpose()?;
            Ok(Expiry::Yearly {
                month,
                day,
                at_least,
            })
        }
        (None, None, Some(inactive_for))
            if !end_of_month && expires.by_tier.is_none() && expires.at_least.is_none() =>
        {
            let activity = expires.activity.as_deref();
            let activity = activity.unwrap_or(&[file::Activity::Purchase]).iter();
            Ok(Expiry::Inactivity {
                period: period(format_args!("{path}.inactive_for"), inactive_for)?,
                activity: activity
                    .map(|activity| match activity {
                        file::Activity::Purchase => Activity::Purchase,
                        file::Activity::Redeem => Activity::Redeem,
                    })
                    .collect(),
            })
        }
        _ => Err(at(
            path,
            "must have either `after` (with `by_tier` and `round_to`), or `on` (with `at_least`), \
             or `inactive_for` (with `activity`)",
        )),
    }
}

fn activation(path: &str, activates: &file::Activates) -> Result<ActivationRule, ProgramError> {
    match (&activates.after, &activates.on) {
        (Some(after), None) => Ok(ActivationRule::After(period(
            format_args!("{path}.after"),
            after,
        )?)),
        (None, Some(file::ActivatesOn::Event)) => Ok(ActivationRule::OnEvent),
        _ => Err(at(path, "must have either `after` or `on: event`")),
    }
}

pub(super) fn refunds(file: &File) -> Result<Refunds, ProgramError> {
    let Some(refunds) = &file.refunds else {
        return Ok(Refunds::default());
    };
    let policy = match refunds.policy {
        file::RefundPolicy::LotOnly => RefundPolicy::LotOnly,
        file::RefundPolicy::Balance => RefundPolicy::Balance,
        file::RefundPolicy::Debt => RefundPolicy::Debt,
    };
    let restore_grace = match refunds.restore_grace.as_deref() {
        None => Refunds::default().restore_grace,
        Some("none") => None,
        Some(text) => match period("refunds.restore_grace", text)? {
            Period::Days(days) => Some(Duration::from_hours(24 * u64::from(days.unsigned_abs()))),
            Period::Months(_) => {
                return Err(at("refunds.restore_grace", "must be days, or `none`"));
            }
        },
    };
    Ok(Refunds {
        policy,
        restore_grace,
    })
}

pub(super) fn adjustments(file: &File) -> Result<Adjustments, ProgramError> {
    let above = file.adjustments.as_ref().map(|a| a.approval_above);
    let approval_above = above
        .map(Points::new)
        .transpose()
        .map_err(|error| at("adjustments.approval_above", error.to_string()))?;
    Ok(Adjustments { approval_above })
}

#[cfg(test)]
mod tests {
    use fealty_types::Timestamp;

    use super::super::parse;
    use crate::{ActivationRule, ExpiryTerms, Program, RefundPolicy};

    const RECORD_CLUB: &str = include_str!("../../../../examples/programs/record-club.yaml");
    const TERMS: &str = "{ decimals: 0, expires: { after: 12 months, round_to: end_of_month } }";

    fn with_terms(terms: &str) -> Result<std::sync::Arc<Program>, crate::ProgramError> {
        let file = RECORD_CLUB.replace(TERMS, terms);
        assert_ne!(file, RECORD_CLUB, "the example has other terms");
        parse(&file).map(|parsed| parsed.program)
    }

    fn moment(text: &str) -> Timestamp {
        Timestamp::new(text.parse().expect("a moment"))
    }

    fn expiry(terms: &str, tier: Option<&str>) -> ExpiryTerms {
        let program = with_terms(terms).expect("valid");
        let tier = tier.map(|tier| tier.parse().expect("an id"));
        let points = "points".parse().expect("an id");
        program.expiry_of(&points, moment("2026-03-05T10:30:00Z"), tier.as_ref())
    }

    #[test]
    fn points_expire_as_the_file_says() {
        let by_tier =
            "{ expires: { after: 12 months, by_tier: { gold: 24 months, platinum: never } } }";
        let cases = [
            ("{ }", None, None),
            (by_tier, None, Some("2027-03-05T10:30:00Z")),
            (by_tier, Some("silver"), Some("2027-03-05T10:30:00Z")),
            (by_tier, Some("gold"), Some("2028-03-05T10:30:00Z")),
            (by_tier, Some("platinum"), None),
            (
                "{ expires: { on: 12-31 } }",
                None,
                Some("2027-01-01T00:00:00Z"),
            ),
            (
                "{ expires: { on: 03-04 } }",
                None,
                Some("2027-03-05T00:00:00Z"),
            ),
            (
                "{ expires: { on: 03-05 } }",
                None,
                Some("2026-03-06T00:00:00Z"),
            ),
            (
                "{ expires: { on: 12-31, at_least: 12 months } }",
                None,
                Some("2028-01-01T00:00:00Z"),
            ),
            (
                "{ expires: { on: 02-29 } }",
                None,
                Some("2027-03-01T00:00:00Z"),
            ),
        ];
        for (terms, tier, expected) in cases {
            let expected = expected.map_or(ExpiryTerms::Never, |at| ExpiryTerms::At(moment(at)));
            assert_eq!(expiry(terms, tier), expected, "{terms} {tier:?}");
        }
        assert_eq!(
            expiry("{ expires: { inactive_for: 12 months } }", None),
            ExpiryTerms::WithInactivity
        );
    }

    #[test]
    fn the_other_terms_are_read() {
        let program = with_terms("{ activates: { after: 14 days }, unit_value: \"0.01\" }");
        let program = program.expect("valid");
        let points = &program.currencies.values().next().expect("a currency");
        assert_eq!(points.unit_value_micros, Some(10_000));
        assert!(matches!(points.activation, Some(ActivationRule::After(_))));
        let file = format!(
            "{RECORD_CLUB}\nrefunds: {{ policy: debt, restore_grace: none }}\n\
             adjustments: {{ approval_above: 10000 }}\n"
        );
        let program = parse(&file).expect("valid").program;
        assert_eq!(program.refunds.policy, RefundPolicy::Debt);
        assert_eq!(program.refunds.restore_grace, None);
        let above = program.adjustments.approval_above.expect("a limit");
        assert_eq!(above.get(), 10_000);
    }

    #[test]
    fn terms_that_make_no_sense_are_refused() {
        let cases = [
            (
                "{ expires: { after: 12 months, on: 12-31 } }",
                "currencies.points.expires",
            ),
            ("{ expires: { } }", "currencies.points.expires"),
            ("{ expires: { on: 13-01 } }", "currencies.points.expires.on"),
            ("{ expires: { on: 02-30 } }", "currencies.points.expires.on"),
            (
                "{ expires: { after: 1 year, by_tier: { bronze: never } } }",
                "currencies.points.expires.by_tier.bronze",
            ),
            (
                "{ expires: { inactive_for: soon } }",
                "currencies.points.expires.inactive_for",
            ),
            ("{ activates: { } }", "currencies.points.activates"),
            (
                "{ activates: { after: 90 days }, expires: { after: 3 months } }",
                "currencies.points.activates.after",
            ),
            ("{ unit_value: \"-1\" }", "currencies.points.unit_value"),
        ];
        for (terms, path) in cases {
            let error = with_terms(terms).expect_err(terms);
            assert_eq!(error.path, path, "{error}");
        }
    }
}
