//! Counters that count what was before they began, for members who do nothing themselves: the
//! sweeper has them worked out, and says in the log when that is done. Whoever reads a member's
//! counters has the member's worked out first.

use std::{sync::Arc, time::Duration};

use fealty_ledger::Said;
use fealty_postgres::{DatabaseError, PgConnection, run};
use fealty_program::ProgramVersion;
use fealty_types::{Clock as _, MemberId, ProgramId, ShardId, Timestamp};

use super::{failure::Failure, service::Ledger};
use crate::{
    error::Error,
    lane::DueBackfill,
    shard::{
        Asked, ReadOn, ShardWork, Written,
        store::{head::lock_head, members, versions},
    },
};

/// How long a read waits for that; then it tells the counters without what was before.
const READ_WAITS: Duration = Duration::from_millis(500);
/// Members worked on in one go.
const MEMBERS_MAX: i64 = 1_000;

impl Ledger {
    /// Has a member's counters worked out before they are read, where that is still to be done.
    pub(crate) async fn backfill_before_read(
        &self,
        shard: ShardId,
        applied: &ProgramVersion,
        member: &MemberId,
    ) {
        if !self.lanes.backfills().are_open(shard, applied) {
            return;
        }
        let asked = (member.clone(), Timestamp::EPOCH);
        let done = self.lanes.end_periods(shard, applied.clone(), asked);
        match tokio::time::timeout(READ_WAITS, done).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(%error, %shard, "counters are read before they are worked out");
            }
            Err(_) => tracing::debug!(%shard, "counters are read before they are worked out"),
        }
    }
}

/// Works out all that is to be worked out of a programme in a shard; answers for how many members.
pub(super) async fn sweep(
    ledger: &Ledger,
    shard: ShardId,
    applied: &ProgramVersion,
) -> Result<i64, Error> {
    let (pool, program) = (ledger.database.pool(), &applied.program.id);
    // Where none has begun, nothing was before.
    if !versions::has_begun(pool, shard, program).await? {
        return Ok(0);
    }
    let Some(due) = begin(ledger, shard, applied).await? else {
        return Ok(0);
    };
    let Some(last) = due.last().map(|due| due.begun.version) else {
        return Ok(0);
    };
    let (mut failed, mut after, mut swept) = (None, 0, 0);
    loop {
        let some = members::after(pool, shard, (program, after), MEMBERS_MAX).await?;
        let Some((number, _)) = some.last() else {
            break;
        };
        after = *number;
        let members: Vec<MemberId> = some.into_iter().map(|(_, member)| member).collect();
        swept += i64::try_from(members.len()).unwrap_or(i64::MAX);
        // One that fails keeps no other waiting.
        let left = write_for(ledger, (shard, applied), &due, members).await?;
        failed = failed.or(left);
    }
    if let Some(error) = failed {
        return Err(error);
    }
    // By a later one without such counters nothing was worked out.
    if ledger.programs.newest(program)?.version != applied.version {
        return Err(Error::Unavailable);
    }
    finish(ledger, (shard, program), last).await?;
    // So that it is known here at once.
    begin(ledger, shard, applied).await?;
    Ok(swept)
}

/// Has it done for some members, and reads their logs where they are long; answers with why it
/// could not be done for one.
async fn write_for(
    ledger: &Ledger,
    (shard, applied): (ShardId, &ProgramVersion),
    due: &[DueBackfill],
    members: Vec<MemberId>,
) -> Result<Option<Error>, Error> {
    let of = (shard, applied);
    let failed = ledger.lanes.end_periods_of(of, members, Timestamp::EPOCH);
    let failed = failed.await;
    if failed.is_empty() {
        return Ok(None);
    }
    let pool = ledger.database.pool();
    let mut connection = pool.acquire().await.map_err(DatabaseError::from)?;
    let of_program = (shard, &applied.program.id);
    let backfills = ledger.lanes.backfills();
    let read = backfills.read_long_logs(&mut connection, of_program, due);
    read.await?;
    drop(connection);
    let again = failed.into_iter().map(|(member, _)| member).collect();
    let failed = ledger.lanes.end_periods_of(of, again, Timestamp::EPOCH);
    Ok(failed.await.into_iter().next().map(|(_, error)| error))
}

/// What comes of a look under the lock of the head: what was written, and what is to be done.
type Looked = (Option<Written>, Option<Arc<[DueBackfill]>>);

/// Has the version at hand begin, if it has not; answers with what is to be done. `None` if a
/// later one has begun.
async fn begin(
    ledger: &Ledger,
    shard: ShardId,
    applied: &ProgramVersion,
) -> Result<Option<Arc<[DueBackfill]>>, Error> {
    let program = &applied.program.id;
    let looked: Result<Looked, Failure> = run!(ledger.database, "backfill", |connection| async {
        lock_head(connection, shard).await?;
        let mut work = read(ledger, connection, (shard, program)).await?;
        let begun = work.begin_version(connection, applied).await?.is_some();
        let Some(version) = work.version(program) else {
            return Ok((None, None));
        };
        let (of, programs) = ((shard, program), &ledger.programs);
        let backfills = ledger.lanes.backfills();
        let due = backfills.due(connection, programs, of, version).await?;
        let placement = ledger.shards.placement();
        if !begun {
            return Ok((None, Some(due)));
        }
        let written = work.write(connection, placement, ReadOn::Locked, None);
        Ok((Some(written.await?), Some(due)))
    });
    let (written, due) = looked.map_err(Error::from)?;
    if let Some(written) = written {
        ledger.publisher.publish(shard, &written).await;
    }
    Ok(due)
}

/// Says in the log that all is worked out that began up to a version.
async fn finish(
    ledger: &Ledger,
    (shard, program): (ShardId, &ProgramId),
    version: u32,
) -> Result<(), Error> {
    let written: Result<Option<Written>, Failure> =
        run!(ledger.database, "backfill", |connection| async {
            lock_head(connection, shard).await?;
            let mut work = read(ledger, connection, (shard, program)).await?;
            let said = work.version(program).map(|in_force| in_force.backfilled);
            if said >= Some(version) {
                return Ok(None);
            }
            work.announce(program, Said::CountersBackfilled { version })?;
            let placement = ledger.shards.placement();
            let written = work.write(connection, placement, ReadOn::Locked, None);
            Ok(Some(written.await?))
        });
    if let Some(written) = written.map_err(Error::from)? {
        ledger.publisher.publish(shard, &written).await;
    }
    Ok(())
}

/// How far a shard is with a programme, under the lock of its head.
async fn read(
    ledger: &Ledger,
    connection: &mut PgConnection,
    (shard, program): (ShardId, &ProgramId),
) -> Result<ShardWork, Failure> {
    let asked = Asked {
        programs: vec![program.clone()],
        ..Asked::default()
    };
    let now = ledger.clock.now();
    let read = ShardWork::read(connection, shard, [], &asked, now, ReadOn::Locked, None);
    Ok(read.await?.0)
}
