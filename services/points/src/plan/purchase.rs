//! A purchase: what the rules give for it.

use std::time::Duration;

use fealty_ledger::{Facts, LotOrigin, Purchase, PurchaseFacts, Request, RuleResult};
use fealty_program::Activity;
use fealty_types::Money;

use super::{Plan, PlanError};

/// How far ahead of the service's clock a till's may be.
const CLOCK_SKEW_MAX: Duration = Duration::from_hours(1);

impl Plan<'_> {
    pub(super) fn purchase(
        &self,
        purchase: &Purchase,
        request: &mut Request,
    ) -> Result<(), PlanError> {
        let facts = self.facts(purchase)?;
        for earned in &facts.earned {
            let activation = self.activation(&earned.currency, facts.purchased_at);
            let terms = self.terms(&earned.currency, facts.purchased_at, activation);
            let (rule, brand) = (Some(earned.rule.clone()), &purchase.brand);
            let points = earned.points;
            // What is given on top is a promotion: accounts keep it apart.
            let origin = if earned.bonus {
                LotOrigin::Promotion
            } else {
                LotOrigin::Purchase
            };
            let grant = terms.grant(rule, brand, points, origin, self.version);
            request.grants.push(grant);
        }
        self.keep_active(request, facts.purchased_at, Some(Activity::Purchase));
        request.facts = Some(Facts::Purchase(facts));
        Ok(())
    }

    /// What decided the points: the tier, and what each rule gave.
    fn facts(&self, purchase: &Purchase) -> Result<PurchaseFacts, PlanError> {
        let (program, now) = (self.program, self.now);
        let brand = program
            .brands
            .get(&purchase.brand)
            .ok_or_else(|| PlanError::BrandNotFound(purchase.brand.clone()))?;
        if purchase.amount.currency() != program.money.currency {
            return Err(PlanError::WrongMoneyCurrency {
                expected: program.money.currency,
                actual: purchase.amount.currency(),
            });
        }
        let purchased_at = purchase.purchased_at.unwrap_or(now);
        if now
            .checked_add(CLOCK_SKEW_MAX)
            .is_some_and(|latest| purchased_at > latest)
        {
            return Err(PlanError::PurchaseInFuture);
        }
        let scope = program.order_scope(purchase.store.as_ref(), purchase.purchased_at);
        let order_scope = scope.map_err(PlanError::OrderScope)?;
        let asked = fealty_rules::PurchaseFacts {
            amount: earning(purchase),
            tier: self.tier.as_ref(),
        };
        let earned = fealty_rules::evaluate(program, &brand.issues, asked)
            .map_err(|_| PlanError::TooManyPoints)?;
        let earned = earned.into_iter().map(|earned| RuleResult {
            rule: earned.rule,
            currency: earned.currency,
            points: earned.points,
            bonus: earned.bonus,
        });
        Ok(PurchaseFacts {
            purchased_at,
            order_scope,
            tier: self.tier.clone(),
            earned: earned.collect(),
        })
    }
}

/// What of the money paid earns points.
fn earning(purchase: &Purchase) -> Money {
    let tenders = purchase.tenders.iter();
    let given = tenders.filter(|tender| !tender.kind.earns());
    let given: i64 = given.map(|tender| tender.minor_units).sum();
    let amount = purchase.amount;
    // The tenders sum to the amount.
    Money::new(amount.currency(), amount.minor_units() - given).unwrap_or(amount)
}
