//! Bases and what multiplies them, exactly.
//!
//! A base is a fraction of a point for each line. A multiplier adds to the factor of the
//! lines that it picks, or multiplies it. What they all come to is rounded once after
//! each, and each gives what it comes to so far less what was given before.

use super::select::Selections;
use crate::{
    decimal::Ratio,
    event::Ready,
    rule::{Formula, MONEY_MAX, MultipliedOf, Rate, Round, Rule},
};

/// Parts of a factor: they have at most six digits after the point.
const PARTS: i128 = 1_000_000;

/// Lines that have had the same factors so far.
#[derive(Clone, Debug)]
struct Class {
    /// The line; none where it is all of them.
    line: Option<usize>,
    /// Points, above the denominator of the base.
    exact: i128,
    /// 1 and what multipliers add, in [`PARTS`].
    sum: i128,
    /// What compound multipliers come to, above the denominator of those.
    product: i128,
}

/// What a base gives, with the multipliers over it so far.
#[derive(Debug)]
pub(crate) struct Base {
    pub(crate) rule: u16,
    /// Its own points, rounded.
    pub(crate) rounded: i128,
    selection: Option<u16>,
    /// Its rate, and whether tax earns nothing.
    rate: Option<(Rate, bool)>,
    classes: Vec<Class>,
    /// Denominator of the classes' points, and of their products.
    denominator: i128,
    product_denominator: i128,
    round: Round,
    /// What base and multipliers have given.
    given: i128,
}

impl Base {
    /// A base by money, over the lines that its rule picks.
    pub(crate) fn rate(
        (number, rule): (u16, &Rule),
        ready: &Ready<'_>,
        selections: &Selections,
        (rate, net): (Rate, bool),
    ) -> Self {
        let mut money = 0_i128;
        selections.each(ready, rule.lines, |line| money += earns(ready, line, net));
        let exact = money * i128::from(rate.points);
        let base = Self::new((number, rule), exact, i128::from(rate.per));
        Self {
            rate: Some((rate, net)),
            ..base
        }
    }

    /// A base by what an event adds to a counter.
    pub(crate) fn bands(
        (number, rule): (u16, &Rule),
        bands: &[(i64, Rate)],
        (before, after): (i64, i64),
    ) -> Self {
        let denominator = bands
            .iter()
            .map(|(_, rate)| i128::from(rate.per))
            .fold(1, common);
        let mut exact = 0;
        for (at, (from, rate)) in bands.iter().enumerate() {
            let to = bands.get(at + 1).map_or(i64::MAX, |next| next.0);
            let within = after.min(to).saturating_sub(before.max(*from));
            // No more than a purchase can come to, whatever the counter adds for it.
            let within = within.clamp(0, MONEY_MAX);
            let each = denominator / i128::from(rate.per) * i128::from(rate.points);
            exact += i128::from(within) * each;
        }
        Self::new((number, rule), exact, denominator)
    }

    fn new((number, rule): (u16, &Rule), exact: i128, denominator: i128) -> Self {
        let rounded = rule.round.whole(exact, denominator);
        Self {
            rule: number,
            rounded,
            selection: rule.lines,
            rate: None,
            classes: vec![Class {
                line: None,
                exact,
                sum: PARTS,
                product: 1,
            }],
            denominator,
            product_denominator: 1,
            round: rule.round,
            given: rounded,
        }
    }

    /// What one more multiplier gives.
    pub(crate) fn multiply(
        &mut self,
        ready: &Ready<'_>,
        selections: &Selections,
        rule: &Rule,
        factor: &Ratio,
    ) -> i128 {
        let Formula::Multiply { of, compound, .. } = rule.formula else {
            return 0;
        };
        let (numerator, denominator) =
            (i128::from(factor.numerator), i128::from(factor.denominator));
        if of == MultipliedOf::Rounded {
            let more = self.rounded * (numerator - denominator).max(0);
            return self.round.whole(more, denominator);
        }
        if rule.lines.is_some() {
            self.split(ready, selections);
        }
        for class in &mut self.classes {
            let picked = class
                .line
                .is_none_or(|line| selections.has(rule.lines, line));
            match (compound, picked) {
                (false, true) => class.sum += numerator * PARTS / denominator - PARTS,
                (false, false) => {}
                (true, true) => class.product *= numerator,
                (true, false) => class.product *= denominator,
            }
        }
        if compound {
            self.product_denominator *= denominator;
        }
        let exact = self
            .classes
            .iter()
            .map(|class| class.exact * class.sum * class.product);
        let below = self.denominator * PARTS * self.product_denominator;
        let so_far = self.round.whole(exact.sum(), below);
        let gives = so_far - self.given;
        self.given = so_far;
        gives
    }

    /// Tells the lines apart, from a multiplier on that picks some of them.
    fn split(&mut self, ready: &Ready<'_>, selections: &Selections) {
        let (Some((rate, net)), [all]) = (self.rate, &*self.classes) else {
            return;
        };
        if all.line.is_some() {
            return;
        }
        let all = all.clone();
        let mut classes = Vec::new();
        selections.each(ready, self.selection, |line| {
            classes.push(Class {
                line: Some(line),
                exact: earns(ready, line, net) * i128::from(rate.points),
                ..all.clone()
            });
        });
        self.classes = classes;
    }
}

fn earns(ready: &Ready<'_>, line: usize, net: bool) -> i128 {
    let line = &ready.lines[line];
    i128::from(if net { line.earns_net } else { line.earns })
}

/// The least number that both divide.
fn common(one: i128, other: i128) -> i128 {
    let (mut a, mut b) = (one, other);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    one / a * other
}
