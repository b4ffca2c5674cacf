//! The end of a period: what rules give for it now beyond what they gave before.

use std::collections::{BTreeMap, BTreeSet};

use fealty_types::{CurrencyId, LotId, Points, Position, Timestamp};

use super::{
    Draft, covering,
    grant::lots_of,
    take,
    undo::{Moved, moved_by},
};
use crate::{
    Account, Cause, Ended, HoldLot, Log, MemberBook, Moment, PeriodEnd, Refusal, Reversal, Stop,
    advance::{Expiries, advance_until},
};

/// Does what is due in a wallet before a period ends. At that very instant what becomes
/// available comes before the end, and what expires after it.
pub fn advance_to_end(
    book: &mut MemberBook,
    currency: &CurrencyId,
    (ends_at, tiers_known): (Timestamp, Timestamp),
    log: &mut Log,
) -> Result<(), Stop> {
    let moment = Moment {
        now: ends_at,
        tiers_known,
    };
    advance_until(book, currency, moment, Expiries::Wait, log)
}

/// When the end of a period takes effect that is written at a moment: no wallet goes back in
/// time.
#[must_use]
pub fn end_takes_effect<'a>(
    book: &MemberBook,
    currencies: impl Iterator<Item = &'a CurrencyId>,
    at: Timestamp,
) -> Timestamp {
    let wallets = currencies.filter_map(|currency| book.wallets.get(currency));
    let last = wallets.filter_map(|wallet| wallet.wallet.last_at);
    last.fold(at, Timestamp::max)
}

/// Writes what the end of a period comes to, at `at`, in wallets in which nothing is due
/// before it.
pub fn apply_end(
    book: &mut MemberBook,
    end: &PeriodEnd,
    at: Timestamp,
    log: &mut Log,
) -> Result<(), Stop> {
    let mut draft = Draft::new(at, log);
    draft.lots = lots_of(book, &end.grants, log)?;
    // First all is planned: where lots are to be read, or something is refused, nothing has
    // changed.
    let mut touched: BTreeSet<CurrencyId> = BTreeSet::new();
    let mut converted = Vec::with_capacity(end.ended.converted.len());
    for of in &end.ended.converted {
        let wallet = covering(book, &of.currency, of.points)?;
        let spent = wallet.plan_spend(&of.currency, of.points, &BTreeMap::new())?;
        converted.push((of, spent));
    }
    let (parts, of) = parts(book, end)?;
    let taken_back = draft.undo(book, &end.refunds, &parts)?.facts;
    for (position, parts) in of {
        book.note_reversal(position, &parts);
    }
    touched.extend(parts.into_iter().map(|part| part.currency));
    for (converted, spent) in converted {
        let currency = &converted.currency;
        let Some(wallet) = book.wallets.get_mut(currency) else {
            continue;
        };
        let to = Account::Redeemed(converted.brand.clone());
        let first = draft.transfers.len();
        for part in spent {
            draft.take_available(wallet, currency, part, &to);
        }
        for transfer in &mut draft.transfers[first..] {
            transfer.rule = Some(converted.rule.clone());
        }
        touched.insert(currency.clone());
    }
    touched.extend(draft.give(book, (&end.grants, &end.activity), Account::Issued));
    for currency in &touched {
        if let Some(wallet) = book.wallets.get_mut(currency) {
            draft.touch(wallet, currency);
        }
    }
    book.counters.apply(&end.counter_moves, &end.forgotten);
    let cause = Cause::Ended(Ended {
        taken_back,
        ..end.ended.clone()
    });
    draft.append(book, cause, None, log);
    Ok(())
}

/// Parts of lots that an end has back, and of which of the ends before they are.
type Parts = (Vec<Moved>, Vec<(Position, Vec<HoldLot>)>);

/// The points to take back, of the newest lots that the rules made for this end first.
fn parts(book: &MemberBook, end: &PeriodEnd) -> Result<Parts, Refusal> {
    let (mut parts, mut of) = (Vec::new(), Vec::new());
    let mut missing: Vec<Points> = end.takes.iter().map(|take| take.points).collect();
    for before in &end.before {
        let known = book.reversal(before.position).map(Reversal::by_lot);
        let mut known: BTreeMap<LotId, Points> = known.unwrap_or_default();
        let mut taken = Vec::new();
        for whole in moved_by(before, true).into_iter().rev() {
            if book.wallet_of_lot(whole.lot).is_none() {
                return Err(Refusal::LotNotFound { lot: whole.lot });
            }
            let mut left = whole.points;
            take(&mut left, known.remove(&whole.lot).unwrap_or_default());
            for (asked, missing) in end.takes.iter().zip(&mut missing) {
                let mut transfers = before.transfers.iter();
                let is_of_rule = transfers.any(|transfer| {
                    transfer.lot == whole.lot && transfer.rule.as_ref() == Some(&asked.rule)
                });
                let points = left.min(*missing);
                if !is_of_rule || asked.currency != whole.currency || points.is_zero() {
                    continue;
                }
                take(missing, points);
                take(&mut left, points);
                taken.push(HoldLot {
                    lot: whole.lot,
                    points,
                });
                parts.push(Moved {
                    points,
                    ..whole.clone()
                });
            }
        }
        if !taken.is_empty() {
            of.push((before.position, taken));
        }
    }
    Ok((parts, of))
}

impl PeriodEnd {
    /// The lots that it may take points back of, to be read before it is written.
    #[must_use]
    pub fn named_lots(&self) -> Vec<LotId> {
        let transfers = self.before.iter().flat_map(|before| &before.transfers);
        let mut lots: Vec<LotId> = transfers.map(|transfer| transfer.lot).collect();
        lots.sort_unstable();
        lots.dedup();
        lots
    }
}
