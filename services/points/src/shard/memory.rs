//! What a lane remembers of its shard: the wallets of members seen lately, as
//! the lane itself left them.
//!
//! They are as good as read for as long as the shard's head is where the lane
//! left it, chain and all, which every batch reads: the same chain is the same
//! log, and the same log is the same wallets. Where somebody else has written
//! since, another instance or a gift between members, the log says to whom: those
//! members are forgotten, and all others are still as they were. If the log does not
//! go on from where the lane left it, or by too much, all is forgotten.

use std::{
    collections::{HashMap, HashSet},
    num::NonZeroUsize,
};

use fealty_ledger::{Counters, Leases, Wallet};
use fealty_postgres::{DatabaseError, PgConnection};
use fealty_types::{CurrencyId, MemberId, ProgramId, ShardId};
use lru::LruCache;

use super::store::{head::Head, log};

/// Transactions of others that are looked through; reading members anew costs less
/// than reading more than these.
const CATCH_UP_MAX: i64 = 2_000;

/// A member with its number and all its wallets.
#[derive(Clone, Debug)]
pub(super) struct Remembered {
    pub(super) member_no: i64,
    pub(super) wallets: Vec<(CurrencyId, Wallet)>,
    /// The numbers that earning rules read and move.
    pub(super) counters: Counters,
    /// Up to which version they are known to be worked out by the log.
    pub(super) backfilled: u32,
}

/// What is no longer remembered, for somebody else wrote to it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Forgotten {
    /// These members, by number.
    Members(HashSet<i64>),
    /// Everybody.
    All,
}

impl Forgotten {
    /// Whether a member is among them.
    pub(super) fn has(&self, member_no: Option<i64>) -> bool {
        match self {
            Self::Members(numbers) => member_no.is_some_and(|number| numbers.contains(&number)),
            Self::All => true,
        }
    }
}

/// A lane's memory.
#[derive(Debug)]
pub(crate) struct Memory {
    /// Where the lane left the head, or has caught up to.
    head: Option<Head>,
    /// None if nothing is to be remembered.
    members: Option<LruCache<(ProgramId, MemberId), Remembered>>,
    /// Who has which number.
    by_number: HashMap<i64, (ProgramId, MemberId)>,
    /// What the shard has of budgets, if that was read.
    leases: Option<Leases>,
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
            by_number: HashMap::new(),
            leases: None,
        }
    }

    /// What the shard has of budgets, if the head is still where it was.
    pub(super) fn leases(&self) -> Option<&Leases> {
        self.leases.as_ref()
    }

    /// What is known of a member, if the head is still where it was.
    pub(super) fn recall(&mut self, program: &ProgramId, member: &MemberId) -> Option<&Remembered> {
        let key = (program.clone(), member.clone());
        self.members.as_mut()?.get(&key)
    }

    /// Makes what is remembered true at a head that was just read, and answers with
    /// what had to be forgotten for that. To be called whenever the head was read,
    /// also when nothing was recalled: what is remembered next is of that head.
    pub(super) async fn catch_up(
        &mut self,
        connection: &mut PgConnection,
        shard: ShardId,
        head: &Head,
    ) -> Result<Forgotten, DatabaseError> {
        let Some(left) = &self.head else {
            return Ok(self.forget(head, None));
        };
        if left == head {
            return Ok(Forgotten::Members(HashSet::new()));
        }
        let moved = head.position.get() - left.position.get();
        if !(0..=CATCH_UP_MAX).contains(&moved) {
            return Ok(self.forget(head, None));
        }
        let since = log::members_since(connection, shard, left.position, head.position).await?;
        // At the beginning of a log there is no chain to compare.
        let went_on = left.position.get() == 0 || since.chain == Some(left.chain);
        Ok(self.forget(head, went_on.then_some(since.members)))
    }

    /// Forgets some members, or everybody, and remembers the head.
    fn forget(&mut self, head: &Head, members: Option<HashSet<i64>>) -> Forgotten {
        self.head = Some(head.clone());
        self.leases = None;
        let Some(remembered) = &mut self.members else {
            return Forgotten::All;
        };
        let Some(numbers) = members else {
            remembered.clear();
            self.by_number.clear();
            return Forgotten::All;
        };
        for number in &numbers {
            if let Some(key) = self.by_number.remove(number) {
                remembered.pop(&key);
            }
        }
        Forgotten::Members(numbers)
    }

    /// Remembers members as they are at a head, which the lane has just moved
    /// there or read. Should the transaction not be committed after all, no
    /// head is ever found there, nor does the log go on from it.
    pub(super) fn remember(
        &mut self,
        head: Head,
        leases: Option<Leases>,
        seen: impl Iterator<Item = (ProgramId, MemberId, Remembered)>,
    ) {
        let Some(members) = &mut self.members else {
            return;
        };
        self.head = Some(head);
        if let Some(mut leases) = leases {
            leases.settle();
            self.leases = Some(leases);
        }
        for (program, member, remembered) in seen {
            let key = (program, member);
            self.by_number.insert(remembered.member_no, key.clone());
            let pushed_out = members.push(key, remembered);
            if let Some((key, out)) = pushed_out
                && self.by_number.get(&out.member_no) == Some(&key)
                && !members.contains(&key)
            {
                self.by_number.remove(&out.member_no);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use fealty_types::{Position, Timestamp};

    use super::*;

    fn head(position: i64, chain: u8) -> Head {
        Head {
            position: Position::new(position),
            chain: [chain; 32],
            members: 1,
            fence: 0,
            written_at: Timestamp::EPOCH,
        }
    }

    fn seen(number: i64) -> (ProgramId, MemberId, Remembered) {
        let remembered = Remembered {
            member_no: number,
            wallets: Vec::new(),
            counters: Counters::default(),
            backfilled: 0,
        };
        let member = format!("member-{number}").parse().expect("an id");
        ("club".parse().expect("an id"), member, remembered)
    }

    fn knows(memory: &mut Memory, number: i64) -> bool {
        let (program, member, _) = seen(number);
        memory.recall(&program, &member).is_some()
    }

    fn of(numbers: impl IntoIterator<Item = i64>) -> Memory {
        let mut memory = Memory::new(2);
        for number in numbers {
            memory.remember(head(number, 7), None, [seen(number)].into_iter());
        }
        memory
    }

    #[test]
    fn the_members_seen_last_are_remembered() {
        let mut memory = of([1, 2, 3]);
        assert!(!knows(&mut memory, 1));
        assert!(knows(&mut memory, 2) && knows(&mut memory, 3));
        assert_eq!(
            memory.by_number.len(),
            2,
            "no trace of whom it has forgotten"
        );
    }

    #[test]
    fn whom_somebody_else_wrote_to_is_forgotten_and_nobody_else() {
        let mut memory = of([1, 2]);
        let forgotten = memory.forget(&head(5, 9), Some(HashSet::from([2, 4])));
        assert!(forgotten.has(Some(2)) && !forgotten.has(Some(1)) && !forgotten.has(None));
        assert!(knows(&mut memory, 1) && !knows(&mut memory, 2));
        assert_eq!(memory.head, Some(head(5, 9)));
    }

    #[test]
    fn in_another_log_nobody_is_remembered() {
        let mut memory = of([1, 2]);
        assert_eq!(memory.forget(&head(2, 8), None), Forgotten::All);
        assert!(!knows(&mut memory, 1) && !knows(&mut memory, 2));
        assert!(memory.by_number.is_empty());
    }

    #[test]
    fn a_memory_of_nobody_remembers_nothing() {
        let mut memory = Memory::new(0);
        memory.remember(head(1, 1), None, [seen(1)].into_iter());
        assert!(!knows(&mut memory, 1));
    }
}
