//! Why a change that locks the heads of shards itself, instead of going through a lane,
//! was not made.

use fealty_postgres::{DatabaseError, HasDatabaseError};

use crate::{error::Error, shard::Interrupted};

/// Why a change that locks heads itself was not made.
pub(crate) enum Failure {
    Refused(Error),
    /// Another instance began a later version of the programme: it is to be looked for.
    VersionPassed,
    Database(DatabaseError),
}

impl From<DatabaseError> for Failure {
    fn from(error: DatabaseError) -> Self {
        Self::Database(error)
    }
}

impl From<Interrupted> for Failure {
    fn from(interrupted: Interrupted) -> Self {
        match interrupted {
            Interrupted::Database(error) => Self::Database(error),
            Interrupted::VersionPassed(_) => Self::VersionPassed,
            Interrupted::Overtaken | Interrupted::NeedsLock | Interrupted::OrdersTaken(_) => {
                Self::Database(DatabaseError::Broken("a locked head was moved"))
            }
        }
    }
}

impl HasDatabaseError for Failure {
    fn database_error(&self) -> Option<&DatabaseError> {
        match self {
            Self::Database(error) => Some(error),
            Self::Refused(_) | Self::VersionPassed => None,
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(error) => error,
            Failure::VersionPassed => Self::Unavailable,
            Failure::Database(error) => error.into(),
        }
    }
}
