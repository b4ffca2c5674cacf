//! The ends of periods, for members who do nothing themselves: the sweeper has them written, and
//! says in the log when that is done. Whoever reads a wallet, or writes to it past the lanes,
//! has the member's written first.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use fealty_ledger::{Cause, Entry, Moment, Said};
use fealty_postgres::{DatabaseError, PgConnection, run};
use fealty_program::ProgramVersion;
use fealty_types::{Clock as _, MemberId, Position, ProgramId, ShardId, Timestamp};

use super::{backfills, failure::Failure, service::Ledger};
use crate::{
    error::Error,
    lane::{DueEnd, Open, Standing, write_all},
    plan::{LedgerNumbers, LeftOf},
    shard::{
        Asked, ReadOn, ShardWork, Written,
        store::{
            ends::{Candidate, candidates, written_since},
            head::lock_head,
            log,
        },
    },
};

/// How long a read waits for that: a balance without what a period came to is late, not wrong.
const READ_WAITS: Duration = Duration::from_millis(500);
/// Members looked at in one go.
const MEMBERS_MAX: i64 = 1_000;
/// Entries of the log read at a time.
const LOG_LEN: i64 = 5_000;
/// Members written for together with the notice, under the lock of the head.
const AT_THE_END_MAX: usize = 200;
/// How often members are looked for who were written to meanwhile, before a later sweep does.
const ROUNDS_MAX: usize = 50;

impl Ledger {
    /// Has the ends of periods written that are due for a member, before it is read.
    pub(super) async fn end_before_read(
        &self,
        shard: ShardId,
        applied: &ProgramVersion,
        member: &MemberId,
    ) {
        let (ends, now) = (self.lanes.ends(), self.clock.now());
        if !ends.before_read(shard, applied, (member, now)) {
            return;
        }
        let ended = (member.clone(), Timestamp::EPOCH);
        let ended = self.lanes.end_periods(shard, applied.clone(), ended);
        match tokio::time::timeout(READ_WAITS, ended).await {
            Ok(Ok(())) => ends.note_read(shard, &applied.program.id, member),
            Ok(Err(error)) => {
                tracing::debug!(%error, %shard, "a wallet is read before the end of a period");
            }
            Err(_) => tracing::debug!(%shard, "a wallet is read before the end of a period"),
        }
    }

    /// Has them written before something is written past the lanes.
    pub(crate) async fn end_before_write(
        &self,
        shard: ShardId,
        applied: &ProgramVersion,
        member: &MemberId,
    ) -> Result<(), Error> {
        if self.lanes.ends().are_open(shard, applied, self.clock.now()) == Open::No {
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

/// Whether ends may be due in a shard, or counters to be worked out.
pub(super) fn may_be_due(ledger: &Ledger, shard: ShardId, now: Timestamp) -> bool {
    let (ends, backfills) = (ledger.lanes.ends(), ledger.lanes.backfills());
    let programs = ledger.programs.ids().into_iter();
    let mut newest = programs.filter_map(|program| ledger.programs.newest(&program).ok());
    newest.any(|applied| {
        ends.are_open(shard, &applied, now) != Open::No || backfills.are_open(shard, &applied)
    })
}

/// Works out counters and writes all ends that are due in a shard; answers for how many members. A
/// programme in which that fails keeps no other waiting.
pub(super) async fn sweep(
    ledger: &Ledger,
    shard: ShardId,
    moment: (Timestamp, Timestamp),
) -> Result<i64, Error> {
    let (mut swept, mut failed) = (0, None);
    for program in ledger.programs.ids() {
        let Ok(applied) = ledger.programs.newest(&program) else {
            continue;
        };
        match sweep_in_order(ledger, shard, &applied, moment).await {
            Ok(members) => swept += members,
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(swept), Err)
}

/// Ends read counters: who has nothing in one yet may have something once it is worked out.
async fn sweep_in_order(
    ledger: &Ledger,
    shard: ShardId,
    applied: &ProgramVersion,
    moment: (Timestamp, Timestamp),
) -> Result<i64, Error> {
    let mut swept = 0;
    if ledger.lanes.backfills().are_open(shard, applied) {
        swept += backfills::sweep(ledger, shard, applied).await?;
    }
    if ledger.lanes.ends().are_open(shard, applied, moment.0) != Open::No {
        swept += sweep_program(ledger, shard, applied, moment).await?;
    }
    Ok(swept)
}

async fn sweep_program(
    ledger: &Ledger,
    shard: ShardId,
    applied: &ProgramVersion,
    (now, tiers_known): (Timestamp, Timestamp),
) -> Result<i64, Error> {
    let program = &applied.program.id;
    let (due, begun) = due(ledger, shard, program, now).await?;
    let moment = Moment::new(now, tiers_known);
    // What ends at one instant is said to be written together.
    let waiting = due.iter().find(|due| due.waits(moment));
    let waiting = waiting.map(|due| due.end.at);
    let known = due
        .iter()
        .filter(|due| waiting.is_none_or(|at| due.end.at < at));
    let known: Vec<DueEnd> = known.cloned().collect();
    let Some(last) = known.last() else {
        return Ok(0);
    };
    let ending = Ending {
        ledger,
        shard,
        applied,
        moment,
        through: last.end.at,
    };
    let (mut after, mut swept, mut failed) = (0, 0, None);
    loop {
        let pool = ledger.database.pool();
        let some = candidates(pool, shard, (program, after), MEMBERS_MAX).await?;
        let Some(number) = some.last().map(|candidate| candidate.number) else {
            break;
        };
        after = number;
        let members = some.into_iter().filter(|member| may_end(member, &known));
        let members: Vec<MemberId> = members.map(|candidate| candidate.member).collect();
        swept += i64::try_from(members.len()).unwrap_or(i64::MAX);
        // One that fails keeps no other waiting.
        if let Err(error) = ending.write_for(members).await {
            failed = Some(error);
        }
    }
    if let Some(error) = failed {
        return Err(error);
    }
    ending.finish(begun).await?;
    Ok(swept)
}

/// The ends of a programme's periods in a shard, up to a moment.
struct Ending<'a> {
    ledger: &'a Ledger,
    shard: ShardId,
    applied: &'a ProgramVersion,
    moment: Moment,
    through: Timestamp,
}

impl Ending<'_> {
    /// Has them written for some members.
    async fn write_for(&self, members: Vec<MemberId>) -> Result<(), Error> {
        let of = (self.shard, self.applied);
        let lanes = &self.ledger.lanes;
        let failed = lanes.end_periods_of(of, members, self.moment.tiers_known);
        let failed = failed.await.into_iter().next();
        failed.map_or(Ok(()), |(_, error)| Err(error))
    }

    /// Says in the log that they are written for all, once they are also for those who were
    /// written to since the shard was first looked at: a batch may have been under way whose
    /// clock had not come so far, and what waits for tiers is not written by requests.
    async fn finish(&self, mut since: Position) -> Result<(), Error> {
        for _ in 0..ROUNDS_MAX {
            let (members, head) = self.asked_since(since).await?;
            self.write_for(members).await?;
            since = head;
            match self.finish_now(since).await.map_err(Error::from)? {
                Finished::Now(written) => {
                    self.ledger.publisher.publish(self.shard, &written).await;
                    return Ok(());
                }
                Finished::Before => return Ok(()),
                Finished::NotYet => {}
            }
        }
        Err(Error::Unavailable)
    }

    /// Members to whom something was written after a position that was asked for, and how far
    /// the log reaches.
    async fn asked_since(&self, mut since: Position) -> Result<(Vec<MemberId>, Position), Error> {
        let (pool, program) = (self.ledger.database.pool(), &self.applied.program.id);
        let mut members = BTreeSet::new();
        loop {
            let rows = log::read(pool, self.shard, since, LOG_LEN).await?;
            let Some(last) = rows.last() else {
                return Ok((members.into_iter().collect(), since));
            };
            since = Position::new(last.position);
            for row in rows {
                if let Entry::Transaction(written) = row.entry()?
                    && written.program == *program
                    && !matches!(written.cause, Cause::Ended(_) | Cause::Due(_))
                {
                    members.insert(written.member);
                }
            }
        }
    }

    async fn finish_now(&self, since: Position) -> Result<Finished, Failure> {
        let (ledger, shard, program) = (self.ledger, self.shard, &self.applied.program.id);
        run!(ledger.database, "end_periods", |connection| async {
            let head = lock_head(connection, shard).await?;
            let name = (program, since, head.position);
            let written = written_since(&mut *connection, shard, name, AT_THE_END_MAX).await?;
            let (asked, now) = (asked(program), ledger.clock.now());
            let locked = ReadOn::Locked;
            let few = written.len() <= AT_THE_END_MAX;
            let members = written.iter().take(AT_THE_END_MAX);
            let members = members.map(|member| (program.clone(), member.clone()));
            let read = ShardWork::read(connection, shard, members, &asked, now, locked, None);
            let (mut work, _) = read.await?;
            if work.ended_through(program) >= Some(self.through) {
                return Ok(Finished::Before);
            }
            let moment = Moment::new(now, self.moment.tiers_known);
            let ends = (ledger.lanes.ends(), &ledger.programs);
            if let Some(in_force) = work.version(program) {
                // One may have begun since whose counters ends read.
                let (of, backfills) = ((shard, program), ledger.lanes.backfills());
                let due = backfills.due(connection, &ledger.programs, of, in_force);
                if !due.await?.is_empty() {
                    return Err(Failure::Refused(Error::Unavailable));
                }
            }
            if !few || !write_all(&mut work, connection, ends, moment).await? {
                return Ok(Finished::NotYet);
            }
            let through = self.through;
            work.announce(program, Said::EndsWritten { through })?;
            let placement = ledger.shards.placement();
            let written = work.write(connection, placement, locked, None).await?;
            Ok(Finished::Now(written))
        })
    }
}

/// What became of saying that the ends are written.
enum Finished {
    /// It is said.
    Now(Written),
    /// Another instance has said it.
    Before,
    /// Too much was written meanwhile.
    NotYet,
}

/// The ends that are due in a shard, by what is stored, and how far its log reaches.
async fn due(
    ledger: &Ledger,
    shard: ShardId,
    program: &ProgramId,
    now: Timestamp,
) -> Result<(Arc<[DueEnd]>, Position), Error> {
    let pool = ledger.database.pool();
    let mut connection = pool.acquire().await.map_err(DatabaseError::from)?;
    let asked = asked(program);
    let read_on = ReadOn::Never;
    let read = ShardWork::read(&mut connection, shard, [], &asked, now, read_on, None);
    let (work, _) = read.await.map_err(Failure::from)?;
    let head = work.head_before().0;
    let Some(version) = work.version(program) else {
        ledger.lanes.ends().note_none(shard, program, now);
        return Ok((Arc::new([]), head));
    };
    let standing = Standing {
        version,
        through: work.ended_through(program),
    };
    let ends = ledger.lanes.ends();
    let of = (shard, program);
    let due = ends.due(&mut connection, &ledger.programs, of, standing, now);
    Ok((due.await?, head))
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
