//! Who had which tier.

use std::collections::HashMap;

use fealty_program::ProgramVersion;
use fealty_types::{MemberId, TierId, Timestamp};

/// Who works out members' tiers from what they spent.
pub trait Judge: Send {
    /// Hears what a member spent at a moment, or, below zero, what came back of that, and when
    /// it became known.
    fn spent(&mut self, member: &MemberId, spent: (Timestamp, i64), now: Timestamp);

    /// Has another version count from a moment on: members keep what they have until they are
    /// judged by it.
    fn now_under(&mut self, version: &ProgramVersion, at: Timestamp);

    /// The member's changes of tier up to a moment, in order; nothing for one who never left
    /// the lowest.
    fn changes(&mut self, member: &MemberId, until: Timestamp) -> Vec<(Timestamp, TierId)>;
}

/// Who had which tier.
pub(super) enum Tiers {
    /// As it was told.
    Told(HashMap<MemberId, Vec<(Timestamp, TierId)>>),
    /// As it is worked out.
    Judged(Box<dyn Judge>),
}

impl Tiers {
    /// Whether tiers are those that were told.
    pub(super) fn are_told(&self) -> bool {
        matches!(self, Self::Told(_))
    }

    /// The tier that a member had at a moment; nothing for the lowest.
    pub(super) fn at(&mut self, member: &MemberId, moment: Timestamp) -> Option<TierId> {
        match self {
            Self::Told(told) => {
                let changes = told.get(member)?;
                let after = changes.partition_point(|(since, _)| *since <= moment);
                Some(changes[after.checked_sub(1)?].1.clone())
            }
            Self::Judged(judge) => {
                let changes = judge.changes(member, moment);
                let mut changes = changes.into_iter().rev();
                let held = changes.find(|(since, _)| *since <= moment);
                held.map(|(_, tier)| tier)
            }
        }
    }

    /// The member's changes of tier up to a moment, in order.
    pub(super) fn changes(
        &mut self,
        member: &MemberId,
        until: Timestamp,
    ) -> Vec<(Timestamp, TierId)> {
        match self {
            Self::Told(told) => {
                let changes = told.get(member).map_or(&[][..], Vec::as_slice);
                let changes = changes.iter().filter(|(since, _)| *since <= until);
                changes.cloned().collect()
            }
            Self::Judged(judge) => judge.changes(member, until),
        }
    }

    /// Has another version count from a moment on, where tiers are worked out.
    pub(super) fn now_under(&mut self, version: &ProgramVersion, at: Timestamp) {
        if let Self::Judged(judge) = self {
            judge.now_under(version, at);
        }
    }

    /// Hears what a member spent, where tiers are worked out.
    pub(super) fn spent(&mut self, member: &MemberId, spent: (Timestamp, i64), now: Timestamp) {
        if let Self::Judged(judge) = self {
            judge.spent(member, spent, now);
        }
    }
}
