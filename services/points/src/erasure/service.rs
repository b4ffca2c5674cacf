//! Deleting what is personal of a member.

use fealty_auth::InReach;
use fealty_postgres::{Database, DatabaseError, run};
use fealty_server::Programs;
use fealty_types::{MemberId, ProgramId};

use crate::{
    adjustments,
    error::Error,
    shard::{Shards, store},
};

/// Deletes what is personal.
#[derive(Clone)]
pub(crate) struct Erasure {
    programs: Programs,
    database: Database,
    shards: Shards,
}

impl Erasure {
    pub(crate) fn new(programs: &Programs, database: &Database, shards: Shards) -> Self {
        Self {
            programs: programs.clone(),
            database: database.clone(),
            shards,
        }
    }

    /// Deletes what is personal of a member; answers how many values that were.
    pub(crate) async fn erase(
        &self,
        program: &InReach<ProgramId>,
        member: &InReach<MemberId>,
    ) -> Result<i64, Error> {
        self.programs.newest(program)?;
        let shard = self.shards.of(program, member);
        let name = (&**program, &**member);
        let erased: Result<i64, DatabaseError> =
            run!(self.database, "erase_personal_data", |connection| async {
                let values = store::personal::erase(connection, shard, name).await?;
                let notes = adjustments::erase_notes(connection, shard, name).await?;
                Ok(values + notes)
            });
        Ok(erased?)
    }
}
