//! Why the engine does not do what was asked.

use fealty_types::{CurrencyId, LotId, Points, Position};

/// Why a step stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// The request is refused, and has changed nothing.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// More of the wallet's lots must be read; then the step is to be called
    /// again. What fell due before is already written.
    #[error("more lots of {currency} must be read")]
    LotsNeeded {
        /// Whose wallet.
        currency: CurrencyId,
    },
    /// More is due in the wallets than is to be written at once. What was written holds;
    /// the rest is written when the step is called again, with another log.
    #[error("more is due than is written at once")]
    MoreIsDue,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The wallet's available points do not suffice.
    #[error("{available} points are available, {required} are required")]
    InsufficientPoints {
        /// What is available.
        available: Points,
        /// What is required.
        required: Points,
    },
    /// The wallet would hold, or owe, more than 10^15 points.
    #[error("the wallet would hold more than 10^15 points")]
    AmountLimit,
    /// The member has no such hold.
    #[error("the member has no such hold")]
    HoldNotFound {
        /// The hold.
        hold: Position,
    },
    /// The hold has fewer points than asked for, or none.
    #[error("the hold has {remaining} points left")]
    HoldExhausted {
        /// The hold.
        hold: Position,
        /// What it has left.
        remaining: Points,
    },
    /// The wallet has as many open holds as it may.
    #[error("the wallet has as many open holds as it may")]
    TooManyHolds,
    /// The points lie in more lots than one transaction may take from.
    #[error("the points lie in more lots than one transaction may take from")]
    TooManyLots,
    /// A lot would expire before it becomes available, or become available in
    /// a moment that the calendar does not have.
    #[error("the points would expire before they become available")]
    TimeOutOfRange,
    /// The member has no such transaction.
    #[error("the member has no such transaction")]
    TransactionNotFound {
        /// The transaction.
        transaction: Position,
    },
    /// The transaction is of a kind that is undone otherwise, or not at all.
    #[error("a transaction of kind {kind} is not reversed")]
    NotReversible {
        /// The transaction.
        transaction: Position,
        /// Its kind.
        kind: &'static str,
    },
    /// The transaction recorded no purchase.
    #[error("a transaction of kind {kind} is no purchase")]
    NotAPurchase {
        /// The transaction.
        transaction: Position,
        /// Its kind.
        kind: &'static str,
    },
    /// Fewer points are left to reverse than asked for, or none.
    #[error("{left} points of the transaction are left to reverse")]
    ReversalExceeded {
        /// The transaction.
        transaction: Position,
        /// What is left.
        left: Points,
    },
    /// A part is asked for of a transaction with several currencies, or one
    /// that it does not have.
    #[error("name one of the transaction's currencies")]
    CurrencyUnclear {
        /// The transaction.
        transaction: Position,
    },
    /// The member has no such lot.
    #[error("the member has no such lot")]
    LotNotFound {
        /// The lot.
        lot: LotId,
    },
    /// The lot has no points left whose expiry could be moved.
    #[error("the lot has no points left")]
    LotClosed {
        /// The lot.
        lot: LotId,
    },
    /// The new expiry lies in the past, or before the lot's.
    #[error("the new expiry must be later than now and than the lot's own")]
    ExpiryNotLater {
        /// The lot.
        lot: LotId,
    },
    /// The hold would not last longer by it.
    #[error("the hold lasts as long without")]
    HoldNotLater {
        /// The hold.
        hold: Position,
    },
    /// Fewer points of the lot have expired than are to come back.
    #[error("{expired} points of the lot have expired")]
    NotExpired {
        /// The lot.
        lot: LotId,
        /// Points that have expired.
        expired: Points,
    },
    /// The transaction gave no points that still wait.
    #[error("no points of the transaction wait for their activation")]
    NothingPending {
        /// The transaction.
        transaction: Position,
    },
}
