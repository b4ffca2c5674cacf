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

/// What counters of a version count of a transaction, less what has come back of it.
fn counted(
    (applied, counters): (&ProgramVersion, &BackfilledCounters),
    (recorded, returned): (&Transaction, Option<&Returned>),
) -> Vec<Move> {
    let Some(record) = Record::of(recorded) else {
        return Vec::new();
    };
    match (recorded.command(), returned) {
        (Some(Command::Purchase(purchase)), Some(returned)) if returned.is_all(purchase) => {
            Vec::new()
        }
        (Some(Command::Purchase(purchase)), returned) => {
            let rest = returned.map(|returned| returned.rest(purchase));
            let rest = (purchase, rest.as_ref().unwrap_or(purchase));
            counted_of_purchase((applied, counters), rest, record)
        }
        (Some(Command::Activity(activity)), _) => {
            let program = &*applied.program;
            let rules = &program.earning.rules;
            let counts = rules.counts(record.purchased_at, record.recorded_at);
            let event = activity_event(program, &[], activity, record.when(), counts);
            event.map_or(Vec::new(), |event| rules.count(&event, counters))
        }
        _ => Vec::new(),
    }
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
    let counters = rules.backfilled_since(&then.program.earning.rules);
    if counters.is_empty() {
        return Vec::new();
    }
    let of = |returned| counted((now, &counters), (original, Some(returned)));
    let mut moves: BTreeMap<(u16, i32), i64> = BTreeMap::new();
    for moved in of(after) {
        *moves.entry((moved.slot, moved.bucket)).or_default() += moved.by;
    }
    for moved in of(before) {
        *moves.entry((moved.slot, moved.bucket)).or_default() -= moved.by;
    }
    let moves = moves.into_iter().filter(|(_, by)| *by < 0);
    moves
        .map(|((slot, bucket), by)| Move { slot, bucket, by })
        .collect()
}
