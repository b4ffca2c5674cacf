//! One batch of a lane: read, decide, write.
//!
//! Two round trips for accruals, three for all else, whatever the number of
//! jobs. One statement reads the members, their wallets and the request ids,
//! with the head of the shard; where the batch has purchases, or spends, another
//! reads what those need. The engine decides in memory. One statement writes all
//! rows and moves the head, if it is still where it was read. In between nothing
//! is locked and no transaction is open, so a batch costs Postgres one commit
//! and nobody waits for a client.
//!
//! An instance that is overtaken writes nothing. It then locks the head first,
//! for some batches, so that two busy instances take turns instead of
//! reading in vain. The head is locked as well where the engine needs more than
//! was read (lots of a very full wallet, or transactions that a reversal names),
//! and where the accounts are marked, which must not change meanwhile.

use fealty_postgres::{Database, DatabaseError, PgConnection, run};
use fealty_types::{Position, ShardId, Timestamp};

use super::{
    decide::{Jobs, Pending},
    job::{Done, Job},
};
use crate::shard::{Interrupted, MARK_DISTANCE, Memory, ReadOn, Written, store::head::lock_head};

/// Batches that lock the head first after one was overtaken.
const LOCKED_BATCHES: u32 = 64;
/// What a batch brought about, once it is committed.
pub(super) struct Outcome {
    /// For each job.
    pub(super) done: Vec<Done>,
    /// What was written.
    pub(super) written: Written,
}

/// What a lane has learnt of its shard from the batches before.
#[derive(Debug, Default)]
pub(super) struct Course {
    /// Batches that lock the head first, for another instance is at work.
    locked_left: u32,
    /// Where the last batch left the head.
    head: Option<Position>,
}

impl Course {
    /// Whether the next batch had better lock the head at once.
    fn locks(&self, jobs: &[Job]) -> bool {
        self.locked_left > 0 || self.comes_to_a_mark(jobs) || jobs.iter().any(Job::names_the_past)
    }

    /// Whether a mark of the accounts is due, if each job writes a transaction.
    fn comes_to_a_mark(&self, jobs: &[Job]) -> bool {
        let len = i64::try_from(jobs.len()).unwrap_or(i64::MAX);
        let marks_by = |position: i64| position / MARK_DISTANCE;
        self.head
            .is_some_and(|head| marks_by(head.get().saturating_add(len)) > marks_by(head.get()))
    }
}

/// Runs a batch of jobs of one shard.
pub(super) async fn run(
    database: &Database,
    shard: ShardId,
    jobs: &[Job],
    now: Timestamp,
    course: &mut Course,
    memory: &mut Memory,
) -> Result<Outcome, DatabaseError> {
    if !course.locks(jobs) {
        let mut connection = database
            .pool()
            .acquire()
            .await
            .map_err(DatabaseError::from)?;
        let memory = Some(&mut *memory);
        match attempt(&mut connection, shard, jobs, now, ReadOn::Never, memory).await {
            Ok(outcome) => {
                course.head = Some(outcome.written.through);
                return Ok(outcome);
            }
            Err(Interrupted::Overtaken) => course.locked_left = LOCKED_BATCHES,
            Err(Interrupted::NeedsLock | Interrupted::Database(DatabaseError::Conflict(_))) => {}
            Err(Interrupted::Database(error)) => return Err(error),
        }
    }
    course.locked_left = course.locked_left.saturating_sub(1);
    let done: Result<Outcome, DatabaseError> = run!(database, "batch", |connection| async {
        lock_head(connection, shard).await?;
        let memory = Some(&mut *memory);
        match attempt(connection, shard, jobs, now, ReadOn::Locked, memory).await {
            Ok(outcome) => Ok(outcome),
            Err(Interrupted::Database(error)) => Err(error),
            Err(Interrupted::Overtaken | Interrupted::NeedsLock) => {
                Err(DatabaseError::Broken("a locked head was moved"))
            }
        }
    });
    course.head = done.as_ref().ok().map(|outcome| outcome.written.through);
    done
}

async fn attempt(
    connection: &mut PgConnection,
    shard: ShardId,
    jobs: &[Job],
    now: Timestamp,
    read_on: ReadOn,
    mut memory: Option<&mut Memory>,
) -> Result<Outcome, Interrupted> {
    let recalled = memory.as_deref_mut();
    let mut decided = Jobs::read(connection, shard, jobs, now, read_on, recalled).await?;
    for (index, job) in jobs.iter().enumerate() {
        decided.decide(connection, index, job).await?;
    }
    let (work, pending) = decided.finish();
    let written = work.write(connection, read_on, memory).await?;
    let done = pending.into_iter().map(|pending| match pending {
        Pending::Final(done) => done,
        Pending::Written { position, replayed } => Ok(Some(written.answer(position, replayed))),
    });
    Ok(Outcome {
        done: done.collect(),
        written,
    })
}
