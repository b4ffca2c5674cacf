//! What a shard's log consists of: transactions, and notices that belong to no
//! member.

use borsh::{BorshDeserialize, BorshSerialize};
use fealty_types::{BudgetId, Position, ProgramId, ShardId, Timestamp, TransactionPlace};

use crate::Transaction;

/// One entry of a shard's log. Immutable. Variants are only ever added at the end:
/// their order is part of the canonical bytes.
#[expect(clippy::large_enum_variant, reason = "nearly all are transactions")]
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Entry {
    /// Movements in a member's wallets.
    Transaction(Transaction),
    /// Something that holds for all that follows.
    Notice(Notice),
}

/// An entry that belongs to no member: something that holds for all that follows in
/// its shard. The order of the fields is the order of the canonical bytes.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Notice {
    /// The number of the engine that made it; see [`crate::Engine`].
    pub engine: u16,
    /// The shard.
    pub shard: ShardId,
    /// Its place in the shard's log.
    pub position: Position,
    /// The programme.
    pub program: ProgramId,
    /// When it was written. Within a shard it never goes back.
    pub written_at: Timestamp,
    /// Random; see [`Transaction::nonce`].
    pub nonce: [u8; 16],
    /// What it says.
    pub says: Said,
}

/// What a notice says. Variants are only ever added at the end.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Said {
    /// A version of the programme begins: requests that follow are planned by it, and by
    /// no other, until the next one begins.
    VersionBegins {
        /// The version.
        version: u32,
        /// SHA-256 of the programme's text, so that nobody can put another in its place.
        digest: [u8; 32],
    },
    /// At a budget's home: points go from its pool into a shard's lease, or come back.
    LeaseMoved(LeaseMoved),
    /// In the shard whose lease it is, unless that is the home: the other side of that.
    LeaseReceived(LeaseReceived),
    /// At a budget's home, once for a size of it: so much of it is used that it is told.
    BudgetWarned {
        /// The budget.
        budget: BudgetId,
        /// Points that are used.
        used: i64,
        /// The size of the budget.
        limit: i64,
    },
    /// The ends of all periods up to a moment are written, for all members of the programme in
    /// the shard.
    EndsWritten {
        /// That moment.
        through: Timestamp,
    },
    /// The counters that began with a version, and count what was before it, are worked out for
    /// all members of the programme in the shard.
    CountersBackfilled {
        /// The version.
        version: u32,
    },
}

/// Points that go from a budget's pool into a shard's lease.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LeaseMoved {
    /// The budget.
    pub budget: BudgetId,
    /// Whose lease it is.
    pub shard: ShardId,
    /// How many; below zero, they come back.
    pub points: i64,
    /// The size of the budget.
    pub limit: i64,
    /// The version of the programme that says so.
    pub version: u32,
    /// Whether purchases that the version plans may draw on the lease.
    pub confirms: bool,
}

/// Points that a shard's lease received, or gave back.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LeaseReceived {
    /// The budget.
    pub budget: BudgetId,
    /// How many; below zero, they went back.
    pub points: i64,
    /// The version whose purchases may draw on the lease; 0 for none.
    pub version: u32,
    /// Where the home's side stands.
    pub home: TransactionPlace,
}

impl Notice {
    /// The kind, as shown and counted.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.says {
            Said::VersionBegins { .. } => "program_version",
            Said::LeaseMoved(_) | Said::LeaseReceived(_) => "budget_lease",
            Said::BudgetWarned { .. } => "budget_warning",
            Said::EndsWritten { .. } => "periods_ended",
            Said::CountersBackfilled { .. } => "all_counters_backfilled",
        }
    }
}

impl Entry {
    /// The shard.
    #[must_use]
    pub fn shard(&self) -> ShardId {
        match self {
            Self::Transaction(transaction) => transaction.shard,
            Self::Notice(notice) => notice.shard,
        }
    }

    /// Its place in the shard's log.
    #[must_use]
    pub fn position(&self) -> Position {
        match self {
            Self::Transaction(transaction) => transaction.position,
            Self::Notice(notice) => notice.position,
        }
    }

    /// The programme.
    #[must_use]
    pub fn program(&self) -> &ProgramId {
        match self {
            Self::Transaction(transaction) => &transaction.program,
            Self::Notice(notice) => &notice.program,
        }
    }

    /// When it was written.
    #[must_use]
    pub fn written_at(&self) -> Timestamp {
        match self {
            Self::Transaction(transaction) => transaction.written_at,
            Self::Notice(notice) => notice.written_at,
        }
    }

    /// The number of the engine that made it.
    #[must_use]
    pub fn engine(&self) -> u16 {
        match self {
            Self::Transaction(transaction) => transaction.engine,
            Self::Notice(notice) => notice.engine,
        }
    }

    /// The transaction, if it is one.
    #[must_use]
    pub fn transaction(&self) -> Option<&Transaction> {
        match self {
            Self::Transaction(transaction) => Some(transaction),
            Self::Notice(_) => None,
        }
    }

    /// The transaction, if it is one, to keep.
    #[must_use]
    pub fn into_transaction(self) -> Option<Transaction> {
        match self {
            Self::Transaction(transaction) => Some(transaction),
            Self::Notice(_) => None,
        }
    }
}
