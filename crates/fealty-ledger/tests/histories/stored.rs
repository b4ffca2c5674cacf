//! What a database would hold of a member, and how a book is read from it: in part, as
//! the service reads it.

use std::collections::BTreeMap;

use fealty_ledger::{
    Command, Hold, Lot, LotTerms, MemberBook, Named, PendingKey, PendingThrough, ReadThrough,
    Request, Returned, Reversal, SpendKey, Wallet, WalletBook,
};
use fealty_types::{CurrencyId, LotId, Position, Timestamp};

use crate::model::tiers_decide;

pub(crate) fn currency() -> CurrencyId {
    "points".parse().expect("an id")
}

pub(crate) fn empty_book(member: usize) -> MemberBook {
    MemberBook::new(
        "club".parse().expect("an id"),
        format!("member-{member}").parse().expect("an id"),
    )
}

pub(crate) fn as_the_programme_says(member: usize, book: &mut MemberBook) {
    for wallet in book.wallets.values_mut() {
        wallet.set_tiers_decide(tiers_decide(member));
    }
}

/// Lots that the partial book reads at a time.
const SLICE: usize = 2;

/// What a database would hold of a member.
#[derive(Default)]
pub(crate) struct Stored {
    wallet: Option<Wallet>,
    lots: BTreeMap<LotId, Lot>,
    holds: BTreeMap<Position, Hold>,
    reversals: BTreeMap<Position, Reversal>,
    returns: BTreeMap<Position, Returned>,
}

impl Stored {
    pub(crate) fn book(&self, member: usize) -> MemberBook {
        let mut book = empty_book(member);
        if let Some(wallet) = self.wallet.clone() {
            book.wallets.insert(currency(), WalletBook::of(wallet));
        }
        as_the_programme_says(member, &mut book);
        book
    }

    /// Reads what a request names.
    pub(crate) fn read_named(&self, book: &mut MemberBook, request: &Request) {
        if let Some(Named::Transaction(position)) = request.command.names() {
            if let Some(reversal) = self.reversals.get(&position) {
                book.add_reversal(position, reversal.clone());
            }
            if let Some(returned) = self.returns.get(&position) {
                book.add_returned(position, returned.clone());
            }
        }
        let mut lots = request.named_lots();
        let mut holds = Vec::new();
        for position in request.command.holds() {
            let hold = self.holds.get(&position).cloned();
            lots.extend(
                hold.iter()
                    .flat_map(|hold| hold.lots.iter().map(|part| part.lot)),
            );
            holds.extend(hold);
        }
        // How many there are bounds how many there may be.
        if matches!(request.command, Command::Hold(_)) {
            let open = self.holds.values().filter(|hold| !hold.lots.is_empty());
            holds.extend(open.cloned());
        }
        let lots = lots.iter().filter_map(|lot| self.lots.get(lot).cloned());
        if let Some(wallet) = book.wallets.get_mut(&currency()) {
            wallet.add_named(lots, holds);
        }
    }

    /// Reads on: the next few lots; where something is due, or nothing else is
    /// left to be read, all else.
    pub(crate) fn read_on(&self, book: &mut MemberBook, now: Timestamp) {
        let Some(wallet) = book.wallets.get_mut(&currency()) else {
            return;
        };
        let key = |lot: &Lot| SpendKey {
            expires_at: lot.terms.expires_at.unwrap_or(LotTerms::NEVER),
            lot: lot.terms.lot,
        };
        if wallet.due_is_read()
            && let PendingThrough::Key(read) = wallet.pending_through()
        {
            let (pending, through) = self.pending_after(Some(read));
            wallet.add_pending(pending, through);
        }
        let all_read = wallet.read_through() == ReadThrough::All;
        let all_else = !wallet.due_is_read() && (wallet.is_due(now) || all_read);
        let open = self
            .lots
            .values()
            .filter(|lot| !lot.remaining.is_zero() && !lot.pending);
        let mut open: Vec<&Lot> = open
            .filter(|lot| match wallet.read_through() {
                ReadThrough::Nothing => true,
                ReadThrough::Key(read) => key(lot) > read,
                ReadThrough::All => false,
            })
            .collect();
        open.sort_by_key(|lot| key(lot));
        let through = match open.get(SLICE - 1) {
            Some(last) => ReadThrough::Key(key(last)),
            None => ReadThrough::All,
        };
        let mut lots: Vec<Lot> = open.into_iter().take(SLICE).cloned().collect();
        if !all_else {
            return wallet.add_spendable(lots, through);
        }
        lots.extend(
            self.lots
                .values()
                .filter(|lot| !lot.held.is_zero())
                .cloned(),
        );
        let holds = self.holds.values().filter(|hold| !hold.lots.is_empty());
        wallet.add_read(lots, holds.cloned(), through);
        let (pending, through) = self.pending_after(None);
        wallet.add_pending(pending, through);
    }

    /// The next few lots that wait, and how far these reach.
    fn pending_after(&self, after: Option<PendingKey>) -> (Vec<Lot>, PendingThrough) {
        let waits = |lot: &&Lot| lot.pending && !lot.remaining.is_zero();
        let mut pending: Vec<&Lot> = self.lots.values().filter(waits).collect();
        pending.retain(|lot| Some(PendingKey::of(lot)) > after);
        pending.sort_by_key(|lot| PendingKey::of(lot));
        pending.truncate(SLICE);
        let through = match pending.get(SLICE - 1) {
            Some(last) => PendingThrough::Key(PendingKey::of(last)),
            None => PendingThrough::All,
        };
        (pending.into_iter().cloned().collect(), through)
    }

    pub(crate) fn write(&mut self, book: &MemberBook) {
        let reversals = book.changed_reversals();
        self.reversals
            .extend(reversals.map(|(position, reversal)| (position, reversal.clone())));
        let returns = book.changed_returns();
        self.returns
            .extend(returns.map(|(position, returned)| (position, returned.clone())));
        let Some(wallet) = book.wallets.get(&currency()) else {
            return;
        };
        if wallet.is_changed() {
            self.wallet = Some(wallet.wallet().clone());
        }
        for lot in wallet.changed_lots() {
            self.lots.insert(lot.terms.lot, lot.clone());
        }
        for hold in wallet.changed_holds() {
            self.holds.insert(hold.position, hold.clone());
        }
    }
}
