//! Runs compiled expressions.

use super::form::{Bool, BoolName, Number, NumberName, Text, TextName};
use crate::text::Symbol;

/// The values of an event.
pub(crate) trait Values {
    fn bool(&self, name: BoolName) -> bool;
    fn number(&self, name: NumberName) -> i64;
    fn text(&self, name: TextName) -> Symbol;
    /// The text with a number.
    fn characters(&self, text: Symbol) -> &str;
    /// The rank of the member's tier, if the version has it.
    fn tier_rank(&self) -> Option<u16>;
}

/// What can be asked of values.
pub(crate) trait Eval: Values {
    fn holds(&self, expression: &Bool) -> bool {
        match expression {
            Bool::Known(known) => *known,
            Bool::Name(name) => self.bool(*name),
            Bool::Not(inner) => !self.holds(inner),
            Bool::All(parts) => parts.iter().all(|part| self.holds(part)),
            Bool::Any(parts) => parts.iter().any(|part| self.holds(part)),
            Bool::If(parts) => {
                let (condition, then, otherwise) = &**parts;
                self.holds(if self.holds(condition) {
                    then
                } else {
                    otherwise
                })
            }
            Bool::Same(sides) => self.holds(&sides.0) == self.holds(&sides.1),
            Bool::Less(sides) => self.figure(&sides.0) < self.figure(&sides.1),
            Bool::Equal(sides) => self.figure(&sides.0) == self.figure(&sides.1),
            Bool::OneOf(number, list) => list.binary_search(&self.figure(number)).is_ok(),
            Bool::SameText(one, other) => self.symbol(*one) == self.symbol(*other),
            Bool::TextOneOf(text, list) => list.binary_search(&self.symbol(*text)).is_ok(),
            Bool::StartsWith(text, part) => self.of(*text).starts_with(&**part),
            Bool::EndsWith(text, part) => self.of(*text).ends_with(&**part),
            Bool::Contains(text, part) => self.of(*text).contains(&**part),
            Bool::TierAtLeast(rank) => self.tier_rank() >= Some(*rank),
        }
    }

    fn figure(&self, expression: &Number) -> i64 {
        match expression {
            Number::Known(known) => *known,
            Number::Name(name) => self.number(*name),
            Number::Add(sides) => self.figure(&sides.0).saturating_add(self.figure(&sides.1)),
            Number::Subtract(sides) => self.figure(&sides.0).saturating_sub(self.figure(&sides.1)),
            Number::Multiply(sides) => self.figure(&sides.0).saturating_mul(self.figure(&sides.1)),
            Number::Divide(number, by) => self.figure(number) / by,
            Number::Remainder(number, by) => self.figure(number) % by,
            Number::If(parts) => {
                let (condition, then, otherwise) = &**parts;
                self.figure(if self.holds(condition) {
                    then
                } else {
                    otherwise
                })
            }
        }
    }

    fn symbol(&self, text: Text) -> Symbol {
        match text {
            Text::Known(known) => known,
            Text::Name(name) => self.text(name),
        }
    }

    fn of(&self, text: Text) -> &str {
        self.characters(self.symbol(text))
    }
}

impl<T: Values + ?Sized> Eval for T {}
