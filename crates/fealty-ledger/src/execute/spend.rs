//! Points that leave a wallet, or are set aside in it.

use std::collections::BTreeMap;

use fealty_types::{CurrencyId, Points, Position};

use super::{Draft, covering, give, keep_active, take};
use crate::{
    Account, BucketName, Capture, ExtendHold, HOLDS_PER_WALLET_MAX, Hold, HoldCommand, HoldLot,
    Log, MemberBook, Refusal, Release, Request, Stop, Transfer, WalletBook,
    advance::{release, within},
};

impl Draft {
    /// Moves available points to an account outside the wallet.
    pub(super) fn spend(
        &mut self,
        book: &mut MemberBook,
        request: &Request,
        currency: &CurrencyId,
        points: Points,
        to: &Account,
    ) -> Result<(), Stop> {
        let wallet = covering(book, currency, points)?;
        let parts = wallet.plan_spend(currency, points, &BTreeMap::new())?;
        for part in parts {
            self.take_available(wallet, currency, part, to);
        }
        keep_active(wallet, &request.activity, currency);
        self.touch(wallet, currency);
        Ok(())
    }

    /// Takes available points of a lot.
    pub(super) fn take_available(
        &mut self,
        wallet: &mut WalletBook,
        currency: &CurrencyId,
        part: HoldLot,
        to: &Account,
    ) {
        wallet.change_lot(part.lot, |lot| take(&mut lot.remaining, part.points));
        wallet.shift(Some(BucketName::Available), None, part.points);
        self.out(wallet, currency, BucketName::Available, part, to);
    }

    /// The transfer that takes points of a lot out of a bucket.
    pub(super) fn out(
        &mut self,
        wallet: &WalletBook,
        currency: &CurrencyId,
        from: BucketName,
        part: HoldLot,
        to: &Account,
    ) {
        let issuer = &wallet.lots[&part.lot].terms.brand;
        let (from, to) = (Account::Wallet(from), to.clone());
        self.transfers.push(Transfer::of(
            currency,
            from,
            to,
            part.points,
            part.lot,
            issuer,
        ));
    }

    pub(super) fn hold(
        &mut self,
        book: &mut MemberBook,
        request: &Request,
        hold: &HoldCommand,
        log: &Log,
    ) -> Result<(), Stop> {
        let currency = &hold.currency;
        let expires_at = self
            .at
            .checked_add(hold.timeout())
            .ok_or(Refusal::TimeOutOfRange)?;
        let wallet = covering(book, currency, hold.points)?;
        let parts = wallet.plan_spend(currency, hold.points, &BTreeMap::new())?;
        let open = wallet.holds().filter(|hold| !hold.lots.is_empty()).count();
        if open >= HOLDS_PER_WALLET_MAX {
            return Err(Refusal::TooManyHolds.into());
        }
        for part in &parts {
            wallet.change_lot(part.lot, |lot| {
                take(&mut lot.remaining, part.points);
                give(&mut lot.held, part.points);
            });
            let (from, to) = (BucketName::Available, BucketName::Held);
            wallet.shift(Some(from), Some(to), part.points);
            self.transfers
                .push(within(wallet, currency, from, to, *part));
        }
        wallet.add_hold(Hold {
            position: log.next(),
            brand: hold.brand.clone(),
            expires_at,
            lots: parts,
        });
        keep_active(wallet, &request.activity, currency);
        self.touch(wallet, currency);
        Ok(())
    }

    pub(super) fn capture(
        &mut self,
        book: &mut MemberBook,
        request: &Request,
        capture: &Capture,
    ) -> Result<(), Stop> {
        let (currency, wallet) = open_hold(book, capture.hold)?;
        let hold = &wallet.holds[&capture.hold];
        let remaining = hold.remaining();
        let points = capture.points.unwrap_or(remaining);
        if points > remaining {
            return Err(Refusal::HoldExhausted {
                hold: capture.hold,
                remaining,
            }
            .into());
        }
        self.spend_held(wallet, &currency, capture.hold, points);
        if !capture.keeps_rest {
            let moment = (self.at, self.engine);
            let (transfers, expiry_changes) = release(wallet, &currency, capture.hold, moment);
            self.transfers.extend(transfers);
            self.expiry_changes = expiry_changes;
        }
        keep_active(wallet, &request.activity, &currency);
        self.touch(wallet, &currency);
        Ok(())
    }

    /// Moves held points to the brand that they are held for.
    pub(super) fn spend_held(
        &mut self,
        wallet: &mut WalletBook,
        currency: &CurrencyId,
        hold: Position,
        points: Points,
    ) {
        let to = Account::Redeemed(wallet.holds[&hold].brand.clone());
        let mut captured = Vec::new();
        wallet.change_hold(hold, |hold| {
            captured = take_first(&mut hold.lots, points);
        });
        for part in captured {
            wallet.change_lot(part.lot, |lot| take(&mut lot.held, part.points));
            wallet.shift(Some(BucketName::Held), None, part.points);
            self.out(wallet, currency, BucketName::Held, part, &to);
        }
    }

    /// Lets a hold last longer.
    pub(super) fn extend_hold(
        &mut self,
        book: &mut MemberBook,
        extend: &ExtendHold,
    ) -> Result<(), Stop> {
        let (currency, wallet) = open_hold(book, extend.hold)?;
        let expires_at = self.at.checked_add(extend.timeout());
        let expires_at = expires_at.ok_or(Refusal::TimeOutOfRange)?;
        if expires_at <= wallet.holds[&extend.hold].expires_at {
            return Err(Refusal::HoldNotLater { hold: extend.hold }.into());
        }
        wallet.change_hold(extend.hold, |hold| hold.expires_at = expires_at);
        self.touch(wallet, &currency);
        Ok(())
    }

    pub(super) fn release(&mut self, book: &mut MemberBook, command: &Release) -> Result<(), Stop> {
        let (currency, wallet) = open_hold(book, command.hold)?;
        let moment = (self.at, self.engine);
        (self.transfers, self.expiry_changes) = release(wallet, &currency, command.hold, moment);
        self.touch(wallet, &currency);
        Ok(())
    }
}

/// The wallet of a hold that has not ended.
pub(super) fn open_hold(
    book: &mut MemberBook,
    hold: Position,
) -> Result<(CurrencyId, &mut WalletBook), Refusal> {
    let currency = book.wallet_of_hold(hold).cloned();
    let currency = currency.ok_or(Refusal::HoldNotFound { hold })?;
    let wallet = book
        .wallets
        .get_mut(&currency)
        .ok_or(Refusal::HoldNotFound { hold })?;
    if wallet.holds[&hold].lots.is_empty() {
        return Err(Refusal::HoldExhausted {
            hold,
            remaining: Points::ZERO,
        });
    }
    Ok((currency, wallet))
}

/// Takes `points` from the front of a hold's lots.
fn take_first(lots: &mut Vec<HoldLot>, points: Points) -> Vec<HoldLot> {
    let mut taken = Vec::new();
    let mut missing = points;
    for part in lots.iter_mut() {
        if missing.is_zero() {
            break;
        }
        let points = part.points.min(missing);
        taken.push(HoldLot {
            lot: part.lot,
            points,
        });
        take(&mut part.points, points);
        take(&mut missing, points);
    }
    lots.retain(|part| !part.points.is_zero());
    taken
}
