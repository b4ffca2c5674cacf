//! What the log keeps of how a request was decided.

use borsh::{BorshDeserialize, BorshSerialize};
use fealty_types::{BrandId, CurrencyId, OrderScope, Points, RuleId, TierId, Timestamp};

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
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ReversalFacts {
    /// How many points of each lot it reverses, in order.
    pub parts: Vec<HoldLot>,
    /// Points that had expired, and were not taken from elsewhere.
    pub expired: Points,
    /// Points that could not be taken, and that the brand bears.
    pub borne: Points,
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
