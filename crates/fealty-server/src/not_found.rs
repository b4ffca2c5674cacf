//! A programme that is not there, or is another's.

use fealty_proto::r#type::v1::ErrorReason;
use fealty_types::ProgramId;

use crate::Rejection;

/// There is no such programme.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no programme `{0}`")]
pub struct ProgramNotFound(pub ProgramId);

impl From<ProgramNotFound> for Rejection {
    fn from(error: ProgramNotFound) -> Self {
        Self::new(ErrorReason::ProgramNotFound, error.to_string()).with("program", error.0)
    }
}
