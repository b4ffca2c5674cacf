//! Figures of the file: whole numbers, or decimals in quotes; and how fractions become whole.

use std::fmt;

use fealty_rules::{Ratio, Round};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A figure as it is written: `2`, or `"1.25"`. Without quotes a decimal would be read as
/// floating point, which is not exact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Figure {
    Whole(i64),
    Text(String),
}

impl Figure {
    /// As an exact fraction; `None` where it is none, or below 0.
    pub(crate) fn ratio(&self) -> Option<Ratio> {
        match self {
            Self::Whole(whole) => (*whole >= 0).then_some(Ratio {
                numerator: *whole,
                denominator: 1,
            }),
            Self::Text(text) => Ratio::parse(text),
        }
    }
}

/// How fractions of a point become whole ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RoundText {
    Floor,
    HalfUp,
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

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(whole) => whole.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

impl Serialize for Figure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Whole(whole) => serializer.serialize_i64(*whole),
            Self::Text(text) => serializer.serialize_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for Figure {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FigureVisitor)
    }
}

struct FigureVisitor;

impl de::Visitor<'_> for FigureVisitor {
    type Value = Figure;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number, or a decimal in quotes such as \"1.25\"")
    }

    fn visit_i64<E>(self, whole: i64) -> Result<Figure, E> {
        Ok(Figure::Whole(whole))
    }

    fn visit_u64<E: de::Error>(self, whole: u64) -> Result<Figure, E> {
        let fits = i64::try_from(whole).map(Figure::Whole);
        fits.map_err(|_| E::custom("the number is too large"))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Figure, E> {
        Err(E::custom(
            "a figure with a point is written in quotes, such as \"1.25\"",
        ))
    }

    fn visit_str<E>(self, text: &str) -> Result<Figure, E> {
        Ok(Figure::Text(text.to_owned()))
    }
}
