//! `refunds`: how points are taken back and restored.

use std::time::Duration;

use fealty_types::{RefundPolicy, RefundTerms};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Effect, Period,
    faults::Check,
    words::{Words, longer},
};

#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefundsText {
    /// What happens to points that are to be taken back and were spent.
    policy: RefundPolicy,
    /// How long points live at the least that are restored, such as `60 days`, or `none`;
    /// 30 days, if nothing is said.
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
    let default = RefundTerms::default();
    // From what takes least of members to what takes most.
    let policy = |text: Option<&RefundsText>| match text.map_or(default.policy, |text| text.policy)
    {
        RefundPolicy::LotOnly => (0, "are borne by the brand"),
        RefundPolicy::Balance => (1, "are taken from other points, as far as those reach"),
        RefundPolicy::Debt => (
            2,
            "are taken from other points, and what is missing is owed",
        ),
    };
    let ((was_takes, was), (takes, is)) = (policy(before), policy(after));
    if was_takes != takes {
        let effect = Effect::of_more(Some(was_takes.cmp(&takes)));
        let message =
            format!("points that a return takes back and that were spent {is}; so far they {was}");
        words.say(effect, "refunds.policy", message);
    }
    let grace = |text: Option<&RefundsText>| -> String {
        let said = text.and_then(|text| text.restore_grace.clone());
        said.unwrap_or_else(|| GRACE.to_owned())
    };
    let (was, is) = (grace(before), grace(after));
    if was != is {
        let effect = match (&*was, &*is) {
            ("none", _) => Effect::MembersGain,
            (_, "none") => Effect::MembersLose,
            (was, is) => Effect::of_more(longer(is, was)),
        };
        let message = format!("restored points live {is} at the least instead of {was}");
        words.say(effect, "refunds.restore_grace", message);
    }
}

/// How long restored points live at the least, if nothing is said.
const GRACE: &str = "30 days";

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
