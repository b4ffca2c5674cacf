//! What an expression is compiled to: a tree for each of the three kinds of values.
//! Money is minor units, a date the days since 1970-01-01, a moment microseconds.

use fealty_types::TenderKind;

use crate::text::Symbol;

/// An expression that is true or false.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Bool {
    Known(bool),
    Name(BoolName),
    Not(Box<Bool>),
    All(Box<[Bool]>),
    Any(Box<[Bool]>),
    If(Box<(Bool, Bool, Bool)>),
    /// Both are true, or neither is.
    Same(Box<(Bool, Bool)>),
    Less(Box<(Number, Number)>),
    Equal(Box<(Number, Number)>),
    /// The list is sorted.
    OneOf(Box<Number>, Box<[i64]>),
    SameText(Text, Text),
    /// The list is sorted.
    TextOneOf(Text, Box<[Symbol]>),
    StartsWith(Text, Box<str>),
    EndsWith(Text, Box<str>),
    Contains(Text, Box<str>),
    /// The member's tier is at least the one with this rank.
    TierAtLeast(u16),
}

impl Bool {
    /// The parts that must all be true.
    pub(crate) fn conjuncts(&self) -> &[Self] {
        match self {
            Self::All(parts) => parts,
            other => std::slice::from_ref(other),
        }
    }
}

/// An expression that is a whole number, money, a date or a moment. What would not fit
/// stays at the largest or smallest that does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Number {
    Known(i64),
    Name(NumberName),
    Add(Box<(Number, Number)>),
    Subtract(Box<(Number, Number)>),
    Multiply(Box<(Number, Number)>),
    /// By a number above 0, rounded towards 0.
    Divide(Box<Number>, i64),
    /// What is left of a division by a number above 0.
    Remainder(Box<Number>, i64),
    If(Box<(Bool, Number, Number)>),
}

/// A text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Text {
    Known(Symbol),
    Name(TextName),
}

/// Whose attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Of {
    /// The event as a whole: the purchase or the activity.
    Event,
    Line,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum BoolName {
    Attribute(Of, u16),
    /// Whether an attribute is given.
    Has(Of, u16),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum NumberName {
    /// What was paid.
    Amount,
    /// What of it earns.
    EarningAmount,
    /// Articles, all together.
    Quantity,
    /// What was paid by one kind of tender.
    Paid(TenderKind),
    LineAmount,
    /// What of it was paid in ways that earn.
    LineEarningAmount,
    LineTax,
    LineQuantity,
    /// Of the lines that the rule picks.
    PickedAmount,
    PickedQuantity,
    PickedLines,
    Date,
    Time,
    Year,
    Month,
    Day,
    Hour,
    Minute,
    /// The value of a counter before the event.
    Counter(u16),
    /// The value with it.
    CounterAfter(u16),
    Attribute(Of, u16),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TextName {
    Brand,
    Channel,
    Store,
    Terminal,
    LineSku,
    LineCategory,
    LineBrand,
    Weekday,
    Tier,
    Attribute(Of, u16),
}
