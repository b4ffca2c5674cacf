//! What an expression is compiled to: a tree for each of the three kinds of values.
//! Money is minor units, a date the days since 1970-01-01, a moment microseconds.

use fealty_types::TenderKind;

use crate::text::Symbol;

/// Hears of each number that an expression names.
pub(crate) type Heard<'a> = dyn FnMut(NumberName) + 'a;

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

    /// Whether it reads the member's tier.
    pub(crate) fn reads_tier(&self) -> bool {
        let is_tier = |text: &Text| *text == Text::Name(TextName::Tier);
        match self {
            Self::TierAtLeast(_) => true,
            Self::SameText(one, other) => is_tier(one) || is_tier(other),
            Self::TextOneOf(text, _)
            | Self::StartsWith(text, _)
            | Self::EndsWith(text, _)
            | Self::Contains(text, _) => is_tier(text),
            Self::Not(inner) => inner.reads_tier(),
            Self::All(parts) | Self::Any(parts) => parts.iter().any(Self::reads_tier),
            Self::If(parts) => [&parts.0, &parts.1, &parts.2]
                .into_iter()
                .any(Self::reads_tier),
            Self::Same(sides) => sides.0.reads_tier() || sides.1.reads_tier(),
            Self::Less(sides) | Self::Equal(sides) => sides.0.reads_tier() || sides.1.reads_tier(),
            Self::OneOf(number, _) => number.reads_tier(),
            Self::Known(_) | Self::Name(_) => false,
        }
    }

    /// Says which numbers it names.
    pub(crate) fn each_number(&self, heard: &mut Heard<'_>) {
        match self {
            Self::Not(inner) => inner.each_number(heard),
            Self::All(parts) | Self::Any(parts) => {
                for part in parts {
                    part.each_number(heard);
                }
            }
            Self::If(parts) => {
                for part in [&parts.0, &parts.1, &parts.2] {
                    part.each_number(heard);
                }
            }
            Self::Same(sides) => {
                sides.0.each_number(heard);
                sides.1.each_number(heard);
            }
            Self::Less(sides) | Self::Equal(sides) => {
                sides.0.each_number(heard);
                sides.1.each_number(heard);
            }
            Self::OneOf(number, _) => number.each_number(heard),
            Self::Known(_)
            | Self::Name(_)
            | Self::SameText(..)
            | Self::TextOneOf(..)
            | Self::StartsWith(..)
            | Self::EndsWith(..)
            | Self::Contains(..)
            | Self::TierAtLeast(_) => {}
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

impl Number {
    /// Whether it reads the member's tier.
    pub(crate) fn reads_tier(&self) -> bool {
        match self {
            Self::Known(_) | Self::Name(_) => false,
            Self::Add(sides) | Self::Subtract(sides) | Self::Multiply(sides) => {
                sides.0.reads_tier() || sides.1.reads_tier()
            }
            Self::Divide(number, _) | Self::Remainder(number, _) => number.reads_tier(),
            Self::If(parts) => parts.0.reads_tier() || parts.1.reads_tier() || parts.2.reads_tier(),
        }
    }

    /// Says which numbers it names.
    pub(crate) fn each_number(&self, heard: &mut Heard<'_>) {
        match self {
            Self::Known(_) => {}
            Self::Name(name) => heard(*name),
            Self::Add(sides) | Self::Subtract(sides) | Self::Multiply(sides) => {
                sides.0.each_number(heard);
                sides.1.each_number(heard);
            }
            Self::Divide(number, _) | Self::Remainder(number, _) => number.each_number(heard),
            Self::If(parts) => {
                parts.0.each_number(heard);
                parts.1.each_number(heard);
                parts.2.each_number(heard);
            }
        }
    }
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
    /// Points in a part of the member's wallet, by the slot that reads them.
    Wallet(u16),
    Attribute(Of, u16),
}

impl NumberName {
    /// Whether it is another number of what is left of a purchase after a return.
    pub(crate) fn varies_with_what_is_left(self) -> bool {
        match self {
            Self::Amount
            | Self::EarningAmount
            | Self::Quantity
            | Self::Paid(_)
            | Self::LineAmount
            | Self::LineEarningAmount
            | Self::LineTax
            | Self::LineQuantity
            | Self::PickedAmount
            | Self::PickedQuantity
            | Self::PickedLines
            | Self::CounterAfter(_) => true,
            Self::Date
            | Self::Time
            | Self::Year
            | Self::Month
            | Self::Day
            | Self::Hour
            | Self::Minute
            | Self::Counter(_)
            | Self::Wallet(_)
            | Self::Attribute(..) => false,
        }
    }
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
