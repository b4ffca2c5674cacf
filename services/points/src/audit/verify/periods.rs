//! What a shard's log says of the ends of periods.

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};
use fealty_ledger::EndOf;
use fealty_types::{MemberId, Position, ProgramId, Timestamp};

/// The end of a period.
pub(super) type EndName = (EndOf, Timestamp);

/// What a shard's log says of the ends of periods.
#[derive(Debug, Default, BorshSerialize, BorshDeserialize)]
pub(super) struct Periods {
    /// The versions that began, in their order: which, where, and when.
    pub(super) begun: BTreeMap<ProgramId, Vec<(u32, Position, Timestamp)>>,
    /// Up to when the ends of all are written.
    pub(super) through: BTreeMap<ProgramId, Timestamp>,
    /// Where what ends came to stands, by member.
    pub(super) written: BTreeMap<(ProgramId, MemberId), BTreeMap<EndName, Vec<Position>>>,
    /// Ends that come to something else since something came late: the member's next
    /// transactions must be those.
    pub(super) owed: BTreeMap<(ProgramId, MemberId), Vec<EndName>>,
}
