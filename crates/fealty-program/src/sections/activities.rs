//! `activities`: what members do that is no purchase.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use fealty_rules::{AttributeType, Attributes};
use fealty_types::{ActivityType, AttributeName};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::IntoDeserializer as _};

use super::attributes::{self, AttributeText, types};
use crate::{
    Effect,
    faults::Check,
    words::{Words, each},
};

/// Types of a programme at the most.
const ACTIVITIES_MAX: usize = 100;

#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ActivityText {
    /// Whether it is nothing for a log that is kept for ever, such as a bereavement: it goes to
    /// the tiers service only, and no earning rule reads it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    sensitive: bool,
    /// Its facts, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<AttributeName, AttributeText>,
}

/// A type of activity that a programme declares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeclaredActivity {
    /// Whether it goes to the tiers service only.
    pub sensitive: bool,
    /// Its attributes.
    pub attributes: BTreeMap<AttributeName, AttributeType>,
}

/// A type by the name that other sections have for it: `activity.review`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ActivityName(pub(crate) ActivityType);

/// The pattern of such a name.
const NAME: &str = r"^activity\.[a-z][a-z0-9-]{0,63}$";
const PREFIX: &str = "activity.";

impl ActivityName {
    fn parse(text: &str) -> Option<Self> {
        text.strip_prefix(PREFIX)?.parse().ok().map(Self)
    }
}

impl fmt::Display for ActivityName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.0)
    }
}

impl<'de> Deserialize<'de> for ActivityName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            let rule = "must be `activity.` and one of `activities`";
            serde::de::Error::custom(format_args!("`{text}` {rule}"))
        })
    }
}

impl Serialize for ActivityName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for ActivityName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ActivityName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": NAME })
    }
}

/// A word of the file, or a type of activity.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(untagged)]
pub(crate) enum OrActivity<W> {
    /// One of the words.
    Word(W),
    /// A type of activity, such as `activity.review`.
    Activity(ActivityName),
}

impl<'de, W: Deserialize<'de>> Deserialize<'de> for OrActivity<W> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.starts_with(PREFIX) {
            return ActivityName::deserialize(text.into_deserializer()).map(Self::Activity);
        }
        W::deserialize(text.into_deserializer()).map(Self::Word)
    }
}

pub(crate) fn check(
    text: &BTreeMap<ActivityType, ActivityText>,
    check: &mut Check,
) -> BTreeMap<ActivityType, DeclaredActivity> {
    check.within("activities", text.len(), ACTIVITIES_MAX);
    let declared = text.iter().map(|(id, activity)| {
        let path = format!("activities.{id}.attributes");
        let declared = DeclaredActivity {
            sensitive: activity.sensitive,
            attributes: types(&path, &activity.attributes, check),
        };
        (id.clone(), declared)
    });
    declared.collect()
}

/// What rules may read of them: of sensitive ones, nothing.
pub(crate) fn readable(
    declared: &BTreeMap<ActivityType, DeclaredActivity>,
) -> BTreeMap<ActivityType, Option<Attributes>> {
    let readable = declared.iter().map(|(id, activity)| {
        let attributes = Attributes::new(&activity.attributes);
        (id.clone(), (!activity.sensitive).then_some(attributes))
    });
    readable.collect()
}

/// What other activities mean.
pub(crate) fn meaning(
    before: &BTreeMap<ActivityType, ActivityText>,
    after: &BTreeMap<ActivityType, ActivityText>,
    words: &mut Words,
) {
    for (id, before, after) in each(before, after) {
        if let (Some(before), Some(after)) = (before, after) {
            let path = format!("activities.{id}.attributes");
            let facts = (&before.attributes, &after.attributes);
            attributes::changed((&path, &format!("`{id}`")), facts, words);
        }
        let message = match (before, after) {
            (Some(_), None) => format!("`{id}` can be recorded no more"),
            (Some(before), Some(after)) if !before.sensitive && after.sensitive => {
                format!("`{id}` goes to tiers only from now on; what was recorded stays in the log")
            }
            _ => continue,
        };
        words.say(Effect::Depends, format!("activities.{id}"), message);
    }
}

#[cfg(test)]
mod tests {
    use crate::check::tests::{refused_at, with_section};

    #[test]
    fn activities_are_declared() {
        let program = with_section(
            "activities:\n  review: { attributes: { stars: int, words: int } }\n  bereavement: { sensitive: true }",
        );
        let of = |id: &str| &program.activities[&id.parse().expect("an id")];
        assert_eq!(of("review").attributes.len(), 2);
        assert!(!of("review").sensitive);
        assert!(of("bereavement").sensitive);
    }

    #[test]
    fn what_no_rule_may_read_is_refused() {
        let activities = "activities: { review: {}, bereavement: { sensitive: true } }\n";
        let cases = [
            (
                "counters: { reviews: { of: activity.revue, over: ever } }",
                "counters.reviews.of",
            ),
            (
                "counters: { losses: { of: activity.bereavement, over: ever } }",
                "counters.losses.of",
            ),
            (
                "counters: { since: { of: purchase, over: { since: activity.bereavement } } }",
                "counters.since.over",
            ),
            (
                "counters: { long: { of: activity.review, add: purchase.quantity, over: ever } }",
                "counters.long.add",
            ),
            (
                "counters: { stars: { of: activity.review, add: activity.attributes.stars, over: ever } }",
                "counters.stars.add",
            ),
        ];
        for (section, path) in cases {
            assert_eq!(
                refused_at(&format!("{activities}{section}")),
                [path],
                "{section}"
            );
        }
    }
}
