//! Why the engine does not do what was asked.

use fealty_types::{CurrencyId, Points, Position};

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
    /// The wallet would hold more than 10^15 points.
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
    /// A lot would expire before it becomes available, or become available in
    /// a moment that the calendar does not have.
    #[error("the time is out of range")]
    TimeOutOfRange,
}
