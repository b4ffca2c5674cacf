//! Points that come into a wallet. What it owes is repaid first.

use std::collections::BTreeSet;

use fealty_types::{BrandId, CurrencyId, LotId, Points, RuleId, Timestamp};

use super::{Draft, give, keep_active, take};
use crate::{
    Account, Active, BucketName, Command, Grant, HoldLot, Log, Lot, LotTerms, MemberBook, Received,
    Refusal, Request, Transfer, WalletBook, book::Payment,
};

impl Draft {
    /// Gives a request's grants.
    pub(super) fn grant(
        &mut self,
        book: &mut MemberBook,
        request: &Request,
        log: &Log,
    ) -> Result<(), Refusal> {
        self.lots = lots_of(book, &request.grants, log)?;
        for currency in self.give_of(book, request) {
            let wallet = wallet_of(book, &currency);
            self.touch(wallet, &currency);
        }
        Ok(())
    }

    /// Puts a request's lots into their wallets; answers with the wallets' currencies.
    pub(super) fn give_of(
        &mut self,
        book: &mut MemberBook,
        request: &Request,
    ) -> BTreeSet<CurrencyId> {
        let source = match request.command {
            Command::Adjust(_) => Account::Adjusted,
            _ => Account::Issued,
        };
        self.give(book, (&request.grants, &request.activity), source)
    }

    /// Puts the lots into their wallets, from an account of their brand; answers with the
    /// wallets' currencies.
    pub(super) fn give(
        &mut self,
        book: &mut MemberBook,
        (grants, activity): (&[Grant], &[Active]),
        source: fn(BrandId) -> Account,
    ) -> BTreeSet<CurrencyId> {
        let granted = grants.iter().map(|grant| grant.currency.clone());
        let currencies: BTreeSet<CurrencyId> = granted.collect();
        for currency in &currencies {
            let wallet = wallet_of(book, currency);
            keep_active(wallet, activity, currency);
        }
        for terms in self.lots.clone() {
            let wallet = wallet_of(book, &terms.currency);
            let of_lot = |grant: &&Grant| !grant.points.is_zero() && grant.has_terms_of(&terms);
            let parts = grants.iter().filter(of_lot);
            let parts: Vec<(Points, Option<RuleId>)> = parts
                .map(|grant| (grant.points, grant.rule.clone()))
                .collect();
            let source = source(terms.brand.clone());
            self.put(wallet, &terms, &source, &parts);
        }
        currencies
    }

    /// Gives what another member has given.
    pub(super) fn receive(
        &mut self,
        book: &mut MemberBook,
        received: &Received,
        log: &Log,
    ) -> Result<(), Refusal> {
        let currency = &received.currency;
        fits(book, currency, received.lots.iter().map(|lot| lot.points))?;
        let wallet = wallet_of(book, currency);
        let expiries: Vec<Option<Timestamp>> = received
            .lots
            .iter()
            .map(|given| {
                let expires_at = given.expires_at?;
                let not_before = LotTerms::not_before_of(expires_at);
                Some(not_before.map_or(expires_at, |until| wallet.receive_until(until)))
            })
            .collect();
        for ((number, given), expires_at) in (0_u16..).zip(&received.lots).zip(expiries) {
            let terms = LotTerms {
                lot: LotId::new(log.next(), number),
                currency: currency.clone(),
                brand: given.brand.clone(),
                amount: given.points,
                earned_at: given.earned_at,
                activates_at: None,
                activates_on: None,
                expires_at,
                origin: given.origin,
                unit_value_micros: given.unit_value_micros,
                program_version: given.program_version,
            };
            self.put(wallet, &terms, &Account::Gift, &[(given.points, None)]);
            self.lots.push(terms);
        }
        self.touch(wallet, currency);
        Ok(())
    }

    /// Puts a new lot into a wallet. What repays debt counts as spent.
    fn put(
        &mut self,
        wallet: &mut WalletBook,
        terms: &LotTerms,
        source: &Account,
        parts: &[(Points, Option<RuleId>)],
    ) {
        let pending = terms
            .activates_at
            .is_some_and(|activates_at| activates_at > self.at);
        let bucket = if pending {
            BucketName::Pending
        } else {
            BucketName::Available
        };
        let mut remaining = Points::ZERO;
        for (points, rule) in parts {
            let (currency, lot, brand) = (&terms.currency, terms.lot, &terms.brand);
            let mut kept = *points;
            if !pending {
                let part = HoldLot { lot, points: kept };
                let payment = Payment {
                    currency,
                    from: source,
                    issuer: brand,
                    part,
                    rule: rule.as_ref(),
                };
                let repaid = wallet.repay(&payment, &mut self.transfers);
                take(&mut kept, repaid);
            }
            if kept.is_zero() {
                continue;
            }
            let to = Account::Wallet(bucket);
            let transfer = Transfer::of(currency, source.clone(), to, kept, lot, brand);
            self.transfers.push(Transfer {
                rule: rule.clone(),
                ..transfer
            });
            wallet.shift(None, Some(bucket), kept);
            give(&mut remaining, kept);
        }
        wallet.add_lot(Lot {
            terms: terms.clone(),
            remaining,
            held: Points::ZERO,
            expired: Points::ZERO,
            pending,
        });
    }
}

fn wallet_of<'a>(book: &'a mut MemberBook, currency: &CurrencyId) -> &'a mut WalletBook {
    book.wallets
        .entry(currency.clone())
        .or_insert_with(WalletBook::empty)
}

/// Whether a wallet can take so many more points.
fn fits(
    book: &MemberBook,
    currency: &CurrencyId,
    more: impl Iterator<Item = Points>,
) -> Result<(), Refusal> {
    let held = book
        .wallets
        .get(currency)
        .map_or(Points::ZERO, |wallet| wallet.wallet.buckets.total());
    let mut more = more;
    more.try_fold(held, Points::checked_add)
        .map(|_| ())
        .ok_or(Refusal::AmountLimit)
}

/// The lots that grants make, one for each set of terms, if the wallets can take them.
pub(super) fn lots_of(
    book: &MemberBook,
    grants: &[Grant],
    log: &Log,
) -> Result<Vec<LotTerms>, Refusal> {
    let currencies: BTreeSet<&CurrencyId> = grants.iter().map(|grant| &grant.currency).collect();
    for currency in currencies {
        let of_currency = grants.iter().filter(|grant| grant.currency == *currency);
        fits(book, currency, of_currency.map(|grant| grant.points))?;
    }
    let mut lots: Vec<LotTerms> = Vec::new();
    for grant in grants.iter().filter(|grant| !grant.points.is_zero()) {
        if let (Some(activates_at), Some(expires_at)) = (grant.activates_at, grant.expires_at)
            && activates_at >= expires_at
            && activates_at != LotTerms::ON_EVENT
        {
            return Err(Refusal::TimeOutOfRange);
        }
        if let Some(lot) = lots.iter_mut().find(|lot| grant.has_terms_of(lot)) {
            lot.amount = lot
                .amount
                .checked_add(grant.points)
                .ok_or(Refusal::AmountLimit)?;
            continue;
        }
        let number = u16::try_from(lots.len()).map_err(|_| Refusal::TooManyLots)?;
        lots.push(LotTerms {
            lot: LotId::new(log.next(), number),
            currency: grant.currency.clone(),
            brand: grant.brand.clone(),
            amount: grant.points,
            earned_at: grant.earned_at,
            activates_at: grant.activates_at,
            activates_on: grant.activates_on.clone(),
            expires_at: grant.expires_at,
            origin: grant.origin,
            unit_value_micros: grant.unit_value_micros,
            program_version: grant.program_version,
        });
    }
    Ok(lots)
}
