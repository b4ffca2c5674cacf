//! The end of a period of the calendar: what it comes to for a member.

use borsh::{BorshDeserialize, BorshSerialize};
use fealty_types::{BrandId, CurrencyId, Points, RuleId, Timestamp};

use crate::{EarnedFacts, ReversalFacts};

/// What kind of period ended.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub enum EndOf {
    /// A day.
    Day,
    /// A week.
    Week,
    /// A month.
    Month,
    /// A quarter.
    Quarter,
    /// A year.
    Year,
}

impl EndOf {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Quarter => "quarter",
            Self::Year => "year",
        }
    }
}

/// A period ended, and that came to something for a member: for the first time, or once more,
/// since something came late. What rules gave stands in the transfers.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Ended {
    /// What kind of period.
    pub of: EndOf,
    /// When it ended: the first instant after it.
    pub ends_at: Timestamp,
    /// The version of the programme that was in force just before.
    pub program_version: u32,
    /// How often that was written for the member before.
    pub number: u16,
    /// Whether it was evaluated once more: then rules that read the wallet keep what they gave.
    pub again: bool,
    /// What decided it: the period's last instant, the tier then, what was read, what moved.
    pub facts: EarnedFacts,
    /// Points that became something else.
    pub converted: Vec<Converted>,
    /// What was taken back of what earlier ends of the same period gave.
    pub taken_back: ReversalFacts,
}

/// Points that became something else.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Converted {
    /// The rule that says so.
    pub rule: RuleId,
    /// The currency of the points.
    pub currency: CurrencyId,
    /// How many.
    pub points: Points,
    /// The brand that accepts them.
    pub brand: BrandId,
    /// What they become.
    pub into: ConvertedInto,
    /// What that is worth, in minor units of the programme's money.
    pub minor_units: i64,
}

/// What points become. Variants are only ever added at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum ConvertedInto {
    /// A voucher.
    Voucher,
}
