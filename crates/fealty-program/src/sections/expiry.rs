//! `currencies.….expires`: when points are gone.

use std::collections::{BTreeMap, BTreeSet};

use fealty_types::{TierId, Timestamp};
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use fealty_rules::calendar;

use crate::{
    Effect, Period, TierScheme,
    faults::Check,
    words::{Told, Words, each, longer, same},
};

#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExpiresText {
    /// A period after they were earned, such as `12 months`.
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
    /// Whether `after` is rounded up.
    round_to: Option<RoundTo>,
    /// Other periods by the tier that counted when they were earned, or `never`. With
    /// `inactive_for`, only `never`.
    #[serde(skip_serializing_if = "Option::is_none")]
    by_tier: Option<BTreeMap<TierId, String>>,
    /// A day of each year, such as `12-31`.
    #[serde(skip_serializing_if = "Option::is_none")]
    on: Option<String>,
    /// With `on`: how long points live at the least.
    #[serde(skip_serializing_if = "Option::is_none")]
    at_least: Option<String>,
    /// All together, a period after the member was last active.
    #[serde(skip_serializing_if = "Option::is_none")]
    inactive_for: Option<String>,
    /// With `inactive_for`: what counts as activity, besides earning such points.
    #[serde(skip_serializing_if = "Option::is_none")]
    activity: Option<Vec<Activity>>,
    /// With `inactive_for`: how long points live at the least after the fall from a tier that
    /// kept them.
    #[serde(skip_serializing_if = "Option::is_none")]
    after_fall: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
enum RoundTo {
    /// To the end of the month.
    EndOfMonth,
}

/// When points expire.
#[derive(Clone, Debug)]
pub enum Expiry {
    /// A period after they were earned.
    After {
        /// The period.
        period: Period,
        /// Other periods by the tier that counted when they were earned;
        /// `None` for never.
        by_tier: BTreeMap<TierId, Option<Period>>,
        /// Whether that is rounded up to the end of the month.
        end_of_month: bool,
    },
    /// At the end of a day of the year.
    Yearly {
        /// The month, 1 to 12.
        month: i8,
        /// The day.
        day: i8,
        /// How long they live at the least.
        at_least: Option<Period>,
    },
    /// All together, a period after the member was last active.
    Inactivity {
        /// The period.
        period: Period,
        /// What counts as activity, besides earning such points.
        activity: Vec<Activity>,
        /// The tiers whose members keep their points, however inactive they are.
        waived_for: BTreeSet<TierId>,
        /// How long points live at the least after the fall from such a tier.
        after_fall: Option<Period>,
    },
}

/// What a member's tier means for points that go with inactivity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InactivityTerms {
    /// It counts. What stayed before lives until then at the least.
    Counts {
        /// Until when.
        not_before: Timestamp,
    },
    /// It does not count in this tier: they stay.
    Waived,
}

/// What a member does that keeps points alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Activity {
    /// A purchase, whether or not it earns.
    Purchase,
    /// Points spent or set aside.
    Redeem,
}

/// The expiry of points earned at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpiryTerms {
    /// They never expire.
    Never,
    /// From that moment on they are gone.
    At(Timestamp),
    /// They are gone when the member has been inactive for long enough.
    WithInactivity,
}

impl Expiry {
    /// The expiry of points earned at `earned_at` by a member of `tier`.
    /// Without rounding, it is at the same time of day.
    #[must_use]
    pub fn of(&self, earned_at: Timestamp, tier: Option<&TierId>, zone: &TimeZone) -> ExpiryTerms {
        match self {
            Self::After {
                period,
                by_tier,
                end_of_month,
            } => {
                let of_tier = tier.and_then(|tier| by_tier.get(tier));
                let Some(period) = of_tier.copied().unwrap_or(Some(*period)) else {
                    return ExpiryTerms::Never;
                };
                ExpiryTerms::At(if *end_of_month {
                    let date = calendar::date_of(earned_at, zone);
                    calendar::end_of_month(period.after_date(date), zone)
                } else {
                    period.after(earned_at, zone)
                })
            }
            Self::Yearly {
                month,
                day,
                at_least,
            } => {
                let date = calendar::date_of(earned_at, zone);
                let first = at_least.map_or(date, |period| period.after_date(date));
                ExpiryTerms::At(calendar::end_of(
                    calendar::next_of_year(first, *month, *day),
                    zone,
                ))
            }
            Self::Inactivity { .. } => ExpiryTerms::WithInactivity,
        }
    }

    /// What it means for points that go with inactivity that a member is in `tier`
    /// from `since` on.
    #[must_use]
    pub fn inactivity(
        &self,
        tier: Option<&TierId>,
        since: Timestamp,
        zone: &TimeZone,
    ) -> InactivityTerms {
        match self {
            Self::Inactivity {
                waived_for,
                after_fall,
                ..
            } if !waived_for.is_empty() => {
                if tier.is_some_and(|tier| waived_for.contains(tier)) {
                    return InactivityTerms::Waived;
                }
                let not_before = after_fall.map_or(since, |period| period.after(since, zone));
                InactivityTerms::Counts { not_before }
            }
            _ => InactivityTerms::Counts { not_before: since },
        }
    }
}

pub(crate) fn check(
    path: &str,
    text: &ExpiresText,
    tiers: Option<&TierScheme>,
    check: &mut Check,
) -> Option<Expiry> {
    let end_of_month = matches!(text.round_to, Some(RoundTo::EndOfMonth));
    let (by_tier, activity) = (text.by_tier.as_ref(), text.activity.as_deref());
    match (&text.after, &text.on, &text.inactive_for) {
        (Some(after), None, None)
            if activity.is_none() && text.at_least.is_none() && text.after_fall.is_none() =>
        {
            let by_tier = periods_by_tier(&format!("{path}.by_tier"), by_tier, tiers, check);
            let period = check.period(format!("{path}.after"), after);
            Some(Expiry::After {
                period: period?,
                by_tier: by_tier?,
                end_of_month,
            })
        }
        (None, Some(on), None)
            if !end_of_month
                && by_tier.is_none()
                && activity.is_none()
                && text.after_fall.is_none() =>
        {
            yearly(path, on, text.at_least.as_deref(), check)
        }
        (None, None, Some(inactive_for)) if !end_of_month && text.at_least.is_none() => {
            inactivity(path, inactive_for, text, tiers, check)
        }
        _ => {
            let rule = "must have either `after` (with `by_tier` and `round_to`), or `on` (with \
                        `at_least`), or `inactive_for` (with `activity`, `by_tier` and \
                        `after_fall`)";
            check.wrong(path, rule);
            None
        }
    }
}

fn periods_by_tier(
    path: &str,
    text: Option<&BTreeMap<TierId, String>>,
    tiers: Option<&TierScheme>,
    check: &mut Check,
) -> Option<BTreeMap<TierId, Option<Period>>> {
    let mut by_tier = BTreeMap::new();
    let mut all_right = true;
    for (tier, text) in text.into_iter().flatten() {
        let path = format!("{path}.{tier}");
        if tiers.and_then(|scheme| scheme.rank(tier)).is_none() {
            check.wrong(path, "is not one of the tiers");
            all_right = false;
            continue;
        }
        let of_tier = match text.as_str() {
            "never" => Some(None),
            text => check.period(path, text).map(Some),
        };
        match of_tier {
            Some(of_tier) => {
                by_tier.insert(tier.clone(), of_tier);
            }
            None => all_right = false,
        }
    }
    all_right.then_some(by_tier)
}

fn inactivity(
    path: &str,
    inactive_for: &str,
    text: &ExpiresText,
    tiers: Option<&TierScheme>,
    check: &mut Check,
) -> Option<Expiry> {
    let activity = text.activity.as_deref().unwrap_or(&[Activity::Purchase]);
    let by_tier = text.by_tier.as_ref();
    let waived_for = waived_for(&format!("{path}.by_tier"), by_tier, tiers, check);
    let after_fall = match &text.after_fall {
        None => Some(None),
        Some(_) if by_tier.is_none_or(BTreeMap::is_empty) => {
            let rule = "needs a tier in `by_tier` from which a member can fall";
            check.wrong(format!("{path}.after_fall"), rule);
            None
        }
        Some(after_fall) => check
            .period(format!("{path}.after_fall"), after_fall)
            .map(Some),
    };
    let period = check.period(format!("{path}.inactive_for"), inactive_for);
    Some(Expiry::Inactivity {
        period: period?,
        activity: activity.to_vec(),
        waived_for: waived_for?,
        after_fall: after_fall?,
    })
}

/// The tiers whose members keep their points. Everybody begins in the lowest, so that one
/// cannot be among them.
fn waived_for(
    path: &str,
    text: Option<&BTreeMap<TierId, String>>,
    tiers: Option<&TierScheme>,
    check: &mut Check,
) -> Option<BTreeSet<TierId>> {
    let mut all_right = true;
    for (tier, text) in text.into_iter().flatten() {
        let rule = match tiers.and_then(|scheme| scheme.rank(tier)) {
            None => "is not one of the tiers",
            Some(0) => "is the lowest tier, whose points go as `inactive_for` says",
            Some(_) if text != "never" => "must be `never`, beside `inactive_for`",
            Some(_) => continue,
        };
        check.wrong(format!("{path}.{tier}"), rule);
        all_right = false;
    }
    all_right.then(|| {
        text.into_iter()
            .flatten()
            .map(|(tier, _)| tier.clone())
            .collect()
    })
}

fn yearly(path: &str, on: &str, at_least: Option<&str>, check: &mut Check) -> Option<Expiry> {
    let day = calendar::month_and_day(on);
    if day.is_none() {
        let rule = format!("`{on}` must be a day of the year such as `12-31`");
        check.wrong(format!("{path}.on"), rule);
    }
    let at_least = match at_least {
        None => None,
        Some(text) => Some(check.period(format!("{path}.at_least"), text)?),
    };
    let (month, day) = day?;
    Some(Expiry::Yearly {
        month,
        day,
        at_least,
    })
}

/// When points expire, in words.
pub(crate) fn told_expiry(text: &ExpiresText) -> String {
    match (&text.after, &text.on, &text.inactive_for) {
        (Some(after), ..) => format!("after {after}"),
        (None, Some(on), _) => format!("on each {on}"),
        (None, None, Some(period)) => format!("after {period} without activity"),
        (None, None, None) => "by the member's tier".to_owned(),
    }
}

/// What another expiry of a currency means, for points that are given from then on.
pub(crate) fn meaning(
    path: &str,
    id: &str,
    (before, after): (Option<&ExpiresText>, Option<&ExpiresText>),
    words: &mut Words,
) {
    let (Some(before), Some(after)) = (before, after) else {
        let (was, is) = (before.map(told_expiry), after.map(told_expiry));
        let told = Told {
            is: &format!("points of `{id}` expire"),
            was: &format!("points of `{id}` no longer expire"),
            good: Effect::MembersLose,
        };
        words.there_or_not(path, (was.as_ref(), is.as_ref()), &told);
        return;
    };
    let (was, is) = (told_expiry(before), told_expiry(after));
    if was != is {
        let pairs = [
            (&before.after, &after.after),
            (&before.inactive_for, &after.inactive_for),
        ];
        let both = pairs
            .into_iter()
            .find_map(|(was, is)| Some((was.as_ref()?, is.as_ref()?)));
        let order = both.and_then(|(was, is)| longer(is, was));
        let message = format!("points of `{id}` expire {is} instead of {was}");
        words.say(Effect::of_more(order), path, message);
    }
    let none = BTreeMap::new();
    let by_tier = (&before.by_tier, &after.by_tier);
    let by_tier = (
        by_tier.0.as_ref().unwrap_or(&none),
        by_tier.1.as_ref().unwrap_or(&none),
    );
    for (tier, was, is) in each(by_tier.0, by_tier.1) {
        tier_meaning(
            &format!("{path}.by_tier.{tier}"),
            (id, tier),
            (was, is),
            words,
        );
    }
    least_lives(path, id, (before, after), words);
    if !same(&before.activity, &after.activity) {
        let message = format!("other things count as activity for points of `{id}`");
        words.say(Effect::Depends, format!("{path}.activity"), message);
    }
}

/// What it means that points live longer or shorter at the least.
fn least_lives(
    path: &str,
    id: &str,
    (before, after): (&ExpiresText, &ExpiresText),
    words: &mut Words,
) {
    let at_least = (before.at_least.as_ref(), after.at_least.as_ref());
    let after_fall = (before.after_fall.as_ref(), after.after_fall.as_ref());
    for (field, periods, what) in [
        ("at_least", at_least, "live, at the least,"),
        ("after_fall", after_fall, "live, after a fall,"),
    ] {
        let (path, is) = (
            format!("{path}.{field}"),
            format!("points of `{id}` {what}"),
        );
        if let (Some(was), Some(is_now)) = periods
            && was != is_now
        {
            let message = format!("{is} {is_now} instead of {was}");
            words.say(Effect::of_more(longer(is_now, was)), path, message);
            continue;
        }
        let told = Told {
            is: &is,
            was: &format!("points of `{id}` no longer {what}"),
            good: Effect::MembersGain,
        };
        words.there_or_not(path, periods, &told);
    }
    if before.round_to.is_some() != after.round_to.is_some() {
        let (effect, how) = match after.round_to {
            Some(_) => (
                Effect::MembersGain,
                "live on to the end of their last month",
            ),
            None => (
                Effect::MembersLose,
                "no longer live on to the end of their last month",
            ),
        };
        words.say(
            effect,
            format!("{path}.round_to"),
            format!("points of `{id}` {how}"),
        );
    }
}

/// What another expiry for a tier means.
fn tier_meaning(
    path: &str,
    (id, tier): (&str, &TierId),
    (was, is): (Option<&String>, Option<&String>),
    words: &mut Words,
) {
    const NEVER: &str = "never";
    let effect = match (was.map(String::as_str), is.map(String::as_str)) {
        (was, is) if was == is => return,
        (_, Some(NEVER)) => Effect::MembersGain,
        (Some(NEVER), _) => Effect::MembersLose,
        (Some(was), Some(is)) => Effect::of_more(longer(is, was)),
        _ => Effect::Depends,
    };
    let told = |text: Option<&String>| match text.map(String::as_str) {
        Some(NEVER) => "never expire".to_owned(),
        Some(period) => format!("expire after {period}"),
        None => "expire as those of others".to_owned(),
    };
    let (was, is) = (told(was), told(is));
    let message = format!("for {tier}, points of `{id}` {is}; so far they {was}");
    words.say(effect, path, message);
}
