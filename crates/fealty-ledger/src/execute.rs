//! What callers ask for.
//!
//! A request is checked whole before anything is changed, so a refused one
//! leaves nothing to undo. What was due before it is written all the same: it
//! fell due, whatever becomes of the request.

use fealty_types::{BrandId, CurrencyId, LotId, Points, Timestamp};

use crate::{
    Account, Accrue, BucketName, Capture, Cause, Command, ExpiryChange, HOLDS_PER_WALLET_MAX, Hold,
    HoldCommand, HoldLot, Log, Lot, LotTerms, MemberBook, Redeem, Refusal, Release, Request, Stop,
    Transaction, Transfer, WalletAfter, WalletBook,
    advance::{advance, release, within},
    command::Grant,
};

/// Advances the wallets that a request touches to `now`, and does what it asks.
///
/// The request's transaction is the last one written. Time does not run
/// backwards for a wallet: it takes effect at `now`, or when the last
/// transaction of its wallets did, if that is later.
pub fn execute(
    book: &mut MemberBook,
    request: &Request,
    now: Timestamp,
    log: &mut Log,
) -> Result<(), Stop> {
    let currencies = touched(book, request)?;
    let at = currencies
        .iter()
        .filter_map(|currency| book.wallets.get(currency)?.wallet.last_at)
        .fold(now, Timestamp::max);
    for currency in &currencies {
        advance(book, currency, at, log)?;
    }
    apply(book, request, at, log)
}

/// The wallets that a request touches.
fn touched(book: &MemberBook, request: &Request) -> Result<Vec<CurrencyId>, Refusal> {
    if let Some(hold) = request.command.hold() {
        let currency = book
            .wallet_of_hold(hold)
            .ok_or(Refusal::HoldNotFound { hold })?;
        return Ok(vec![currency.clone()]);
    }
    if let Some(currency) = request.command.spends() {
        return Ok(vec![currency.clone()]);
    }
    let mut currencies: Vec<CurrencyId> = request
        .grants
        .iter()
        .map(|grant| grant.currency.clone())
        .collect();
    currencies.sort();
    currencies.dedup();
    Ok(currencies)
}

/// Does what a request asks, at `at`, in wallets in which nothing is due.
pub fn apply(
    book: &mut MemberBook,
    request: &Request,
    at: Timestamp,
    log: &mut Log,
) -> Result<(), Stop> {
    let mut draft = Draft::default();
    match &request.command {
        Command::Purchase(_) | Command::Accrue(Accrue { .. }) => {
            draft.grant(book, &request.grants, at, log)?;
        }
        Command::Redeem(redeem) => draft.redeem(book, redeem, at, log)?,
        Command::Hold(hold) => draft.hold(book, hold, at, log)?,
        Command::Capture(capture) => draft.capture(book, capture, at, log)?,
        Command::Release(release) => draft.release(book, release, at, log)?,
    }
    log.append(Transaction {
        shard: log.shard(),
        position: log.next(),
        program: book.program.clone(),
        member: book.member.clone(),
        effective_at: at,
        cause: Cause::Request {
            request_id: request.request_id.clone(),
            command: request.command.clone(),
            facts: request.facts.clone(),
        },
        transfers: draft.transfers,
        lots: draft.lots,
        expiry_changes: draft.expiry_changes,
        wallets: draft.wallets,
    });
    Ok(())
}

/// A transaction in the making.
#[derive(Default)]
struct Draft {
    transfers: Vec<Transfer>,
    lots: Vec<LotTerms>,
    expiry_changes: Vec<ExpiryChange>,
    wallets: Vec<WalletAfter>,
}

impl Draft {
    fn grant(
        &mut self,
        book: &mut MemberBook,
        grants: &[Grant],
        at: Timestamp,
        log: &Log,
    ) -> Result<(), Refusal> {
        let mut currencies: Vec<&CurrencyId> = grants.iter().map(|grant| &grant.currency).collect();
        currencies.sort();
        currencies.dedup();
        for currency in &currencies {
            let held = book
                .wallets
                .get(*currency)
                .map_or(Points::ZERO, |w| w.wallet.buckets.total());
            grants
                .iter()
                .filter(|grant| grant.currency == **currency)
                .try_fold(held, |sum, grant| sum.checked_add(grant.points))
                .ok_or(Refusal::AmountLimit)?;
        }
        self.lots = lots_of(grants, log)?;
        for lot in &self.lots {
            let wallet = book
                .wallets
                .entry(lot.currency.clone())
                .or_insert_with(WalletBook::empty);
            let pending = lot
                .activates_at
                .is_some_and(|activates_at| activates_at > at);
            let bucket = if pending {
                BucketName::Pending
            } else {
                BucketName::Available
            };
            wallet.shift(None, Some(bucket), lot.amount);
            wallet.add_lot(Lot {
                terms: lot.clone(),
                remaining: lot.amount,
                held: Points::ZERO,
                pending,
            });
            let of_lot = |grant: &&Grant| !grant.points.is_zero() && grant.has_terms_of(lot);
            for grant in grants.iter().filter(of_lot) {
                self.transfers.push(Transfer {
                    currency: lot.currency.clone(),
                    debit: Account::Issued(lot.brand.clone()),
                    credit: Account::Wallet(bucket),
                    amount: grant.points,
                    lot: lot.lot,
                    rule: grant.rule.clone(),
                });
            }
        }
        for currency in currencies {
            let wallet = book
                .wallets
                .entry(currency.clone())
                .or_insert_with(WalletBook::empty);
            self.wallets.push(wallet.touch(currency, log.next(), at));
        }
        Ok(())
    }

    fn redeem(
        &mut self,
        book: &mut MemberBook,
        redeem: &Redeem,
        at: Timestamp,
        log: &Log,
    ) -> Result<(), Stop> {
        let currency = &redeem.currency;
        let wallet = covering(book, currency, redeem.points)?;
        for part in wallet.plan_spend(currency, redeem.points)? {
            wallet.change_lot(part.lot, |lot| take(&mut lot.remaining, part.points));
            wallet.shift(Some(BucketName::Available), None, part.points);
            self.transfers.push(redeemed(
                currency,
                BucketName::Available,
                &redeem.brand,
                part,
            ));
        }
        self.wallets.push(wallet.touch(currency, log.next(), at));
        Ok(())
    }

    fn hold(
        &mut self,
        book: &mut MemberBook,
        hold: &HoldCommand,
        at: Timestamp,
        log: &Log,
    ) -> Result<(), Stop> {
        let currency = &hold.currency;
        let expires_at = at
            .checked_add(hold.timeout())
            .ok_or(Refusal::TimeOutOfRange)?;
        let wallet = covering(book, currency, hold.points)?;
        let parts = wallet.plan_spend(currency, hold.points)?;
        let open = wallet.holds().filter(|hold| !hold.lots.is_empty()).count();
        if open >= HOLDS_PER_WALLET_MAX {
            return Err(Refusal::TooManyHolds.into());
        }
        for part in &parts {
            wallet.change_lot(part.lot, |lot| {
                take(&mut lot.remaining, part.points);
                lot.held = lot
                    .held
                    .checked_add(part.points)
                    .expect("a lot is within the wallet's total");
            });
            let (from, to) = (BucketName::Available, BucketName::Held);
            wallet.shift(Some(from), Some(to), part.points);
            self.transfers.push(within(currency, from, to, *part));
        }
        wallet.add_hold(Hold {
            position: log.next(),
            brand: hold.brand.clone(),
            expires_at,
            lots: parts,
        });
        self.wallets.push(wallet.touch(currency, log.next(), at));
        Ok(())
    }

    fn capture(
        &mut self,
        book: &mut MemberBook,
        capture: &Capture,
        at: Timestamp,
        log: &Log,
    ) -> Result<(), Stop> {
        let (currency, wallet) = open_hold(book, capture.hold)?;
        let hold = &wallet.holds[&capture.hold];
        let (brand, remaining) = (hold.brand.clone(), hold.remaining());
        let points = capture.points.unwrap_or(remaining);
        if points > remaining {
            return Err(Refusal::HoldExhausted {
                hold: capture.hold,
                remaining,
            }
            .into());
        }
        let mut captured = Vec::new();
        wallet.change_hold(capture.hold, |hold| {
            captured = take_first(&mut hold.lots, points);
        });
        for part in captured {
            wallet.change_lot(part.lot, |lot| take(&mut lot.held, part.points));
            wallet.shift(Some(BucketName::Held), None, part.points);
            self.transfers
                .push(redeemed(&currency, BucketName::Held, &brand, part));
        }
        if capture.is_final {
            let (transfers, expiry_changes) = release(wallet, &currency, capture.hold, at);
            self.transfers.extend(transfers);
            self.expiry_changes = expiry_changes;
        }
        self.wallets.push(wallet.touch(&currency, log.next(), at));
        Ok(())
    }

    fn release(
        &mut self,
        book: &mut MemberBook,
        command: &Release,
        at: Timestamp,
        log: &Log,
    ) -> Result<(), Stop> {
        let (currency, wallet) = open_hold(book, command.hold)?;
        (self.transfers, self.expiry_changes) = release(wallet, &currency, command.hold, at);
        self.wallets.push(wallet.touch(&currency, log.next(), at));
        Ok(())
    }
}

/// The lots that grants make: one for each set of terms.
fn lots_of(grants: &[Grant], log: &Log) -> Result<Vec<LotTerms>, Refusal> {
    let mut lots: Vec<LotTerms> = Vec::new();
    for grant in grants.iter().filter(|grant| !grant.points.is_zero()) {
        if let (Some(activates_at), Some(expires_at)) = (grant.activates_at, grant.expires_at)
            && activates_at >= expires_at
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
        let number = u8::try_from(lots.len()).map_err(|_| Refusal::AmountLimit)?;
        lots.push(LotTerms {
            lot: LotId::new(log.next(), number),
            currency: grant.currency.clone(),
            brand: grant.brand.clone(),
            amount: grant.points,
            earned_at: grant.earned_at,
            activates_at: grant.activates_at,
            expires_at: grant.expires_at,
            origin: grant.origin,
            program_version: grant.program_version,
        });
    }
    Ok(lots)
}

/// The wallet, if it has so many points available.
fn covering<'a>(
    book: &'a mut MemberBook,
    currency: &CurrencyId,
    required: Points,
) -> Result<&'a mut WalletBook, Refusal> {
    let wallet = book
        .wallets
        .get_mut(currency)
        .ok_or(Refusal::InsufficientPoints {
            available: Points::ZERO,
            required,
        })?;
    let available = wallet.wallet.buckets.available;
    if available < required {
        return Err(Refusal::InsufficientPoints {
            available,
            required,
        });
    }
    Ok(wallet)
}

/// The wallet of a hold that has not ended.
fn open_hold(
    book: &mut MemberBook,
    hold: fealty_types::Position,
) -> Result<(CurrencyId, &mut WalletBook), Refusal> {
    let (currency, wallet) = book
        .wallets
        .iter_mut()
        .find(|(_, wallet)| wallet.holds.contains_key(&hold))
        .ok_or(Refusal::HoldNotFound { hold })?;
    if wallet.holds[&hold].lots.is_empty() {
        return Err(Refusal::HoldExhausted {
            hold,
            remaining: Points::ZERO,
        });
    }
    Ok((currency.clone(), wallet))
}

fn take(bucket: &mut Points, points: Points) {
    *bucket = bucket
        .checked_sub(points)
        .expect("a part is at most what its lot has");
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
        missing = missing
            .checked_sub(points)
            .expect("a part is at most what is missing");
    }
    lots.retain(|part| !part.points.is_zero());
    taken
}

fn redeemed(currency: &CurrencyId, from: BucketName, brand: &BrandId, part: HoldLot) -> Transfer {
    Transfer {
        currency: currency.clone(),
        debit: Account::Wallet(from),
        credit: Account::Redeemed(brand.clone()),
        amount: part.points,
        lot: part.lot,
        rule: None,
    }
}
