//! Counters that count what was before they began, before all else that is done for a member.

use fealty_postgres::{DatabaseError, PgConnection};

use super::Jobs;
use crate::{
    lane::{
        backfills::{Looked, write_backfills},
        job::Job,
    },
    shard::Interrupted,
};

/// Entries of a log whose reading counts for the change of a lot.
const ENTRIES_PER_LOT: usize = 10;

impl Jobs {
    /// Works out counters of the member that count what was before they began; `false` where
    /// that cannot be done here for now.
    pub(super) async fn backfill(
        &mut self,
        connection: &mut PgConnection,
        index: usize,
        job: &Job,
    ) -> Result<bool, Interrupted> {
        let known = (&self.backfills, &self.programs);
        let member = (self.slot_of[index], &job.applied, self.now);
        if self.unplanned.contains(&job.applied.program.id) {
            return Ok(false);
        }
        match write_backfills(&mut self.work, connection, known, member).await {
            Ok(Looked::Done(entries)) => {
                self.due_done += entries.div_ceil(ENTRIES_PER_LOT);
                Ok(true)
            }
            Ok(Looked::LogIsLong) | Err(Interrupted::Database(DatabaseError::Contended(_))) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}
