//! `counters`: numbers that are kept for each member.

use std::{borrow::Cow, collections::BTreeMap};

use fealty_rules::{Builder, CounterSource, Counts, Every, Over, Window};
use fealty_types::{CounterId, RuleId};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::activities::{ActivityName, OrActivity};
use crate::{
    Effect,
    faults::Check,
    words::{Words, each, same},
};

/// Counters at the most that count what was before: what they come to for a member is one entry
/// of the log.
const BACKFILLED_MAX: usize = 10;
/// Counters of a programme at the most: each is asked of every purchase.
const COUNTERS_MAX: usize = 100;

#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CounterText {
    /// What it counts: `purchase`, `line`, `points`, or activities such as `activity.review`.
    of: OrActivity<Of>,
    /// A condition: which of them. All, if nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    when: Option<String>,
    /// What each adds: a number or an expression, such as `line.quantity`. 1, if nothing is
    /// said.
    #[serde(skip_serializing_if = "Option::is_none")]
    add: Option<AddText>,
    /// Counts once on each `day` at the most.
    #[serde(skip_serializing_if = "Option::is_none")]
    once_per: Option<Once>,
    /// For counters of points: the rules whose points count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    rules: Vec<RuleId>,
    /// Whether it counts what was before it began, as far as the log has it. Else it begins at
    /// zero. It stays in the file: a counter without it is another one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    backfill: bool,
    /// The window: `ever`, or one of `every`, `last`, `in_a_row` and `since`.
    over: OverText,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
enum Of {
    /// Purchases.
    Purchase,
    /// Lines of purchases.
    Line,
    /// Points that rules give.
    Points,
}

/// An expression; a number need not be in quotes.
#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(untagged)]
enum AddText {
    Whole(i64),
    Expression(String),
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
enum Once {
    Day,
}

/// A counter by the name that rules have for it: `counters.earned`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CounterName(pub(crate) CounterId);

impl CounterName {
    pub(crate) const PREFIX: &str = "counters.";
    /// The pattern of such a name.
    const PATTERN: &str = r"^counters\.[a-z][a-z0-9-]{0,63}$";
}

impl<'de> Deserialize<'de> for CounterName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let id = text.strip_prefix(Self::PREFIX).map(str::parse);
        id.and_then(Result::ok).map(Self).ok_or_else(|| {
            let rule = "must be `counters.` and one of `counters`";
            serde::de::Error::custom(format_args!("`{text}` {rule}"))
        })
    }
}

impl Serialize for CounterName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}{}", Self::PREFIX, self.0))
    }
}

impl JsonSchema for CounterName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "CounterName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": Self::PATTERN })
    }
}

/// From the first day on.
#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "editors see it")]
enum EverWord {
    /// From the first day on.
    Ever,
}

/// `ever`, or one of the others.
#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(untagged)]
enum OverText {
    Word(#[schemars(with = "EverWord")] String),
    Window(WindowText),
}

#[derive(Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WindowText {
    /// A day, week, month, quarter or year of the calendar.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) every: Option<EveryText>,
    /// The last days, such as `30 days` (400 at the most), or months.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last: Option<String>,
    /// Periods in a row: a streak, of 64 at the most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) in_a_row: Option<EveryText>,
    /// Since the last activity of a type, from its day on, such as `activity.moved`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<ActivityName>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EveryText {
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

impl EveryText {
    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Quarter => "quarter",
            Self::Year => "year",
        }
    }
}

impl From<EveryText> for Every {
    fn from(text: EveryText) -> Self {
        match text {
            EveryText::Day => Self::Day,
            EveryText::Week => Self::Week,
            EveryText::Month => Self::Month,
            EveryText::Quarter => Self::Quarter,
            EveryText::Year => Self::Year,
        }
    }
}

pub(crate) fn check(
    text: &BTreeMap<CounterId, CounterText>,
    builder: &mut Builder,
    check: &mut Check,
) {
    check.within("counters", text.len(), COUNTERS_MAX);
    let backfilled = text.values().filter(|counter| counter.backfill);
    if backfilled.count() > BACKFILLED_MAX {
        let rule = format!("must have `backfill` in at most {BACKFILLED_MAX} of them");
        check.wrong("counters", rule);
    }
    for (id, counter) in text.iter().take(COUNTERS_MAX) {
        let path = format!("counters.{id}");
        let Some(over) = over(&path, &counter.over, check) else {
            continue;
        };
        if counter.of != OrActivity::Word(Of::Points) && !counter.rules.is_empty() {
            check.wrong(format!("{path}.rules"), "is for counters of points");
        }
        let add = counter.add.as_ref().map(|add| match add {
            AddText::Whole(whole) => whole.to_string(),
            AddText::Expression(expression) => expression.clone(),
        });
        let source = CounterSource {
            id: id.clone(),
            of: match &counter.of {
                OrActivity::Word(Of::Purchase) => Counts::Purchases,
                OrActivity::Word(Of::Line) => Counts::Lines,
                OrActivity::Word(Of::Points) => Counts::Points,
                OrActivity::Activity(name) => Counts::Activities(name.0.clone()),
            },
            when: counter.when.as_deref(),
            add: add.as_deref(),
            once_per_day: counter.once_per.is_some(),
            over,
            rules: counter.rules.clone(),
            backfill: counter.backfill,
            identity: serde_json::to_string(counter).unwrap_or_default(),
        };
        if let Err(faults) = builder.counter(&source) {
            check.faults(&path, faults);
        }
    }
}

fn over(path: &str, text: &OverText, check: &mut Check) -> Option<Over> {
    let path = format!("{path}.over");
    match text {
        OverText::Word(word) if word == "ever" => Some(Over::Window(Window::Ever)),
        OverText::Word(_) => {
            check.wrong(
                path,
                "must be `ever`, or have one of `every`, `last`, `in_a_row` and `since`",
            );
            None
        }
        OverText::Window(text) => window(&path, text, check),
    }
}

/// The one window that a text names.
pub(crate) fn window(path: &str, text: &WindowText, check: &mut Check) -> Option<Over> {
    let window = match (text.every, &text.last, text.in_a_row, &text.since) {
        (Some(every), None, None, None) => Window::Every(every.into()),
        (None, Some(last), None, None) => {
            let path = format!("{path}.last");
            let window = Window::last(check.period(&*path, last)?);
            if window.is_none() {
                check.wrong(path, "must be at most 400 days, or 120 months");
            }
            window?
        }
        (None, None, Some(every), None) => Window::InARow(every.into()),
        (None, None, None, Some(name)) => return Some(Over::Since(name.0.clone())),
        _ => {
            let rule = "must have one of `every`, `last`, `in_a_row` and `since`";
            check.wrong(path, rule);
            return None;
        }
    };
    Some(Over::Window(window))
}

/// With what a counter begins.
fn begins(counter: &CounterText) -> &'static str {
    if counter.backfill {
        "begins with what the log has of each member"
    } else {
        "begins at zero"
    }
}

/// What other counters mean.
pub(crate) fn meaning(
    before: &BTreeMap<CounterId, CounterText>,
    after: &BTreeMap<CounterId, CounterText>,
    words: &mut Words,
) {
    for (id, before, after) in each(before, after) {
        let message = match (before, after) {
            (None, Some(after)) => format!("`{id}` is new, and {}", begins(after)),
            (Some(_), None) => format!("`{id}` counts no more"),
            (Some(before), Some(after)) if !same(before, after) => {
                let begins = begins(after);
                format!("`{id}` counts otherwise: it is another counter, and {begins}")
            }
            _ => continue,
        };
        words.say(Effect::Depends, format!("counters.{id}"), message);
    }
}
