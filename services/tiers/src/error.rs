//! Why the tiers service refuses. How each reads on the wire is in `grpc`.

use fealty_postgres::DatabaseError;
use fealty_server::ProgramNotFound;
use fealty_types::{ActivityId, ProgramId};

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    ProgramNotFound(#[from] ProgramNotFound),
    #[error("the programme `{0}` has no tiers")]
    NoTiers(ProgramId),
    /// A field that is not as the programme wants it.
    #[error("{field} {rule}")]
    Field {
        /// Its path in the request.
        field: String,
        /// What it must be.
        rule: &'static str,
    },
    /// Another activity has that type and id.
    #[error("activity {0} was recorded before, and otherwise")]
    ActivityAlreadyRecorded(ActivityId),
    /// The cursor is beyond the log, or of another one.
    #[error("the cursor lies beyond the end of the log")]
    CursorOutOfRange,
    /// The log is another one than the cursor was given for.
    #[error(
        "the log was restored to an earlier moment and went on otherwise: the cursor is of what \
         was lost; see docs/restoring.md"
    )]
    AnotherLog,
    /// The service ends.
    #[error("the service ends")]
    Ending,
    #[error(transparent)]
    Database(#[from] DatabaseError),
}
