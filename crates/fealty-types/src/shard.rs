//! Shards, positions in their logs, and the names made of them.

use std::{fmt, str::FromStr};

use borsh::{BorshDeserialize, BorshSerialize};
use sha2::{Digest as _, Sha256};

use crate::{InvalidValue, MemberId, ProgramId};

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

/// The public name of a transaction, and of the hold it may have made:
/// `{shard}-{position}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct TransactionName {
    /// The shard whose log holds it.
    pub shard: ShardId,
    /// Its place there.
    pub position: Position,
}

impl fmt::Display for TransactionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.shard, self.position)
    }
}

impl FromStr for TransactionName {
    type Err = InvalidValue;

    fn from_str(name: &str) -> Result<Self, InvalidValue> {
        const INVALID: InvalidValue =
            InvalidValue::new("must be a name as the service gave it: {shard}-{position}");
        let (shard, position) = name.split_once('-').ok_or(INVALID)?;
        let parsed = Self {
            shard: ShardId(shard.parse().map_err(|_| INVALID)?),
            position: Position(position.parse().map_err(|_| INVALID)?),
        };
        // One spelling each: no sign, no leading zeros, no position before the first.
        if parsed.to_string() != name || parsed.position < Position::FIRST {
            return Err(INVALID);
        }
        Ok(parsed)
    }
}

/// The public name of a lot: `{shard}-{position}-{number}`, after the
/// transaction that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LotName {
    /// The shard.
    pub shard: ShardId,
    /// The lot.
    pub lot: LotId,
}

impl fmt::Display for LotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (position, number) = (self.lot.position(), self.lot.number());
        write!(f, "{}-{position}-{number}", self.shard)
    }
}

impl FromStr for LotName {
    type Err = InvalidValue;

    fn from_str(name: &str) -> Result<Self, InvalidValue> {
        const INVALID: InvalidValue =
            InvalidValue::new("must be a name as the service gave it: {shard}-{position}-{number}");
        let (transaction, number) = name.rsplit_once('-').ok_or(INVALID)?;
        let transaction: TransactionName = transaction.parse().map_err(|_| INVALID)?;
        let number: u16 = number.parse().map_err(|_| INVALID)?;
        if transaction.position.0 >= 1 << 47 {
            return Err(INVALID);
        }
        let parsed = Self {
            shard: transaction.shard,
            lot: LotId::new(transaction.position, number),
        };
        // One spelling each.
        if parsed.to_string() != name {
            return Err(INVALID);
        }
        Ok(parsed)
    }
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

    #[test]
    fn names_have_one_spelling() {
        let name: TransactionName = "3-1042".parse().expect("valid");
        assert_eq!(name.to_string(), "3-1042");
        for bad in ["", "3", "3-", "-1", "3-0", "03-1", "3-+1", "256-1", "3-1-0"] {
            assert!(bad.parse::<TransactionName>().is_err(), "{bad:?}");
        }
    }
}
