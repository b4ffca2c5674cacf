//! Why the points service refuses: what a use case can answer instead of what
//! was asked. How each reads on the wire is in `grpc`.

use fealty_ledger::Refusal;
use fealty_postgres::DatabaseError;
use fealty_server::ProgramNotFound;
use fealty_types::{ActivityId, BrandId, Ids, MemberId, OrderNumber, ShardId};

use uuid::Uuid;

use crate::{
    plan::{NotNew, PlanError},
    shard::Shards,
};

/// Why a request is refused.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    ProgramNotFound(#[from] ProgramNotFound),
    /// The request id was used for another request.
    #[error("the request id was used for another request: {field} differs")]
    RequestIdReused {
        /// The first field that differs.
        field: &'static str,
    },
    /// The brand's order number was recorded before.
    #[error("order {order_number} of {brand} was recorded before")]
    OrderAlreadyRecorded {
        brand: BrandId,
        order_number: OrderNumber,
        /// The transaction that has it, where the caller may know.
        transaction: Option<String>,
    },
    /// The brand's activity was recorded before.
    #[error("activity {id} of {brand} was recorded before")]
    ActivityAlreadyRecorded {
        brand: BrandId,
        id: ActivityId,
        /// The transaction that has it, where the caller may know.
        transaction: Option<String>,
    },
    /// The programme has no referrals.
    #[error("the programme in force has no referrals")]
    ReferralsNotOffered,
    /// The member has claimed before, by this transaction.
    #[error("the member has claimed to be brought before, by {0}")]
    ReferralAlreadyClaimed(String),
    /// The member is not new, or not newer than who is to have brought it.
    #[error("{}", .0.why())]
    ReferralNotNew(NotNew),
    /// The member has claimed nothing.
    #[error("the member {0} has claimed nothing")]
    ReferralNotFound(MemberId),
    /// Another version of the programme is in force than the one asked for.
    #[error("version {actual} of the programme is in force, not {expected}")]
    VersionMoved {
        /// The one asked for.
        expected: i64,
        /// The one in force.
        actual: i64,
    },
    /// The programme refuses.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The ledger refuses; what it names is in this shard.
    #[error("{refusal}")]
    Ledger {
        ids: Ids,
        shard: ShardId,
        refusal: Refusal,
    },
    /// There is no such transaction.
    #[error("the member has no transaction `{0}`")]
    TransactionNotFound(String),
    /// There is no such adjustment.
    #[error("the member has no adjustment `{0}`")]
    AdjustmentNotFound(Uuid),
    /// The adjustment was decided about before.
    #[error("the adjustment is {state}")]
    AdjustmentDecided {
        adjustment: Uuid,
        /// How far it has come.
        state: &'static str,
    },
    /// Whoever proposed it approves it.
    #[error("whoever proposed an adjustment cannot approve it")]
    SecondPersonRequired(Uuid),
    /// The cursor is beyond the log.
    #[error("the cursor lies beyond the end of the log")]
    CursorOutOfRange,
    /// The log is another one than the cursor was given for.
    #[error(
        "the log was restored to an earlier moment and went on otherwise: the cursor is of what \
         was lost; see docs/restoring.md"
    )]
    AnotherLog,
    /// There is no key to sign checkpoints with.
    #[error("the service has no key to sign checkpoints with")]
    CheckpointsDisabled,
    /// Too much is waiting.
    #[error("too many requests are waiting for the shard")]
    Overloaded,
    /// The service is ending.
    #[error("the service is ending")]
    Ending,
    /// The database cannot be reached.
    #[error("the database cannot be reached; send the same request id again")]
    Unavailable,
    /// A defect; the log has it.
    #[error("an internal error; the service's log has it")]
    Defect,
}

impl Error {
    /// Whether the same request may be done later, with nothing else changed.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Overloaded | Self::Ending | Self::Unavailable)
    }

    /// Why a member cannot claim to have been brought.
    pub(crate) fn not_new(shards: Shards, why: NotNew) -> Self {
        match why {
            NotNew::Claimed(place) => Self::ReferralAlreadyClaimed(shards.ids().transaction(place)),
            why => Self::ReferralNotNew(why),
        }
    }

    /// What the ledger refuses of a shard.
    pub(crate) fn refused(shards: Shards, shard: ShardId, refusal: Refusal) -> Self {
        Self::Ledger {
            ids: shards.ids(),
            shard,
            refusal,
        }
    }
}

/// The database's errors are logged where they are met; callers learn what
/// they can do about them.
impl From<&DatabaseError> for Error {
    fn from(error: &DatabaseError) -> Self {
        if error.is_passing() {
            Self::Unavailable
        } else {
            Self::Defect
        }
    }
}

/// The error of a single read, logged here.
impl From<DatabaseError> for Error {
    fn from(error: DatabaseError) -> Self {
        let told = &error as &(dyn std::error::Error + 'static);
        if error.is_passing() {
            tracing::warn!(error = told, "the database did not do it");
        } else {
            tracing::error!(error = told, "a defect");
        }
        Self::from(&error)
    }
}
