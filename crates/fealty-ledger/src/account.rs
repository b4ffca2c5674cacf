//! The chart of accounts.

use borsh::{BorshDeserialize, BorshSerialize};
use fealty_types::BrandId;

/// An account of a programme and currency. Variants are only ever added at the
/// end: their order is part of the canonical bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub enum Account {
    /// A bucket of the member's wallet.
    Wallet(BucketName),
    /// Points the brand has issued.
    Issued(BrandId),
    /// Points redeemed at the brand.
    Redeemed(BrandId),
    /// Points of the brand that expired.
    Expired(BrandId),
    /// Points that operators put right in the brand's name.
    Adjusted(BrandId),
    /// Points on their way from one member to another; empty in between.
    Gift,
}

/// A bucket of a wallet.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub enum BucketName {
    /// Points that wait for their activation.
    Pending,
    /// Points that can be spent.
    Available,
    /// Points set aside by holds.
    Held,
    /// Points owed: the one bucket that a debit raises.
    Debt,
}

impl Account {
    /// The kind, as stored and shown: `available`, `issued` and so on.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Wallet(BucketName::Pending) => "pending",
            Self::Wallet(BucketName::Available) => "available",
            Self::Wallet(BucketName::Held) => "held",
            Self::Wallet(BucketName::Debt) => "debt",
            Self::Issued(_) => "issued",
            Self::Redeemed(_) => "redeemed",
            Self::Expired(_) => "expired",
            Self::Adjusted(_) => "adjusted",
            Self::Gift => "gift",
        }
    }

    /// The brand, for the accounts kept by brand.
    #[must_use]
    pub fn brand(&self) -> Option<&BrandId> {
        match self {
            Self::Wallet(_) | Self::Gift => None,
            Self::Issued(brand)
            | Self::Redeemed(brand)
            | Self::Expired(brand)
            | Self::Adjusted(brand) => Some(brand),
        }
    }
}
