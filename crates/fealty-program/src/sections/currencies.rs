//! `currencies`: the terms of points: when they become available, when they
//! expire, and what they are worth.

use std::collections::BTreeMap;

use fealty_types::{CurrencyId, EventName, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Effect, Expiry, Period, ProgramNote, Ratio, Round, TierScheme,
    faults::{Check, DECIMALS_MAX},
    sections::{
        expiry::{self, ExpiresText},
        figure::{Figure, RoundText},
    },
    words::{Exact, Told, Words, each, longer},
};

const CURRENCIES_MAX: usize = 20;
/// The highest worth of a point, in units of the programme's money.
const UNIT_VALUE_MAX: i64 = 1_000_000;

#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CurrencyText {
    /// Digits after the point when points are shown; amounts count the smallest unit.
    #[serde(default)]
    #[schemars(range(max = DECIMALS_MAX))]
    decimals: u8,
    /// When points expire; never, if nothing is said.
    expires: Option<ExpiresText>,
    /// When earned points become available; at once, if nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    activates: Option<ActivatesText>,
    /// What a point is worth in the programme's money, such as `0.01`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Figure>")]
    unit_value: Option<String>,
    /// How fractions of a point become whole ones; `floor`, if nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    round: Option<RoundText>,
}

#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ActivatesText {
    /// A period after they were earned, such as `14 days`.
    after: Option<String>,
    /// What they wait for, such as `shipped`, which a request says.
    on: Option<EventName>,
}

/// A currency of points.
#[derive(Clone, Debug)]
pub struct Currency {
    /// Digits after the point when shown; amounts count the smallest unit.
    pub decimals: u8,
    /// When points expire; never, if there is nothing.
    pub expiry: Option<Expiry>,
    /// When earned points become available; at once, if there is nothing.
    pub activation: Option<ActivationRule>,
    /// What a point is worth, in millionths of one unit of the programme's
    /// money: 10,000 is 0.01 USD.
    pub unit_value_micros: Option<i64>,
    /// How fractions of a point that rules give become whole ones.
    pub round: Round,
}

/// When points earned at some moment become available.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActivationTerms {
    /// At once.
    AtOnce,
    /// At that moment.
    At(Timestamp),
    /// When that has happened, which a request says.
    OnEvent(EventName),
}

/// When earned points become available.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActivationRule {
    /// A period after they were earned.
    After(Period),
    /// When that has happened, which a request says.
    OnEvent(EventName),
}

pub(crate) fn check(
    text: &BTreeMap<CurrencyId, CurrencyText>,
    tiers: Option<&TierScheme>,
    check: &mut Check,
) -> Option<BTreeMap<CurrencyId, Currency>> {
    if text.is_empty() {
        check.wrong("currencies", "must name at least one");
    }
    check.within("currencies", text.len(), CURRENCIES_MAX);
    let currencies = text.iter().map(|(id, text)| {
        let checked = currency(&format!("currencies.{id}"), text, tiers, check)?;
        Some((id.clone(), checked))
    });
    // All of them are checked before one that is wrong ends it.
    let currencies: Vec<_> = currencies.collect();
    currencies.into_iter().collect()
}

fn currency(
    path: &str,
    text: &CurrencyText,
    tiers: Option<&TierScheme>,
    check: &mut Check,
) -> Option<Currency> {
    if text.decimals > DECIMALS_MAX {
        let rule = format!("must be 0 to {DECIMALS_MAX}");
        check.wrong(format!("{path}.decimals"), rule);
    }
    let expiry = text.expires.as_ref();
    let expiry = expiry.map(|text| expiry::check(&format!("{path}.expires"), text, tiers, check));
    let activation = text.activates.as_ref();
    let activation =
        activation.map(|text| activation_of(&format!("{path}.activates"), text, check));
    if let (Some(Some(ActivationRule::After(wait))), Some(Some(Expiry::After { period, .. }))) =
        (&activation, &expiry)
        && wait.days_at_most() >= period.days_at_least()
    {
        let path = format!("{path}.activates.after");
        check.wrong(path, "must be shorter than the points live");
    }
    let unit_value = text.unit_value.as_deref();
    let unit_value =
        unit_value.map(|text| unit_value_of(&format!("{path}.unit_value"), text, check));
    Some(Currency {
        decimals: text.decimals,
        expiry: expiry.map_or(Some(None), |checked| checked.map(Some))?,
        activation: activation.map_or(Some(None), |checked| checked.map(Some))?,
        unit_value_micros: unit_value.map_or(Some(None), |checked| checked.map(Some))?,
        round: text.round.map_or(Round::Floor, Round::from),
    })
}

/// Where points may be gone before they are there, what happens then.
pub(crate) fn note(id: &CurrencyId, currency: &Currency) -> Option<ProgramNote> {
    let Some(ActivationRule::After(wait)) = &currency.activation else {
        return None;
    };
    let overlaps = match currency.expiry.as_ref()? {
        Expiry::Yearly { at_least, .. } => {
            at_least.is_none_or(|at_least| at_least.days_at_least() <= wait.days_at_most())
        }
        Expiry::After { by_tier, .. } => {
            let mut periods = by_tier.values().flatten();
            periods.any(|period| period.days_at_least() <= wait.days_at_most())
        }
        Expiry::Inactivity { .. } => false,
    };
    overlaps.then(|| ProgramNote {
        path: format!("currencies.{id}.activates.after"),
        message: "points that would expire before they can be spent expire as if they were \
                  earned when they become available"
            .to_owned(),
    })
}

fn unit_value_of(path: &str, text: &str, check: &mut Check) -> Option<i64> {
    let micros = Ratio::parse(text).and_then(|ratio| ratio.in_units(6));
    let micros = micros.filter(|micros| (1..=UNIT_VALUE_MAX * 1_000_000).contains(micros));
    if micros.is_none() {
        let rule = "must be what a point is worth in the programme's money, such as `0.01`";
        check.wrong(path, format!("`{text}` {rule}"));
    }
    micros
}

pub(crate) fn activation_of(
    path: &str,
    text: &ActivatesText,
    check: &mut Check,
) -> Option<ActivationRule> {
    match (&text.after, &text.on) {
        (Some(after), None) => {
            let period = check.period(format!("{path}.after"), after);
            period.map(ActivationRule::After)
        }
        (None, Some(event)) => Some(ActivationRule::OnEvent(event.clone())),
        _ => {
            check.wrong(
                path,
                "must have either `after`, or `on` with the name of an event",
            );
            None
        }
    }
}

/// What other terms of currencies mean.
pub(crate) fn meaning(
    before: &BTreeMap<CurrencyId, CurrencyText>,
    after: &BTreeMap<CurrencyId, CurrencyText>,
    words: &mut Words,
) {
    for (id, before, after) in each(before, after) {
        let path = format!("currencies.{id}");
        let (Some(before), Some(after)) = (before, after) else {
            if after.is_some() {
                words.say(Effect::Depends, path, format!("`{id}` is a new currency"));
            }
            continue;
        };
        let expires = (before.expires.as_ref(), after.expires.as_ref());
        expiry::meaning(&format!("{path}.expires"), id.as_str(), expires, words);
        let activates = (before.activates.as_ref(), after.activates.as_ref());
        waiting(&format!("{path}.activates"), id.as_str(), activates, words);
        worth(&path, id.as_str(), (before, after), words);
        let round = |text: &CurrencyText| text.round.map_or(Round::Floor, Round::from);
        if round(before) != round(after) {
            let message = format!("fractions of a point of `{id}` become whole ones otherwise");
            words.say(Effect::Depends, format!("{path}.round"), message);
        }
        let decimals = (before.decimals, after.decimals);
        if decimals.0 != decimals.1 {
            let message = format!(
                "points of `{id}` are shown with {} digits after the point instead of {}",
                decimals.1, decimals.0
            );
            words.say(Effect::Depends, format!("{path}.decimals"), message);
        }
    }
}

/// What another worth of a point means.
fn worth(path: &str, id: &str, (before, after): (&CurrencyText, &CurrencyText), words: &mut Words) {
    let (path, is) = (
        format!("{path}.unit_value"),
        format!("a point of `{id}` is worth"),
    );
    match (&before.unit_value, &after.unit_value) {
        (Some(before), Some(after)) => {
            let worth = (Figure::of(before), Figure::of(after));
            words.more_is_better(path, (Exact(&worth.0), Exact(&worth.1)), &is);
        }
        (before, after) => {
            let told = Told {
                is: &is,
                was: &format!("a point of `{id}` is no longer worth"),
                good: Effect::Depends,
            };
            words.there_or_not(path, (before.as_ref(), after.as_ref()), &told);
        }
    }
}

/// For how long points wait, in words.
pub(crate) fn told_wait(text: &ActivatesText) -> String {
    match (&text.after, &text.on) {
        (Some(after), _) => after.clone(),
        (None, Some(event)) => format!("until `{event}`"),
        (None, None) => String::new(),
    }
}

/// What another wait for points means.
fn waiting(
    path: &str,
    id: &str,
    (before, after): (Option<&ActivatesText>, Option<&ActivatesText>),
    words: &mut Words,
) {
    let (was, is) = (before.map(told_wait), after.map(told_wait));
    if let (Some(before), Some(after)) = (before, after)
        && was != is
    {
        let periods = before.after.as_deref().zip(after.after.as_deref());
        let order = periods.and_then(|(before, after)| longer(before, after));
        let (was, is) = (was.unwrap_or_default(), is.unwrap_or_default());
        let message = format!("points of `{id}` wait {is} instead of {was}");
        words.say(Effect::of_more(order), path, message);
        return;
    }
    let told = Told {
        is: &format!("points of `{id}` wait"),
        was: &format!("points of `{id}` no longer wait"),
        good: Effect::MembersLose,
    };
    words.there_or_not(path, (was.as_ref(), is.as_ref()), &told);
}

#[cfg(test)]
mod tests {
    use fealty_types::Timestamp;

    use crate::{ActivationRule, ExpiryTerms, InactivityTerms, Program, ProgramErrors};

    const RECORD_CLUB: &str = include_str!("../../../../examples/programs/record-club.yaml");
    const TERMS: &str = "{ decimals: 0, expires: { after: 12 months, round_to: end_of_month } }";

    fn with_terms(terms: &str) -> Result<std::sync::Arc<Program>, ProgramErrors> {
        let file = RECORD_CLUB.replace(TERMS, terms);
        assert_ne!(file, RECORD_CLUB, "the example has other terms");
        Program::parse(&file).map(|parsed| parsed.program)
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
    fn a_tier_may_keep_points_that_go_with_inactivity() {
        let terms = "{ expires: { inactive_for: 6 months, by_tier: { gold: never }, after_fall: 30 days } }";
        let program = with_terms(terms).expect("valid");
        let since = moment("2026-03-05T10:30:00Z");
        let in_tier = |tier: Option<&str>| {
            let tier = tier.map(|tier| tier.parse().expect("an id"));
            let points = "points".parse().expect("an id");
            program.inactivity_in_tier(&points, tier.as_ref(), since)
        };
        assert_eq!(in_tier(Some("gold")), InactivityTerms::Waived);
        let counts = InactivityTerms::Counts {
            not_before: moment("2026-04-04T10:30:00Z"),
        };
        assert_eq!(in_tier(Some("silver")), counts);
        assert_eq!(in_tier(None), counts);
        let program = with_terms("{ expires: { inactive_for: 6 months } }").expect("valid");
        let points = "points".parse().expect("an id");
        let plain = program.inactivity_in_tier(&points, None, since);
        assert_eq!(plain, InactivityTerms::Counts { not_before: since });
    }

    #[test]
    fn activation_and_worth_are_read() {
        let program = with_terms("{ activates: { after: 14 days }, unit_value: \"0.01\" }");
        let program = program.expect("valid");
        let points = &program.currencies.values().next().expect("a currency");
        assert_eq!(points.unit_value_micros, Some(10_000));
        assert!(matches!(points.activation, Some(ActivationRule::After(_))));
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
            (
                "{ expires: { inactive_for: 6 months, by_tier: { gold: 9 months } } }",
                "currencies.points.expires.by_tier.gold",
            ),
            (
                "{ expires: { inactive_for: 6 months, by_tier: { vinyl: never } } }",
                "currencies.points.expires.by_tier.vinyl",
            ),
            (
                "{ expires: { inactive_for: 6 months, by_tier: { member: never } } }",
                "currencies.points.expires.by_tier.member",
            ),
            (
                "{ expires: { inactive_for: 6 months, after_fall: 30 days } }",
                "currencies.points.expires.after_fall",
            ),
            (
                "{ expires: { after: 6 months, after_fall: 30 days } }",
                "currencies.points.expires",
            ),
            ("{ activates: { } }", "currencies.points.activates"),
            (
                "{ activates: { after: 90 days }, expires: { after: 3 months } }",
                "currencies.points.activates.after",
            ),
            ("{ unit_value: \"-1\" }", "currencies.points.unit_value"),
        ];
        for (terms, path) in cases {
            let errors = with_terms(terms).expect_err(terms);
            assert_eq!(errors.first().path, path, "{errors}");
        }
    }
}
