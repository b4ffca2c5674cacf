//! What a lane remembers of its shard: the wallets of members seen lately, as
//! the lane itself left them.
//!
//! They are as good as read for as long as the shard's head is where the lane
//! left it, chain and all, which every batch reads: the same chain is the same
//! log, and the same log is the same wallets. Once somebody else has written
//! to the shard all is forgotten, and nothing remembered for a while, so
//! that instances that share a shard do not read in vain.

use std::num::NonZeroUsize;

use fealty_ledger::Wallet;
use fealty_types::{CurrencyId, MemberId, ProgramId};
use lru::LruCache;

use super::store::head::Head;

/// Batches for which nothing is remembered after somebody else wrote.
const REST_BATCHES: u32 = 16;

/// A member with its number and all its wallets.
#[derive(Clone, Debug)]
pub(super) struct Remembered {
    pub(super) member_no: i64,
    pub(super) wallets: Vec<(CurrencyId, Wallet)>,
}

/// A lane's memory.
#[derive(Debug)]
pub(crate) struct Memory {
    /// Where the lane left the head.
    head: Option<Head>,
    /// None if nothing is to be remembered.
    members: Option<LruCache<(ProgramId, MemberId), Remembered>>,
    rest: u32,
}

impl Memory {
    /// An empty memory for so many members.
    pub(crate) fn new(members_max: usize) -> Self {
        Self {
            head: None,
            // It grows as it is filled.
            members: NonZeroUsize::new(members_max).map(|max| {
                let mut members = LruCache::unbounded();
                members.resize(max);
                members
            }),
            rest: 0,
        }
    }

    /// What is known of a member, if the head is still where it was.
    pub(super) fn recall(&mut self, program: &ProgramId, member: &MemberId) -> Option<&Remembered> {
        let key = (program.clone(), member.clone());
        self.members.as_mut()?.get(&key)
    }

    /// Whether the shard, whose head was read, is as the lane left it; if it is
    /// not, all is forgotten. To be asked whenever the head was read, also when
    /// nothing was recalled: what is remembered next is remembered of that head.
    pub(super) fn holds_at(&mut self, head: &Head) -> bool {
        if self.head.as_ref() == Some(head) {
            return true;
        }
        if self.head.take().is_some() {
            self.rest = REST_BATCHES;
        }
        if let Some(members) = &mut self.members {
            members.clear();
        }
        false
    }

    /// Remembers members as they are at a head, which the lane has just moved
    /// there or read. Should the transaction not be committed after all, no
    /// head is ever found there.
    pub(super) fn remember(
        &mut self,
        head: Head,
        seen: impl Iterator<Item = (ProgramId, MemberId, Remembered)>,
    ) {
        if self.rest > 0 {
            self.rest -= 1;
            return;
        }
        let Some(members) = &mut self.members else {
            return;
        };
        self.head = Some(head);
        for (program, member, remembered) in seen {
            members.put((program, member), remembered);
        }
    }
}

#[cfg(test)]
mod tests {
    use fealty_types::Position;

    use super::*;

    fn head(position: i64, chain: u8) -> Head {
        Head {
            position: Position::new(position),
            chain: [chain; 32],
            members: 1,
            fence: 0,
        }
    }

    fn seen(member: &str) -> (ProgramId, MemberId, Remembered) {
        let remembered = Remembered {
            member_no: 1,
            wallets: Vec::new(),
        };
        let program = "club".parse().expect("an id");
        (program, member.parse().expect("an id"), remembered)
    }

    fn knows(memory: &mut Memory, member: &str) -> bool {
        let (program, member, _) = seen(member);
        memory.recall(&program, &member).is_some()
    }

    #[test]
    fn the_members_seen_last_are_remembered() {
        let mut memory = Memory::new(2);
        for (position, member) in ["anna", "ben", "cleo"].into_iter().enumerate() {
            let position = i64::try_from(position).expect("a small number");
            memory.remember(head(position, 7), [seen(member)].into_iter());
        }
        assert!(!knows(&mut memory, "anna"));
        assert!(knows(&mut memory, "ben") && knows(&mut memory, "cleo"));
        assert!(memory.holds_at(&head(2, 7)) && knows(&mut memory, "cleo"));
        // The same place in another log is another place.
        assert!(!memory.holds_at(&head(2, 8)) && !knows(&mut memory, "cleo"));
    }

    #[test]
    fn after_somebody_else_wrote_it_rests() {
        let mut memory = Memory::new(2);
        memory.remember(head(1, 1), [seen("anna")].into_iter());
        // A batch without her finds the head elsewhere.
        assert!(!memory.holds_at(&head(2, 2)));
        for _ in 0..REST_BATCHES {
            memory.remember(head(3, 3), [seen("ben")].into_iter());
            assert!(!knows(&mut memory, "anna") && !knows(&mut memory, "ben"));
            assert!(!memory.holds_at(&head(3, 3)));
        }
        memory.remember(head(4, 4), [seen("ben")].into_iter());
        assert!(knows(&mut memory, "ben") && !knows(&mut memory, "anna"));
        assert!(memory.holds_at(&head(4, 4)));
    }

    #[test]
    fn a_memory_of_nobody_remembers_nothing() {
        let mut memory = Memory::new(0);
        memory.remember(head(1, 1), [seen("anna")].into_iter());
        assert!(!knows(&mut memory, "anna"));
    }
}
