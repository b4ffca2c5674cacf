//! Why the rewards service refuses, and how that reads on the wire.

use std::time::Duration;

use fealty_postgres::{DatabaseError, HasDatabaseError};
use fealty_proto::r#type::v1::ErrorReason;
use fealty_server::Rejection;
use fealty_types::RewardId;
use uuid::Uuid;

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request id was used for another reward.
    #[error("the request id was used for another request: reward differs")]
    RequestIdReused,
    /// The catalogue has no such reward.
    #[error("the catalogue has no reward `{0}`")]
    RewardNotFound(RewardId),
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

/// How soon a redemption that met another one may try again.
const RETRY_AFTER: Duration = Duration::from_millis(25);

impl From<Error> for Rejection {
    fn from(error: Error) -> Self {
        let told = |reason| Self::new(reason, error.to_string());
        match &error {
            Error::RequestIdReused => told(ErrorReason::RequestIdReused).with("field", "reward"),
            Error::RewardNotFound(reward) => {
                told(ErrorReason::RewardNotFound).with("reward", reward)
            }
            Error::SoldOut(reward) => told(ErrorReason::SoldOut).with("reward", reward),
            Error::StockContended(reward) => told(ErrorReason::StockContended)
                .with("reward", reward)
                .retry_after(RETRY_AFTER),
            Error::InProgress => told(ErrorReason::RedemptionInProgress).retry_after(RETRY_AFTER),
            Error::RedemptionNotFound(id) => {
                told(ErrorReason::RedemptionNotFound).with("redemption", id)
            }
            Error::PointsUnavailable => told(ErrorReason::Unavailable).retry_after(RETRY_AFTER),
            Error::Points(_) | Error::Database(_) => match error {
                Error::Points(rejection) => rejection,
                Error::Database(error) => error.into(),
                _ => told(ErrorReason::Internal),
            },
        }
    }
}
