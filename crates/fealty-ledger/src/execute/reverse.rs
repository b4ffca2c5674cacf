//! Reversals: an earlier transaction is undone, or some points of it. The sum of a
//! transaction's reversals never exceeds it.

use fealty_types::{CurrencyId, LotId, Points};

use super::{
    Draft, take,
    undo::{Moved, moved},
};
use crate::{Facts, MemberBook, Named, Refusal, Request, Reversal, Stop, command::Reverse};

impl Draft {
    pub(super) fn reverse(
        &mut self,
        book: &mut MemberBook,
        request: &Request,
        reverse: &Reverse,
    ) -> Result<(), Stop> {
        let transaction = reverse.transaction;
        let original = request.original.as_deref();
        let original = original.ok_or(Refusal::TransactionNotFound { transaction })?;
        let moved = moved(original)?;
        let parts = parts(book, reverse, &moved)?;
        let facts = self.undo(book, &request.refunds, &parts)?.facts;
        book.note_reversal(transaction, &facts.parts);
        self.facts = Some(Facts::Reversal(facts));
        let mut currencies: Vec<&CurrencyId> = parts.iter().map(|part| &part.currency).collect();
        currencies.sort();
        currencies.dedup();
        for currency in currencies {
            if let Some(wallet) = book.wallets.get_mut(currency) {
                self.touch(wallet, currency);
            }
        }
        Ok(())
    }
}

/// The points to reverse, by lot, last moved first.
fn parts(book: &MemberBook, reverse: &Reverse, moved: &[Moved]) -> Result<Vec<Moved>, Refusal> {
    let transaction = reverse.transaction;
    let unclear = || Refusal::CurrencyUnclear { transaction };
    let first = moved.first().map(|part| &part.currency);
    let several = moved.iter().any(|part| Some(&part.currency) != first);
    if several && reverse.currency.is_none() && reverse.points.is_some() {
        return Err(unclear());
    }
    if let Some(currency) = &reverse.currency
        && !moved.iter().any(|part| part.currency == *currency)
    {
        return Err(unclear());
    }
    let known = book.reversal(transaction).map(Reversal::by_lot);
    let known = known.unwrap_or_default();
    let mut left = Points::ZERO;
    let mut open = Vec::new();
    let currency = reverse.currency.as_ref();
    let of_currency = |part: &&Moved| currency.is_none_or(|currency| part.currency == *currency);
    // A number of points is asked for of those that were given, where some were.
    let gave = moved.iter().filter(of_currency).any(|part| part.gave);
    let asked =
        |part: &&Moved| of_currency(part) && (reverse.points.is_none() || part.gave == gave);
    for part in moved.iter().rev().filter(asked) {
        if book.wallet_of_lot(part.lot).is_none() {
            return Err(Refusal::LotNotFound { lot: part.lot });
        }
        let reversed = known.get(&part.lot).copied().unwrap_or(Points::ZERO);
        let mut part = part.clone();
        take(&mut part.points, reversed);
        left = left.checked_add(part.points).ok_or(Refusal::AmountLimit)?;
        if !part.points.is_zero() {
            open.push(part);
        }
    }
    let mut missing = reverse.points.unwrap_or(left);
    if missing > left || left.is_zero() {
        return Err(Refusal::ReversalExceeded { transaction, left });
    }
    let mut parts = Vec::new();
    for mut part in open {
        part.points = part.points.min(missing);
        take(&mut missing, part.points);
        if !part.points.is_zero() {
            parts.push(part);
        }
    }
    Ok(parts)
}

impl Request {
    /// The lots that a command names, to be read before it is executed.
    #[must_use]
    pub fn named_lots(&self) -> Vec<LotId> {
        match (self.command.names(), self.original.as_deref()) {
            (Some(Named::Lot(lot)), _) => vec![lot],
            (Some(Named::Transaction(_)), Some(original)) => {
                let lots = original.transfers.iter().map(|transfer| transfer.lot);
                let mut lots: Vec<LotId> = lots.collect();
                lots.sort_unstable();
                lots.dedup();
                lots
            }
            _ => Vec::new(),
        }
    }
}
