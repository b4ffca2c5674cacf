//! The earning rules: a purchase and the member's tier in, points out, no I/O.
//!
//! Rules run in the order of the programme. A rate gives `points` for each
//! `per` of money, a multiplier adds its share of what its base rule gave; each
//! is rounded down by itself. Integers throughout: the same input gives the
//! same points on every machine, so that anyone can recompute them.

#![deny(clippy::float_arithmetic)]

use fealty_program::{EarnFormula, EarningRule, Program, TierAsOf};
use fealty_types::{CurrencyId, Money, Points, RuleId, TierId};

/// What the rules ask of a purchase.
#[derive(Clone, Copy, Debug)]
pub struct PurchaseFacts<'a> {
    /// What was paid.
    pub amount: Money,
    /// The member's tier that counts, by the programme's own choice of when;
    /// see [`tier_as_of`].
    pub tier: Option<&'a TierId>,
}

/// What one rule gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Earned {
    /// The rule.
    pub rule: RuleId,
    /// The currency it gives.
    pub currency: CurrencyId,
    /// The points; may be none.
    pub points: Points,
    /// Whether it adds to another rule's points.
    pub bonus: bool,
}

/// A rule gave more points than there can be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rule `{rule}` gives more than 10^15 points")]
pub struct TooManyPoints {
    /// The rule.
    pub rule: RuleId,
}

/// When the tier that counts for a purchase is looked up. A programme whose
/// multipliers disagree uses the start of the day for all of them, so that
/// one tier is the purchase's tier.
#[must_use]
pub fn tier_as_of(program: &Program) -> TierAsOf {
    let at_start = |rule: &EarningRule| {
        matches!(
            rule.formula,
            EarnFormula::Multiply {
                tier_as_of: TierAsOf::StartOfDay,
                ..
            }
        )
    };
    if program.earning.iter().any(at_start) {
        TierAsOf::StartOfDay
    } else {
        TierAsOf::Purchase
    }
}

/// Whether the brand issues what the rule gives decides which rules count; the
/// rest pass. The rows come in the order of the programme.
pub fn evaluate(
    program: &Program,
    issues: &[CurrencyId],
    facts: PurchaseFacts<'_>,
) -> Result<Vec<Earned>, TooManyPoints> {
    let mut earned: Vec<Earned> = Vec::with_capacity(program.earning.len());
    for rule in program
        .earning
        .iter()
        .filter(|rule| issues.contains(&rule.currency))
    {
        let (points, bonus) = match &rule.formula {
            EarnFormula::Rate { points, per } => (
                i128::from(facts.amount.minor_units()) * i128::from(points.get())
                    / i128::from(*per),
                false,
            ),
            EarnFormula::Multiply { base, by_tier, .. } => {
                let multiplied = earned
                    .iter()
                    .find(|row| row.rule == *base)
                    .map_or(0, |row| i128::from(row.points.get()));
                let factor = facts.tier.and_then(|tier| by_tier.get(tier));
                let bonus = factor.map_or(0, |factor| {
                    multiplied * i128::from(factor.numerator - factor.denominator)
                        / i128::from(factor.denominator)
                });
                (bonus, true)
            }
        };
        let points = i64::try_from(points)
            .ok()
            .and_then(|points| Points::new(points).ok())
            .ok_or_else(|| TooManyPoints {
                rule: rule.id.clone(),
            })?;
        earned.push(Earned {
            rule: rule.id.clone(),
            currency: rule.currency.clone(),
            points,
            bonus,
        });
    }
    Ok(earned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(minor_units: i64, tier: Option<&str>) -> Vec<i64> {
        let source = include_str!("../../../examples/programs/record-club.yaml");
        let program = Program::parse(source).expect("valid").program;
        let amount = Money::new(program.money.currency, minor_units).expect("in range");
        let tier = tier.map(|tier| tier.parse().expect("a tier"));
        let issues = &program.brands.values().next().expect("a brand").issues;
        let facts = PurchaseFacts {
            amount,
            tier: tier.as_ref(),
        };
        let earned = evaluate(&program, issues, facts).expect("within range");
        earned.iter().map(|row| row.points.get()).collect()
    }

    #[test]
    fn a_rate_and_a_multiplier_each_round_down() {
        assert_eq!(points(1_177, None), [117, 0]);
        assert_eq!(points(1_177, Some("member")), [117, 0]);
        assert_eq!(points(1_177, Some("silver")), [117, 29]);
        assert_eq!(points(1_177, Some("gold")), [117, 58]);
        assert_eq!(points(1_177, Some("platinum")), [117, 117]);
        assert_eq!(points(9, Some("gold")), [0, 0]);
        assert_eq!(points(0, None), [0, 0]);
    }

    #[test]
    fn the_largest_purchase_is_counted_exactly() {
        assert_eq!(
            points(Money::MINOR_UNITS_MAX, Some("platinum")),
            [1_000_000_000_000, 1_000_000_000_000]
        );
    }
}
