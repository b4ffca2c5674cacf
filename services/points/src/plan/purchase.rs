//! A purchase: what the rules give for it.

use fealty_ledger::{Facts, Purchase, PurchaseFacts, Request, RuleResult};
use fealty_program::{Activity, Brand};
use fealty_rules::{Given, Outcome, Rules, Silent, Subject, Trace};
use fealty_types::{OrderScope, Points, TierId, Timestamp};

use super::{
    Plan, PlanError,
    earns::{Earns, counts_for},
    event::{check_attributes, event},
};

impl Plan<'_> {
    pub(super) fn purchase(
        &self,
        purchase: &Purchase,
        request: &mut Request,
    ) -> Result<(), PlanError> {
        let (brand, purchased_at, order_scope) = self.check_purchase(purchase)?;
        let rules = &self.program.earning.rules;
        let outcome = self.evaluated(purchase, (brand, purchased_at), &mut Silent)?;
        let of = Earns {
            subject: Subject::Purchase,
            at: (&purchase.brand, brand),
            time: purchased_at,
        };
        self.grants(of, &outcome.given, request);
        self.keep_active(request, purchased_at, Some(Activity::Purchase));
        self.moved(rules, &outcome, request);
        request.facts = Some(self.facts((brand, rules), (purchased_at, order_scope), outcome));
        Ok(())
    }

    /// What a purchase earns, by the member's numbers as they are.
    pub(super) fn evaluated(
        &self,
        purchase: &Purchase,
        (brand, purchased_at): (&Brand, Timestamp),
        trace: &mut impl Trace,
    ) -> Result<Outcome, PlanError> {
        let rules = &self.program.earning.rules;
        let tier = (self.tier.as_ref(), purchased_at);
        let counts = rules.counts(purchased_at, self.now);
        let purchase = (purchase, purchase.amount);
        let event = event(self.program, &brand.issues, purchase, tier, counts);
        self.evaluated_by_now(&event, trace)
    }

    /// Checks what a purchase consists of, whether it is made or only asked about; answers
    /// with its brand.
    pub(super) fn check_content(&self, purchase: &Purchase) -> Result<&Brand, PlanError> {
        let brand = self.program.brands.get(&purchase.brand);
        let brand = brand.ok_or_else(|| PlanError::BrandNotFound(purchase.brand.clone()))?;
        let (expected, actual) = (self.program.money.currency, purchase.amount.currency());
        if actual != expected {
            return Err(PlanError::WrongMoneyCurrency { expected, actual });
        }
        check_attributes(self.program, purchase)?;
        let has = |tier: &TierId| {
            let scheme = self.program.tiers.as_ref();
            scheme.is_some_and(|scheme| scheme.rank(tier).is_some())
        };
        if purchase.tier.as_ref().is_some_and(|tier| !has(tier)) {
            return Err(PlanError::Field {
                field: "tier".to_owned(),
                what: "must be a tier of the programme",
            });
        }
        Ok(brand)
    }

    /// Checks a purchase against the programme; answers with its brand, when it was made,
    /// and within what its order number is unique.
    fn check_purchase(
        &self,
        purchase: &Purchase,
    ) -> Result<(&Brand, Timestamp, OrderScope), PlanError> {
        let (program, now) = (self.program, self.now);
        let brand = self.check_content(purchase)?;
        let purchased_at = purchase.purchased_at.unwrap_or(now);
        if self.is_ahead(purchased_at) {
            return Err(PlanError::PurchaseInFuture);
        }
        let scope = program.order_scope(purchase.store.as_ref(), purchase.purchased_at);
        let order_scope = scope.map_err(PlanError::OrderScope)?;
        Ok((brand, purchased_at, order_scope))
    }

    /// What decided the points. Under plain rules that is the tier, and what each rule
    /// gave; else also the member's numbers, and the transfers say what each gave.
    fn facts(
        &self,
        (brand, rules): (&Brand, &Rules),
        (purchased_at, order_scope): (Timestamp, OrderScope),
        outcome: Outcome,
    ) -> Facts {
        if rules.is_plain() {
            return Facts::Purchase(PurchaseFacts {
                purchased_at,
                order_scope,
                tier: self.tier.clone(),
                earned: results(rules, brand, &outcome.given),
            });
        }
        self.earned(rules, (purchased_at, order_scope), outcome)
    }
}

/// What each rule gave that the brand's purchases can earn by.
fn results(rules: &Rules, brand: &Brand, given: &[Given]) -> Vec<RuleResult> {
    let mut given = given.iter().peekable();
    let rules = (0_u16..).zip(rules.rules());
    let of_brand = rules.filter(|(_, rule)| counts_for((Subject::Purchase, brand), rule));
    let results = of_brand.map(|(number, rule)| RuleResult {
        rule: rule.id.clone(),
        currency: rule.currency.clone(),
        points: given
            .next_if(|given| given.rule == number)
            .map_or(Points::ZERO, |given| given.points),
        bonus: rule.is_bonus(),
    });
    results.collect()
}
