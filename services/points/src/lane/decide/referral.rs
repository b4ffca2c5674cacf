//! A claim that a member was brought by another: once, and before the first purchase. What was
//! written to the member before is looked at under the lock of the head.

use fealty_ledger::{Command, Entry, Transaction};
use fealty_postgres::{DatabaseError, PgConnection};
use fealty_program::{Program, ReferralStep, Referrals};
use fealty_types::{Position, Timestamp, TransactionPlace};

use super::Jobs;
use crate::{
    error::Error,
    lane::job::Job,
    shard::store::{self, log},
};

/// Whoever has so many entries is not new, whatever they are: what is read under the lock of a
/// head has an end.
const ENTRIES_MAX: i64 = 200;

/// The referrals of a programme, if a command is such a claim.
pub(in crate::lane) fn claims<'p>(
    program: &'p Program,
    command: &Command,
) -> Option<&'p Referrals> {
    let Command::Activity(activity) = command else {
        return None;
    };
    let referrals = program.referrals.as_ref()?;
    let step = ReferralStep::of(&activity.of_type);
    (step == Some(ReferralStep::Claim)).then_some(referrals)
}

impl Jobs {
    /// Whether a member may claim: if its job is no claim, it may.
    pub(super) async fn may_claim(
        &self,
        connection: &mut PgConnection,
        job: &Job,
        command: &Command,
    ) -> Result<Result<(), Error>, DatabaseError> {
        if claims(&job.applied.program, command).is_none() {
            return Ok(Ok(()));
        }
        let (program, member) = (&job.applied.program.id, &job.member);
        let written = self.work.log().written().iter();
        let now = written.filter_map(|entry| match entry {
            Entry::Transaction(written) => Some(written),
            Entry::Notice(_) => None,
        });
        let own = now.filter(|written| written.program == *program && written.member == *member);
        for written in own {
            if let Some(refused) = self.stands_against(written) {
                return Ok(Err(refused));
            }
        }
        let shard = self.work.shard();
        let number = store::members::number(&mut *connection, shard, program, member).await?;
        let Some(number) = number else {
            return Ok(Ok(()));
        };
        let end = Position::new(i64::MAX);
        let rows = log::page(connection, shard, number, end, ENTRIES_MAX).await?;
        for row in &rows {
            if let Some(refused) = self.stands_against(&row.transaction()?) {
                return Ok(Err(refused));
            }
        }
        if i64::try_from(rows.len()) == Ok(ENTRIES_MAX) {
            let why = "too much was written to the member for one that is new";
            return Ok(Err(Error::ReferralNotNew { why }));
        }
        Ok(Ok(()))
    }

    /// Why a transaction of a member leaves no room for a claim, if it does.
    fn stands_against(&self, written: &Transaction) -> Option<Error> {
        match written.command()? {
            Command::Purchase(_) => Some(Error::ReferralNotNew {
                why: "the member has bought before",
            }),
            Command::Activity(activity)
                if ReferralStep::of(&activity.of_type) == Some(ReferralStep::Claim) =>
            {
                let place = TransactionPlace {
                    shard: self.work.shard(),
                    position: written.position,
                };
                let transaction = self.shards.ids().transaction(place);
                Some(Error::ReferralAlreadyClaimed(transaction))
            }
            _ => None,
        }
    }

    /// Notes a claim that was written, so that it is looked at in time: nothing that is bought
    /// later can stand long enough before.
    pub(super) async fn note_claim(
        &self,
        connection: &mut PgConnection,
        job: &Job,
        (command, position): (&Command, Position),
    ) -> Result<(), DatabaseError> {
        let program = &job.applied.program;
        let Some(referrals) = claims(program, command) else {
            return Ok(());
        };
        let (shard, name) = (self.work.shard(), (&program.id, &job.member));
        let look_at: Timestamp = referrals
            .returns_within
            .after(self.now, &program.calendar.zone);
        store::referrals::note(connection, shard, name, (position, look_at)).await
    }
}
