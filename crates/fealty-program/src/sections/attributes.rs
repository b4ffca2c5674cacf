//! `attributes`: facts of purchases and their lines that the programme's conditions read.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use fealty_rules::AttributeType;
use fealty_types::{AttributeName, AttributeValue, Attributes};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, IntoDeserializer as _, value::MapAccessDeserializer},
};

use crate::{
    Effect,
    faults::Check,
    words::{Words, each, same},
};

/// Attributes of one kind of thing at the most.
const ATTRIBUTES_MAX: usize = 50;

#[derive(Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AttributesText {
    /// Facts of purchases, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    purchase: BTreeMap<AttributeName, AttributeText>,
    /// Facts of their lines, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    line: BTreeMap<AttributeName, AttributeText>,
}

/// An attribute: its type alone, or what is to be said of it besides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttributeText {
    kind: Kind,
    personal: bool,
}

/// An attribute with all that can be said of it.
#[derive(Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
struct Detailed {
    /// Its type.
    #[serde(rename = "type")]
    kind: Kind,
    /// Whether it is personal: it stands beside the log, which has a salted hash, and can be
    /// deleted. It must be a `string`, and no rule reads it.
    #[serde(default)]
    personal: bool,
}

impl<'de> Deserialize<'de> for AttributeText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = AttributeText;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a type (`bool`, `int` or `string`), or `{ type, personal }`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<AttributeText, E> {
                let kind = Kind::deserialize(text.into_deserializer())?;
                let personal = false;
                Ok(AttributeText { kind, personal })
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<AttributeText, A::Error> {
                let Detailed { kind, personal } =
                    Detailed::deserialize(MapAccessDeserializer::new(map))?;
                Ok(AttributeText { kind, personal })
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl Serialize for AttributeText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { kind, personal } = *self;
        if personal {
            Detailed { kind, personal }.serialize(serializer)
        } else {
            kind.serialize(serializer)
        }
    }
}

impl JsonSchema for AttributeText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "AttributeText".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let kind = generator.subschema_for::<Kind>();
        let detailed = generator.subschema_for::<Detailed>();
        json_schema!({ "anyOf": [kind, detailed] })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Int,
    /// A text.
    String,
}

impl From<AttributeText> for AttributeType {
    fn from(text: AttributeText) -> Self {
        match text.kind {
            Kind::Bool => Self::Bool,
            Kind::Int => Self::Number,
            Kind::String if text.personal => Self::Personal,
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
    DeclaredAttributes {
        purchase: types("attributes.purchase", &text.purchase, check),
        line: types("attributes.line", &text.line, check),
    }
}

/// The types of attributes as conditions know them.
pub(crate) fn types(
    path: &str,
    declared: &BTreeMap<AttributeName, AttributeText>,
    check: &mut Check,
) -> BTreeMap<AttributeName, AttributeType> {
    check.within(path, declared.len(), ATTRIBUTES_MAX);
    for (name, text) in declared {
        if text.personal && text.kind != Kind::String {
            let rule = "must be a `string`, for it is personal: the log has its hash";
            check.wrong(format!("{path}.{name}.type"), rule);
        }
    }
    let declared = declared.iter();
    declared
        .map(|(name, text)| (name.clone(), (*text).into()))
        .collect()
}

/// Those of declared attributes that are personal.
pub(crate) fn personal(
    declared: &BTreeMap<AttributeName, AttributeType>,
) -> BTreeSet<AttributeName> {
    let declared = declared.iter();
    let personal = declared.filter(|(_, of_type)| **of_type == AttributeType::Personal);
    personal.map(|(name, _)| name.clone()).collect()
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
            | (Some(AttributeType::Text | AttributeType::Personal), AttributeValue::Text(_)) => {
                continue;
            }
            (Some(AttributeType::Bool), _) => "must be a `boolean`, as the programme declares it",
            (Some(AttributeType::Number), _) => "must be a `number`, as the programme declares it",
            (Some(AttributeType::Text | AttributeType::Personal), _) => {
                "must be a `text`, as the programme declares it"
            }
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
        let path = format!("attributes.{of}");
        changed((&path, &format!("a {of}")), (before, after), words);
    }
}

/// What it means that facts of something are declared otherwise, or no more.
pub(crate) fn changed(
    (path, of): (&str, &str),
    (before, after): (
        &BTreeMap<AttributeName, AttributeText>,
        &BTreeMap<AttributeName, AttributeText>,
    ),
    words: &mut Words,
) {
    for (name, was, is) in each(before, after) {
        let message = match (was, is) {
            (Some(_), None) => format!("{of} with `{name}` is refused from now on"),
            (Some(was), Some(is)) if was.personal && !is.personal => {
                format!("`{name}` of {of} stays in the log from now on, and cannot be deleted")
            }
            (Some(was), Some(is)) if was.kind == is.kind && is.personal && !was.personal => {
                format!(
                    "`{name}` of {of} stands beside the log from now on; what was recorded stays in it"
                )
            }
            (Some(was), Some(is)) if !same(was, is) => {
                format!("`{name}` of {of} must be of another type, or it is refused")
            }
            _ => continue,
        };
        words.say(Effect::Depends, format!("{path}.{name}"), message);
    }
}
