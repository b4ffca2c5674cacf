//! The ends of periods, for members who do nothing themselves: the sweeper has them written, and
//! says in the log when that is done. Whoever reads a wallet, or writes to it past the lanes,
//! has the member's written first.

use std::time::Duration;

use fealty_ledger::{Moment, Said};
use fealty_postgres::{DatabaseError, PgConnection, run};
use fealty_program::ProgramVersion;
use fealty_types::{Clock as _, MemberId, ProgramId, ShardId, Timestamp};
use futures::{StreamExt as _, stream};

use super::{failure::Failure, service::Ledger};
use crate::{
    error::Error,
    lane::{DueEnd, Standing},
    plan::{LedgerNumbers, LeftOf},
    shard::{
        Asked, ReadOn, ShardWork, Written,
        store::{
            ends::{Candidate, candidates},
            head::lock_head,
        },
    },
};

/// How long a read waits for that: a balance without what a period came to is late, not wrong.
const READ_WAITS: Duration = Duration::from_millis(500);
/// Members looked at in one go.
const MEMBERS_MAX: i64 = 1_000;
/// Members written for at once: no more than a quarter of a lane's queue.
const AT_ONCE: usize = 1_000;

impl Ledger {
    /// Has the ends of periods written that are due for a member, before it is read.
    pub(super) async fn end_before_read(
        &self,
        shard: ShardId,
        applied: &ProgramVersion,
        member: &MemberId,
    ) {
        if !self.lanes.ends().are_open(shard, applied, self.clock.now()) {
            return;
        }
        let ended = (member.clone(), Timestamp::EPOCH);
        let ended = self.lanes.end_periods(shard, applied.clone(), ended);
        if let Err(error) = tokio::time::timeout(READ_WAITS, ended)
            .await
            .unwrap_or(Err(Error::Unavailable))
        {
            tracing::debug!(%error, %shard, "a wallet is read before the end of a period");
        }
    }

    /// Has them written before something is written past the lanes.
    pub(crate) async fn end_before_write(
        &self,
        shard: ShardId,
        applied: &ProgramVersion,
        member: &MemberId,
    ) -> Result<(), Error> {
        if !self.lanes.ends().are_open(shard, applied, self.clock.now()) {
            return Ok(());
        }
        let ended = (member.clone(), Timestamp::EPOCH);
        self.lanes.end_periods(shard, applied.clone(), ended).await
    }

    /// Refuses for now what is written past the lanes, if a period ended since a moment.
    pub(crate) async fn none_ended_since(
        &self,
        connection: &mut PgConnection,
        work: &ShardWork,
        program: &ProgramId,
        (since, now): (Timestamp, Timestamp),
    ) -> Result<(), Failure> {
        let Some(version) = work.version(program) else {
            return Ok(());
        };
        let standing = Standing {
            version,
            through: work.ended_through(program),
        };
        let (shard, ends) = (work.shard(), self.lanes.ends());
        let due = ends.due(connection, &self.programs, (shard, program), standing, now);
        if due.await?.iter().any(|due| due.end.at > since) {
            return Err(Failure::Refused(Error::Unavailable));
        }
        Ok(())
    }
}

/// Whether ends may be due in a shard.
pub(super) fn may_be_due(ledger: &Ledger, shard: ShardId, now: Timestamp) -> bool {
    let programs = ledger.programs.ids().into_iter();
    let mut newest = programs.filter_map(|program| ledger.programs.newest(&program).ok());
    newest.any(|applied| ledger.lanes.ends().are_open(shard, &applied, now))
}

/// Writes all ends that are due in a shard; answers for how many members. A programme in which
/// that fails keeps no other waiting.
pub(super) async fn sweep(
    ledger: &Ledger,
    shard: ShardId,
    (now, tiers_known): (Timestamp, Timestamp),
) -> Result<i64, Error> {
    let (mut swept, mut failed) = (0, None);
    for program in ledger.programs.ids() {
        let Ok(applied) = ledger.programs.newest(&program) else {
            continue;
        };
        if !ledger.lanes.ends().are_open(shard, &applied, now) {
            continue;
        }
        match sweep_program(ledger, shard, &applied, (now, tiers_known)).await {
            Ok(members) => swept += members,
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(swept), Err)
}

async fn sweep_program(
    ledger: &Ledger,
    shard: ShardId,
    applied: &ProgramVersion,
    (now, tiers_known): (Timestamp, Timestamp),
) -> Result<i64, Error> {
    let program = &applied.program.id;
    let due = due(ledger, shard, program, now).await?;
    let moment = Moment::new(now, tiers_known);
    let known = due.into_iter().take_while(|due| !due.waits(moment));
    let known: Vec<DueEnd> = known.collect();
    let Some(last) = known.last() else {
        return Ok(0);
    };
    let (mut after, mut swept) = (0, 0);
    loop {
        let pool = ledger.database.pool();
        let some = candidates(pool, shard, (program, after), MEMBERS_MAX).await?;
        let Some(number) = some.last().map(|candidate| candidate.number) else {
            break;
        };
        after = number;
        let members = some.into_iter().filter(|member| may_end(member, &known));
        let work = members.map(|candidate| {
            let ended = (candidate.member, tiers_known);
            ledger.lanes.end_periods(shard, applied.clone(), ended)
        });
        let mut done = stream::iter(work.collect::<Vec<_>>()).buffer_unordered(AT_ONCE);
        while let Some(done) = done.next().await {
            done?;
            swept += 1;
        }
    }
    finish(ledger, shard, applied, last.end.at).await?;
    Ok(swept)
}

/// The ends that are due in a shard, by what is stored.
async fn due(
    ledger: &Ledger,
    shard: ShardId,
    program: &ProgramId,
    now: Timestamp,
) -> Result<Vec<DueEnd>, Error> {
    let pool = ledger.database.pool();
    let mut connection = pool.acquire().await.map_err(DatabaseError::from)?;
    let asked = asked(program);
    let read_on = ReadOn::Never;
    let read = ShardWork::read(&mut connection, shard, [], &asked, now, read_on, None);
    let (work, _) = read.await.map_err(Failure::from)?;
    let Some(version) = work.version(program) else {
        return Ok(Vec::new());
    };
    let standing = Standing {
        version,
        through: work.ended_through(program),
    };
    let ends = ledger.lanes.ends();
    let of = (shard, program);
    let due = ends.due(&mut connection, &ledger.programs, of, standing, now);
    Ok(due.await?)
}

/// How far a shard is with a programme.
fn asked(program: &ProgramId) -> Asked {
    Asked {
        programs: vec![program.clone()],
        ..Asked::default()
    }
}

/// Whether an end may come to something for a member.
fn may_end(candidate: &Candidate, due: &[DueEnd]) -> bool {
    let numbers = LedgerNumbers {
        counters: Some(&candidate.counters),
        left: LeftOf::Nothing,
        wallets: None,
    };
    due.iter().any(|due| {
        let rules = &due.applied.program.earning.rules;
        let mut wallets = rules.wallets_of_end(due.end.every);
        rules.may_end(due.end, &numbers) || (candidate.has_points && wallets.next().is_some())
    })
}

/// Says in the log that the ends up to a moment are written for all.
async fn finish(
    ledger: &Ledger,
    shard: ShardId,
    applied: &ProgramVersion,
    through: Timestamp,
) -> Result<(), Error> {
    let program = &applied.program.id;
    let written: Result<Option<Written>, Failure> =
        run!(ledger.database, "end_periods", |connection| async {
            lock_head(connection, shard).await?;
            let (asked, now) = (asked(program), ledger.clock.now());
            let locked = ReadOn::Locked;
            let read = ShardWork::read(connection, shard, [], &asked, now, locked, None);
            let (mut work, _) = read.await?;
            if work.ended_through(program) >= Some(through) {
                return Ok(None);
            }
            work.announce(program, Said::EndsWritten { through })?;
            let placement = ledger.shards.placement();
            Ok(Some(work.write(connection, placement, locked, None).await?))
        });
    if let Some(written) = written? {
        ledger.publisher.publish(shard, &written).await;
    }
    Ok(())
}
