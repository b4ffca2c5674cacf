//! A request, planned by what is known of its member, of budgets, and of what it names.

use fealty_ledger::{Command, Request};
use fealty_postgres::PgConnection;
use fealty_types::{Metadata, RequestId};

use super::Jobs;
use crate::{
    error::Error,
    lane::job::Job,
    plan::{LeftOf, OfMember, PlanError, plan, plan_return},
    shard::{Interrupted, number},
};

impl Jobs {
    /// Plans a request by what is known of its member and of budgets.
    pub(super) fn plan(
        &self,
        index: usize,
        job: &Job,
        asked: (&RequestId, &Metadata),
        command: &Command,
    ) -> Result<Request, PlanError> {
        let of_member = OfMember {
            tier: self.tiers.of.get(&index).cloned(),
            counters: Some(&self.work.book(self.slot_of[index]).counters),
            left: match self.work.leases() {
                Some(leases) => {
                    LeftOf::Leases(leases, &job.applied.program.id, number(&job.applied))
                }
                None => LeftOf::Nothing,
            },
        };
        plan(&job.applied, asked, command, of_member, self.now)
    }

    /// Reads the purchase that a return is of, and plans by it.
    pub(super) async fn look_back(
        &mut self,
        connection: &mut PgConnection,
        slot: usize,
        job: &Job,
        request: &mut Request,
    ) -> Result<Result<(), Error>, Interrupted> {
        let Command::Return(asked) = &request.command else {
            return Ok(Ok(()));
        };
        let transaction = asked.transaction;
        let read = self.work.read_what_is_named(connection, slot, request);
        read.await?;
        let named = request.original.as_ref();
        let Some(version) = named.and_then(|original| original.program_version()) else {
            return Ok(Ok(()));
        };
        let program = &job.applied.program.id;
        let then = self.programs.version_in(connection, program, version);
        let Some(then) = then.await? else {
            tracing::error!(%program, version, "the version of a purchase cannot be read");
            return Ok(Err(Error::Defect));
        };
        let book = self.work.book(slot);
        let known = (book.returned(transaction), book.reversal(transaction));
        let planned = plan_return(request, &then, &job.applied, known);
        Ok(planned.map_err(Error::from))
    }
}
