//! Requests: a command with what was decided about it outside the engine.

use fealty_types::{
    BrandId, BudgetId, CurrencyId, EventName, Metadata, Points, RefundTerms, RequestId, RuleId,
    Timestamp,
};

use crate::{Command, CounterMove, Facts, Forgotten, LotOrigin, LotTerms, Principal, Transaction};

/// A request with what was decided about it outside the engine.
#[derive(Clone, Debug)]
pub struct Request {
    /// The caller's name for it.
    pub request_id: RequestId,
    /// Who asks; `None` for what was written before the log kept it.
    pub principal: Option<Principal>,
    /// What is asked.
    pub command: Command,
    /// What the caller wants to be kept with it.
    pub metadata: Metadata,
    /// When it is asked.
    pub asked_at: Timestamp,
    /// The version of the programme that is applied.
    pub program_version: u32,
    /// What was looked up to decide it.
    pub facts: Option<Facts>,
    /// The points to give, with their terms; a currency that earned nothing
    /// has a grant of zero, so that the answer tells its balance.
    pub grants: Vec<Grant>,
    /// Numbers of the member that move with it.
    pub counter_moves: Vec<CounterMove>,
    /// Numbers that are too old to count for anything.
    pub forgotten: Vec<Forgotten>,
    /// Budgets that had less than was wanted of them: whoever can may lease more first.
    pub unmet: Vec<Unmet>,
    /// The wallets in which it counts as activity, and when they are inactive
    /// after it.
    pub activity: Vec<Active>,
    /// How points that were given are taken back.
    pub refunds: RefundTerms,
    /// Until when points that go with inactivity live at the least, for the member who
    /// receives them; nothing where the programme has none such.
    pub term_ends: Option<Timestamp>,
    /// The transaction that the command names, if there is one.
    pub original: Option<Box<Transaction>>,
}

/// A budget that had less than was wanted of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmet {
    /// The budget.
    pub budget: BudgetId,
    /// What was wanted of it.
    pub wanted: i64,
    /// The least that a rule wanted and did not get.
    pub least: i64,
}

/// Activity in a wallet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Active {
    /// Its currency.
    pub currency: CurrencyId,
    /// When it is inactive after it.
    pub inactive_at: Timestamp,
}

/// Points to give, with their terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The rule that gives them, if one does.
    pub rule: Option<RuleId>,
    /// The currency.
    pub currency: CurrencyId,
    /// How many; may be none.
    pub points: Points,
    /// The issuing brand.
    pub brand: BrandId,
    /// When they were earned.
    pub earned_at: Timestamp,
    /// When they become available; see [`LotTerms::activates_at`].
    pub activates_at: Option<Timestamp>,
    /// What they wait for; see [`LotTerms::activates_on`].
    pub activates_on: Option<EventName>,
    /// From when on they are gone; see [`LotTerms::expires_at`].
    pub expires_at: Option<Timestamp>,
    /// How they came to be.
    pub origin: LotOrigin,
    /// What a point is worth; see [`LotTerms::unit_value_micros`].
    pub unit_value_micros: Option<i64>,
    /// The version of the programme that gave the terms.
    pub program_version: u32,
}

impl Grant {
    /// Whether its points can be in that lot.
    pub(crate) fn has_terms_of(&self, lot: &LotTerms) -> bool {
        self.currency == lot.currency
            && self.brand == lot.brand
            && self.earned_at == lot.earned_at
            && self.activates_at == lot.activates_at
            && self.activates_on == lot.activates_on
            && self.expires_at == lot.expires_at
            && self.origin == lot.origin
            && self.unit_value_micros == lot.unit_value_micros
            && self.program_version == lot.program_version
    }
}
