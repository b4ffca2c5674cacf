//! Wallets, lots and holds.

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};
use fealty_types::{BrandId, LotId, Points, Position, Timestamp};

use crate::{Account, BucketName, Inactivity, LotTerms, TIER_WAIT_STEP};

/// The buckets of a wallet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Buckets {
    /// Points that wait for their activation.
    pub pending: Points,
    /// Points that can be spent.
    pub available: Points,
    /// Points set aside by holds.
    pub held: Points,
    /// Points owed.
    pub debt: Points,
}

impl Buckets {
    /// Pending, available and held points together.
    #[must_use]
    pub fn total(&self) -> Points {
        self.pending
            .checked_add(self.available)
            .and_then(|sum| sum.checked_add(self.held))
            .expect("accruals keep the total of a wallet within Points::MAX")
    }

    pub(crate) fn bucket(&mut self, name: BucketName) -> &mut Points {
        match name {
            BucketName::Pending => &mut self.pending,
            BucketName::Available => &mut self.available,
            BucketName::Held => &mut self.held,
            BucketName::Debt => &mut self.debt,
        }
    }
}

/// Points that a wallet owes a brand.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Debt {
    /// The account that took points back which the wallet did not have any more. Its
    /// brand is the creditor.
    pub account: Account,
    /// How many; above zero.
    pub points: Points,
}

/// One member's holding of one currency, without its lots.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Wallet {
    /// The buckets.
    pub buckets: Buckets,
    /// How many transactions have touched it.
    pub sequence: i64,
    /// The last of them; `None` for a wallet without any.
    pub last_position: Option<Position>,
    /// When the last of them took effect.
    pub last_at: Option<Timestamp>,
    /// When to look for what falls due: never later than the next event, and
    /// earlier where a lot was spent before its expiry.
    pub next_due: Option<Timestamp>,
    /// When the lots that go with inactivity are gone; `None` before the first
    /// of them. It may lie in the past when there are none left.
    pub inactive_at: Option<Timestamp>,
    /// Whether they go then.
    pub inactivity: Inactivity,
    /// What is owed to whom, oldest first: the bucket `debt`, taken apart.
    pub debts: Vec<Debt>,
    /// Points that brands have given, less those they took back, since ever. This and the
    /// next stay at their limit where they would pass i64, after 9,000 full wallets.
    pub earned: i64,
    /// Points redeemed, less those restored, since ever.
    pub redeemed: i64,
}

impl Wallet {
    /// When points that go with inactivity are gone, as things stand, and not before a
    /// moment.
    pub(crate) fn goes_at(&self, not_before: Option<Timestamp>) -> Option<Timestamp> {
        let gone_at = self.inactive_at.max(not_before);
        gone_at.filter(|_| self.inactivity != Inactivity::Waived)
    }

    /// Whether something may be due at `now`; `tiers_decide` says whether tiers decide if its
    /// points go with inactivity. What was to be looked at again soon, for it waited for the
    /// member's tier, is due where the programme asks for tiers no more.
    #[must_use]
    pub fn is_due(&self, tiers_decide: bool, now: Timestamp) -> bool {
        let Some(due) = self.next_due else {
            return false;
        };
        let is_inactive = || self.goes_at(None).is_some_and(|at| at <= now);
        let soon = now.checked_add(TIER_WAIT_STEP).unwrap_or(now);
        due <= now || (!tiers_decide && due <= soon && is_inactive())
    }
}

/// A lot and what is left of it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Lot {
    /// Its terms, with the expiry as it is now.
    pub terms: LotTerms,
    /// Pending or available points left.
    pub remaining: Points,
    /// Points of it in holds.
    pub held: Points,
    /// Points of it that expired, and neither came back nor were taken back.
    pub expired: Points,
    /// Whether it still waits for its activation.
    pub pending: bool,
}

/// Points set aside.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Hold {
    /// Position of the transaction that made it.
    pub position: Position,
    /// The brand that is to accept the points.
    pub brand: BrandId,
    /// When they come back by themselves.
    pub expires_at: Timestamp,
    /// What is left of it by lot, in the order in which it is captured; no
    /// entry is zero, and an ended hold has none.
    pub lots: Vec<HoldLot>,
}

/// Some points of one lot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct HoldLot {
    /// The lot.
    pub lot: LotId,
    /// The points.
    pub points: Points,
}

impl Hold {
    /// The points left in it.
    #[must_use]
    pub fn remaining(&self) -> Points {
        self.lots.iter().fold(Points::ZERO, |sum, part| {
            sum.checked_add(part.points)
                .expect("a hold is within its wallet's total")
        })
    }
}

/// What has been reversed of a transaction, by lot.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Reversal {
    /// The points of each lot; no entry is zero.
    pub parts: Vec<HoldLot>,
}

impl Reversal {
    /// The points that have been reversed, by lot.
    pub(crate) fn by_lot(&self) -> BTreeMap<LotId, Points> {
        let parts = self.parts.iter();
        parts.map(|part| (part.lot, part.points)).collect()
    }

    /// Adds parts, each of another lot.
    pub(crate) fn add(&mut self, parts: &[HoldLot]) {
        let numbered = self.parts.iter().enumerate();
        let index_of: BTreeMap<LotId, usize> = numbered.map(|(i, part)| (part.lot, i)).collect();
        for part in parts {
            let Some(index) = index_of.get(&part.lot) else {
                self.parts.push(*part);
                continue;
            };
            let known = &mut self.parts[*index].points;
            let sum = known.checked_add(part.points);
            *known = sum.expect("no more is reversed than a transaction moved");
        }
    }
}
