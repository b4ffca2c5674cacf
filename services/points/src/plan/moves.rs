//! What moves of a member's numbers, and of budgets, as the log and the engine have it.

use fealty_ledger::{CounterMove, Draw, SlotMove};
use fealty_rules::{Move, Rules};

/// What the log has of a move.
pub(super) fn slot_move(moved: &Move) -> SlotMove {
    SlotMove {
        slot: moved.slot,
        bucket: moved.bucket,
        by: moved.by,
    }
}

/// What the log has of moves.
pub(super) fn slot_moves(moves: &[Move]) -> Vec<SlotMove> {
    moves.iter().map(slot_move).collect()
}

/// What budgets give.
pub(super) fn draws(rules: &Rules, moves: &[Move]) -> Vec<Draw> {
    let draws = moves.iter().filter_map(|moved| {
        Some(Draw {
            budget: rules.budget_of(moved.slot)?.id.clone(),
            lot: None,
            points: moved.by,
        })
    });
    draws.collect()
}

/// A number of the member that moves, by what it is known by; budgets are none of the
/// member's.
pub(super) fn counter_move(rules: &Rules, moved: &Move) -> Option<CounterMove> {
    if rules.budget_of(moved.slot).is_some() {
        return None;
    }
    Some(CounterMove {
        key: rules.key_of(moved.slot)?,
        bucket: moved.bucket,
        by: moved.by,
    })
}
