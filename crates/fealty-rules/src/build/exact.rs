//! Whether the figures of rules can be reckoned exactly.

use crate::{
    decimal::Ratio,
    rule::{Formula, MONEY_MAX, Rate, Rule},
};

/// Whether the largest purchase that meets all multipliers over a base stays within 2^127
/// on its way.
pub(super) fn can_be_reckoned<'a>(
    base: &Rule,
    over_it: impl Iterator<Item = (&'a [Ratio], bool)>,
) -> bool {
    const PARTS: i128 = 1_000_000;
    let rates: Vec<Rate> = match &base.formula {
        Formula::Rate { rates, .. } => rates.to_vec(),
        Formula::Bands { bands, .. } => bands.iter().map(|(_, rate)| *rate).collect(),
        _ => return true,
    };
    let points = rates.iter().map(|rate| i128::from(rate.points)).max();
    let per = match &base.formula {
        // Bands have one denominator, that of all of them.
        Formula::Bands { .. } => rates
            .iter()
            .try_fold(1_i128, |all, rate| all.checked_mul(rate.per.into())),
        _ => rates.iter().map(|rate| i128::from(rate.per)).max(),
    };
    let reckoned = || {
        let (mut sum, mut above, mut below) = (PARTS, 1_i128, 1_i128);
        for (factors, compound) in over_it {
            let highest = |of: fn(&Ratio) -> i64| factors.iter().map(of).max().unwrap_or(1);
            if compound {
                let numerator = highest(|ratio| ratio.numerator.max(ratio.denominator));
                above = above.checked_mul(numerator.into())?;
                below = below.checked_mul(highest(|ratio| ratio.denominator).into())?;
            } else {
                let more = factors.iter().map(|ratio| {
                    i128::from(ratio.numerator) * PARTS / i128::from(ratio.denominator)
                });
                sum = sum.checked_add(more.max().unwrap_or(0))?;
            }
        }
        let scale = if matches!(base.formula, Formula::Bands { .. }) {
            per?
        } else {
            1
        };
        let exact = i128::from(MONEY_MAX)
            .checked_mul(points?)?
            .checked_mul(scale)?;
        exact.checked_mul(sum)?.checked_mul(above)?.checked_mul(4)?;
        per?.checked_mul(PARTS)?.checked_mul(below)?.checked_mul(4)
    };
    reckoned().is_some()
}
