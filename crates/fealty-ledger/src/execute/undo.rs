//! Undoing what was done: points given are taken back, points spent are
//! restored.
//!
//! Points that were given go from the lot that they made, as far as it still
//! has them. Of the rest, what expired is let go; what was spent or is held is
//! taken by the programme's policy. Points that were spent go back to their
//! lots, last taken first.

use std::collections::BTreeMap;

use fealty_types::{CurrencyId, LotId, Points, RefundPolicy, RefundTerms, Timestamp};

use super::{Draft, give, take};
use crate::{
    Account, BucketName, Command, ExpiryChange, HoldLot, LotTerms, MemberBook, Refusal,
    ReversalFacts, Stop, Transaction, Transfer, WalletBook, book::Payment,
};

/// Points of a lot that an earlier transaction moved: what can be reversed.
#[derive(Clone)]
pub(super) struct Moved {
    pub(super) currency: CurrencyId,
    pub(super) lot: LotId,
    pub(super) points: Points,
    /// Where they came from, or went to.
    pub(super) account: Account,
    /// Whether they were given; else they were spent.
    pub(super) gave: bool,
}

/// What was undone.
pub(super) struct Undone {
    pub(super) facts: ReversalFacts,
    /// The points of each lot that could not be taken back, and that the brand bears.
    pub(super) borne: BTreeMap<LotId, Points>,
}

impl Draft {
    /// Undoes parts of what a transaction moved.
    pub(super) fn undo(
        &mut self,
        book: &mut MemberBook,
        refunds: &RefundTerms,
        parts: &[Moved],
    ) -> Result<Undone, Stop> {
        let (given, spent): (Vec<Moved>, Vec<Moved>) =
            parts.iter().cloned().partition(|part| part.gave);
        if spent.is_empty() {
            return self.take_back(book, refunds, &given);
        }
        if given.is_empty() {
            let facts = self.restore(book, refunds, &spent)?;
            return Ok(Undone {
                facts,
                borne: BTreeMap::new(),
            });
        }
        // A purchase that was paid in points. They come back first, so that what it
        // earned can be taken from them; if that is refused, nothing has changed.
        let mut tried = book.clone();
        let mut facts = self.restore(&mut tried, refunds, &spent)?;
        let Undone {
            facts: taken,
            borne,
        } = self.take_back(&mut tried, refunds, &given)?;
        *book = tried;
        facts.parts.extend(taken.parts);
        give(&mut facts.expired, taken.expired);
        give(&mut facts.borne, taken.borne);
        Ok(Undone { facts, borne })
    }

    /// Takes back points that were given.
    fn take_back(
        &mut self,
        book: &mut MemberBook,
        refunds: &RefundTerms,
        parts: &[Moved],
    ) -> Result<Undone, Stop> {
        // First all is planned, so that a refusal changes nothing.
        let (takings, facts) = plan_taking_back(book, refunds, parts)?;
        let borne = takings.iter().map(|of| (of.part.lot, of.missing)).collect();
        for taking in takings {
            self.take(book, taking);
        }
        Ok(Undone { facts, borne })
    }

    /// Takes back a part as it was planned.
    fn take(&mut self, book: &mut MemberBook, taking: Taking<'_>) {
        let part = taking.part;
        let wallet = book
            .wallets
            .get_mut(&part.currency)
            .expect("a lot's wallet is there");
        let own = HoldLot {
            lot: part.lot,
            points: taking.own,
        };
        wallet.change_lot(part.lot, |lot| take(&mut lot.expired, taking.expired));
        if taking.pending && !own.points.is_zero() {
            wallet.change_lot(part.lot, |lot| take(&mut lot.remaining, own.points));
            wallet.shift(Some(BucketName::Pending), None, own.points);
            let from = BucketName::Pending;
            self.out(wallet, &part.currency, from, own, &part.account);
        } else if !own.points.is_zero() {
            self.take_available(wallet, &part.currency, own, &part.account);
        }
        for other in taking.others {
            self.take_available(wallet, &part.currency, other, &part.account);
        }
        if !taking.debt.is_zero() {
            let issuer = wallet.lots[&part.lot].terms.brand.clone();
            wallet.owe(&part.account, taking.debt);
            let from = Account::Wallet(BucketName::Debt);
            let (currency, to) = (&part.currency, part.account.clone());
            self.transfers.push(Transfer::of(
                currency,
                from,
                to,
                taking.debt,
                part.lot,
                &issuer,
            ));
        }
    }

    /// Restores points that were spent.
    fn restore(
        &mut self,
        book: &mut MemberBook,
        refunds: &RefundTerms,
        parts: &[Moved],
    ) -> Result<ReversalFacts, Refusal> {
        let mut totals: BTreeMap<&CurrencyId, Points> = BTreeMap::new();
        for part in parts {
            let total = totals
                .entry(&part.currency)
                .or_insert_with(|| book.wallets[&part.currency].wallet.buckets.total());
            *total = total.checked_add(part.points).ok_or(Refusal::AmountLimit)?;
        }
        let grace_until = refunds
            .restore_grace
            .and_then(|grace| self.at.checked_add(grace));
        let mut facts = ReversalFacts {
            parts: Vec::new(),
            expired: Points::ZERO,
            borne: Points::ZERO,
        };
        for part in parts {
            let wallet = book
                .wallets
                .get_mut(&part.currency)
                .expect("a lot's wallet is there");
            let terms = wallet.lots[&part.lot].terms.clone();
            let gone = wallet.is_gone(&terms, self.at);
            let expiry = wallet.expiry_of(&terms);
            let is_past = expiry.is_some_and(|expires_at| expires_at <= self.at);
            let (points, lot) = (part.points, part.lot);
            let (currency, from) = (&part.currency, part.account.clone());
            facts.parts.push(HoldLot { lot, points });
            if gone && grace_until.is_none() {
                wallet.change_lot(lot, |lot| give(&mut lot.expired, points));
                give(&mut facts.expired, points);
                let to = Account::Expired(terms.brand.clone());
                let transfer = Transfer::of(currency, from, to, points, lot, &terms.brand);
                self.transfers.push(transfer);
                continue;
            }
            // What waits for the member's tier comes back for as long as what is gone.
            let moved = grace_until.filter(|_| is_past);
            self.bring_back(wallet, currency, &from, HoldLot { lot, points }, moved);
        }
        Ok(facts)
    }

    /// Puts points back into a lot from an account, with a new expiry where it has one.
    /// What the wallet owes is repaid first.
    pub(super) fn bring_back(
        &mut self,
        wallet: &mut WalletBook,
        currency: &CurrencyId,
        from: &Account,
        part: HoldLot,
        expires_at: Option<Timestamp>,
    ) {
        let lot = part.lot;
        let issuer = wallet.lots[&lot].terms.brand.clone();
        let mut kept = part.points;
        if self.engine.repays_by_what_comes_back() {
            let payment = Payment {
                currency,
                from,
                issuer: &issuer,
                part,
                rule: None,
            };
            let repaid = wallet.repay(&payment, &mut self.transfers);
            take(&mut kept, repaid);
        }
        if kept.is_zero() {
            // All of them count as spent.
            return;
        }
        wallet.change_lot(lot, |lot| {
            give(&mut lot.remaining, kept);
            if expires_at.is_some() {
                lot.terms.expires_at = expires_at.filter(|at| *at < LotTerms::NEVER);
            }
        });
        wallet.shift(None, Some(BucketName::Available), kept);
        self.expiry_changes
            .extend(expires_at.map(|expires_at| ExpiryChange { lot, expires_at }));
        let to = Account::Wallet(BucketName::Available);
        let transfer = Transfer::of(currency, from.clone(), to, kept, lot, &issuer);
        self.transfers.push(transfer);
    }
}

/// What a transaction moved between the wallet and an account outside, in the
/// order of its transfers.
pub(super) fn moved(original: &Transaction) -> Result<Vec<Moved>, Refusal> {
    let gave = match original.command() {
        Some(Command::Purchase(_) | Command::Activity(_) | Command::Accrue(_)) => true,
        Some(Command::Adjust(adjust)) => adjust.gives,
        Some(Command::Redeem(_) | Command::Capture(_)) => false,
        _ => {
            return Err(Refusal::NotReversible {
                transaction: original.position,
                kind: original.kind(),
            });
        }
    };
    Ok(moved_by(original, gave))
}

/// The same of what is known to give points, or to spend some.
pub(super) fn moved_by(original: &Transaction, gave: bool) -> Vec<Moved> {
    let made: BTreeMap<LotId, &LotTerms> =
        original.lots.iter().map(|made| (made.lot, made)).collect();
    let mut moved: Vec<Moved> = Vec::new();
    let mut index_of: BTreeMap<LotId, usize> = BTreeMap::new();
    for transfer in &original.transfers {
        // A purchase also spends, where it was paid in points.
        let held = Account::Wallet(BucketName::Held);
        let gave = gave && transfer.debit != held;
        let outside = if gave {
            &transfer.debit
        } else {
            &transfer.credit
        };
        // Where points of a lot repaid another brand, that brand's side is none of the
        // lot's.
        let made = made.get(&transfer.lot);
        let of_another = made.is_some_and(|made| made.brand != *transfer.issuer());
        // What a hold gave back beside what was spent of it may have repaid debt: that is
        // not spent.
        let is_spent = match original.command() {
            Some(Command::Adjust(_)) => true,
            _ => matches!(outside, Account::Redeemed(_)),
        };
        if matches!(outside, Account::Wallet(_)) || of_another || !(gave || is_spent) {
            continue;
        }
        if let Some(index) = index_of.get(&transfer.lot) {
            give(&mut moved[*index].points, transfer.amount);
            continue;
        }
        index_of.insert(transfer.lot, moved.len());
        moved.push(Moved {
            currency: transfer.currency.clone(),
            lot: transfer.lot,
            points: transfer.amount,
            account: outside.clone(),
            gave,
        });
    }
    moved
}

/// What is taken back of a part of points given.
struct Taking<'a> {
    part: &'a Moved,
    /// From the lot itself.
    own: Points,
    /// Whether those are pending.
    pending: bool,
    /// Set against what has expired of the lot.
    expired: Points,
    /// From other lots.
    others: Vec<HoldLot>,
    /// What the member owes from now on.
    debt: Points,
    /// What is in none of these yet; in the end, what the brand bears.
    missing: Points,
}

impl<'a> Taking<'a> {
    /// What the lot itself still has.
    fn from_own_lot(book: &MemberBook, part: &'a Moved) -> Self {
        let lot = &book.wallets[&part.currency].lots[&part.lot];
        let own = lot.remaining.min(part.points);
        let mut missing = part.points;
        take(&mut missing, own);
        let expired = lot.expired.min(missing);
        take(&mut missing, expired);
        Self {
            part,
            own,
            pending: lot.pending,
            expired,
            others: Vec::new(),
            debt: Points::ZERO,
            missing,
        }
    }
}

/// What is taken back from where: of each part's own lot first, then, for all
/// that is missing, as the policy says.
fn plan_taking_back<'a>(
    book: &MemberBook,
    refunds: &RefundTerms,
    parts: &'a [Moved],
) -> Result<(Vec<Taking<'a>>, ReversalFacts), Stop> {
    let mut takings: Vec<Taking<'a>> = parts
        .iter()
        .map(|part| Taking::from_own_lot(book, part))
        .collect();
    let mut planned: BTreeMap<CurrencyId, BTreeMap<LotId, Points>> = BTreeMap::new();
    for taking in takings.iter().filter(|taking| !taking.pending) {
        if !taking.own.is_zero() {
            let taken = planned.entry(taking.part.currency.clone()).or_default();
            give(taken.entry(taking.part.lot).or_default(), taking.own);
        }
    }
    let mut owed: BTreeMap<CurrencyId, Points> = BTreeMap::new();
    let mut facts = ReversalFacts {
        parts: Vec::new(),
        expired: Points::ZERO,
        borne: Points::ZERO,
    };
    for taking in &mut takings {
        let part = taking.part;
        let wallet = &book.wallets[&part.currency];
        let taken = planned.entry(part.currency.clone()).or_default();
        if refunds.policy != RefundPolicy::LotOnly {
            let mut left = wallet.wallet.buckets.available;
            for points in taken.values() {
                take(&mut left, *points);
            }
            let elsewhere = left.min(taking.missing);
            taking.others = wallet.plan_spend(&part.currency, elsewhere, taken)?;
            for other in &taking.others {
                give(taken.entry(other.lot).or_default(), other.points);
            }
            take(&mut taking.missing, elsewhere);
        }
        if refunds.policy == RefundPolicy::Debt && !taking.missing.is_zero() {
            taking.debt = std::mem::replace(&mut taking.missing, Points::ZERO);
            let owed = owed
                .entry(part.currency.clone())
                .or_insert(wallet.wallet.buckets.debt);
            *owed = owed.checked_add(taking.debt).ok_or(Refusal::AmountLimit)?;
        }
        give(&mut facts.expired, taking.expired);
        give(&mut facts.borne, taking.missing);
        facts.parts.push(HoldLot {
            lot: part.lot,
            points: part.points,
        });
    }
    Ok((takings, facts))
}
