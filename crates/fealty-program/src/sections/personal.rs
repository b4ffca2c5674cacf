//! `personal`: what callers keep with a change that must be deletable.

use std::collections::{BTreeMap, BTreeSet};

use fealty_types::{ActivityType, AttributeName, Metadata, MetadataKey};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    activities::DeclaredActivity,
    attributes::{self, DeclaredAttributes},
};
use crate::{Effect, faults::Check, words::Words};

/// Keys that a programme may name.
const KEYS_MAX: usize = 64;

#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PersonalText {
    /// Keys of metadata whose values are personal.
    #[serde(default)]
    metadata: Vec<MetadataKey>,
    /// Whether the notes of adjustments are.
    #[serde(default)]
    notes: bool,
}

/// What stands beside the log, of which the log keeps a salted hash. Nothing, if nothing
/// is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Personal {
    /// The values of these metadata.
    pub metadata: BTreeSet<MetadataKey>,
    /// The notes of adjustments.
    pub notes: bool,
    /// These attributes of purchases.
    pub purchase: BTreeSet<AttributeName>,
    /// These attributes of their lines.
    pub line: BTreeSet<AttributeName>,
    /// These attributes of activities, by type; no type without one.
    pub activities: BTreeMap<ActivityType, BTreeSet<AttributeName>>,
}

impl Personal {
    /// Whether some metadata have a value that is personal.
    #[must_use]
    pub fn concerns(&self, metadata: &Metadata) -> bool {
        metadata.iter().any(|(key, _)| self.metadata.contains(key))
    }
}

pub(crate) fn check(
    text: Option<&PersonalText>,
    (declared, activities): (
        &DeclaredAttributes,
        &BTreeMap<ActivityType, DeclaredActivity>,
    ),
    check: &mut Check,
) -> Option<Personal> {
    let of_activities = activities.iter().map(|(id, activity)| {
        let personal = attributes::personal(&activity.attributes);
        (id.clone(), personal)
    });
    let of_attributes = Personal {
        purchase: attributes::personal(&declared.purchase),
        line: attributes::personal(&declared.line),
        activities: of_activities
            .filter(|(_, personal)| !personal.is_empty())
            .collect(),
        ..Personal::default()
    };
    let Some(text) = text else {
        return Some(of_attributes);
    };
    let metadata: BTreeSet<MetadataKey> = text.metadata.iter().cloned().collect();
    check.within("personal.metadata", text.metadata.len(), KEYS_MAX);
    if metadata.len() < text.metadata.len() {
        check.wrong("personal.metadata", "names a key twice");
        return None;
    }
    if metadata.is_empty() && !text.notes {
        check.wrong(
            "personal",
            "must name something: `metadata`, `notes`, or both",
        );
        return None;
    }
    Some(Personal {
        metadata,
        notes: text.notes,
        ..of_attributes
    })
}

/// What it means that something is personal no more.
pub(crate) fn meaning(
    before: Option<&PersonalText>,
    after: Option<&PersonalText>,
    words: &mut Words,
) {
    let keys = |text: Option<&PersonalText>| -> BTreeSet<MetadataKey> {
        text.map_or(BTreeSet::new(), |text| {
            text.metadata.iter().cloned().collect()
        })
    };
    for key in keys(before).difference(&keys(after)) {
        let message =
            format!("`{key}` of metadata stays in the log from now on, and cannot be deleted");
        words.say(Effect::Depends, "personal.metadata", message);
    }
    let notes = |text: Option<&PersonalText>| text.is_some_and(|text| text.notes);
    if notes(before) && !notes(after) {
        let message = "notes of adjustments stay in the log from now on, and cannot be deleted";
        words.say(Effect::Depends, "personal.notes", message.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use crate::check::tests::{refused_at, with_section};

    #[test]
    fn what_is_personal_is_named() {
        let program = with_section("personal: { metadata: [guest, cashier], notes: true }");
        assert_eq!(
            (program.personal.metadata.len(), program.personal.notes),
            (2, true)
        );
        assert_eq!(with_section("").personal, super::Personal::default());
        let declared = with_section(
            "attributes: { purchase: { guest: { type: string, personal: true }, cup: bool }, line: { name: { type: string } } }\nactivities: { visit: { attributes: { room: { type: string, personal: true } } } }",
        );
        let personal = &declared.personal;
        assert_eq!((personal.purchase.len(), personal.line.len()), (1, 0));
        assert_eq!(personal.activities.len(), 1);
        let path = |section: &str| refused_at(section);
        assert_eq!(
            path("attributes: { purchase: { age: { type: int, personal: true } } }"),
            ["attributes.purchase.age.type"]
        );
        // No rule reads it.
        let declared =
            "activities: { visit: { attributes: { room: { type: string, personal: true } } } }";
        let counter = "counters: { suites: { of: activity.visit, over: ever, when: 'activity.attributes.room == \"1\"' } }";
        assert_eq!(
            path(&format!("{declared}\n{counter}")),
            ["counters.suites.when"]
        );
        assert_eq!(path("personal: { }"), ["personal"]);
        assert_eq!(
            path("personal: { metadata: [a, a] }"),
            ["personal.metadata"]
        );
    }
}
