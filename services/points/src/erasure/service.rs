//! Deleting what is personal of a member.

use fealty_auth::{Caller, InReach};
use fealty_postgres::{
    Database, DatabaseError,
    audit_log::{self, NewAuditEntry},
    run,
};
use fealty_server::{Programs, audit_entry};
use fealty_types::{MemberId, ProgramId};
use serde_json::json;

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

    /// Deletes what is personal of a member, and tells the audit log; answers how many
    /// values that were.
    pub(crate) async fn erase(
        &self,
        caller: &Caller,
        program: &InReach<ProgramId>,
        member: &InReach<MemberId>,
    ) -> Result<i64, Error> {
        let applied = self.programs.newest(program)?;
        let declared = &applied.program.personal;
        let shard = self.shards.of(program, member);
        let name = (&**program, &**member);
        let erased: Result<i64, DatabaseError> =
            run!(self.database, "erase_personal_data", |connection| async {
                // In the order in which an approval takes them: the proposals, then the key.
                let told = adjustments::erase(connection, shard, name, declared).await?;
                let kept = store::personal::erase(connection, shard, name).await?;
                let values = told + kept;
                let entry = NewAuditEntry {
                    program: Some((**program).clone()),
                    member: Some((**member).clone()),
                    after: Some(json!({ "erased_values": values }).to_string()),
                    ..audit_entry(caller)
                };
                audit_log::append(&mut *connection, &entry).await?;
                Ok(values)
            });
        let erased = erased?;
        caller.mark_recorded();
        Ok(erased)
    }
}
