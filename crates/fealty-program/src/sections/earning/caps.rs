//! `caps`: how much a rule gives at the most.

use std::collections::BTreeMap;

use fealty_rules::{CapSource, Limit, Over, Window};
use fealty_types::Points;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::on::Asked;
use crate::{
    Effect,
    faults::Check,
    sections::{
        activities::{ActivityName, OrActivity},
        counters::{EveryText, WindowText, window},
    },
    words::{Words, each},
};

/// Caps of a rule at the most.
const CAPS_MAX: usize = 8;

/// For a `member`, over a window or for ever; or for a `purchase`, or an `activity`.
#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CapText {
    /// For whom: a `member`, over a window or for ever; or each `purchase` or `activity`.
    per: Per,
    /// In each of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    every: Option<EveryText>,
    /// In the last days or months, such as `30 days`.
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<String>,
    /// Since the last activity of a type, such as `activity.moved`. Before the first one, the
    /// rule gives nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<ActivityName>,
    /// Points at the most.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    points: Option<i64>,
    /// How often the rule gives something at the most.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    times: Option<i64>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
enum Per {
    /// Each member.
    Member,
    /// Each purchase.
    Purchase,
    /// Each activity.
    Activity,
}

pub(crate) fn check(
    path: &str,
    (text, on): (&[CapText], &Asked),
    check: &mut Check,
) -> Vec<CapSource> {
    let path = format!("{path}.caps");
    check.within(&path, text.len(), CAPS_MAX);
    let each = text.iter().enumerate();
    let caps = each.map(|(at, text)| (at, cap(&format!("{path}.{at}"), (text, on), check)));
    let caps: Vec<(usize, Option<CapSource>)> = caps.collect();
    let mut kept: Vec<CapSource> = Vec::with_capacity(caps.len());
    for (at, cap) in caps {
        let Some(cap) = cap else { continue };
        let is_points = |cap: &CapSource| matches!(cap.limit, Limit::Points(_));
        let same =
            |other: &CapSource| other.over == cap.over && is_points(other) == is_points(&cap);
        if kept.iter().any(same) {
            check.wrong(
                format!("{path}.{at}"),
                "is over the same as another one of the rule",
            );
        }
        kept.push(cap);
    }
    kept
}

fn cap(path: &str, (text, on): (&CapText, &Asked), check: &mut Check) -> Option<CapSource> {
    let limit = match (text.points, text.times) {
        (Some(points), None) if Points::amount(points).is_ok() => Limit::Points(points),
        (None, Some(times)) if times > 0 => Limit::Times(times),
        (Some(_), None) | (None, Some(_)) => {
            check.wrong(path, "must leave room for something: 1 at the least");
            return None;
        }
        _ => {
            check.wrong(path, "must have either `points` or `times`");
            return None;
        }
    };
    let has_window = text.every.is_some() || text.last.is_some() || text.since.is_some();
    let over = match (text.per, has_window) {
        (Per::Purchase | Per::Activity, true) => {
            check.wrong(
                path,
                "`every`, `last` and `since` are for caps `per: member`",
            );
            return None;
        }
        (Per::Purchase | Per::Activity, false) if on.ends().is_some() => {
            check.wrong(
                path,
                "the rule is asked of a period's end: say `per: member`",
            );
            return None;
        }
        (Per::Purchase, false) if matches!(on, OrActivity::Activity(_)) => {
            check.wrong(path, "the rule is asked of activities: say `per: activity`");
            return None;
        }
        (Per::Activity, false) if matches!(on, OrActivity::Word(_)) => {
            check.wrong(path, "the rule is asked of purchases: say `per: purchase`");
            return None;
        }
        (Per::Purchase | Per::Activity, false) => None,
        (Per::Member, false) => Some(Over::Window(Window::Ever)),
        (Per::Member, true) => {
            let text = WindowText {
                every: text.every,
                last: text.last.clone(),
                since: text.since.clone(),
                in_a_row: None,
            };
            Some(window(path, &text, check)?)
        }
    };
    Some(CapSource { limit, over })
}

/// A cap in words, without its limit: two that say the same go for the same.
fn over(text: &CapText) -> String {
    let whose = match text.per {
        Per::Member => "a member",
        Per::Purchase => "a purchase",
        Per::Activity => "an activity",
    };
    let kind = if text.points.is_some() {
        "points"
    } else {
        "times"
    };
    let every = text.every.map(|every| format!(" in a {}", every.name()));
    let last = text.last.as_ref().map(|last| format!(" in {last}"));
    let since = text.since.as_ref().map(|since| format!(" since {since}"));
    let window = every.or(last).or(since).unwrap_or_default();
    format!("{kind} at the most for {whose}{window}")
}

/// What other caps of a rule mean.
pub(super) fn meaning(
    path: &str,
    id: &str,
    (before, after): (&[CapText], &[CapText]),
    words: &mut Words,
) {
    let by_window = |caps: &[CapText]| -> BTreeMap<String, i64> {
        let limits = caps.iter().map(|cap| {
            let limit = cap.points.or(cap.times).unwrap_or_default();
            (over(cap), limit)
        });
        limits.collect()
    };
    let (old, new) = (by_window(before), by_window(after));
    for (window, was, is) in each(&old, &new) {
        let path = format!("{path}.caps");
        let (effect, message) = match (was, is) {
            (Some(was), Some(is)) if was != is => {
                let effect = if is > was {
                    Effect::MembersGain
                } else {
                    Effect::MembersLose
                };
                (
                    effect,
                    format!("`{id}` gives {is} instead of {was} {window}"),
                )
            }
            (None, Some(is)) => (
                Effect::MembersLose,
                format!("`{id}` gives {is} {window} now"),
            ),
            (Some(was), None) => {
                let message = format!("`{id}` no longer ends at {was} {window}");
                (Effect::MembersGain, message)
            }
            _ => continue,
        };
        words.say(effect, path, message);
    }
}
