//! Why the rewards service refuses. How each reads on the wire is in `grpc`.

use fealty_postgres::{DatabaseError, HasDatabaseError};
use fealty_server::{ProgramNotFound, Rejection};
use fealty_types::RewardId;
use uuid::Uuid;

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such programme.
    #[error(transparent)]
    ProgramNotFound(#[from] ProgramNotFound),
    /// The request id was used for another reward.
    #[error("the request id was used for another request: reward differs")]
    RequestIdReused,
    /// The catalogue has no such reward.
    #[error("the catalogue has no reward `{0}`")]
    RewardNotFound(RewardId),
    /// The caller speaks for other brands than the reward's.
    #[error("the reward `{0}` is of a brand that the caller does not speak for")]
    AnothersReward(RewardId),
    /// Nothing of the reward is left.
    #[error("nothing of `{0}` is left")]
    SoldOut(RewardId),
    /// What is left is reserved.
    #[error("what is left of `{0}` is reserved by redemptions under way")]
    StockContended(RewardId),
    /// Another call works on it.
    #[error("the redemption is being worked on")]
    InProgress,
    /// The member has no such redemption.
    #[error("the member has no redemption {0}")]
    RedemptionNotFound(Uuid),
    /// The points service refuses.
    #[error("the points service refuses")]
    Points(Rejection),
    /// The points service cannot be reached.
    #[error("the points service cannot be reached; send the same request id again")]
    PointsUnavailable,
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl HasDatabaseError for Error {
    fn database_error(&self) -> Option<&DatabaseError> {
        match self {
            Self::Database(error) => Some(error),
            _ => None,
        }
    }
}
