//! The end of a period for a member, as the programme has worked it out.

use fealty_types::{CurrencyId, Points, RefundTerms, RuleId};

use crate::{Active, CounterMove, Ended, Forgotten, Grant, Transaction};

/// The end of a period for a member, with what was decided about it outside the engine.
#[derive(Clone, Debug)]
pub struct PeriodEnd {
    /// What is written of it; nothing is taken back in it yet.
    pub ended: Ended,
    /// The points that rules give now, with their terms.
    pub grants: Vec<Grant>,
    /// The points that they no longer give.
    pub takes: Vec<Taken>,
    /// What was written of the same end before, the newest first, where points are taken back.
    pub before: Vec<Transaction>,
    /// Numbers of the member that move with it.
    pub counter_moves: Vec<CounterMove>,
    /// Numbers that are too old to count for anything.
    pub forgotten: Vec<Forgotten>,
    /// The wallets in which it counts as activity, and when they are inactive after it.
    pub activity: Vec<Active>,
    /// How points that were given are taken back.
    pub refunds: RefundTerms,
}

/// Points that a rule no longer gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The rule.
    pub rule: RuleId,
    /// The currency.
    pub currency: CurrencyId,
    /// How many.
    pub points: Points,
}
