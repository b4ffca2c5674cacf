//! Shards, positions in their logs, and the names made of them.

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use sha2::{Digest as _, Sha256};

use crate::{MemberId, ProgramId};

/// Number of a shard: 0 to 255.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct ShardId(u8);

impl ShardId {
    /// The shard of that number.
    #[must_use]
    pub const fn new(number: u8) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The shard in which a member lives for ever, of `shards` there are.
///
/// # Panics
/// If `shards` is 0 or above 256.
#[must_use]
pub fn shard_of(program: &ProgramId, member: &MemberId, shards: u16) -> ShardId {
    assert!(
        (1..=256).contains(&shards),
        "an installation has 1 to 256 shards"
    );
    let mut hash = Sha256::new();
    hash.update(program.as_str());
    hash.update([0]);
    hash.update(member.as_str());
    let digest = hash.finalize();
    let number = u64::from_be_bytes([
        digest[0], digest[1], digest[2], digest[3], digest[4], digest[5], digest[6], digest[7],
    ]);
    ShardId(u8::try_from(number % u64::from(shards)).expect("a remainder below 256"))
}

/// A place in a shard's log: from 1, without gaps.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct Position(i64);

impl Position {
    /// The first place.
    pub const FIRST: Self = Self(1);

    /// The place of that number.
    #[must_use]
    pub const fn new(number: i64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The next place.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A lot of a shard, numbered after the transaction that made it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct LotId(i64);

impl LotId {
    /// Lots that one transaction can make. 16 bits of 63: positions reach to
    /// 2^47, which 100,000 transactions a second fill in 44 years.
    pub const PER_TRANSACTION_MAX: usize = 1 << 16;

    /// The `number`th lot, from 0, of the transaction at `position`.
    #[must_use]
    pub const fn new(position: Position, number: u16) -> Self {
        Self((position.0 << 16) | number as i64)
    }

    /// The lot of a stored number.
    #[must_use]
    pub const fn from_stored(stored: i64) -> Self {
        Self(stored)
    }

    /// The number to store.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// Position of the transaction that made the lot.
    #[must_use]
    pub const fn position(self) -> Position {
        Position(self.0 >> 16)
    }

    /// Which of its transaction's lots it is, from 0.
    #[must_use]
    pub const fn number(self) -> i64 {
        self.0 & 0xffff
    }
}

/// Where a transaction stands. Callers are given [`crate::Ids`] of it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, PartialOrd, Ord,
)]
pub struct TransactionPlace {
    /// The shard whose log holds it.
    pub shard: ShardId,
    /// Its place there.
    pub position: Position,
}

impl fmt::Display for TransactionPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.shard, self.position)
    }
}

/// Where a lot was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LotPlace {
    /// The shard.
    pub shard: ShardId,
    /// The lot.
    pub lot: LotId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_stays_in_its_shard() {
        let program = "record-club".parse().expect("valid");
        let shard = |member: &str| shard_of(&program, &member.parse().expect("valid"), 8).get();
        // Written down: another answer would lose every member's wallet.
        assert_eq!(
            ["00001", "00002", "00003", "00004"].map(shard),
            [4, 5, 0, 0]
        );
    }
}
