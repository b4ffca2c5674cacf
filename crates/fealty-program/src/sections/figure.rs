//! Figures of the file, exactly as they are written; and how fractions become whole.

use std::{borrow::Cow, fmt};

use fealty_rules::{Ratio, Round};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};

/// A figure as it is written: `2`, `1.25` or `"1.25"`. It is read as text, so a decimal is
/// exact whether or not it stands in quotes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(transparent)]
pub(crate) struct Figure(String);

impl Figure {
    /// A figure of a text.
    pub(crate) fn of(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// As an exact fraction; `None` where it is none, or below 0.
    pub(crate) fn ratio(&self) -> Option<Ratio> {
        Ratio::parse(&self.0)
    }
}

impl JsonSchema for Figure {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Figure".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["number", "string"],
            "minimum": 0,
            "pattern": r"^[0-9]{1,12}(\.[0-9]{1,6})?$",
        })
    }
}

/// How a part of a hundred looks to editors: `80%` or 80.
pub(crate) struct Percent;

/// How an expression looks to editors: a number need not be in quotes.
pub(crate) struct Expression;

macro_rules! text_or_number {
    ($($name:ident: $schema:tt;)+) => {$(
        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )+};
}

text_or_number! {
    Percent: { "type": ["string", "integer"], "minimum": 1, "maximum": 100, "pattern": "^[0-9]{1,3} *%?$" };
    Expression: { "type": ["string", "integer"] };
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A figure that was once a whole number only: as such it keeps its place in the digest.
pub(crate) fn whole_or_text<S: Serializer>(
    figure: &Figure,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match figure.0.parse::<i64>() {
        Ok(whole) => serializer.serialize_i64(whole),
        Err(_) => serializer.serialize_str(&figure.0),
    }
}

/// How fractions of a point become whole ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RoundText {
    /// Down.
    Floor,
    /// To the nearest; a half up.
    HalfUp,
    /// Up.
    Ceil,
}

impl From<RoundText> for Round {
    fn from(text: RoundText) -> Self {
        match text {
            RoundText::Floor => Self::Floor,
            RoundText::HalfUp => Self::HalfUp,
            RoundText::Ceil => Self::Ceil,
        }
    }
}
