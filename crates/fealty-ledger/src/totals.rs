//! Debits and credits by account: a plain sum over transfers.

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};
use fealty_types::{BrandId, CurrencyId, ProgramId};

use crate::{Account, Transaction};

/// An account with the brand whose points are counted in it: what brand A
/// issued and brand B accepted is `Redeemed(B)` of issuer A.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct AccountKey {
    /// The programme.
    pub program: ProgramId,
    /// The currency of points.
    pub currency: CurrencyId,
    /// The account; a wallet's bucket stands for that of all wallets.
    pub account: Account,
    /// The brand that issued the points.
    pub issuer: BrandId,
}

/// Sums of what was debited and credited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Sums {
    /// Debits.
    pub debits: i128,
    /// Credits.
    pub credits: i128,
}

/// Debits and credits by account and issuer, over all wallets: a plain sum
/// over transfers.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct AccountTotals(BTreeMap<AccountKey, Sums>);

impl AccountTotals {
    /// Adds a transaction's transfers; answers with the accounts that they
    /// touched, some more than once.
    pub fn add(&mut self, transaction: &Transaction) -> Vec<AccountKey> {
        let mut touched = Vec::with_capacity(2 * transaction.transfers.len());
        for transfer in &transaction.transfers {
            let amount = i128::from(transfer.amount.get());
            let key = |account: &Account| AccountKey {
                program: transaction.program.clone(),
                currency: transfer.currency.clone(),
                account: account.clone(),
                issuer: transfer.issuer().clone(),
            };
            let (debit, credit) = (key(&transfer.debit), key(&transfer.credit));
            self.0.entry(debit.clone()).or_default().debits += amount;
            self.0.entry(credit.clone()).or_default().credits += amount;
            touched.extend([debit, credit]);
        }
        touched
    }

    /// The sums of an account, if it was touched.
    #[must_use]
    pub fn of(&self, key: &AccountKey) -> Option<Sums> {
        self.0.get(key).copied()
    }

    /// Adds sums to an account.
    pub fn add_sums(&mut self, key: AccountKey, sums: Sums) {
        let total = self.0.entry(key).or_default();
        total.debits += sums.debits;
        total.credits += sums.credits;
    }

    /// The rows, in order.
    pub fn rows(&self) -> impl Iterator<Item = (&AccountKey, &Sums)> {
        self.0.iter()
    }

    /// Whether nothing was moved.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
