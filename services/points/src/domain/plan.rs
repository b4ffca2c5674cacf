//! From a command to what the ledger engine is to do: the programme says which
//! points, under which terms.

use std::time::Duration;

use fealty_ledger::{Command, Grant, LotOrigin, Purchase, PurchaseFacts, Request, RuleResult};
use fealty_program::{Brand, Program, TierAsOf};
use fealty_server::ProgramVersion;
use fealty_types::{BrandId, CurrencyId, RequestId, TierId, Timestamp};

use crate::error::Error;

/// How far ahead of the service's clock a till's may be.
const CLOCK_SKEW_MAX: Duration = Duration::from_hours(1);

/// The moment whose tier counts for a purchase.
#[must_use]
pub fn tier_moment(program: &Program, purchase: &Purchase, now: Timestamp) -> Timestamp {
    let purchased_at = purchase.purchased_at.unwrap_or(now);
    match fealty_rules::tier_as_of(program) {
        TierAsOf::Purchase => purchased_at,
        TierAsOf::StartOfDay => program.start_of_day(purchased_at),
    }
}

/// Checks a command against the programme, and works out what it gives. The
/// same arguments always give the same request.
pub fn plan(
    applied: &ProgramVersion,
    request_id: &RequestId,
    command: &Command,
    tier: Option<TierId>,
    now: Timestamp,
) -> Result<Request, Error> {
    let program = &*applied.program;
    let mut request = Request {
        request_id: request_id.clone(),
        command: command.clone(),
        facts: None,
        grants: Vec::new(),
    };
    match command {
        Command::Purchase(purchase) => {
            let facts = facts(applied, purchase, tier, now)?;
            request.grants = facts
                .earned
                .iter()
                .map(|earned| Grant {
                    rule: Some(earned.rule.clone()),
                    currency: earned.currency.clone(),
                    points: earned.points,
                    brand: purchase.brand.clone(),
                    earned_at: facts.purchased_at,
                    activates_at: None,
                    expires_at: program.expiry_of(&earned.currency, facts.purchased_at),
                    origin: LotOrigin::Purchase,
                    program_version: applied.version,
                })
                .collect();
            request.facts = Some(facts);
        }
        Command::Accrue(accrue) => {
            let brand = brand(program, &accrue.brand, &accrue.currency)?;
            allowed(&brand.issues, &accrue.brand, &accrue.currency, "issue")?;
            request.grants.push(Grant {
                rule: None,
                currency: accrue.currency.clone(),
                points: accrue.points,
                brand: accrue.brand.clone(),
                earned_at: now,
                activates_at: None,
                expires_at: program.expiry_of(&accrue.currency, now),
                origin: LotOrigin::Promotion,
                program_version: applied.version,
            });
        }
        Command::Redeem(redeem) => {
            let brand = brand(program, &redeem.brand, &redeem.currency)?;
            allowed(&brand.accepts, &redeem.brand, &redeem.currency, "accept")?;
        }
        Command::Hold(hold) => {
            let brand = brand(program, &hold.brand, &hold.currency)?;
            allowed(&brand.accepts, &hold.brand, &hold.currency, "accept")?;
        }
        Command::Capture(_) | Command::Release(_) => {}
    }
    Ok(request)
}

fn facts(
    applied: &ProgramVersion,
    purchase: &Purchase,
    tier: Option<TierId>,
    now: Timestamp,
) -> Result<PurchaseFacts, Error> {
    let program = &*applied.program;
    let brand = program
        .brands
        .get(&purchase.brand)
        .ok_or_else(|| Error::BrandNotFound(purchase.brand.clone()))?;
    if purchase.amount.currency() != program.money.currency {
        return Err(Error::WrongMoneyCurrency {
            expected: program.money.currency,
            actual: purchase.amount.currency(),
        });
    }
    let purchased_at = purchase.purchased_at.unwrap_or(now);
    if now
        .checked_add(CLOCK_SKEW_MAX)
        .is_some_and(|latest| purchased_at > latest)
    {
        return Err(Error::PurchaseInFuture);
    }
    // Who never changed tier has the lowest.
    let lowest = || {
        program
            .tiers
            .as_ref()
            .map(|scheme| scheme.levels[0].tier.clone())
    };
    let tier = tier.or_else(lowest);
    let asked = fealty_rules::PurchaseFacts {
        amount: purchase.amount,
        tier: tier.as_ref(),
    };
    let earned =
        fealty_rules::evaluate(program, &brand.issues, asked).map_err(|_| Error::TooManyPoints)?;
    let earned = earned.into_iter().map(|earned| RuleResult {
        rule: earned.rule,
        currency: earned.currency,
        points: earned.points,
        bonus: earned.bonus,
    });
    Ok(PurchaseFacts {
        purchased_at,
        tier,
        program_version: applied.version,
        earned: earned.collect(),
    })
}

fn brand<'a>(
    program: &'a Program,
    brand: &BrandId,
    currency: &CurrencyId,
) -> Result<&'a Brand, Error> {
    if !program.currencies.contains_key(currency) {
        return Err(Error::CurrencyNotFound(currency.clone()));
    }
    program
        .brands
        .get(brand)
        .ok_or_else(|| Error::BrandNotFound(brand.clone()))
}

fn allowed(
    currencies: &[CurrencyId],
    brand: &BrandId,
    currency: &CurrencyId,
    what: &'static str,
) -> Result<(), Error> {
    if currencies.contains(currency) {
        return Ok(());
    }
    Err(Error::BrandNotAllowed {
        brand: brand.clone(),
        currency: currency.clone(),
        what,
    })
}
