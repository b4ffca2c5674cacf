//! What purchases and activities have in common: what they earn, move and leave in the log.

use std::time::Duration;

use fealty_ledger::{
    BudgetedFacts, EarnedFacts, Facts, Forgotten, LotOrigin, Request, SlotRead, Unmet,
};
use fealty_program::Brand;
use fealty_rules::{Event, Given, Outcome, Rules, Subject, Trace, evaluate};
use fealty_types::{BrandId, CurrencyId, OrderScope, Points, Timestamp};

use super::{
    Plan, PlanError,
    event::LedgerNumbers,
    moves::{counter_move, draws, slot_move},
};

/// How far ahead of the service's clock a till's may be.
pub(super) const CLOCK_SKEW_MAX: Duration = Duration::from_hours(1);

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
    /// What an event earns, by the member's numbers as they are.
    pub(super) fn evaluated_by_now(
        &self,
        event: &Event<'_>,
        trace: &mut impl Trace,
    ) -> Result<Outcome, PlanError> {
        let rules = &self.program.earning.rules;
        let numbers = self.numbers();
        let inputs = event.inputs(rules, &numbers);
        evaluate(rules, event, &inputs, trace).map_err(|_| PlanError::TooManyPoints)
    }

    pub(super) fn numbers(&self) -> LedgerNumbers<'_> {
        LedgerNumbers {
            counters: self.counters,
            left: self.left,
            wallets: None,
        }
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
        let moves = outcome.moves.iter().map(slot_move);
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
pub(super) fn counts_for((subject, brand): (Subject, &Brand), rule: &fealty_rules::Rule) -> bool {
    let issued = rule.funded_by.is_some() || brand.issues.contains(&rule.currency);
    rule.on == subject && issued
}
