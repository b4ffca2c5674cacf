//! Counters that are worked out from a member's log.

use fealty_types::Timestamp;

use super::Draft;
use crate::{Backfill, Cause, Log, MemberBook, Stop};

/// Writes what a member's counters come to by what the log has of the member, at `at`. No points
/// move.
pub fn apply_backfill(
    book: &mut MemberBook,
    backfill: &Backfill,
    at: Timestamp,
    log: &mut Log,
) -> Result<(), Stop> {
    let draft = Draft::new(at, log);
    book.counters.apply(&backfill.counter_moves, &[]);
    let cause = Cause::Backfilled(backfill.backfilled.clone());
    draft.append(book, cause, None, log);
    Ok(())
}
