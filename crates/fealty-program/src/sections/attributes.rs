//! `attributes`: facts of purchases and their lines that the programme's conditions read.

use std::collections::BTreeMap;

use fealty_rules::AttributeType;
use fealty_types::{AttributeName, AttributeValue, Attributes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Effect,
    faults::Check,
    words::{Words, each, same},
};

/// Attributes of one kind of thing at the most.
pub(crate) const ATTRIBUTES_MAX: usize = 50;

#[derive(Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AttributesText {
    /// Facts of purchases, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    purchase: BTreeMap<AttributeName, Kind>,
    /// Facts of their lines, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    line: BTreeMap<AttributeName, Kind>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Int,
    /// A text.
    String,
}

impl From<Kind> for AttributeType {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Bool => Self::Bool,
            Kind::Int => Self::Number,
            Kind::String => Self::Text,
        }
    }
}

/// The attributes that a programme declares.
#[derive(Clone, Debug, Default)]
pub struct DeclaredAttributes {
    /// Of purchases.
    pub purchase: BTreeMap<AttributeName, AttributeType>,
    /// Of their lines.
    pub line: BTreeMap<AttributeName, AttributeType>,
}

pub(crate) fn check(text: Option<&AttributesText>, check: &mut Check) -> DeclaredAttributes {
    let Some(text) = text else {
        return DeclaredAttributes::default();
    };
    check.within("attributes.purchase", text.purchase.len(), ATTRIBUTES_MAX);
    check.within("attributes.line", text.line.len(), ATTRIBUTES_MAX);
    DeclaredAttributes {
        purchase: types(&text.purchase),
        line: types(&text.line),
    }
}

/// The types of attributes as conditions know them.
pub(crate) fn types(
    declared: &BTreeMap<AttributeName, Kind>,
) -> BTreeMap<AttributeName, AttributeType> {
    let declared = declared.iter();
    declared
        .map(|(name, kind)| (name.clone(), (*kind).into()))
        .collect()
}

/// What is wrong with facts that were given, by what the programme declares: the first that
/// is not there, or of another type.
pub fn check_attributes(
    declared: &BTreeMap<AttributeName, AttributeType>,
    given: &Attributes,
) -> Result<(), (AttributeName, &'static str)> {
    for (name, value) in given {
        let what = match (declared.get(name), value) {
            (None, _) => "is not declared by the programme",
            (Some(AttributeType::Bool), AttributeValue::Bool(_))
            | (Some(AttributeType::Number), AttributeValue::Number(_))
            | (Some(AttributeType::Text), AttributeValue::Text(_)) => continue,
            (Some(AttributeType::Bool), _) => "must be a `boolean`, as the programme declares it",
            (Some(AttributeType::Number), _) => "must be a `number`, as the programme declares it",
            (Some(AttributeType::Text), _) => "must be a `text`, as the programme declares it",
        };
        return Err((name.clone(), what));
    }
    Ok(())
}

/// What it means that facts are declared no more.
pub(crate) fn meaning(
    before: Option<&AttributesText>,
    after: Option<&AttributesText>,
    words: &mut Words,
) {
    let none = AttributesText::default();
    let (before, after) = (before.unwrap_or(&none), after.unwrap_or(&none));
    for (of, before, after) in [
        ("purchase", &before.purchase, &after.purchase),
        ("line", &before.line, &after.line),
    ] {
        for (name, was, is) in each(before, after) {
            let path = format!("attributes.{of}.{name}");
            let message = match (was, is) {
                (Some(_), None) => format!("a {of} with `{name}` is refused from now on"),
                (Some(was), Some(is)) if !same(was, is) => {
                    format!("`{name}` of a {of} must be of another type, or it is refused")
                }
                _ => continue,
            };
            words.say(Effect::Depends, path, message);
        }
    }
}
