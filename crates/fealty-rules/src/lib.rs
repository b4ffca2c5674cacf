//! The earning rules: a purchase and the member's tier in, points out, no I/O.
//!
//! Rules run in the order of the programme. A rate gives `points` for each
//! `per` of money, rounded down. Multipliers over one base round together: each gives
//! what base and multipliers come to so far, exactly and then rounded down, less what
//! was given before; or, with `of: rounded`, its share of the base's rounded points,
//! rounded down by itself. Integers throughout: the same input gives the
//! same points on every machine, so that anyone can recompute them.

#![deny(clippy::float_arithmetic)]

use fealty_program::{EarnFormula, EarningRule, MultipliedOf, Program, Ratio, TierAsOf};
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
    let mut exact: Vec<Exact> = Vec::new();
    for rule in program
        .earning
        .iter()
        .filter(|rule| issues.contains(&rule.currency))
    {
        let (points, bonus) = match &rule.formula {
            EarnFormula::Rate { points, per } => {
                let base = Exact::of(&rule.id, facts.amount, *points, *per);
                let given = base.given;
                exact.push(base);
                (given, false)
            }
            EarnFormula::Multiply {
                base, by_tier, of, ..
            } => {
                let base = exact.iter_mut().find(|known| known.base == base);
                let factor = facts.tier.and_then(|tier| by_tier.get(tier));
                let bonus = base.zip(factor).map_or(0, |(base, factor)| match of {
                    MultipliedOf::Exact => base.add(factor),
                    MultipliedOf::Rounded => base.share_of_rounded(factor),
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

/// What a base rule gives exactly, with the multipliers over it so far.
struct Exact<'a> {
    base: &'a RuleId,
    /// Points, as a fraction: at most 10^13 minor units times 10^3 points.
    numerator: i128,
    denominator: i128,
    /// The factors together, in parts of [`PARTS`]: 1 and what each multiplier adds.
    factor: i128,
    /// What the base alone gave, rounded down.
    rounded: i128,
    /// What base and multipliers have given.
    given: i128,
}

/// Parts of a factor: they have at most six digits after the point.
const PARTS: i128 = 1_000_000;

impl<'a> Exact<'a> {
    fn of(base: &'a RuleId, amount: Money, points: Points, per: i64) -> Self {
        let numerator = i128::from(amount.minor_units()) * i128::from(points.get());
        let denominator = i128::from(per);
        let given = numerator / denominator;
        Self {
            base,
            numerator,
            denominator,
            factor: PARTS,
            rounded: given,
            given,
        }
    }

    /// What one more multiplier gives.
    fn add(&mut self, factor: &Ratio) -> i128 {
        let parts = i128::from(factor.numerator) * PARTS / i128::from(factor.denominator);
        self.factor += parts - PARTS;
        // 10^16 times factors of at most 10^3 in 10^6 parts, of some rules: below 2^127.
        let so_far = self.numerator * self.factor / (self.denominator * PARTS);
        let gives = so_far - self.given;
        self.given = so_far;
        gives
    }

    /// What a multiplier adds to what the base gave, rounded by itself.
    fn share_of_rounded(&self, factor: &Ratio) -> i128 {
        self.rounded * i128::from(factor.numerator - factor.denominator)
            / i128::from(factor.denominator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD_CLUB: &str = include_str!("../../../examples/programs/record-club.yaml");

    fn points(minor_units: i64, tier: Option<&str>) -> Vec<i64> {
        points_by(RECORD_CLUB, minor_units, tier)
    }

    fn points_by(source: &str, minor_units: i64, tier: Option<&str>) -> Vec<i64> {
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

    #[test]
    fn rules_over_one_base_round_together_unless_they_say_otherwise() {
        let exact = RECORD_CLUB.replacen("of: rounded", "of: exact", 1);
        // 11.77 at 10 per 1.00 is 117.7, and a half more 176.55: 117 and 59.
        assert_eq!(points_by(&exact, 1_177, Some("gold")), [117, 59]);
        assert_eq!(points_by(&exact, 1_177, Some("member")), [117, 0]);
        assert_eq!(points_by(&exact, 1_177, None), [117, 0]);
        // 4.75 at 1 per 1.00 and a factor of 1.2: 4 and 1.
        let one = exact.replacen("points: 10,", "points: 1,", 1).replacen(
            "gold: \"1.50\"",
            "gold: \"1.2\"",
            1,
        );
        assert_eq!(points_by(&one, 475, Some("gold")), [4, 1]);
        // Two multipliers over it: 4.75 x (1 + 0.2 + 0.5) = 8.075: 4, 1 and 3.
        let again = "\n  - rule: again\n    on: purchase\n    earn: { multiply: base, \
                     by_tier: { gold: \"1.5\" }, round: floor }\n\n# Money spent";
        let two = one.replacen("\n\n# Money spent", again, 1);
        assert_eq!(points_by(&two, 475, Some("gold")), [4, 1, 3]);
        let most = points_by(&two, Money::MINOR_UNITS_MAX, Some("platinum"));
        assert_eq!(most, [100_000_000_000, 100_000_000_000, 0]);
    }
}
