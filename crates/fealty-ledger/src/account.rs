//! The chart of accounts.

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};
use fealty_types::{BrandId, CurrencyId, ProgramId};

use crate::Transaction;

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
    /// Points owed.
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
        }
    }

    /// The brand, for the accounts kept by brand.
    #[must_use]
    pub fn brand(&self) -> Option<&BrandId> {
        match self {
            Self::Wallet(_) => None,
            Self::Issued(brand) | Self::Redeemed(brand) | Self::Expired(brand) => Some(brand),
        }
    }
}

/// Debits and credits by account, over all wallets. An account is a programme,
/// a currency and an [`Account`]; a wallet's bucket stands for that of all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountTotals(BTreeMap<(ProgramId, CurrencyId, Account), (i128, i128)>);

impl AccountTotals {
    /// Adds a transaction's transfers.
    pub fn add(&mut self, transaction: &Transaction) {
        for transfer in &transaction.transfers {
            let amount = i128::from(transfer.amount.get());
            let key = |account: &Account| {
                (
                    transaction.program.clone(),
                    transfer.currency.clone(),
                    account.clone(),
                )
            };
            self.0.entry(key(&transfer.debit)).or_default().0 += amount;
            self.0.entry(key(&transfer.credit)).or_default().1 += amount;
        }
    }

    /// The rows: account, sum of debits, sum of credits.
    pub fn rows(&self) -> impl Iterator<Item = (&ProgramId, &CurrencyId, &Account, i128, i128)> {
        self.0
            .iter()
            .map(|((program, currency, account), (debits, credits))| {
                (program, currency, account, *debits, *credits)
            })
    }
}
