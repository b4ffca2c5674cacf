//! `refunds`: how points are taken back and restored.

use std::time::Duration;

use fealty_types::{RefundPolicy, RefundTerms};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Effect, Period, faults::Check, words::Words};

#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefundsText {
    /// What happens to points that are to be taken back and were spent.
    policy: RefundPolicy,
    /// How long points live at the least that are restored, such as `30 days`, or `none`.
    restore_grace: Option<String>,
}

pub(crate) fn check(text: Option<&RefundsText>, check: &mut Check) -> Option<RefundTerms> {
    const GRACE: &str = "refunds.restore_grace";
    let Some(text) = text else {
        return Some(RefundTerms::default());
    };
    let restore_grace = match text.restore_grace.as_deref() {
        None => RefundTerms::default().restore_grace,
        Some("none") => None,
        Some(text) => match check.period(GRACE, text)? {
            Period::Days(days) => Some(Duration::from_hours(24 * u64::from(days.unsigned_abs()))),
            Period::Months(_) => {
                check.wrong(GRACE, "must be days, or `none`");
                return None;
            }
        },
    };
    Some(RefundTerms {
        policy: text.policy,
        restore_grace,
    })
}

/// What other refunds mean.
pub(crate) fn meaning(
    before: Option<&RefundsText>,
    after: Option<&RefundsText>,
    words: &mut Words,
) {
    let policy = |text: Option<&RefundsText>| {
        let policy = text.map_or(RefundTerms::default().policy, |text| text.policy);
        match policy {
            RefundPolicy::LotOnly => "are borne by the brand",
            RefundPolicy::Balance => "are taken from other points, as far as those reach",
            RefundPolicy::Debt => "are taken from other points, and what is missing is owed",
        }
    };
    let (was, is) = (policy(before), policy(after));
    if was != is {
        let message = format!("points that come back and were spent {is}; so far they {was}");
        words.say(Effect::Depends, "refunds.policy", message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::{refused_at, with_section};

    #[test]
    fn refunds_and_adjustments_are_read() {
        let program = with_section(
            "refunds: { policy: debt, restore_grace: none }\nadjustments: { approval_above: 10000 }",
        );
        assert_eq!(program.refunds.policy, RefundPolicy::Debt);
        assert_eq!(program.refunds.restore_grace, None);
        let above = program.adjustments.approval_above.expect("a limit");
        assert_eq!(above.get(), 10_000);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let cases = [
            (
                "refunds: { policy: debt, restore_grace: 2 months }",
                "refunds.restore_grace",
            ),
            (
                "refunds: { policy: debt, restore_grace: soon }",
                "refunds.restore_grace",
            ),
            (
                "adjustments: { approval_above: -1 }",
                "adjustments.approval_above",
            ),
        ];
        for (section, path) in cases {
            assert_eq!(refused_at(section), [path], "{section}");
        }
    }
}
