//! `adjustments`: what operators may put right.

use fealty_types::Points;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Effect,
    faults::Check,
    words::{Told, Words},
};

#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AdjustmentsText {
    /// Points above which a second person must approve.
    approval_above: i64,
}

/// What operators may put right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Adjustments {
    /// Points above which a second person must approve; `None` for never.
    pub approval_above: Option<Points>,
}

pub(crate) fn check(text: Option<&AdjustmentsText>, check: &mut Check) -> Option<Adjustments> {
    let Some(text) = text else {
        return Some(Adjustments::default());
    };
    match Points::new(text.approval_above) {
        Ok(above) => Some(Adjustments {
            approval_above: Some(above),
        }),
        Err(error) => {
            check.wrong("adjustments.approval_above", error.to_string());
            None
        }
    }
}

/// What another limit means.
pub(crate) fn meaning(
    before: Option<&AdjustmentsText>,
    after: Option<&AdjustmentsText>,
    words: &mut Words,
) {
    let above = |text: Option<&AdjustmentsText>| text.map(|text| text.approval_above);
    let told = Told {
        is: "a second person approves adjustments of more than",
        was: "no second person approves adjustments any more, not even of more than",
        good: Effect::Depends,
    };
    let limits = (above(before), above(after));
    let path = "adjustments.approval_above";
    words.there_or_not(path, (limits.0.as_ref(), limits.1.as_ref()), &told);
}
