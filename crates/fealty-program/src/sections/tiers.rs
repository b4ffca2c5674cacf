//! `tiers`: the status that purchases give.

use std::collections::BTreeMap;

use fealty_types::{Money, TierId, Timestamp};
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use fealty_rules::calendar;

use super::figure::Figure;
use crate::{
    Effect, MoneyUnit, Period,
    faults::Check,
    words::{Exact, Words, each, longer},
};

const LEVELS_MAX: usize = 20;

#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TiersText {
    /// What lifts a member.
    qualify_by: Metric,
    /// Over which period it is summed, such as `365 days`.
    window: String,
    /// When a tier is reached.
    upgrade: Upgrade,
    /// How long a tier is held before it is judged again, such as `12 months`.
    validity: String,
    /// What happens then.
    then: Then,
    /// The tiers, from the lowest up.
    levels: Vec<LevelText>,
}

#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
enum Metric {
    /// Money spent.
    MoneySpent,
}

#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
enum Upgrade {
    /// With the purchase.
    AtOnce,
}

#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
enum Then {
    /// The member has the tier that the window gives.
    JudgeAgain,
}

#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
struct LevelText {
    /// The id of the tier.
    tier: TierId,
    /// From which amount of money on; 0 for the lowest.
    #[schemars(with = "Figure")]
    from: String,
}

/// Tiers reached by money spent in a rolling window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TierScheme {
    /// The window that counts: the moment it ends is in it, the one a period
    /// before is not.
    pub window: Period,
    /// How long a tier is held before it is judged again.
    pub validity: Period,
    /// The tiers, from the lowest, whose threshold is 0, up.
    pub levels: Vec<TierLevel>,
}

/// A tier and what it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TierLevel {
    /// The tier.
    pub tier: TierId,
    /// Money spent in the window from which on it is reached.
    pub threshold: Money,
}

impl TierScheme {
    /// Rank of the tier that `spent` minor units in the window give.
    #[must_use]
    pub fn rank_of(&self, spent_minor_units: i64) -> usize {
        self.levels
            .iter()
            .rposition(|level| level.threshold.minor_units() <= spent_minor_units)
            .unwrap_or(0)
    }

    /// Rank of a tier, 0 for the lowest.
    #[must_use]
    pub fn rank(&self, tier: &TierId) -> Option<usize> {
        self.levels.iter().position(|level| level.tier == *tier)
    }

    /// When a tier reached at `reached_at` is judged: the midnight that ends
    /// the date one validity later.
    #[must_use]
    pub fn first_evaluation(&self, reached_at: Timestamp, zone: &TimeZone) -> Timestamp {
        let date = calendar::date_of(reached_at, zone);
        calendar::end_of(self.validity.after_date(date), zone)
    }

    /// When a tier judged at the midnight `evaluated_at` is judged next: at the
    /// end of the same date, one validity on.
    #[must_use]
    pub fn next_evaluation(&self, evaluated_at: Timestamp, zone: &TimeZone) -> Timestamp {
        let last_day = calendar::date_of(evaluated_at, zone)
            .yesterday()
            .unwrap_or(jiff::civil::Date::MIN);
        calendar::end_of(self.validity.after_date(last_day), zone)
    }
}

pub(crate) fn check(text: &TiersText, money: MoneyUnit, check: &mut Check) -> Option<TierScheme> {
    if text.levels.is_empty() {
        check.wrong("tiers.levels", "must name at least one");
    }
    check.within("tiers.levels", text.levels.len(), LEVELS_MAX);
    let mut levels: Vec<TierLevel> = Vec::new();
    for level in &text.levels {
        let path = format!("tiers.levels.{}", level.tier);
        if levels.iter().any(|other| other.tier == level.tier) {
            check.wrong(&path, "is named twice");
        }
        let path = format!("{path}.from");
        let Some(threshold) = money.amount(&path, &level.from, check) else {
            continue;
        };
        match levels.last() {
            None if threshold.minor_units() != 0 => {
                check.wrong(path, "must be 0 for the first level, which everybody has");
            }
            Some(below) if threshold.minor_units() <= below.threshold.minor_units() => {
                check.wrong(path, "must be above the level before it");
            }
            _ => {}
        }
        levels.push(TierLevel {
            tier: level.tier.clone(),
            threshold,
        });
    }
    let window = check.period("tiers.window", &text.window);
    let validity = check.period("tiers.validity", &text.validity);
    Some(TierScheme {
        window: window?,
        validity: validity?,
        levels,
    })
}

/// What other tiers mean.
pub(crate) fn meaning(before: Option<&TiersText>, after: Option<&TiersText>, words: &mut Words) {
    let (Some(before), Some(after)) = (before, after) else {
        match (before, after) {
            (None, Some(_)) => {
                let message = "there are tiers now".to_owned();
                words.say(Effect::Depends, "tiers", message);
            }
            (Some(_), None) => {
                let message = "there are no tiers any more".to_owned();
                words.say(Effect::MembersLose, "tiers", message);
            }
            _ => {}
        }
        return;
    };
    let levels = |text: &TiersText| -> BTreeMap<TierId, String> {
        let levels = text.levels.iter();
        levels
            .map(|level| (level.tier.clone(), level.from.clone()))
            .collect()
    };
    let (old, new) = (levels(before), levels(after));
    for (tier, before, after) in each(&old, &new) {
        let path = format!("tiers.levels.{tier}");
        match (before, after) {
            (None, Some(from)) => {
                words.say(
                    Effect::Depends,
                    path,
                    format!("`{tier}` is new, from {from}"),
                );
            }
            (Some(_), None) => {
                let message = format!("there is no `{tier}` any more");
                words.say(Effect::Depends, path, message);
            }
            (Some(before), Some(after)) => {
                let from = (Figure::of(before), Figure::of(after));
                let from = (Exact(&from.0), Exact(&from.1));
                words.less_is_better(path, from, &format!("`{tier}` is reached from"));
            }
            (None, None) => {}
        }
    }
    for (path, before, after, what) in [
        (
            "tiers.window",
            &before.window,
            &after.window,
            "what counts for tiers is that of the last",
        ),
        (
            "tiers.validity",
            &before.validity,
            &after.validity,
            "a tier is held for",
        ),
    ] {
        if before == after {
            continue;
        }
        let effect = Effect::of_more(longer(after, before));
        words.say(effect, path, format!("{what} {after} instead of {before}"));
    }
}
