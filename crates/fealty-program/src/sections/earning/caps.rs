//! `caps`: how much a rule gives at the most.

use fealty_rules::{CapSource, Limit, Over, Window};
use fealty_types::Points;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    faults::Check,
    sections::{
        activities::{ActivityName, OrActivity, PurchaseWord},
        counters::{EveryText, WindowText, window},
    },
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
    points: Option<i64>,
    /// How often the rule gives something at the most.
    #[serde(skip_serializing_if = "Option::is_none")]
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
    (text, on): (&[CapText], &OrActivity<PurchaseWord>),
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

fn cap(
    path: &str,
    (text, on): (&CapText, &OrActivity<PurchaseWord>),
    check: &mut Check,
) -> Option<CapSource> {
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
