//! Counters that are worked out from a member's log, as the programme has done it.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::{CounterMove, SlotMove};

/// A version of the programme began that counts something which was not counted before, and what
/// the member did until then is counted too.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Backfilled {
    /// The version that began.
    pub program_version: u32,
    /// What moved: slots as that version has them.
    pub moves: Vec<SlotMove>,
}

/// The same, with what the engine is to do.
#[derive(Clone, Debug)]
pub struct Backfill {
    /// What is written of it.
    pub backfilled: Backfilled,
    /// Numbers of the member that move with it.
    pub counter_moves: Vec<CounterMove>,
}
