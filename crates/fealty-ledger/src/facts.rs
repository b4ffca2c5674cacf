//! What the log keeps of how a request was decided.

use borsh::{BorshDeserialize, BorshSerialize};
use fealty_types::{
    BrandId, BudgetId, CurrencyId, LotId, Money, OrderScope, Points, RuleId, TierId, Timestamp,
};

use crate::{HoldLot, LotOrigin};

/// What was looked up to decide a request, or decided once for all. Variants
/// are only ever added at the end.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Facts {
    /// Of a purchase.
    Purchase(PurchaseFacts),
    /// The tier that counted for the terms of given points.
    Tier(TierId),
    /// What a reversal came to.
    Reversal(ReversalFacts),
    /// Of a purchase under rules that read more than its amount and the tier, and of an
    /// activity.
    Earned(EarnedFacts),
    /// Of a return.
    Return(ReturnFacts),
    /// Of a purchase or an activity that was given points of budgets.
    Budgeted(BudgetedFacts),
    /// Of a return of a purchase that was recorded before counters began which count it too.
    BackfilledReturn(BackfilledReturnFacts),
}

/// What all facts of purchases and activities have.
#[derive(Clone, Copy, Debug)]
pub struct OfPurchase<'a> {
    /// When it was.
    pub purchased_at: Timestamp,
    /// Within what a purchase's order number is unique.
    pub order_scope: &'a OrderScope,
    /// The tier that counted.
    pub tier: Option<&'a TierId>,
}

impl Facts {
    /// What all facts of purchases and activities have, if these are such.
    #[must_use]
    pub fn of_purchase(&self) -> Option<OfPurchase<'_>> {
        let (purchased_at, order_scope, tier) = match self {
            Self::Purchase(facts) => (facts.purchased_at, &facts.order_scope, &facts.tier),
            Self::Earned(facts) | Self::Budgeted(BudgetedFacts { earned: facts, .. }) => {
                (facts.purchased_at, &facts.order_scope, &facts.tier)
            }
            Self::Tier(_) | Self::Reversal(_) | Self::Return(_) | Self::BackfilledReturn(_) => {
                return None;
            }
        };
        Some(OfPurchase {
            purchased_at,
            order_scope,
            tier: tier.as_ref(),
        })
    }

    /// What was read and moved for a purchase, under rules that do.
    #[must_use]
    pub fn earned(&self) -> Option<&EarnedFacts> {
        match self {
            Self::Earned(facts) | Self::Budgeted(BudgetedFacts { earned: facts, .. }) => {
                Some(facts)
            }
            _ => None,
        }
    }

    /// What a return came to.
    #[must_use]
    pub fn of_return(&self) -> Option<&ReturnFacts> {
        match self {
            Self::Return(facts) | Self::BackfilledReturn(BackfilledReturnFacts { facts, .. }) => {
                Some(facts)
            }
            _ => None,
        }
    }

    /// What a purchase moved of the member's numbers, and drew on budgets.
    #[must_use]
    pub fn moves(&self) -> &[SlotMove] {
        self.earned().map_or(&[], |facts| &facts.moves)
    }

    /// What a purchase was given of budgets, or, below zero, what came back of them.
    #[must_use]
    pub fn draws(&self) -> &[Draw] {
        match self {
            Self::Budgeted(facts) => &facts.draws,
            facts => facts.of_return().map_or(&[], |facts| &facts.draws),
        }
    }

    /// The tier that counted for what was asked, if one did.
    #[must_use]
    pub fn tier(&self) -> Option<&TierId> {
        match self {
            Self::Tier(tier) => Some(tier),
            facts => facts.of_purchase()?.tier,
        }
    }
}

/// The facts that decided a purchase's points.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PurchaseFacts {
    /// When it was made.
    pub purchased_at: Timestamp,
    /// Within what its order number is unique.
    pub order_scope: OrderScope,
    /// The tier that counted.
    pub tier: Option<TierId>,
    /// What each rule gave.
    pub earned: Vec<RuleResult>,
}

/// The facts that decided an activity's points, or a purchase's under rules that read more
/// than its amount and the member's tier. What each rule gave stands in the transfers. Slots are the
/// numbers of the member that the version reads and moves, in its own order.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct EarnedFacts {
    /// When it was made.
    pub purchased_at: Timestamp,
    /// Within what its order number is unique.
    pub order_scope: OrderScope,
    /// The tier that counted.
    pub tier: Option<TierId>,
    /// What was read of the slots, where it was not nothing.
    pub read: Vec<SlotRead>,
    /// What moved.
    pub moves: Vec<SlotMove>,
}

/// The facts that decided a purchase's points, where budgets gave some of them. Each
/// budget is a slot too: what was left of it where the purchase was recorded.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BudgetedFacts {
    /// What was read, and moved.
    pub earned: EarnedFacts,
    /// What budgets gave.
    pub draws: Vec<Draw>,
}

/// What a budget gave.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Draw {
    /// The budget.
    pub budget: BudgetId,
    /// The lot from which they come back; none of what is given.
    pub lot: Option<LotId>,
    /// Points; below zero, they came back.
    pub points: i64,
}

/// What a slot stood at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SlotRead {
    /// The slot.
    pub slot: u16,
    /// Its value before.
    pub before: i64,
    /// Its value if the purchase counts anything at all, where that is another thing than
    /// so much more.
    pub with_any: Option<i64>,
}

/// A slot that moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SlotMove {
    /// The slot.
    pub slot: u16,
    /// Which bucket: the day since 1970-01-01 with which it begins.
    pub bucket: i32,
    /// By how much.
    pub by: i64,
}

/// What a rule gave.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RuleResult {
    /// The rule.
    pub rule: RuleId,
    /// The currency it gives.
    pub currency: CurrencyId,
    /// The points; may be none.
    pub points: Points,
    /// Whether it added to another rule's points.
    pub bonus: bool,
}

/// What a reversal came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ReversalFacts {
    /// How many points of each lot it reverses, in order.
    pub parts: Vec<HoldLot>,
    /// Points that had expired, and were not taken from elsewhere.
    pub expired: Points,
    /// Points that could not be taken, and that the brand bears.
    pub borne: Points,
}

/// What comes back of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LinePart {
    /// Its place in the purchase, from 0.
    pub line: u16,
    /// How many.
    pub quantity: u32,
    /// How much of its money, in minor units.
    pub minor_units: i64,
}

/// What comes back with one return.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ReturnedPart {
    /// Money, in minor units.
    pub minor_units: i64,
    /// What of the lines, in their order; nothing, where the purchase has none.
    pub lines: Vec<LinePart>,
}

/// What decided a return, and what it came to. What is left of the purchase is evaluated by
/// the version, the tier and the numbers that the purchase was recorded by.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ReturnFacts {
    /// The brand where the purchase was made.
    pub brand: BrandId,
    /// When it was made.
    pub purchased_at: Timestamp,
    /// What comes back.
    pub part: ReturnedPart,
    /// What of the purchase's money is left then.
    pub left: Money,
    /// What rules give for what is left, above zero, in their order.
    pub earns: Vec<RuleResult>,
    /// What goes back of what the purchase moved: below zero, slots as it has them.
    pub moves: Vec<SlotMove>,
    /// Whether it comes in time for counters, caps and edges.
    pub counts: bool,
    /// What comes back to budgets: below zero, and less than `moves` by what the brand bears.
    pub draws: Vec<Draw>,
    /// What was taken back of what the purchase gave, and restored of what it was paid with.
    pub reversal: ReversalFacts,
    /// The same by currency.
    pub points: Vec<ReturnedPoints>,
}

/// The facts of a return where counters go back with it that began after the purchase was
/// recorded, and count it too.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BackfilledReturnFacts {
    /// What all returns have.
    pub facts: ReturnFacts,
    /// What goes back of those counters: below zero, slots as the version has them by which the
    /// return was planned.
    pub backfilled: Vec<SlotMove>,
}

/// Points of a currency that a return moved.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ReturnedPoints {
    /// The currency.
    pub currency: CurrencyId,
    /// Points that the purchase had earned, and that were taken back.
    pub taken: Points,
    /// Points that the purchase was paid with, and that came back.
    pub restored: Points,
}

/// Points that one member gives another: they keep the terms of their lot.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct GivenLot {
    /// How many.
    pub points: Points,
    /// The issuing brand.
    pub brand: BrandId,
    /// When they were earned.
    pub earned_at: Timestamp,
    /// From when on they are gone; see [`crate::LotTerms::expires_at`].
    pub expires_at: Option<Timestamp>,
    /// How they came to be.
    pub origin: LotOrigin,
    /// What a point is worth; see [`crate::LotTerms::unit_value_micros`].
    pub unit_value_micros: Option<i64>,
    /// The version of the programme that gave the terms.
    pub program_version: u32,
}
