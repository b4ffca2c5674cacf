//! Tiers that decide: what a member's tier means for points that go with
//! inactivity.
//!
//! The tiers service tells of a tier some time after it begins. Where the tier
//! decides, inactivity takes nothing before it is known that the member had not
//! risen by then, or [`TIER_WAIT_MAX`] has passed. Until then the points are there:
//! they can be spent, and activity keeps them.

use borsh::{BorshDeserialize, BorshSerialize};
use fealty_types::{CurrencyId, TierId, Timestamp};

use crate::TIER_WAIT_MAX;

/// Whether points of a wallet that go with inactivity go. Variants are only ever added
/// at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Inactivity {
    /// They do.
    #[default]
    Counts,
    /// They do not, for the member has a tier whose points stay.
    Waived,
}

/// A member has another tier, or the programme says something else of the one it has.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TierChanged {
    /// The tier.
    pub tier: TierId,
    /// From when on that counts: when the member reached it, or when the version of
    /// the programme began.
    pub since: Timestamp,
    /// The version of the programme that says what it means.
    pub program_version: u32,
}

/// What a tier means for a wallet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TierEffect {
    /// The wallet's currency.
    pub currency: CurrencyId,
    /// Whether its points go with inactivity.
    pub inactivity: Inactivity,
    /// When they do so at the earliest, where they did not before.
    pub not_before: Timestamp,
}

/// Up to when things are done, and up to when members' tiers are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Up to when things are done.
    pub now: Timestamp,
    /// Up to when it is known who had which tier.
    pub tiers_known: Timestamp,
}

impl Moment {
    /// Now, of which it is known who had which tier up to `tiers_known`.
    #[must_use]
    pub fn new(now: Timestamp, tiers_known: Timestamp) -> Self {
        Self {
            now,
            tiers_known: tiers_known.max(Self::from(now).tiers_known),
        }
    }
}

/// Nothing is known, so all waits as long as it may.
impl From<Timestamp> for Moment {
    fn from(now: Timestamp) -> Self {
        Self {
            now,
            tiers_known: now.checked_sub(TIER_WAIT_MAX).unwrap_or(Timestamp::EPOCH),
        }
    }
}
