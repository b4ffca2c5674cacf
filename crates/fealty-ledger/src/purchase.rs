//! What a purchase consists of.

use borsh::{BorshDeserialize, BorshSerialize};
use fealty_types::{Code, Position};

/// Lines of a purchase at the most.
pub const LINES_PER_PURCHASE_MAX: usize = 500;
/// Tenders of a purchase at the most.
pub const TENDERS_PER_PURCHASE_MAX: usize = 20;

/// One line of a receipt. Its money is in minor units of the purchase's currency.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PurchaseLine {
    /// The article.
    pub sku: Option<Code>,
    /// Its category.
    pub category: Option<Code>,
    /// Whose make it is.
    pub brand: Option<Code>,
    /// How many.
    pub quantity: u32,
    /// What was paid for all of them, tax included.
    pub minor_units: i64,
    /// The tax in that.
    pub tax_minor_units: i64,
}

/// A part of what was paid, by one means.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Tender {
    /// By what.
    pub kind: TenderKind,
    /// How much, in minor units of the purchase's currency.
    pub minor_units: i64,
    /// Where it was paid in points: the hold that sets them aside.
    pub hold: Option<Position>,
}

/// What was paid with. Variants are only ever added at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum TenderKind {
    /// Coins and notes.
    Cash,
    /// A payment card.
    Card,
    /// Points, held before.
    Points,
    /// A voucher that stands for a discount.
    Voucher,
    /// A gift card: money that was paid before.
    GiftCard,
    /// Anything else.
    Other,
}

impl TenderKind {
    /// Whether money paid so earns points: what was given away before does not.
    #[must_use]
    pub fn earns(self) -> bool {
        !matches!(self, Self::Points | Self::Voucher)
    }
}
