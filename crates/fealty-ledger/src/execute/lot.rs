//! What operators and later events do to lots.

use fealty_types::LotId;

use super::{Draft, take};
use crate::{
    Account, ExpiryChange, HoldLot, LotTerms, MemberBook, Refusal, Request, Stop, WalletBook,
    advance::activate,
    command::{Activate, Extend, Reinstate},
};

impl Draft {
    /// Moves the expiry of an open lot.
    pub(super) fn extend(&mut self, book: &mut MemberBook, extend: &Extend) -> Result<(), Stop> {
        let (lot, expires_at) = (extend.lot, extend.expires_at);
        let (currency, wallet) = wallet_of_lot(book, lot)?;
        let known = &wallet.lots[&lot];
        if known.remaining.is_zero() && known.held.is_zero() {
            return Err(Refusal::LotClosed { lot }.into());
        }
        let own = wallet.expiry_of(&known.terms).unwrap_or(LotTerms::NEVER);
        if expires_at <= self.at || expires_at <= own {
            return Err(Refusal::ExpiryNotLater { lot }.into());
        }
        wallet.change_lot(lot, |lot| lot.terms.expires_at = Some(expires_at));
        self.expiry_changes.push(ExpiryChange { lot, expires_at });
        self.touch(wallet, &currency);
        Ok(())
    }

    /// Brings expired points of a lot back.
    pub(super) fn reinstate(
        &mut self,
        book: &mut MemberBook,
        reinstate: &Reinstate,
    ) -> Result<(), Stop> {
        let (lot, expires_at) = (reinstate.lot, reinstate.expires_at);
        let (currency, wallet) = wallet_of_lot(book, lot)?;
        let known = &wallet.lots[&lot];
        let expired = known.expired;
        let points = reinstate.points.unwrap_or(expired);
        if expired.is_zero() || points > expired {
            return Err(Refusal::NotExpired { lot, expired }.into());
        }
        if expires_at <= self.at {
            return Err(Refusal::ExpiryNotLater { lot }.into());
        }
        wallet
            .wallet
            .buckets
            .total()
            .checked_add(points)
            .ok_or(Refusal::AmountLimit)?;
        let brand = known.terms.brand.clone();
        wallet.change_lot(lot, |lot| {
            take(&mut lot.expired, points);
            lot.pending = false;
        });
        let from = Account::Expired(brand);
        let part = HoldLot { lot, points };
        self.bring_back(wallet, &currency, &from, part, Some(expires_at));
        self.touch(wallet, &currency);
        Ok(())
    }

    /// Makes the pending points of a transaction available.
    pub(super) fn activate(
        &mut self,
        book: &mut MemberBook,
        request: &Request,
        command: &Activate,
    ) -> Result<(), Stop> {
        let transaction = command.transaction;
        let original = request.original.as_deref();
        let original = original.ok_or(Refusal::TransactionNotFound { transaction })?;
        let mut touched = Vec::new();
        for terms in &original.lots {
            let Some(wallet) = book.wallets.get_mut(&terms.currency) else {
                continue;
            };
            let event = command.event.as_ref();
            let waits = |lot: &crate::Lot| {
                let for_it = event.is_none() || lot.terms.activates_on.as_ref() == event;
                lot.pending && !lot.remaining.is_zero() && for_it
            };
            if !wallet.lots.get(&terms.lot).is_some_and(waits) {
                continue;
            }
            let part = HoldLot {
                lot: terms.lot,
                points: wallet.lots[&terms.lot].remaining,
            };
            self.transfers
                .extend(activate(wallet, &terms.currency, part));
            touched.push(&terms.currency);
        }
        if touched.is_empty() {
            return Err(Refusal::NothingPending { transaction }.into());
        }
        touched.sort();
        touched.dedup();
        for currency in touched {
            if let Some(wallet) = book.wallets.get_mut(currency) {
                self.touch(wallet, currency);
            }
        }
        Ok(())
    }
}

fn wallet_of_lot(
    book: &mut MemberBook,
    lot: LotId,
) -> Result<(fealty_types::CurrencyId, &mut WalletBook), Refusal> {
    let currency = book.wallet_of_lot(lot).cloned();
    let currency = currency.ok_or(Refusal::LotNotFound { lot })?;
    let wallet = book.wallets.get_mut(&currency);
    Ok((currency, wallet.ok_or(Refusal::LotNotFound { lot })?))
}
