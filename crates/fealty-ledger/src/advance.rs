//! What falls due by itself: activations, hold time-outs, expiries, in the
//! order of their time, and at the same instant in this order.
//!
//! Each is a transaction of its own, in effect at the time it fell due. So a
//! wallet that is advanced late, or in several steps, has the same log.

use fealty_types::{CurrencyId, Points, Position, Timestamp};

use crate::{
    Account, BucketName, Cause, Due, ExpiryChange, HoldLot, Log, MemberBook, RELEASE_GRACE, Stop,
    TRANSFERS_PER_EXPIRY_MAX, Transaction, Transfer, WalletBook, wallet::Event,
};

/// Does everything that is due in a wallet by `now`.
pub fn advance(
    book: &mut MemberBook,
    currency: &CurrencyId,
    now: Timestamp,
    log: &mut Log,
) -> Result<(), Stop> {
    while advance_step(book, currency, now, log)? {}
    Ok(())
}

/// Does the first thing that is due in a wallet by `now`; `false` if there is
/// nothing.
pub fn advance_step(
    book: &mut MemberBook,
    currency: &CurrencyId,
    now: Timestamp,
    log: &mut Log,
) -> Result<bool, Stop> {
    let Some(wallet) = book.wallets.get_mut(currency) else {
        return Ok(false);
    };
    if !wallet.is_due(now) {
        return Ok(false);
    }
    let event = wallet.next_event(currency)?;
    let Some((due, event)) = event.filter(|(due, _)| *due <= now) else {
        wallet.set_next_due(event.map(|(due, _)| due));
        return Ok(false);
    };
    // A purchase recorded late may make a lot whose expiry lies before what
    // the wallet has seen; its log stays in order of time.
    let at = wallet.wallet.last_at.map_or(due, |last| last.max(due));
    let mut transfers = Vec::new();
    let mut expiry_changes = Vec::new();
    let due = match event {
        Event::Activate => {
            for lot in wallet.activating(due, TRANSFERS_PER_EXPIRY_MAX) {
                let points = wallet.lots[&lot].remaining;
                wallet.change_lot(lot, |lot| lot.pending = false);
                let (from, to) = (BucketName::Pending, BucketName::Available);
                wallet.shift(Some(from), Some(to), points);
                transfers.push(within(currency, from, to, HoldLot { lot, points }));
            }
            Due::Activate
        }
        Event::HoldTimeout(hold) => {
            (transfers, expiry_changes) = release(wallet, currency, hold, at);
            Due::HoldTimeout { hold }
        }
        Event::Expire => {
            for lot in wallet.expiring(currency, due, TRANSFERS_PER_EXPIRY_MAX)? {
                let points = wallet.lots[&lot].remaining;
                let brand = wallet.lots[&lot].terms.brand.clone();
                wallet.change_lot(lot, |lot| lot.remaining = Points::ZERO);
                wallet.shift(Some(BucketName::Available), None, points);
                transfers.push(Transfer {
                    currency: currency.clone(),
                    debit: Account::Wallet(BucketName::Available),
                    credit: Account::Expired(brand),
                    amount: points,
                    lot,
                    rule: None,
                });
            }
            Due::Expire
        }
    };
    let after = wallet.touch(currency, log.next(), at);
    log.append(Transaction {
        shard: log.shard(),
        position: log.next(),
        program: book.program.clone(),
        member: book.member.clone(),
        effective_at: at,
        cause: Cause::Due(due),
        transfers,
        lots: Vec::new(),
        expiry_changes,
        wallets: vec![after],
    });
    Ok(true)
}

/// Gives all that is left of a hold back to its lots, and ends it.
pub(crate) fn release(
    wallet: &mut WalletBook,
    currency: &CurrencyId,
    hold: Position,
    at: Timestamp,
) -> (Vec<Transfer>, Vec<ExpiryChange>) {
    let mut transfers = Vec::new();
    let mut expiry_changes = Vec::new();
    let mut parts = Vec::new();
    wallet.change_hold(hold, |hold| parts = std::mem::take(&mut hold.lots));
    let grace_until = at.checked_add(RELEASE_GRACE).unwrap_or(at);
    for part in parts {
        let mut extended = None;
        wallet.change_lot(part.lot, |lot| {
            lot.held = lot
                .held
                .checked_sub(part.points)
                .expect("a lot covers its holds");
            lot.remaining = lot
                .remaining
                .checked_add(part.points)
                .expect("a lot is within the wallet's total");
            if lot
                .terms
                .expires_at
                .is_some_and(|expires_at| expires_at < grace_until)
            {
                lot.terms.expires_at = Some(grace_until);
                extended = Some(ExpiryChange {
                    lot: part.lot,
                    expires_at: grace_until,
                });
            }
        });
        wallet.due_by(wallet.lots[&part.lot].terms.expires_at);
        expiry_changes.extend(extended);
        let (from, to) = (BucketName::Held, BucketName::Available);
        wallet.shift(Some(from), Some(to), part.points);
        transfers.push(within(currency, from, to, part));
    }
    (transfers, expiry_changes)
}

/// A transfer from one bucket of a wallet to another.
pub(crate) fn within(
    currency: &CurrencyId,
    from: BucketName,
    to: BucketName,
    part: HoldLot,
) -> Transfer {
    Transfer {
        currency: currency.clone(),
        debit: Account::Wallet(from),
        credit: Account::Wallet(to),
        amount: part.points,
        lot: part.lot,
        rule: None,
    }
}
