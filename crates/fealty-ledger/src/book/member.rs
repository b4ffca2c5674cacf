//! A member's wallets.

use std::collections::{BTreeMap, BTreeSet};

use borsh::{BorshDeserialize, BorshSerialize};
use fealty_types::{CurrencyId, LotId, MemberId, Position, ProgramId};

use super::WalletBook;
use crate::{Counters, HoldLot, Returned, Reversal};

/// A member's wallets as far as they have been read, and what has been
/// reversed of transactions that the work at hand names.
#[derive(Clone, Debug, BorshSerialize, BorshDeserialize)]
pub struct MemberBook {
    /// The programme.
    pub program: ProgramId,
    /// The member.
    pub member: MemberId,
    /// The wallets that exist or that the work at hand may open.
    pub wallets: BTreeMap<CurrencyId, WalletBook>,
    /// The numbers that earning rules read and move.
    pub counters: Counters,
    /// What has been reversed, by the transaction's position.
    reversals: BTreeMap<Position, Reversal>,
    changed_reversals: BTreeSet<Position>,
    /// What has come back of purchases, by the transaction's position.
    returns: BTreeMap<Position, Returned>,
    changed_returns: BTreeSet<Position>,
}

impl MemberBook {
    /// A member without wallets.
    #[must_use]
    pub fn new(program: ProgramId, member: MemberId) -> Self {
        Self {
            program,
            member,
            wallets: BTreeMap::new(),
            counters: Counters::default(),
            reversals: BTreeMap::new(),
            changed_reversals: BTreeSet::new(),
            returns: BTreeMap::new(),
            changed_returns: BTreeSet::new(),
        }
    }

    /// The wallet with that hold, ended or not, as far as it has been read.
    #[must_use]
    pub fn wallet_of_hold(&self, hold: Position) -> Option<&CurrencyId> {
        self.wallet_with(|wallet| wallet.holds.contains_key(&hold))
    }

    /// The wallet with that lot, open or not, as far as it has been read.
    #[must_use]
    pub fn wallet_of_lot(&self, lot: LotId) -> Option<&CurrencyId> {
        self.wallet_with(|wallet| wallet.lots.contains_key(&lot))
    }

    fn wallet_with(&self, has: impl Fn(&WalletBook) -> bool) -> Option<&CurrencyId> {
        self.wallets
            .iter()
            .find(|(_, wallet)| has(wallet))
            .map(|(currency, _)| currency)
    }

    /// Adds what was read of a transaction's reversals. What is here already
    /// is newer and stays.
    pub fn add_reversal(&mut self, transaction: Position, reversal: Reversal) {
        self.reversals.entry(transaction).or_insert(reversal);
    }

    /// What has been reversed of a transaction, as far as it has been read.
    #[must_use]
    pub fn reversal(&self, transaction: Position) -> Option<&Reversal> {
        self.reversals.get(&transaction)
    }

    /// All that is known to have been reversed.
    pub fn reversals(&self) -> impl Iterator<Item = (Position, &Reversal)> {
        self.reversals.iter().map(|(at, reversal)| (*at, reversal))
    }

    /// Reversals that were made.
    pub fn changed_reversals(&self) -> impl Iterator<Item = (Position, &Reversal)> {
        self.changed_reversals
            .iter()
            .map(|position| (*position, &self.reversals[position]))
    }

    pub(crate) fn note_reversal(&mut self, transaction: Position, parts: &[HoldLot]) {
        let reversal = self.reversals.entry(transaction).or_default();
        reversal.add(parts);
        self.changed_reversals.insert(transaction);
    }

    /// Adds what was read of what has come back of a purchase. What is here already is newer
    /// and stays.
    pub fn add_returned(&mut self, transaction: Position, returned: Returned) {
        self.returns.entry(transaction).or_insert(returned);
    }

    /// What has come back of a purchase, as far as it has been read.
    #[must_use]
    pub fn returned(&self, transaction: Position) -> Option<&Returned> {
        self.returns.get(&transaction)
    }

    /// All that is known to have come back.
    pub fn returns(&self) -> impl Iterator<Item = (Position, &Returned)> {
        self.returns.iter().map(|(at, returned)| (*at, returned))
    }

    /// What has come back of purchases of which something did.
    pub fn changed_returns(&self) -> impl Iterator<Item = (Position, &Returned)> {
        self.changed_returns
            .iter()
            .map(|position| (*position, &self.returns[position]))
    }

    pub(crate) fn note_returned(&mut self, transaction: Position, returned: Returned) {
        self.returns.insert(transaction, returned);
        self.changed_returns.insert(transaction);
    }

    /// Forgets what was changed: for one who keeps a book for longer than a
    /// batch.
    pub fn settle(&mut self) {
        for wallet in self.wallets.values_mut() {
            wallet.settle();
        }
        self.counters.settle();
        self.changed_reversals.clear();
        self.changed_returns.clear();
    }
}
