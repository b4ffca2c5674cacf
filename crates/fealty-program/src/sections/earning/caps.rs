//! `caps`: how much a rule gives at the most.

use fealty_rules::{CapSource, Limit, Window};
use fealty_types::Points;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    faults::Check,
    sections::counters::{EveryText, WindowText, window},
};

/// Caps of a rule at the most.
const CAPS_MAX: usize = 8;

/// For a `member`, over a window or for ever; or for a `purchase`.
#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CapText {
    /// For whom: a `member`, over a window or for ever, or a `purchase`.
    per: Per,
    /// In each of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    every: Option<EveryText>,
    /// In the last days or months, such as `30 days`.
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<String>,
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
}

pub(crate) fn check(path: &str, text: &[CapText], check: &mut Check) -> Vec<CapSource> {
    let path = format!("{path}.caps");
    check.within(&path, text.len(), CAPS_MAX);
    let each = text.iter().enumerate();
    let caps = each.map(|(at, text)| (at, cap(&format!("{path}.{at}"), text, check)));
    let caps: Vec<(usize, Option<CapSource>)> = caps.collect();
    let mut kept: Vec<CapSource> = Vec::with_capacity(caps.len());
    for (at, cap) in caps {
        let Some(cap) = cap else { continue };
        let is_points = |cap: &CapSource| matches!(cap.limit, Limit::Points(_));
        let same =
            |other: &CapSource| other.window == cap.window && is_points(other) == is_points(&cap);
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

fn cap(path: &str, text: &CapText, check: &mut Check) -> Option<CapSource> {
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
    let has_window = text.every.is_some() || text.last.is_some();
    let window = match (text.per, has_window) {
        (Per::Purchase, true) => {
            check.wrong(path, "`every` and `last` are for caps `per: member`");
            return None;
        }
        (Per::Purchase, false) => None,
        (Per::Member, false) => Some(Window::Ever),
        (Per::Member, true) => {
            let text = WindowText {
                every: text.every,
                last: text.last.clone(),
                in_a_row: None,
            };
            Some(window(path, &text, check)?)
        }
    };
    Some(CapSource { limit, window })
}
