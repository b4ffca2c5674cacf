//! What the engine writes: transactions, and nothing else.

use borsh::{BorshDeserialize, BorshSerialize};
use fealty_types::{
    BrandId, CurrencyId, LotId, MemberId, Points, Position, ProgramId, RequestId, RuleId, ShardId,
    Timestamp,
};

use crate::{Account, Buckets, Command, PurchaseFacts};

/// One entry of a shard's log, of one member. Immutable. The order of the
/// fields is the order of the canonical bytes.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Transaction {
    /// The shard.
    pub shard: ShardId,
    /// Its place in the shard's log.
    pub position: Position,
    /// The programme.
    pub program: ProgramId,
    /// The member.
    pub member: MemberId,
    /// When it took effect: when it was asked for, or fell due.
    pub effective_at: Timestamp,
    /// What brought it about.
    pub cause: Cause,
    /// Its movements, in order.
    pub transfers: Vec<Transfer>,
    /// The lots it made.
    pub lots: Vec<LotTerms>,
    /// The lots whose expiry it moved.
    pub expiry_changes: Vec<ExpiryChange>,
    /// Each wallet it touched, as it stood afterwards.
    pub wallets: Vec<WalletAfter>,
}

/// What brought a transaction about.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Cause {
    /// Somebody asked for it.
    Request {
        /// The caller's name for it.
        request_id: RequestId,
        /// What was asked.
        command: Command,
        /// The facts that decided a purchase's points.
        facts: Option<PurchaseFacts>,
    },
    /// It fell due.
    Due(Due),
}

/// What fell due. Variants are only ever added at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Due {
    /// Pending points became available.
    Activate,
    /// A hold reached its time-out.
    HoldTimeout {
        /// The hold: position of the transaction that made it.
        hold: Position,
    },
    /// Points expired.
    Expire,
}

/// One movement of points.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Transfer {
    /// The currency.
    pub currency: CurrencyId,
    /// The account debited.
    pub debit: Account,
    /// The account credited.
    pub credit: Account,
    /// How many points; above zero.
    pub amount: Points,
    /// The lot whose points moved.
    pub lot: LotId,
    /// The earning rule that gave them.
    pub rule: Option<RuleId>,
}

/// The terms of a lot, as made.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LotTerms {
    /// The lot.
    pub lot: LotId,
    /// The currency.
    pub currency: CurrencyId,
    /// The issuing brand.
    pub brand: BrandId,
    /// The points it was made with.
    pub amount: Points,
    /// When they were earned.
    pub earned_at: Timestamp,
    /// When they become available; at once, if there is nothing.
    pub activates_at: Option<Timestamp>,
    /// From when on they are gone; never, if there is nothing.
    pub expires_at: Option<Timestamp>,
    /// How they came to be.
    pub origin: LotOrigin,
    /// The version of the programme that gave the terms.
    pub program_version: i64,
}

/// How the points of a lot came to be. Variants are only ever added at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum LotOrigin {
    /// Earned by a purchase.
    Purchase,
    /// Given outside a purchase.
    Promotion,
}

/// A lot whose expiry was moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ExpiryChange {
    /// The lot.
    pub lot: LotId,
    /// Its new expiry.
    pub expires_at: Timestamp,
}

/// A wallet after a transaction.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct WalletAfter {
    /// The currency.
    pub currency: CurrencyId,
    /// Its buckets.
    pub buckets: Buckets,
    /// How many transactions have touched it.
    pub sequence: i64,
}

impl Transaction {
    /// The kind, as shown and counted.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match &self.cause {
            Cause::Request { command, .. } => match command {
                Command::Purchase(_) => "purchase",
                Command::Accrue(_) => "accrue",
                Command::Redeem(_) => "redeem",
                Command::Hold(_) => "hold",
                Command::Capture(_) => "capture",
                Command::Release(_) => "release",
            },
            Cause::Due(Due::Activate) => "activate",
            Cause::Due(Due::HoldTimeout { .. }) => "hold_timeout",
            Cause::Due(Due::Expire) => "expire",
        }
    }

    /// The request that made it, unless it fell due.
    #[must_use]
    pub fn request_id(&self) -> Option<&RequestId> {
        match &self.cause {
            Cause::Request { request_id, .. } => Some(request_id),
            Cause::Due(_) => None,
        }
    }
}

/// The end of a shard's log, to which the engine adds.
#[derive(Clone, Debug)]
pub struct Log {
    shard: ShardId,
    next: Position,
    written: Vec<Transaction>,
}

impl Log {
    /// A log whose next transaction goes to `next`.
    #[must_use]
    pub fn new(shard: ShardId, next: Position) -> Self {
        Self {
            shard,
            next,
            written: Vec::new(),
        }
    }

    /// The shard.
    #[must_use]
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// Where the next transaction goes.
    #[must_use]
    pub fn next(&self) -> Position {
        self.next
    }

    /// What has been written to it here.
    #[must_use]
    pub fn written(&self) -> &[Transaction] {
        &self.written
    }

    pub(crate) fn append(&mut self, transaction: Transaction) {
        debug_assert_eq!(transaction.position, self.next);
        self.next = self.next.next();
        self.written.push(transaction);
    }
}
