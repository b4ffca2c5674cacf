//! A purchase: what the rules give for it.

use std::time::Duration;

use fealty_ledger::{
    BudgetedFacts, EarnedFacts, Facts, Forgotten, LotOrigin, Purchase, PurchaseFacts, Request,
    RuleResult, SlotMove, SlotRead, Unmet,
};
use fealty_program::{Activity, Brand};
use fealty_rules::{Event, Given, Outcome, Rules, Silent, Stored, Subject, Trace, evaluate};
use fealty_types::{BrandId, CurrencyId, OrderScope, Points, TierId, Timestamp};

use super::{
    Plan, PlanError,
    event::{LedgerNumbers, check_attributes, event},
    returns::{counter_move, draws},
};

/// How far ahead of the service's clock a till's may be.
const CLOCK_SKEW_MAX: Duration = Duration::from_hours(1);

/// What earns points.
#[derive(Clone, Copy)]
pub(super) struct Earns<'a> {
    pub(super) subject: Subject,
    /// The brand where it was.
    pub(super) at: (&'a BrandId, &'a Brand),
    /// When.
    pub(super) time: Timestamp,
}

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

    /// What an event moves of the member's numbers, and wants of budgets.
    pub(super) fn moved(&self, rules: &Rules, outcome: &Outcome, request: &mut Request) {
        if outcome
            .moves
            .iter()
            .any(|moved| rules.budget_of(moved.slot).is_none())
        {
            request.forgotten = self.forgotten();
        }
        let moves = outcome.moves.iter();
        request.counter_moves = moves
            .filter_map(|moved| counter_move(rules, moved))
            .collect();
        let unmet = outcome.unmet.iter().filter_map(|unmet| {
            Some(Unmet {
                budget: rules.budget_of(unmet.slot)?.id.clone(),
                wanted: unmet.wanted,
                least: unmet.least,
            })
        });
        request.unmet = unmet.collect();
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
        let event = event(self.program, brand, purchase, tier, counts);
        self.evaluated_by_now(&event, trace)
    }

    /// What an event earns, by the member's numbers as they are.
    pub(super) fn evaluated_by_now(
        &self,
        event: &Event<'_>,
        trace: &mut impl Trace,
    ) -> Result<Outcome, PlanError> {
        let rules = &self.program.earning.rules;
        let inputs = Stored {
            rules,
            book: &self.numbers(),
            subject: event.subject,
            at: event.at,
        };
        evaluate(rules, event, &inputs, trace).map_err(|_| PlanError::TooManyPoints)
    }

    fn numbers(&self) -> LedgerNumbers<'_> {
        LedgerNumbers {
            counters: self.counters,
            left: self.left,
        }
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

    /// Whether something was later than any clock may be wrong.
    pub(super) fn is_ahead(&self, time: Timestamp) -> bool {
        let latest = self.now.checked_add(CLOCK_SKEW_MAX);
        latest.is_some_and(|latest| time > latest)
    }

    /// The points that rules give, with their terms; a currency that earned nothing has a
    /// grant of zero.
    pub(super) fn grants(&self, of: Earns<'_>, given: &[Given], request: &mut Request) {
        let earning = &self.program.earning;
        let (brand_id, brand) = of.at;
        let rules = earning.rules.rules().iter().zip(&earning.terms);
        let mut given = given.iter().peekable();
        let mut seen: Vec<&CurrencyId> = Vec::new();
        for (number, (rule, terms)) in (0_u16..).zip(rules) {
            let points = match given.next_if(|given| given.rule == number) {
                Some(given) => given.points,
                None if seen.contains(&&rule.currency)
                    || !counts_for((of.subject, brand), rule) =>
                {
                    continue;
                }
                None => Points::ZERO,
            };
            seen.push(&rule.currency);
            let terms = self.terms_by(terms, &rule.currency, of.time);
            // What is given on top is a promotion: accounts keep it apart.
            let origin = if rule.is_bonus() {
                LotOrigin::Promotion
            } else {
                LotOrigin::Purchase
            };
            let issuer: &BrandId = rule.funded_by.as_ref().unwrap_or(brand_id);
            let grant = terms.grant(Some(rule.id.clone()), issuer, points, origin, self.version);
            request.grants.push(grant);
        }
    }

    /// The member's numbers that no window reaches any more.
    fn forgotten(&self) -> Vec<Forgotten> {
        let rules = &self.program.earning.rules;
        let numbers = self.numbers();
        let buckets = self
            .counters
            .into_iter()
            .flat_map(fealty_ledger::Counters::iter);
        let old = buckets.filter_map(|(key, buckets)| {
            let before = rules.forgets(key, &numbers, self.now)?;
            let first = *buckets.first_key_value()?.0;
            (first < before).then_some(Forgotten { key, before })
        });
        old.collect()
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

    /// What decided the points where the member's numbers did, too.
    pub(super) fn earned(
        &self,
        rules: &Rules,
        (purchased_at, order_scope): (Timestamp, OrderScope),
        outcome: Outcome,
    ) -> Facts {
        let read = outcome.read.into_iter().map(|(slot, value)| SlotRead {
            slot,
            before: value.before,
            with_any: value.with_any,
        });
        let moves = outcome.moves.iter().map(|moved| SlotMove {
            slot: moved.slot,
            bucket: moved.bucket,
            by: moved.by,
        });
        let draws = draws(rules, &outcome.moves);
        let earned = EarnedFacts {
            purchased_at,
            order_scope,
            tier: self.tier.clone(),
            read: read.collect(),
            moves: moves.collect(),
        };
        if draws.is_empty() {
            Facts::Earned(earned)
        } else {
            Facts::Budgeted(BudgetedFacts { earned, draws })
        }
    }
}

/// Whether what is at a brand can earn by a rule.
fn counts_for((subject, brand): (Subject, &Brand), rule: &fealty_rules::Rule) -> bool {
    let issued = rule.funded_by.is_some() || brand.issues.contains(&rule.currency);
    rule.on == subject && issued
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
