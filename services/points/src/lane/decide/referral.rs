//! A claim that a member was brought by another: once, and before the first purchase. What was
//! written to the member before is looked at under the lock of the head.

use fealty_ledger::{Command, Transaction};
use fealty_postgres::{DatabaseError, PgConnection};
use fealty_types::{ActivityId, Position, Timestamp, TransactionPlace};

use super::Jobs;
use crate::{
    error::Error,
    lane::job::Job,
    plan::{ENTRIES_OF_NEW_MAX, LOOK_AGAIN, NotNew, claims_referral, stands_against_claim},
    shard::{referral_id, store},
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
        let id = referral_id(program, member);
        let written = self.work.log().transactions();
        let mut own = written
            .filter(|written| written.program == *program && written.member == *member)
            .filter_map(|written| self.against(written, &id));
        if let Some(refused) = own.next() {
            return Ok(Err(refused));
        }
        drop(own);
        let shard = self.work.shard();
        let number = store::members::number(&mut *connection, shard, program, member).await?;
        let Some(number) = number else {
            return Ok(Ok(()));
        };
        let (end, most) = (Position::new(i64::MAX), ENTRIES_OF_NEW_MAX);
        let rows = store::log::page(connection, shard, number, end, most).await?;
        self.due_done += rows.len();
        for row in &rows {
            if let Some(refused) = self.against(&row.transaction()?, &id) {
                return Ok(Err(refused));
            }
        }
        Ok(if i64::try_from(rows.len()) == Ok(most) {
            Err(Error::ReferralNotNew(NotNew::TooMuch))
        } else {
            Ok(())
        })
    }

    /// Why a transaction of a member leaves no room for its claim, if it does.
    fn against(&self, written: &Transaction, id: &ActivityId) -> Option<Error> {
        Some(match stands_against_claim(written, id)? {
            NotNew::Claimed => {
                let (shard, position) = (self.work.shard(), written.position);
                let place = TransactionPlace { shard, position };
                Error::ReferralAlreadyClaimed(self.shards.ids().transaction(place))
            }
            not_new => Error::ReferralNotNew(not_new),
        })
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
        let look_at: Timestamp = LOOK_AGAIN.after(self.now, &program.calendar.zone);
        store::referrals::note(connection, shard, name, (position, look_at)).await
    }
}
