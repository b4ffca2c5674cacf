//! From a command to what the ledger engine is to do: the programme says which
//! points, under which terms.

use std::time::Duration;

use fealty_ledger::{
    Activation, Command, Facts, Grant, LotOrigin, LotTerms, Purchase, PurchaseFacts, RefundPolicy,
    RefundTerms, Refusal, Request, RuleResult,
};
use fealty_program::{ActivationTerms, Activity, Brand, ExpiryTerms, Program, TierAsOf};
use fealty_server::ProgramVersion;
use fealty_types::{BrandId, CurrencyId, Points, RequestId, RuleId, TierId, Timestamp};

use crate::error::Error;

/// How far ahead of the service's clock a till's may be.
const CLOCK_SKEW_MAX: Duration = Duration::from_hours(1);

/// The moment whose tier counts for a command; `None` where no tier does.
#[must_use]
pub fn tier_moment(program: &Program, command: &Command, now: Timestamp) -> Option<Timestamp> {
    program.tiers.as_ref()?;
    match command {
        Command::Purchase(purchase) => {
            let purchased_at = purchase.purchased_at.unwrap_or(now);
            Some(match fealty_rules::tier_as_of(program) {
                TierAsOf::Purchase => purchased_at,
                TierAsOf::StartOfDay => program.start_of_day(purchased_at),
            })
        }
        Command::Accrue(accrue) if program.expires_by_tier(&accrue.currency) => Some(now),
        Command::Adjust(adjust) if program.expires_by_tier(&adjust.currency) => Some(now),
        _ => None,
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
    let version = u32::try_from(applied.version).unwrap_or(u32::MAX);
    let mut request = Request {
        request_id: request_id.clone(),
        command: command.clone(),
        asked_at: now,
        program_version: version,
        facts: None,
        grants: Vec::new(),
        activity: Vec::new(),
        refunds: refund_terms(program),
        original: None,
    };
    // Who never changed tier has the lowest.
    let lowest = || program.tiers.as_ref()?.levels.first();
    let tier = tier.or_else(|| lowest().map(|level| level.tier.clone()));
    match command {
        Command::Purchase(purchase) => {
            let facts = facts(applied, purchase, tier, now)?;
            let at = facts.purchased_at;
            for earned in &facts.earned {
                let terms = Terms::of(program, &earned.currency, at, facts.tier.as_ref());
                let rule = Some(earned.rule.clone());
                let (brand, origin) = (&purchase.brand, LotOrigin::Purchase);
                let grant = terms.grant(rule, brand, earned.points, origin, version);
                request.grants.push(grant);
            }
            keep_active(&mut request, program, at, Some(Activity::Purchase));
            request.facts = Some(Facts::Purchase(facts));
        }
        Command::Accrue(accrue) => {
            let brand = brand(program, &accrue.brand, &accrue.currency)?;
            allowed(&brand.issues, &accrue.brand, &accrue.currency, "issue")?;
            let mut terms = Terms::of(program, &accrue.currency, now, tier.as_ref());
            match accrue.activation {
                Some(Activation::AtOnce) => terms.activates_at = None,
                Some(Activation::At(at)) => terms.activates_at = Some(at),
                Some(Activation::OnEvent) => terms.activates_at = Some(LotTerms::ON_EVENT),
                None => {}
            }
            if let Some(expires_at) = accrue.expires_at {
                if expires_at <= now {
                    return Err(Error::Ledger(Refusal::TimeOutOfRange));
                }
                terms.expires_at = Some(expires_at);
            }
            let origin = LotOrigin::Promotion;
            let grant = terms.grant(None, &accrue.brand, accrue.points, origin, version);
            request.grants.push(grant);
            keep_active(&mut request, program, now, None);
            request.facts = by_tier(program, &accrue.currency, tier);
        }
        Command::Adjust(adjust) => {
            brand(program, &adjust.brand, &adjust.currency)?;
            let above = program.adjustments.approval_above;
            if let Some(approval_above) = above.filter(|above| adjust.points > *above)
                && adjust.approver.is_none()
            {
                return Err(Error::ApprovalRequired { approval_above });
            }
            if adjust.gives {
                // An operator's points are there at once.
                let mut terms = Terms::of(program, &adjust.currency, now, tier.as_ref());
                terms.activates_at = None;
                let origin = LotOrigin::Adjustment;
                let grant = terms.grant(None, &adjust.brand, adjust.points, origin, version);
                request.grants.push(grant);
                keep_active(&mut request, program, now, None);
                request.facts = by_tier(program, &adjust.currency, tier);
            }
        }
        Command::Redeem(redeem) => {
            let brand = brand(program, &redeem.brand, &redeem.currency)?;
            allowed(&brand.accepts, &redeem.brand, &redeem.currency, "accept")?;
            keep_active(&mut request, program, now, Some(Activity::Redeem));
        }
        Command::Hold(hold) => {
            let brand = brand(program, &hold.brand, &hold.currency)?;
            allowed(&brand.accepts, &hold.brand, &hold.currency, "accept")?;
            keep_active(&mut request, program, now, Some(Activity::Redeem));
        }
        Command::TransferOut(transfer) => {
            if !program.currencies.contains_key(&transfer.currency) {
                return Err(Error::CurrencyNotFound(transfer.currency.clone()));
            }
        }
        Command::Capture(_)
        | Command::Release(_)
        | Command::Reverse(_)
        | Command::Extend(_)
        | Command::Reinstate(_)
        | Command::Activate(_) => {}
    }
    Ok(request)
}

fn refund_terms(program: &Program) -> RefundTerms {
    RefundTerms {
        policy: match program.refunds.policy {
            fealty_program::RefundPolicy::LotOnly => RefundPolicy::LotOnly,
            fealty_program::RefundPolicy::Balance => RefundPolicy::Balance,
            fealty_program::RefundPolicy::Debt => RefundPolicy::Debt,
        },
        restore_grace: program.refunds.restore_grace,
    }
}

/// The tier, where it decided when points expire.
fn by_tier(program: &Program, currency: &CurrencyId, tier: Option<TierId>) -> Option<Facts> {
    tier.filter(|_| program.expires_by_tier(currency))
        .map(Facts::Tier)
}

/// Records for which of the programme's currencies the request counts as
/// activity. Earning points that go with inactivity always counts.
fn keep_active(
    request: &mut Request,
    program: &Program,
    at: Timestamp,
    activity: Option<Activity>,
) {
    for currency in program.currencies.keys() {
        let earns = |grant: &Grant| grant.currency == *currency && !grant.points.is_zero();
        let counts = if request.grants.iter().any(earns) {
            None
        } else if activity.is_some() {
            activity
        } else {
            continue;
        };
        let until = program.active_until(currency, counts, at);
        request
            .activity
            .extend(until.map(|until| (currency.clone(), until)));
    }
}

/// The programme's terms for points earned at some moment.
struct Terms {
    currency: CurrencyId,
    earned_at: Timestamp,
    activates_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    unit_value_micros: Option<i64>,
}

impl Terms {
    fn of(
        program: &Program,
        currency: &CurrencyId,
        earned_at: Timestamp,
        tier: Option<&TierId>,
    ) -> Self {
        let known = program.currencies.get(currency);
        Self {
            currency: currency.clone(),
            earned_at,
            activates_at: match program.activation_of(currency, earned_at) {
                ActivationTerms::AtOnce => None,
                ActivationTerms::At(at) => Some(at),
                ActivationTerms::OnEvent => Some(LotTerms::ON_EVENT),
            },
            expires_at: match program.expiry_of(currency, earned_at, tier) {
                ExpiryTerms::Never => None,
                ExpiryTerms::At(at) => Some(at),
                ExpiryTerms::WithInactivity => Some(LotTerms::WITH_ACTIVITY),
            },
            unit_value_micros: known.and_then(|currency| currency.unit_value_micros),
        }
    }

    fn grant(
        self,
        rule: Option<RuleId>,
        brand: &BrandId,
        points: Points,
        origin: LotOrigin,
        program_version: u32,
    ) -> Grant {
        Grant {
            rule,
            currency: self.currency,
            points,
            brand: brand.clone(),
            earned_at: self.earned_at,
            activates_at: self.activates_at,
            expires_at: self.expires_at,
            origin,
            unit_value_micros: self.unit_value_micros,
            program_version,
        }
    }
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
