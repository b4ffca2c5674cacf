//! What callers ask for.
//!
//! A request is checked whole before anything is changed, so a refused one
//! leaves nothing to undo. What was due before it is written all the same: it
//! fell due, whatever becomes of the request.

mod backfill;
mod end;
mod grant;
mod lot;
mod purchase;
mod returns;
mod reverse;
mod spend;
mod tier;
mod undo;

pub use backfill::apply_backfill;
pub use end::{advance_to_end, apply_end, end_takes_effect};
pub use returns::taken_back;
pub use tier::{apply_tier, change_tier};

use std::collections::BTreeSet;

use fealty_types::{CurrencyId, Points, Timestamp};

use crate::{
    Active, Cause, Command, Engine, ExpiryChange, Facts, GivenLot, Log, LotTerms, MemberBook,
    Named, Principal, Received, Refusal, Request, Stop, Transaction, Transfer, WalletAfter,
    WalletBook, advance::advance,
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
    let at = advance_all(book, &currencies, now, log)?;
    apply(book, request, at, log)
}

/// Advances the receiver's wallet, and writes what was given.
pub fn receive(
    book: &mut MemberBook,
    received: &Received,
    now: Timestamp,
    log: &mut Log,
) -> Result<(), Stop> {
    let currencies = BTreeSet::from([received.currency.clone()]);
    let at = advance_all(book, &currencies, now, log)?;
    apply_received(book, received, at, log)
}

fn advance_all(
    book: &mut MemberBook,
    currencies: &BTreeSet<CurrencyId>,
    now: Timestamp,
    log: &mut Log,
) -> Result<Timestamp, Stop> {
    let at = currencies
        .iter()
        .filter_map(|currency| book.wallets.get(currency)?.wallet.last_at)
        .fold(now, Timestamp::max);
    for currency in currencies {
        advance(book, currency, at, log)?;
    }
    Ok(at)
}

/// The wallets that a request touches.
fn touched(book: &MemberBook, request: &Request) -> Result<BTreeSet<CurrencyId>, Refusal> {
    let one = |currency: &CurrencyId| BTreeSet::from([currency.clone()]);
    match request.command.names() {
        Some(Named::Hold(hold)) => {
            let currency = book.wallet_of_hold(hold);
            Ok(one(currency.ok_or(Refusal::HoldNotFound { hold })?))
        }
        Some(Named::Lot(lot)) => {
            let currency = book.wallet_of_lot(lot);
            Ok(one(currency.ok_or(Refusal::LotNotFound { lot })?))
        }
        Some(Named::Transaction(transaction)) => {
            let original = request.original.as_deref();
            let original = original.ok_or(Refusal::TransactionNotFound { transaction })?;
            let currencies = original.wallets.iter().map(|after| &after.currency);
            Ok(currencies.cloned().collect())
        }
        None => {
            if let Some(spend) = request.command.spends() {
                return Ok(one(spend.currency));
            }
            let granted = request.grants.iter().map(|grant| grant.currency.clone());
            let mut currencies: BTreeSet<CurrencyId> = granted.collect();
            for hold in request.command.holds() {
                let currency = book.wallet_of_hold(hold);
                currencies.insert(currency.ok_or(Refusal::HoldNotFound { hold })?.clone());
            }
            Ok(currencies)
        }
    }
}

/// Does what a request asks, at `at`, in wallets in which nothing is due.
pub fn apply(
    book: &mut MemberBook,
    request: &Request,
    at: Timestamp,
    log: &mut Log,
) -> Result<(), Stop> {
    let mut draft = Draft::new(at, log);
    match &request.command {
        Command::Purchase(purchase) => draft.purchase(book, request, purchase, log)?,
        Command::Activity(_) => draft.activity(book, request, log)?,
        Command::Accrue(_) => draft.grant(book, request, log)?,
        Command::Adjust(adjust) if adjust.gives => draft.grant(book, request, log)?,
        Command::Adjust(adjust) => {
            let account = crate::Account::Adjusted(adjust.brand.clone());
            draft.spend(book, request, &adjust.currency, adjust.points, &account)?;
        }
        Command::Redeem(redeem) => {
            let account = crate::Account::Redeemed(redeem.brand.clone());
            draft.spend(book, request, &redeem.currency, redeem.points, &account)?;
        }
        Command::Gift(gift) => {
            let (currency, points) = (&gift.currency, gift.points);
            draft.spend(book, request, currency, points, &crate::Account::Gift)?;
        }
        Command::Hold(hold) => draft.hold(book, request, hold, log)?,
        Command::Capture(capture) => draft.capture(book, request, capture)?,
        Command::Release(release) => draft.release(book, release)?,
        Command::ExtendHold(extend) => draft.extend_hold(book, extend)?,
        Command::Reverse(reverse) => draft.reverse(book, request, reverse)?,
        Command::Return(asked) => draft.return_purchase(book, request, asked)?,
        Command::Extend(extend) => draft.extend(book, extend)?,
        Command::Reinstate(reinstate) => draft.reinstate(book, reinstate)?,
        Command::Activate(activate) => draft.activate(book, request, activate)?,
    }
    let cause = Cause::Request {
        request_id: request.request_id.clone(),
        command: request.command.clone(),
        metadata: request.metadata.clone(),
        asked_at: (request.asked_at != at).then_some(request.asked_at),
        program_version: request.program_version,
        facts: draft.facts.take().or_else(|| request.facts.clone()),
    };
    draft.append(book, cause, request.principal.clone(), log);
    Ok(())
}

/// The receiver's side of a gift that was just written. Points that go with inactivity
/// live a full term, until `term_ends`, where the programme has one.
///
/// # Panics
/// If the transaction is no gift of this book's member.
#[must_use]
pub fn given(book: &MemberBook, gift: &Transaction, term_ends: Option<Timestamp>) -> Received {
    let Some(Command::Gift(command)) = gift.command() else {
        panic!("only a gift gives points to another member");
    };
    let wallet = &book.wallets[&command.currency];
    let engine = Engine::numbered(gift.engine);
    let has_term = engine.is_some_and(Engine::gives_a_term_to_what_is_received);
    let term_ends = term_ends.filter(|_| has_term);
    let expires_at = |terms: &LotTerms| match term_ends {
        Some(term_ends) if terms.goes_with_inactivity() => {
            Some(LotTerms::with_activity_not_before(term_ends))
        }
        _ => terms.expires_at,
    };
    let lots = gift.transfers.iter().map(|part| {
        let terms = &wallet.lots[&part.lot].terms;
        GivenLot {
            points: part.amount,
            brand: terms.brand.clone(),
            earned_at: terms.earned_at,
            expires_at: expires_at(terms),
            origin: terms.origin,
            unit_value_micros: terms.unit_value_micros,
            program_version: terms.program_version,
        }
    });
    Received {
        from: book.member.clone(),
        gift: gift.place(),
        currency: command.currency.clone(),
        lots: lots.collect(),
    }
}

/// Writes what another member gave, at `at`, in a wallet in which nothing is due.
pub fn apply_received(
    book: &mut MemberBook,
    received: &Received,
    at: Timestamp,
    log: &mut Log,
) -> Result<(), Stop> {
    let mut draft = Draft::new(at, log);
    draft.receive(book, received, log)?;
    draft.append(book, Cause::Received(received.clone()), None, log);
    Ok(())
}

/// A transaction in the making.
struct Draft {
    at: Timestamp,
    engine: Engine,
    position: fealty_types::Position,
    facts: Option<Facts>,
    transfers: Vec<Transfer>,
    lots: Vec<LotTerms>,
    expiry_changes: Vec<ExpiryChange>,
    wallets: Vec<WalletAfter>,
}

impl Draft {
    fn new(at: Timestamp, log: &Log) -> Self {
        Self {
            at,
            engine: log.engine(),
            position: log.next(),
            facts: None,
            transfers: Vec::new(),
            lots: Vec::new(),
            expiry_changes: Vec::new(),
            wallets: Vec::new(),
        }
    }

    fn append(self, book: &MemberBook, cause: Cause, principal: Option<Principal>, log: &mut Log) {
        log.append(Transaction {
            engine: self.engine.number(),
            shard: log.shard(),
            position: self.position,
            program: book.program.clone(),
            member: book.member.clone(),
            effective_at: self.at,
            written_at: log.written_at(),
            nonce: log.nonce(),
            cause,
            transfers: self.transfers,
            lots: self.lots,
            expiry_changes: self.expiry_changes,
            wallets: self.wallets,
            principal,
        });
    }

    /// Records that the transaction touched a wallet.
    fn touch(&mut self, wallet: &mut WalletBook, currency: &CurrencyId) {
        self.wallets
            .push(wallet.touch(currency, self.position, self.at, &self.transfers));
    }
}

/// Records activity in a wallet.
fn keep_active(wallet: &mut WalletBook, activity: &[Active], currency: &CurrencyId) {
    let of_wallet = |active: &&Active| active.currency == *currency;
    for active in activity.iter().filter(of_wallet) {
        wallet.keep_active(active);
    }
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

fn take(bucket: &mut Points, points: Points) {
    *bucket = bucket
        .checked_sub(points)
        .expect("a part is at most what there is");
}

fn give(bucket: &mut Points, points: Points) {
    *bucket = bucket
        .checked_add(points)
        .expect("a lot is within the wallet's total");
}
