//! Returns: a purchase keeps what is left of it earns, by what counted when it was recorded,
//! and never more than it has. What it was paid in points comes back in proportion.

use std::collections::{BTreeMap, BTreeSet};

use fealty_types::{CurrencyId, LotId, Points};

use super::{
    Draft, give, take,
    undo::{Moved, Undone, moved},
};
use crate::{
    BackfilledReturnFacts, Command, Draw, Facts, MemberBook, Purchase, Refusal, Request,
    ReturnFacts, Returned, ReturnedPoints, Reversal, RuleResult, Stop, Transaction,
    command::Return,
};

impl Draft {
    pub(super) fn return_purchase(
        &mut self,
        book: &mut MemberBook,
        request: &Request,
        asked: &Return,
    ) -> Result<(), Stop> {
        let transaction = asked.transaction;
        let original = request.original.as_deref();
        let original = original.ok_or(Refusal::TransactionNotFound { transaction })?;
        let (Some(Command::Purchase(purchase)), Some(decided)) = (
            original.command(),
            request.facts.as_ref().and_then(Facts::of_return),
        ) else {
            return Err(Refusal::NotAPurchase {
                transaction,
                kind: original.kind(),
            }
            .into());
        };
        let before = returned_of(book, original);
        let after = before.with((&decided.part, decided.counts), &decided.moves);
        let moved = open(book, original)?;
        let mut parts = restored(&moved, purchase, &after);
        parts.extend(taken(&moved, original, &decided.earns));
        let Undone {
            facts: reversal,
            borne,
        } = self.undo(book, &request.refunds, &parts)?;
        if !reversal.parts.is_empty() {
            book.note_reversal(transaction, &reversal.parts);
        }
        book.note_returned(transaction, after);
        book.counters.apply(&request.counter_moves, &[]);
        let facts = ReturnFacts {
            reversal,
            points: by_currency(&parts),
            draws: without_what_is_borne(&decided.draws, borne),
            ..decided.clone()
        };
        self.facts = Some(match &request.facts {
            Some(Facts::BackfilledReturn(decided)) => {
                Facts::BackfilledReturn(BackfilledReturnFacts {
                    facts,
                    backfilled: decided.backfilled.clone(),
                })
            }
            _ => Facts::Return(facts),
        });
        let currencies = original.wallets.iter().map(|after| &after.currency);
        let currencies: BTreeSet<&CurrencyId> = currencies.collect();
        for currency in currencies {
            if let Some(wallet) = book.wallets.get_mut(currency) {
                self.touch(wallet, currency);
            }
        }
        Ok(())
    }
}

/// What has come back of a purchase that a transaction recorded.
fn returned_of(book: &MemberBook, original: &Transaction) -> Returned {
    let known = book.returned(original.position).cloned();
    known.unwrap_or_else(|| Returned::nothing(original.moves()))
}

/// Points of a lot that a purchase moved, and those of them that are not reversed yet.
struct Open {
    whole: Moved,
    left: Points,
}

/// What a purchase moved, with what of it is left, last moved first.
fn open(book: &MemberBook, original: &Transaction) -> Result<Vec<Open>, Refusal> {
    let open = open_of(original, book.reversal(original.position))?;
    match open
        .iter()
        .find(|open| book.wallet_of_lot(open.whole.lot).is_none())
    {
        Some(open) => Err(Refusal::LotNotFound {
            lot: open.whole.lot,
        }),
        None => Ok(open),
    }
}

/// The same, whether its lots are there or not.
fn open_of(original: &Transaction, reversal: Option<&Reversal>) -> Result<Vec<Open>, Refusal> {
    let known = reversal.map(Reversal::by_lot).unwrap_or_default();
    let moved = moved(original)?.into_iter().rev();
    let open = moved.map(|whole| {
        let mut left = whole.points;
        take(
            &mut left,
            known.get(&whole.lot).copied().unwrap_or_default(),
        );
        Open { whole, left }
    });
    Ok(open.collect())
}

/// The points to restore of those that a purchase was paid in: of each currency in proportion
/// to the money that has come back, all in all rounded down.
fn restored(open: &[Open], purchase: &Purchase, after: &Returned) -> Vec<Moved> {
    let mut missing: BTreeMap<&CurrencyId, i128> = BTreeMap::new();
    let spent = || open.iter().filter(|open| !open.whole.gave);
    for open in spent() {
        let whole = missing.entry(&open.whole.currency).or_default();
        *whole += i128::from(open.whole.points.get());
    }
    for whole in missing.values_mut() {
        if !after.is_all(purchase) {
            let amount = i128::from(purchase.amount.minor_units()).max(1);
            *whole = *whole * i128::from(after.minor_units()) / amount;
        }
    }
    for open in spent() {
        let restored = open.whole.points.get() - open.left.get();
        *missing.entry(&open.whole.currency).or_default() -= i128::from(restored);
    }
    of_those(spent(), &mut missing, |open| open.left)
}

/// The points that go from each lot of those that a purchase gave, when what is left of it
/// earns this: see [`crate::ReturnFacts::earns`].
#[must_use]
pub fn taken_back(
    original: &Transaction,
    reversal: Option<&Reversal>,
    earns: &[RuleResult],
) -> Vec<(LotId, Points)> {
    let Ok(open) = open_of(original, reversal) else {
        return Vec::new();
    };
    let taken = taken(&open, original, earns).into_iter();
    taken.map(|moved| (moved.lot, moved.points)).collect()
}

/// The points to take back of those that a purchase gave: of each currency what it has left
/// beyond what the rest earns, from the lots of the rules that give less.
fn taken(open: &[Open], original: &Transaction, rest: &[RuleResult]) -> Vec<Moved> {
    let given = || open.iter().filter(|open| open.whole.gave);
    let mut missing: BTreeMap<&CurrencyId, i128> = BTreeMap::new();
    for open in given() {
        let kept = missing.entry(&open.whole.currency).or_default();
        *kept += i128::from(open.left.get());
    }
    // What the rest earns, by the lot that has the rule's points.
    let mut earns: BTreeMap<LotId, i64> = BTreeMap::new();
    for earned in rest {
        if let Some(kept) = missing.get_mut(&earned.currency) {
            *kept -= i128::from(earned.points.get());
        }
        let of_rule = |rule: &Option<_>| rule.as_ref() == Some(&earned.rule);
        let mut transfers = original.transfers.iter();
        if let Some(gave) = transfers.find(|transfer| of_rule(&transfer.rule)) {
            *earns.entry(gave.lot).or_default() += earned.points.get();
        }
    }
    of_those(given(), &mut missing, |open| {
        let earns = earns.get(&open.whole.lot).copied().unwrap_or(0);
        let less = (open.left.get() - earns).max(0);
        Points::new(less).unwrap_or(open.left)
    })
}

/// What could not be taken back of a lot stays given for ever, so it does not come back to the
/// budgets that gave it either.
fn without_what_is_borne(draws: &[Draw], mut borne: BTreeMap<LotId, Points>) -> Vec<Draw> {
    let mut come_back = Vec::new();
    for draw in draws {
        let of_lot = draw.lot.and_then(|lot| borne.get_mut(&lot));
        let mut points = draw.points;
        if let Some(borne) = of_lot {
            let stays = Points::new(-points).unwrap_or_default().min(*borne);
            take(borne, stays);
            points += stays.get();
        }
        come_back.push(Draw {
            points,
            ..draw.clone()
        });
    }
    come_back.retain(|draw| draw.points < 0);
    come_back
}

/// What is taken back and restored, by currency.
fn by_currency(parts: &[Moved]) -> Vec<ReturnedPoints> {
    let mut by_currency: BTreeMap<&CurrencyId, (Points, Points)> = BTreeMap::new();
    for part in parts {
        let (taken, restored) = by_currency.entry(&part.currency).or_default();
        give(if part.gave { taken } else { restored }, part.points);
    }
    let points = by_currency.into_iter();
    let points = points.map(|(currency, (taken, restored))| ReturnedPoints {
        currency: currency.clone(),
        taken,
        restored,
    });
    points.collect()
}

/// As many points of each currency as are missing, from each lot no more than it may give.
fn of_those<'a>(
    open: impl Iterator<Item = &'a Open>,
    missing: &mut BTreeMap<&CurrencyId, i128>,
    at_most: impl Fn(&Open) -> Points,
) -> Vec<Moved> {
    let mut parts = Vec::new();
    for open in open {
        let Some(missing) = missing.get_mut(&open.whole.currency) else {
            continue;
        };
        let points = i128::from(at_most(open).get()).min(*missing).max(0);
        *missing -= points;
        let points = i64::try_from(points).ok().and_then(|p| Points::new(p).ok());
        if let Some(points) = points.filter(|points| !points.is_zero()) {
            parts.push(Moved {
                points,
                ..open.whole.clone()
            });
        }
    }
    parts
}
