//! What falls due by itself: activations, hold time-outs, expiries, in the
//! order of their time, and at the same instant in this order.
//!
//! Each is a transaction of its own, in effect at the time it fell due. So a
//! wallet that is advanced late, or in several steps, has the same log; but what waits
//! for a member's tier comes after what was due meanwhile and did not wait.

use fealty_types::{CurrencyId, LotId, Points, Position, Timestamp};

use crate::{
    Account, BucketName, Cause, Due, Engine, ExpiryChange, HoldLot, Log, MemberBook, Moment,
    RELEASE_GRACE, Stop, TRANSFERS_PER_EXPIRY_MAX, Transaction, Transfer, WalletBook,
    book::{Event, Payment},
};

/// Does everything that is due in a wallet by a moment.
pub fn advance(
    book: &mut MemberBook,
    currency: &CurrencyId,
    moment: impl Into<Moment>,
    log: &mut Log,
) -> Result<(), Stop> {
    advance_until(book, currency, moment.into(), Expiries::Come, log)
}

/// Whether what expires at the very moment up to which a wallet is advanced does so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expiries {
    /// It does.
    Come,
    /// It waits, for a period ends at that moment.
    Wait,
}

/// Does what is due in a wallet by a moment.
pub(crate) fn advance_until(
    book: &mut MemberBook,
    currency: &CurrencyId,
    moment: Moment,
    expiries: Expiries,
    log: &mut Log,
) -> Result<(), Stop> {
    while step(book, currency, (moment, expiries), log)? {}
    Ok(())
}

/// Does the first thing that is due in a wallet by a moment; `false` if there is
/// nothing.
pub fn advance_step(
    book: &mut MemberBook,
    currency: &CurrencyId,
    moment: Moment,
    log: &mut Log,
) -> Result<bool, Stop> {
    step(book, currency, (moment, Expiries::Come), log)
}

fn step(
    book: &mut MemberBook,
    currency: &CurrencyId,
    (moment, expiries): (Moment, Expiries),
    log: &mut Log,
) -> Result<bool, Stop> {
    let now = moment.now;
    let Some(wallet) = book.wallets.get_mut(currency) else {
        return Ok(false);
    };
    if !wallet.is_due(now) {
        return Ok(false);
    }
    let next = wallet.next_event(currency, moment)?;
    let is_to_come = |(due, event): &(Timestamp, Event)| {
        *due < now || (*due == now && (expiries == Expiries::Come || !event.is_expiry()))
    };
    let Some((due, event)) = next.filter(is_to_come) else {
        wallet.set_next_due(next.map(|(due, _)| due));
        return Ok(false);
    };
    if log.due_left() == 0 {
        return Err(Stop::MoreIsDue);
    }
    // A purchase recorded late may make a lot whose expiry lies before what
    // the wallet has seen; its log stays in order of time.
    let at = wallet.wallet.last_at.map_or(due, |last| last.max(due));
    let mut transfers = Vec::new();
    let mut expiry_changes = Vec::new();
    let due = match event {
        Event::Activate => {
            for lot in wallet.pending_at(currency, event, due, TRANSFERS_PER_EXPIRY_MAX)? {
                let points = wallet.lots[&lot].remaining;
                transfers.extend(activate(wallet, currency, HoldLot { lot, points }));
            }
            Due::Activate
        }
        Event::HoldTimeout(hold) => {
            (transfers, expiry_changes) = release(wallet, currency, hold, (at, log.engine()));
            Due::HoldTimeout { hold }
        }
        Event::Expire
        | Event::ExpireInactive
        | Event::ExpirePending
        | Event::ExpirePendingInactive => {
            for lot in wallet.expiring(currency, event, due, TRANSFERS_PER_EXPIRY_MAX)? {
                transfers.push(expire(wallet, currency, lot));
            }
            match event {
                Event::ExpireInactive | Event::ExpirePendingInactive => Due::ExpireInactive,
                _ => Due::Expire,
            }
        }
    };
    log.spend_due(transfers.len().max(1));
    let after = wallet.touch(currency, log.next(), at, &transfers);
    log.append(Transaction {
        engine: log.engine().number(),
        shard: log.shard(),
        position: log.next(),
        program: book.program.clone(),
        member: book.member.clone(),
        effective_at: at,
        written_at: log.written_at(),
        nonce: log.nonce(),
        cause: Cause::Due(due),
        transfers,
        lots: Vec::new(),
        expiry_changes,
        wallets: vec![after],
        principal: None,
    });
    Ok(true)
}

/// Makes a lot's pending points available; what the wallet owes is repaid
/// first.
pub(crate) fn activate(
    wallet: &mut WalletBook,
    currency: &CurrencyId,
    part: HoldLot,
) -> Vec<Transfer> {
    let (from, to) = (BucketName::Pending, BucketName::Available);
    let issuer = wallet.lots[&part.lot].terms.brand.clone();
    let mut transfers = Vec::new();
    let payment = Payment {
        currency,
        from: &Account::Wallet(from),
        issuer: &issuer,
        part,
        rule: None,
    };
    let repaid = wallet.repay(&payment, &mut transfers);
    let kept = part.points.checked_sub(repaid);
    let kept = kept.expect("no more is repaid than there is");
    wallet.change_lot(part.lot, |lot| {
        lot.pending = false;
        lot.remaining = kept;
    });
    wallet.shift(Some(from), None, part.points);
    wallet.shift(None, Some(to), kept);
    if !kept.is_zero() {
        let part = HoldLot {
            points: kept,
            ..part
        };
        transfers.push(within(wallet, currency, from, to, part));
    }
    transfers
}

/// Ends a lot's points that are left.
fn expire(wallet: &mut WalletBook, currency: &CurrencyId, id: LotId) -> Transfer {
    let lot = &wallet.lots[&id];
    let (points, brand) = (lot.remaining, lot.terms.brand.clone());
    let from = if lot.pending {
        BucketName::Pending
    } else {
        BucketName::Available
    };
    wallet.change_lot(id, |lot| {
        lot.expired = lot
            .expired
            .checked_add(points)
            .expect("no more expires of a lot than it was made with");
        lot.remaining = Points::ZERO;
    });
    wallet.shift(Some(from), None, points);
    let (from, to) = (Account::Wallet(from), Account::Expired(brand.clone()));
    Transfer::of(currency, from, to, points, id, &brand)
}

/// Gives all that is left of a hold back to its lots, and ends it; what the wallet owes is
/// repaid first.
pub(crate) fn release(
    wallet: &mut WalletBook,
    currency: &CurrencyId,
    hold: Position,
    (at, engine): (Timestamp, Engine),
) -> (Vec<Transfer>, Vec<ExpiryChange>) {
    let mut transfers = Vec::new();
    let mut expiry_changes = Vec::new();
    let mut parts = Vec::new();
    wallet.change_hold(hold, |hold| parts = std::mem::take(&mut hold.lots));
    let grace_until = at.checked_add(RELEASE_GRACE).unwrap_or(at);
    for part in parts {
        let known = &wallet.lots[&part.lot].terms;
        let issuer = known.brand.clone();
        let (from, to) = (BucketName::Held, BucketName::Available);
        let mut kept = part.points;
        if engine.repays_by_what_comes_back() {
            let payment = Payment {
                currency,
                from: &Account::Wallet(from),
                issuer: &issuer,
                part,
                rule: None,
            };
            let repaid = wallet.repay(&payment, &mut transfers);
            let left = kept.checked_sub(repaid);
            kept = left.expect("no more is repaid than there is");
        }
        let known = &wallet.lots[&part.lot].terms;
        let too_soon = !kept.is_zero()
            && wallet
                .expiry_of(known)
                .is_some_and(|expires_at| expires_at < grace_until);
        wallet.change_lot(part.lot, |lot| {
            lot.held = lot
                .held
                .checked_sub(part.points)
                .expect("a lot covers its holds");
            lot.remaining = lot
                .remaining
                .checked_add(kept)
                .expect("a lot is within the wallet's total");
            if too_soon {
                lot.terms.expires_at = Some(grace_until);
            }
        });
        if too_soon {
            expiry_changes.push(ExpiryChange {
                lot: part.lot,
                expires_at: grace_until,
            });
        }
        wallet.shift(Some(from), None, part.points);
        wallet.shift(None, Some(to), kept);
        if !kept.is_zero() {
            let part = HoldLot {
                points: kept,
                ..part
            };
            transfers.push(within(wallet, currency, from, to, part));
        }
    }
    (transfers, expiry_changes)
}

/// A transfer from one bucket of a wallet to another.
pub(crate) fn within(
    wallet: &WalletBook,
    currency: &CurrencyId,
    from: BucketName,
    to: BucketName,
    part: HoldLot,
) -> Transfer {
    let issuer = &wallet.lots[&part.lot].terms.brand;
    let (from, to) = (Account::Wallet(from), Account::Wallet(to));
    Transfer::of(currency, from, to, part.points, part.lot, issuer)
}
