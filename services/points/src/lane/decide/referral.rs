//! A claim that a member was brought by another: once, and before the first purchase. What was
//! written to the member before is looked at under the lock of the head.

use fealty_ledger::{Command, Transaction};
use fealty_postgres::{DatabaseError, PgConnection};
use fealty_types::Position;

use super::Jobs;
use crate::{
    error::Error,
    lane::job::Job,
    plan::{ENTRIES_OF_NEW_MAX, LOOK_AGAIN, claims_referral, why_not_new},
    shard::{
        referral_id,
        store::{self, log},
    },
};

impl Jobs {
    /// Whether a member may claim: if its job is no claim, it may.
    pub(super) async fn may_claim(
        &mut self,
        connection: &mut PgConnection,
        job: &Job,
        command: &Command,
    ) -> Result<Result<(), Error>, DatabaseError> {
        if claims_referral(&job.applied.program, command).is_none() {
            return Ok(Ok(()));
        }
        let (program, member) = (&job.applied.program.id, &job.member);
        let shard = self.work.shard();
        let number = store::members::number(&mut *connection, shard, program, member).await?;
        let rows = match number {
            Some(number) => {
                let end = Position::new(i64::MAX);
                log::page(connection, shard, number, end, ENTRIES_OF_NEW_MAX).await?
            }
            None => Vec::new(),
        };
        self.due_done += rows.len();
        let stored: Result<Vec<Transaction>, DatabaseError> =
            rows.iter().map(log::Row::transaction).collect();
        let stored = stored?;
        let here = self.work.log().transactions();
        let here = here.filter(|here| here.program == *program && here.member == *member);
        let id = referral_id(program, member);
        let why = why_not_new(here.chain(&stored), &id);
        Ok(why.map_or(Ok(()), |why| Err(Error::not_new(self.shards, why))))
    }

    /// Notes a claim that was written, to be looked at before long.
    pub(super) async fn note_claim(
        &self,
        connection: &mut PgConnection,
        job: &Job,
        (command, position): (&Command, Position),
    ) -> Result<(), DatabaseError> {
        let program = &job.applied.program;
        if claims_referral(program, command).is_none() {
            return Ok(());
        }
        let (shard, name) = (self.work.shard(), (&program.id, &job.member));
        let look_at = LOOK_AGAIN.after(self.now, &program.calendar.zone);
        store::referrals::note(connection, shard, name, (position, look_at)).await
    }
}
