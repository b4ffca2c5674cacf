//! `on`: what a rule is asked of.

use fealty_rules::{Every, On};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::sections::activities::OrActivity;

/// What a rule is asked of that is no activity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
pub(crate) enum Word {
    /// Purchases.
    #[serde(rename = "purchase")]
    Purchase,
    /// The end of each day.
    #[serde(rename = "end_of.day")]
    EndOfDay,
    /// The end of each week.
    #[serde(rename = "end_of.week")]
    EndOfWeek,
    /// The end of each month.
    #[serde(rename = "end_of.month")]
    EndOfMonth,
    /// The end of each quarter.
    #[serde(rename = "end_of.quarter")]
    EndOfQuarter,
    /// The end of each year.
    #[serde(rename = "end_of.year")]
    EndOfYear,
}

/// What a rule is asked of.
pub(crate) type Asked = OrActivity<Word>;

impl Word {
    /// The period whose end it is.
    fn ends(self) -> Option<Every> {
        match self {
            Self::Purchase => None,
            Self::EndOfDay => Some(Every::Day),
            Self::EndOfWeek => Some(Every::Week),
            Self::EndOfMonth => Some(Every::Month),
            Self::EndOfQuarter => Some(Every::Quarter),
            Self::EndOfYear => Some(Every::Year),
        }
    }
}

impl Asked {
    /// The period whose end it is, if it is one.
    pub(super) fn ends(&self) -> Option<Every> {
        match self {
            Self::Word(word) => word.ends(),
            Self::Activity(_) => None,
        }
    }

    /// In words.
    pub(super) fn told(&self) -> String {
        match (self, self.ends()) {
            (Self::Activity(name), _) => format!("each `{}`", name.0),
            (Self::Word(_), Some(every)) => format!("the end of each {}", every.name()),
            (Self::Word(_), None) => "each purchase".to_owned(),
        }
    }
}

impl From<&Asked> for On {
    fn from(text: &Asked) -> Self {
        match (text, text.ends()) {
            (OrActivity::Activity(name), _) => Self::Activity(name.0.clone()),
            (OrActivity::Word(_), Some(every)) => Self::End(every),
            (OrActivity::Word(_), None) => Self::Purchase,
        }
    }
}
