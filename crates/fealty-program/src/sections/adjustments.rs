//! `adjustments`: what operators may put right.

use fealty_types::Points;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::faults::Check;

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
