//! Counters that count what was before they began: what the log has of a member comes to.

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};
use fealty_ledger::{
    Backfill, Backfilled, Cause, Command, Counters, Facts, Purchase, Returned, Transaction,
};
use fealty_program::ProgramVersion;
use fealty_rules::{BackfilledCounters, Move};
use fealty_types::{TierId, Timestamp};

use super::{
    event::{LedgerNumbers, LeftOf, activity_event, event},
    moves::{counter_move, slot_moves},
};

/// What a purchase or an activity was recorded by.
#[derive(Clone, Copy)]
pub(super) struct Record<'a> {
    pub(super) facts: &'a Facts,
    pub(super) purchased_at: Timestamp,
    pub(super) recorded_at: Timestamp,
}

impl<'a> Record<'a> {
    /// What the log has of what a transaction records; `None` for what records neither.
    pub(super) fn of(recorded: &'a Transaction) -> Option<Self> {
        let Cause::Request {
            facts: Some(facts),
            asked_at,
            ..
        } = &recorded.cause
        else {
            return None;
        };
        Some(Self {
            facts,
            purchased_at: facts.of_purchase()?.purchased_at,
            recorded_at: asked_at.unwrap_or(recorded.effective_at),
        })
    }

    /// The tier that counted, and when it was.
    pub(super) fn when(&self) -> (Option<&'a TierId>, Timestamp) {
        (self.facts.tier(), self.purchased_at)
    }
}

/// What counters of a version come to by what the log has of a member so far.
#[derive(Clone, Debug, Default, BorshSerialize, BorshDeserialize)]
pub(crate) struct FromLog {
    moves: BTreeMap<(u16, i32), i64>,
}

impl FromLog {
    /// Adds what the counters count of a transaction, if they do, less what has come back of it.
    pub(crate) fn add(
        &mut self,
        of: (&ProgramVersion, &BackfilledCounters),
        (recorded, returned): (&Transaction, Option<&Returned>),
    ) {
        self.shift(&counted(of, (recorded, returned)), 1);
    }

    /// Takes off again what was added of a transaction.
    pub(crate) fn take_off(
        &mut self,
        of: (&ProgramVersion, &BackfilledCounters),
        (recorded, returned): (&Transaction, Option<&Returned>),
    ) {
        self.shift(&counted(of, (recorded, returned)), -1);
    }

    fn shift(&mut self, moves: &[Move], times: i64) {
        for moved in moves {
            let sum = self.moves.entry((moved.slot, moved.bucket)).or_default();
            *sum = sum.saturating_add(moved.by * times);
        }
    }

    /// What is to move of the counters, so that they stand at this instead of at what a member's
    /// numbers have of them; `None` where that is the same.
    pub(crate) fn backfill(
        &self,
        (applied, counters): (&ProgramVersion, &BackfilledCounters),
        (known, now): (&Counters, Timestamp),
    ) -> Option<Backfill> {
        let rules = &applied.program.earning.rules;
        let numbers = LedgerNumbers {
            counters: Some(known),
            left: LeftOf::Nothing,
            wallets: None,
        };
        let mut moves = Vec::new();
        for (slot, key) in rules.slots_of(counters) {
            let of_slot = self.moves.range((slot, i32::MIN)..=(slot, i32::MAX));
            let mut by: BTreeMap<i32, i64> =
                of_slot.map(|((_, bucket), by)| (*bucket, *by)).collect();
            for (bucket, stands) in known.buckets(key).into_iter().flatten() {
                *by.entry(*bucket).or_default() -= stands;
            }
            // Nothing is counted that no window reaches any more.
            let before = rules.forgets(key, &numbers, now);
            by.retain(|bucket, by| *by != 0 && before.is_none_or(|before| *bucket >= before));
            moves.extend(by.into_iter().map(|(bucket, by)| Move { slot, bucket, by }));
        }
        if moves.is_empty() {
            return None;
        }
        let counter_moves = moves.iter().filter_map(|moved| counter_move(rules, moved));
        Some(Backfill {
            backfilled: Backfilled {
                program_version: u32::try_from(applied.version).unwrap_or(u32::MAX),
                moves: slot_moves(&moves),
            },
            counter_moves: counter_moves.collect(),
        })
    }
}

/// What was written of it, to be done again.
pub(crate) fn recorded_backfill(applied: &ProgramVersion, backfilled: &Backfilled) -> Backfill {
    let rules = &applied.program.earning.rules;
    let moves = backfilled.moves.iter().filter_map(|moved| {
        let (slot, bucket, by) = (moved.slot, moved.bucket, moved.by);
        counter_move(rules, &Move { slot, bucket, by })
    });
    Backfill {
        backfilled: backfilled.clone(),
        counter_moves: moves.collect(),
    }
}

/// Whether what stands in a log after a version began shows that the member's counters were worked
/// out, if they came to anything: before what moves or reads them they are.
pub(crate) fn is_backfilled_before(written: &Transaction, version: u32) -> bool {
    match &written.cause {
        Cause::Backfilled(backfilled) => backfilled.program_version == version,
        Cause::Request { command, .. } => matches!(
            command,
            Command::Purchase(_) | Command::Activity(_) | Command::Return(_)
        ),
        _ => false,
    }
}

/// What counters of a version count of a transaction, and still do once something has come back
/// of it: with each return that came in time for counters what is left may count less, and never
/// more, as where the counter was there when it came.
fn counted(
    of: (&ProgramVersion, &BackfilledCounters),
    (recorded, returned): (&Transaction, Option<&Returned>),
) -> Vec<Move> {
    let Some(record) = Record::of(recorded) else {
        return Vec::new();
    };
    match recorded.command() {
        Some(Command::Purchase(purchase)) => {
            let mut stand = counted_of_purchase(of, (purchase, purchase), record);
            for (stage, counts) in returned.into_iter().flat_map(Returned::stages) {
                if !counts || stand.is_empty() {
                    continue;
                }
                let left = if stage.is_all(purchase) {
                    Vec::new()
                } else {
                    counted_of_purchase(of, (purchase, &stage.rest(purchase)), record)
                };
                let back = Move::back(&stand, &left);
                stand = with_moves(stand, &back);
            }
            stand
        }
        Some(Command::Activity(activity)) => {
            let (applied, counters) = of;
            let program = &*applied.program;
            let rules = &program.earning.rules;
            let counts = rules.counts(record.purchased_at, record.recorded_at);
            let event = activity_event(program, &[], activity, record.when(), counts);
            event.map_or(Vec::new(), |event| rules.count(&event, counters))
        }
        _ => Vec::new(),
    }
}

/// Moves with others of the same slots; each slot has one bucket in what one event moves.
fn with_moves(mut moves: Vec<Move>, more: &[Move]) -> Vec<Move> {
    for more in more {
        let same = |moved: &&mut Move| (moved.slot, moved.bucket) == (more.slot, more.bucket);
        if let Some(moved) = moves.iter_mut().find(same) {
            moved.by = moved.by.saturating_add(more.by);
        }
    }
    moves.retain(|moved| moved.by != 0);
    moves
}

fn counted_of_purchase(
    (applied, counters): (&ProgramVersion, &BackfilledCounters),
    (whole, rest): (&Purchase, &Purchase),
    record: Record<'_>,
) -> Vec<Move> {
    let program = &*applied.program;
    let rules = &program.earning.rules;
    let counts = rules.counts(record.purchased_at, record.recorded_at);
    // What rules issue does not matter to counters.
    let event = event(program, &[], (rest, whole.amount), record.when(), counts);
    rules.count(&event, counters)
}

/// What goes back of the counters that began after a purchase was recorded by `then`, and count
/// it too, when more of it has come back than before.
pub(super) fn back(
    (then, now): (&ProgramVersion, &ProgramVersion),
    original: &Transaction,
    (before, after): (&Returned, &Returned),
) -> Vec<Move> {
    let rules = &now.program.earning.rules;
    let counters = rules.backfilled_since(Some(&then.program.earning.rules));
    if counters.is_empty() {
        return Vec::new();
    }
    let of = |returned| counted((now, &counters), (original, Some(returned)));
    Move::back(&of(before), &of(after))
}
