//! What callers ask of the ledger.

use std::time::Duration;

use borsh::{BorshDeserialize, BorshSerialize};
use fealty_types::{
    BrandId, CurrencyId, Money, OrderNumber, Points, Position, Reference, RequestId, RuleId,
    TierId, Timestamp,
};

use crate::{LotOrigin, LotTerms};

/// The content of a request: all of it, so that the same request sent again
/// can be told from another one under the same id. Variants are only ever
/// added at the end: their order is part of the canonical bytes.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Command {
    /// Record a purchase with what the rules give for it.
    Purchase(Purchase),
    /// Give points.
    Accrue(Accrue),
    /// Spend points.
    Redeem(Redeem),
    /// Set points aside.
    Hold(Hold),
    /// Spend held points.
    Capture(Capture),
    /// Give held points back.
    Release(Release),
}

/// Record a purchase.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Purchase {
    /// The brand where it was made.
    pub brand: BrandId,
    /// The brand's order number.
    pub order_number: OrderNumber,
    /// What was paid.
    pub amount: Money,
    /// When it was made; when it is recorded, if nothing was said.
    pub purchased_at: Option<Timestamp>,
}

/// Give points.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Accrue {
    /// The issuing brand.
    pub brand: BrandId,
    /// The currency of points.
    pub currency: CurrencyId,
    /// How many.
    pub points: Points,
    /// The caller's word for it.
    pub reference: Reference,
}

/// Spend points.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Redeem {
    /// The accepting brand.
    pub brand: BrandId,
    /// The currency of points.
    pub currency: CurrencyId,
    /// How many.
    pub points: Points,
    /// The caller's word for it.
    pub reference: Reference,
}

/// Set points aside.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Hold {
    /// The brand that is to accept the points.
    pub brand: BrandId,
    /// The currency of points.
    pub currency: CurrencyId,
    /// How many.
    pub points: Points,
    /// After how many microseconds they come back by themselves.
    pub timeout_micros: u64,
    /// The caller's word for it.
    pub reference: Reference,
}

impl Hold {
    /// The time-out.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_micros(self.timeout_micros)
    }
}

/// Spend held points.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Capture {
    /// The hold: position of the transaction that made it.
    pub hold: Position,
    /// How many; all that are left, if nothing is said.
    pub points: Option<Points>,
    /// Whether what is left then comes back at once.
    pub is_final: bool,
}

/// Give held points back.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Release {
    /// The hold: position of the transaction that made it.
    pub hold: Position,
}

impl Command {
    /// The first field in which two requests differ, by its name in the
    /// contract; `None` for equal ones.
    #[must_use]
    pub fn first_difference(&self, other: &Self) -> Option<&'static str> {
        fn first(fields: &[(&'static str, bool)]) -> Option<&'static str> {
            fields
                .iter()
                .find(|(_, equal)| !equal)
                .map(|(name, _)| *name)
        }
        match (self, other) {
            (Self::Purchase(a), Self::Purchase(b)) => first(&[
                ("brand", a.brand == b.brand),
                ("order_number", a.order_number == b.order_number),
                ("amount", a.amount == b.amount),
                ("purchase_time", a.purchased_at == b.purchased_at),
            ]),
            (Self::Accrue(a), Self::Accrue(b)) => first(&[
                ("brand", a.brand == b.brand),
                ("currency", a.currency == b.currency),
                ("points", a.points == b.points),
                ("reference", a.reference == b.reference),
            ]),
            (Self::Redeem(a), Self::Redeem(b)) => first(&[
                ("brand", a.brand == b.brand),
                ("currency", a.currency == b.currency),
                ("points", a.points == b.points),
                ("reference", a.reference == b.reference),
            ]),
            (Self::Hold(a), Self::Hold(b)) => first(&[
                ("brand", a.brand == b.brand),
                ("currency", a.currency == b.currency),
                ("points", a.points == b.points),
                ("timeout", a.timeout_micros == b.timeout_micros),
                ("reference", a.reference == b.reference),
            ]),
            (Self::Capture(a), Self::Capture(b)) => first(&[
                ("hold", a.hold == b.hold),
                ("points", a.points == b.points),
                ("final", a.is_final == b.is_final),
            ]),
            (Self::Release(a), Self::Release(b)) => first(&[("hold", a.hold == b.hold)]),
            _ => Some("method"),
        }
    }

    /// The currency whose wallet it spends from; `None` where it names a hold
    /// or spends nothing.
    #[must_use]
    pub fn spends(&self) -> Option<&CurrencyId> {
        match self {
            Self::Redeem(redeem) => Some(&redeem.currency),
            Self::Hold(hold) => Some(&hold.currency),
            Self::Purchase(_) | Self::Accrue(_) | Self::Capture(_) | Self::Release(_) => None,
        }
    }

    /// The hold it names, if any.
    #[must_use]
    pub fn hold(&self) -> Option<Position> {
        match self {
            Self::Capture(capture) => Some(capture.hold),
            Self::Release(release) => Some(release.hold),
            Self::Purchase(_) | Self::Accrue(_) | Self::Redeem(_) | Self::Hold(_) => None,
        }
    }
}

/// A request with what was decided about it outside the engine: the points
/// that the rules and the programme give.
#[derive(Clone, Debug)]
pub struct Request {
    /// The caller's name for it.
    pub request_id: RequestId,
    /// What is asked.
    pub command: Command,
    /// The facts that decided a purchase's points.
    pub facts: Option<PurchaseFacts>,
    /// The points to give, with their terms; a currency that earned nothing
    /// has a grant of zero, so that the answer tells its balance.
    pub grants: Vec<Grant>,
}

/// The facts that decided a purchase's points.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PurchaseFacts {
    /// When it was made.
    pub purchased_at: Timestamp,
    /// The tier that counted.
    pub tier: Option<TierId>,
    /// The version of the programme that was applied.
    pub program_version: i64,
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
    /// When they become available; at once, if nothing is said.
    pub activates_at: Option<Timestamp>,
    /// From when on they are gone; never, if nothing is said.
    pub expires_at: Option<Timestamp>,
    /// How they came to be.
    pub origin: LotOrigin,
    /// The version of the programme that gave the terms.
    pub program_version: i64,
}

impl Grant {
    /// Whether its points can be in that lot.
    pub(crate) fn has_terms_of(&self, lot: &LotTerms) -> bool {
        self.currency == lot.currency
            && self.brand == lot.brand
            && self.earned_at == lot.earned_at
            && self.activates_at == lot.activates_at
            && self.expires_at == lot.expires_at
            && self.origin == lot.origin
            && self.program_version == lot.program_version
    }
}
