//! Why the tiers service refuses. How each reads on the wire is in `grpc`.

use fealty_postgres::DatabaseError;
use fealty_server::ProgramNotFound;
use fealty_types::ProgramId;

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    ProgramNotFound(#[from] ProgramNotFound),
    #[error("the programme `{0}` has no tiers")]
    NoTiers(ProgramId),
    /// The cursor is beyond the log, or of another one.
    #[error("the cursor lies beyond the end of the log")]
    CursorOutOfRange,
    /// The service ends.
    #[error("the service ends")]
    Ending,
    #[error(transparent)]
    Database(#[from] DatabaseError),
}
