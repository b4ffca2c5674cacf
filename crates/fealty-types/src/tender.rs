//! What is paid with.

use borsh::{BorshDeserialize, BorshSerialize};

/// What was paid with. Variants are only ever added at the end: their order is part of the
/// ledger's canonical bytes.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    BorshSerialize,
    BorshDeserialize,
    schemars::JsonSchema,
    serde::Deserialize,
    serde::Serialize,
)]
#[serde(rename_all = "snake_case")]
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
    /// All of them, in order.
    pub const ALL: [Self; 6] = [
        Self::Cash,
        Self::Card,
        Self::Points,
        Self::Voucher,
        Self::GiftCard,
        Self::Other,
    ];

    /// Its name in programme files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cash => "cash",
            Self::Card => "card",
            Self::Points => "points",
            Self::Voucher => "voucher",
            Self::GiftCard => "gift_card",
            Self::Other => "other",
        }
    }

    /// Whether money paid so earns points: what was given away before does not.
    #[must_use]
    pub fn earns(self) -> bool {
        !matches!(self, Self::Points | Self::Voucher)
    }
}
