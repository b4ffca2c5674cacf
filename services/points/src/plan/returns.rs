//! A return: what is left of the purchase, and what that earns.

use fealty_ledger::{
    BackfilledReturnFacts, Command, Draw, Facts, Purchase, Request, Return, ReturnFacts, Returned,
    Reversal, ReversalFacts, RuleResult, Transaction, Transfer, taken_back,
};
use fealty_program::ProgramVersion;
use fealty_rules::{Move, Outcome, Recorded, Rules, Silent, evaluate};
use fealty_types::{LotId, Points, RuleId};

use super::{
    PlanError,
    backfill::{self, Record},
    event::event,
    moves::{counter_move, slot_moves},
    verdicts::read,
};

/// Plans a return, once what it names has been read: by the version that was in force
/// when the purchase was recorded, `then`. What is no purchase is left to the ledger,
/// which refuses it.
pub(crate) fn plan_return(
    request: &mut Request,
    then: &ProgramVersion,
    now: &ProgramVersion,
    (known, reversal): (Option<&Returned>, Option<&Reversal>),
) -> Result<(), PlanError> {
    let (Command::Return(asked), Some(original)) = (&request.command, &request.original) else {
        return Ok(());
    };
    let (Some(Command::Purchase(purchase)), Some(recorded)) =
        (original.command(), Record::of(original))
    else {
        return Ok(());
    };
    let known = known.cloned();
    let known = known.unwrap_or_else(|| Returned::nothing(original.moves()));
    let part = part(purchase, asked, &known)?;
    let in_time = |version: &ProgramVersion| {
        let rules = &version.program.earning.rules;
        rules.counts(recorded.purchased_at, request.asked_at)
    };
    let counts = in_time(then) && in_time(now);
    let after = known.with((&part, counts), &[]);
    let rules = &then.program.earning.rules;
    let outcome = if after.is_all(purchase) {
        Outcome::default()
    } else {
        evaluated(then, (purchase, &after.rest(purchase)), &recorded)?
    };
    let mut moves = Move::back(&stand(&known), &outcome.moves);
    // Budgets know no windows: what comes back late is there again all the same.
    moves.retain(|moved| counts || rules.budget_of(moved.slot).is_some());
    let earns = earned(rules, &outcome);
    let taken = taken_back(original, reversal, &earns);
    let draws = draws_back(rules, original, (&mut moves, taken));
    let back = backfill::back((then, now), original, (&known, &after));
    let of_then = moves.iter().filter_map(|moved| counter_move(rules, moved));
    let of_now = |moved| counter_move(&now.program.earning.rules, moved);
    request.counter_moves = of_then.chain(back.iter().filter_map(of_now)).collect();
    let facts = ReturnFacts {
        brand: purchase.brand.clone(),
        purchased_at: recorded.purchased_at,
        left: after.rest(purchase).amount,
        part,
        earns,
        moves: slot_moves(&moves),
        counts,
        draws,
        reversal: ReversalFacts::default(),
        points: Vec::new(),
    };
    request.facts = Some(if back.is_empty() {
        Facts::Return(facts)
    } else {
        Facts::BackfilledReturn(BackfilledReturnFacts {
            facts,
            backfilled: slot_moves(&back),
        })
    });
    Ok(())
}

/// What comes back with a return.
fn part(
    purchase: &Purchase,
    asked: &Return,
    known: &Returned,
) -> Result<fealty_ledger::ReturnedPart, PlanError> {
    let expected = purchase.amount.currency();
    let other = asked.amount.map(fealty_types::Money::currency);
    if let Some(actual) = other.filter(|actual| *actual != expected) {
        return Err(PlanError::WrongMoneyCurrency { expected, actual });
    }
    known.part(purchase, asked).map_err(PlanError::Return)
}

/// What is left of a purchase earns this, by what counted when the whole was recorded.
fn evaluated(
    then: &ProgramVersion,
    (whole, rest): (&Purchase, &Purchase),
    recorded: &Record<'_>,
) -> Result<Outcome, PlanError> {
    let program = &*then.program;
    let rules = &program.earning.rules;
    let brand = program.brands.get(&whole.brand);
    let brand = brand.ok_or_else(|| PlanError::BrandNotFound(whole.brand.clone()))?;
    let tier = recorded.when();
    let counts = rules.counts(recorded.purchased_at, recorded.recorded_at);
    let event = event(program, &brand.issues, (rest, whole.amount), tier, counts);
    let read = recorded.facts.earned().map(read).unwrap_or_default();
    let evaluated = evaluate(rules, &event, &Recorded(&read), &mut Silent);
    evaluated.map_err(|_| PlanError::TooManyPoints)
}

/// What rules give for what is left.
fn earned(rules: &Rules, outcome: &Outcome) -> Vec<RuleResult> {
    let earned = outcome.given.iter().filter_map(|given| {
        let rule = rules.rule(given.rule)?;
        Some(RuleResult {
            rule: rule.id.clone(),
            currency: rule.currency.clone(),
            points: given.points,
            bonus: rule.is_bonus(),
        })
    });
    earned.collect()
}

/// What comes back to budgets: no more than is taken of their rules' points. What the purchase
/// keeps of them, because something else is left of it that earns as much, is given as
/// before, and stands.
fn draws_back(
    rules: &Rules,
    original: &Transaction,
    (moves, mut taken): (&mut Vec<Move>, Vec<(LotId, Points)>),
) -> Vec<Draw> {
    let mut draws = Vec::new();
    for moved in moves.iter_mut() {
        let Some(budget) = rules.budget_of(moved.slot) else {
            continue;
        };
        let is_of_budget = |rule: &Option<RuleId>| {
            let rule = rule.as_ref();
            rule.is_some_and(|rule| rules.draws_on(rule, &budget.id))
        };
        let mut left = -moved.by;
        for (lot, points) in &mut taken {
            let mut transfers = original.transfers.iter();
            let gave = |given: &Transfer| given.lot == *lot && is_of_budget(&given.rule);
            let part = points.get().min(left);
            if part > 0 && transfers.any(gave) {
                left -= part;
                *points = Points::new(points.get() - part).unwrap_or(*points);
                draws.push(Draw {
                    budget: budget.id.clone(),
                    lot: Some(*lot),
                    points: -part,
                });
            }
        }
        moved.by += left;
    }
    moves.retain(|moved| moved.by < 0);
    draws
}

/// What the purchase moved and still stands.
fn stand(known: &Returned) -> Vec<Move> {
    let stand = known.stand().iter().map(|stands| Move {
        slot: stands.slot,
        bucket: stands.bucket,
        by: stands.by,
    });
    stand.collect()
}
