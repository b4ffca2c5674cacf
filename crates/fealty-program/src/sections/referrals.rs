//! `referrals`: what members get who bring others, and those who are brought.

use std::collections::BTreeMap;

use fealty_types::{ActivityType, AttributeName, BrandId, Money};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{activities::DeclaredActivity, brands::Brand, figure::Figure, program::MoneyUnit};
use crate::{
    AttributeType, Effect, Period,
    faults::Check,
    words::{Words, longer},
};

#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReferralsText {
    /// The brand that brings them: it issues the points, where rules do not say who does.
    brand: BrandId,
    /// How long a purchase may come back, such as `30 days`: the first one that does not come
    /// back whole within it counts.
    returns_within: String,
    /// What must be left of it, such as `"20.00"`. Anything, if nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    minimum: Option<Figure>,
}

/// How members bring others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Referrals {
    /// The brand that brings them.
    pub brand: BrandId,
    /// How long after a purchase it counts, if it has not come back.
    pub returns_within: Period,
    /// What must be left of it at the least: above zero.
    pub minimum: Money,
}

/// What becomes of a referral, each an activity that rules may give for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReferralStep {
    /// Somebody claims to have been brought, by a code.
    Claim,
    /// Who was brought has bought, and the purchase stands.
    Referred,
    /// The same, for who brought them.
    Referrer,
}

impl ReferralStep {
    const ALL: [Self; 3] = [Self::Claim, Self::Referred, Self::Referrer];

    /// The type of the activity by which it is recorded.
    #[must_use]
    pub fn activity(self) -> ActivityType {
        self.name().parse().expect("a slug")
    }

    fn name(self) -> &'static str {
        match self {
            Self::Claim => "referral-claim",
            Self::Referred => "referred",
            Self::Referrer => "referrer",
        }
    }

    /// The step that an activity is, where a programme has referrals.
    #[must_use]
    pub fn of(activity: &ActivityType) -> Option<Self> {
        let mut steps = Self::ALL.into_iter();
        steps.find(|step| step.name() == activity.as_str())
    }
}

/// The attribute of a claim that has the code.
#[must_use]
pub fn code_attribute() -> AttributeName {
    "code".parse().expect("a name")
}

pub(crate) fn check(
    text: Option<&ReferralsText>,
    (brands, money): (&BTreeMap<BrandId, Brand>, MoneyUnit),
    activities: &mut BTreeMap<ActivityType, DeclaredActivity>,
    check: &mut Check,
) -> Option<Referrals> {
    let text = text?;
    for step in ReferralStep::ALL {
        let attributes = match step {
            ReferralStep::Claim => [(code_attribute(), AttributeType::Text)].into(),
            ReferralStep::Referred | ReferralStep::Referrer => BTreeMap::new(),
        };
        let made = DeclaredActivity {
            sensitive: false,
            attributes,
        };
        if activities.insert(step.activity(), made).is_some() {
            let path = format!("activities.{}", step.activity());
            check.wrong(path, "is what `referrals` makes, and cannot be declared");
        }
    }
    if !brands.is_empty() && !brands.contains_key(&text.brand) {
        let rule = format!("`{}` is none of `brands`", text.brand);
        check.wrong("referrals.brand", rule);
    }
    let minimum = match &text.minimum {
        None => Money::new(money.currency, 1).ok(),
        Some(figure) => money.amount("referrals.minimum", &figure.to_string(), check),
    };
    if minimum.is_some_and(|minimum| minimum.minor_units() == 0) {
        check.wrong("referrals.minimum", "must be above 0, or be left out");
    }
    Some(Referrals {
        brand: text.brand.clone(),
        returns_within: check.period("referrals.returns_within", &text.returns_within)?,
        minimum: minimum?,
    })
}

/// What other referrals mean.
pub(crate) fn meaning(
    before: Option<&ReferralsText>,
    after: Option<&ReferralsText>,
    words: &mut Words,
) {
    let (before, after) = match (before, after) {
        (None, None) => return,
        (None, Some(_)) => {
            let message = "members may bring others, by codes".to_owned();
            return words.say(Effect::MembersGain, "referrals", message);
        }
        (Some(_), None) => {
            let message =
                "nobody brings others any more; what is claimed and not given yet waits".to_owned();
            return words.say(Effect::MembersLose, "referrals", message);
        }
        (Some(before), Some(after)) => (before, after),
    };
    if before.returns_within != after.returns_within {
        let effect = Effect::of_more(longer(&before.returns_within, &after.returns_within));
        let message = format!(
            "who brought others is given for it {} after their purchase instead of {}",
            after.returns_within, before.returns_within
        );
        words.say(effect, "referrals.returns_within", message);
    }
    if before.minimum != after.minimum {
        let amount = |text: &ReferralsText| match &text.minimum {
            None => "anything".to_owned(),
            Some(figure) => figure.to_string(),
        };
        let message = format!(
            "of the purchase of who was brought {} must be left instead of {}",
            amount(after),
            amount(before)
        );
        words.say(Effect::Depends, "referrals.minimum", message);
    }
    if before.brand != after.brand {
        let message = format!(
            "`{}` brings others instead of `{}`",
            after.brand, before.brand
        );
        words.say(Effect::Depends, "referrals.brand", message);
    }
}

#[cfg(test)]
mod tests {
    use crate::check::tests::{refused_at, with_section};

    #[test]
    fn referrals_are_activities_that_rules_may_give_for() {
        let program = with_section(
            "referrals: { brand: record-shop, returns_within: 30 days, minimum: \"20.00\" }\ncounters: { friends: { of: activity.referrer, over: ever } }",
        );
        let referrals = program.referrals.as_ref().expect("some");
        assert_eq!(referrals.minimum.minor_units(), 2_000);
        assert_eq!(program.activities.len(), 3);
        let without = with_section("referrals: { brand: record-shop, returns_within: 1 month }");
        let least = &without.referrals.as_ref().expect("some").minimum;
        assert_eq!(least.minor_units(), 1);
        assert!(with_section("").referrals.is_none());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let cases = [
            (
                "referrals: { brand: nobody, returns_within: 30 days }",
                "referrals.brand",
            ),
            (
                "referrals: { brand: record-shop, returns_within: soon }",
                "referrals.returns_within",
            ),
            (
                "referrals: { brand: record-shop, returns_within: 1 day, minimum: 0 }",
                "referrals.minimum",
            ),
            (
                "referrals: { brand: record-shop, returns_within: 1 day }\nactivities: { referrer: {} }",
                "activities.referrer",
            ),
            (
                "counters: { friends: { of: activity.referrer, over: ever } }",
                "counters.friends.of",
            ),
        ];
        for (section, path) in cases {
            assert_eq!(refused_at(section), [path], "{section}");
        }
    }
}
