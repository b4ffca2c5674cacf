//! Why the tiers service refuses, and how that reads on the wire.

use fealty_postgres::DatabaseError;
use fealty_proto::r#type::v1::ErrorReason;
use fealty_server::Rejection;
use fealty_types::ProgramId;

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The programme has no tiers.
    #[error("the programme `{0}` has no tiers")]
    NoTiers(ProgramId),
    /// The cursor is beyond the log, or of another one.
    #[error("the cursor lies beyond the end of the log")]
    CursorOutOfRange,
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<Error> for Rejection {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::NoTiers(program) => {
                Self::new(ErrorReason::ProgramNotFound, message).with("program", program)
            }
            Error::CursorOutOfRange => Self::new(ErrorReason::CursorOutOfRange, message),
            Error::Database(error) => error.into(),
        }
    }
}
