//! One batch of a lane: read, decide, write.
//!
//! Two round trips for accruals, three for all else, whatever the number of
//! jobs. One statement reads the members, their wallets and the request ids,
//! with the head of the shard; where tiers decide, or points are spent, another
//! reads what that needs. The engine decides in memory. One statement writes all
//! rows and moves the head, if it is still where it was read. In between nothing
//! is locked and no transaction is open, so a batch costs Postgres one commit
//! and nobody waits for a client. (Over several nodes the writing is a transaction
//! of some statements; see `shard::store::batch_write`.)
//!
//! An order number that another batch has recorded is met when writing, or, over
//! several nodes, when claiming. The batch is then decided anew, knowing that.
//!
//! An instance that is overtaken writes nothing. It then locks the head first,
//! for some batches, so that two busy instances take turns instead of
//! reading in vain. The head is locked as well where the engine needs more than
//! was read (lots of a very full wallet, or transactions that a reversal names),
//! and where the accounts are marked, which must not change meanwhile.

use std::collections::HashSet;

use fealty_postgres::{Database, DatabaseError, PgConnection, run};
use fealty_types::{Position, ShardId, Timestamp};
use uuid::Uuid;

use super::{
    decide::{Jobs, Pending},
    job::{Done, Job},
};
use crate::shard::{
    Interrupted, MARK_DISTANCE, Memory, Orders, Placement, ReadOn, Shards, Written,
    store::{head::lock_head, orders::recorded},
};

/// Batches that lock the head first after one was overtaken.
const LOCKED_BATCHES: u32 = 64;
/// Batches that look for recorded orders first after one met some: whoever sends
/// orders again and again has the others wait for a look, not for a failed write.
const ORDERS_READ_BATCHES: u32 = 64;
/// How often a batch is decided anew because orders of it were another's.
const ORDERS_TAKEN_MAX: u32 = 5;

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
    /// Batches that look for recorded orders first.
    orders_left: u32,
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

/// What batches of a shard are run with.
#[derive(Clone)]
pub(super) struct Batches {
    pub(super) shards: Shards,
    pub(super) shard: ShardId,
    /// Connections of the lanes.
    pub(super) database: Database,
    pub(super) orders: Orders,
}

impl Batches {
    /// Runs a batch of jobs.
    pub(super) async fn run(
        &self,
        jobs: &[Job],
        now: Timestamp,
        course: &mut Course,
        memory: &mut Memory,
    ) -> Result<Outcome, DatabaseError> {
        let mut recorded = HashSet::new();
        if course.orders_left > 0 {
            course.orders_left -= 1;
            recorded = self.recorded_of(jobs).await?;
        }
        for _ in 0..ORDERS_TAKEN_MAX {
            match self.run_knowing(&recorded, jobs, now, course, memory).await {
                Ok(outcome) => {
                    course.head = Some(outcome.written.through);
                    return Ok(outcome);
                }
                Err(Interrupted::OrdersTaken(orders)) => {
                    course.orders_left = ORDERS_READ_BATCHES;
                    recorded.extend(self.orders.recorded(self.shard, &orders).await?);
                }
                Err(Interrupted::Database(error)) => {
                    course.head = None;
                    return Err(error);
                }
                Err(Interrupted::Overtaken | Interrupted::NeedsLock) => {
                    return Err(DatabaseError::Broken("a locked head was moved"));
                }
            }
        }
        Err(DatabaseError::Contended("orders are taken again and again"))
    }

    /// Runs a batch, knowing that some orders are recorded: without a lock if that
    /// will do, else under that of the head.
    async fn run_knowing(
        &self,
        recorded: &HashSet<Uuid>,
        jobs: &[Job],
        now: Timestamp,
        course: &mut Course,
        memory: &mut Memory,
    ) -> Result<Outcome, Interrupted> {
        if !course.locks(jobs) {
            let pool = self.database.pool();
            let mut connection = pool.acquire().await.map_err(DatabaseError::from)?;
            let attempt = Attempt {
                batches: self,
                jobs,
                now,
                read_on: ReadOn::Never,
                recorded,
            };
            match attempt.run(&mut connection, memory).await {
                Err(Interrupted::Overtaken) => course.locked_left = LOCKED_BATCHES,
                Err(Interrupted::NeedsLock | Interrupted::Database(DatabaseError::Conflict(_))) => {
                }
                done => return done,
            }
        }
        course.locked_left = course.locked_left.saturating_sub(1);
        run!(self.database, "batch", |connection| async {
            lock_head(connection, self.shard).await?;
            let attempt = Attempt {
                batches: self,
                jobs,
                now,
                read_on: ReadOn::Locked,
                recorded,
            };
            attempt.run(connection, memory).await
        })
    }

    /// Those of a batch's orders that are recorded, where one statement tells.
    async fn recorded_of(&self, jobs: &[Job]) -> Result<HashSet<Uuid>, DatabaseError> {
        if self.orders.placement() == Placement::Distributed {
            return Ok(HashSet::new());
        }
        let keys: Vec<Uuid> = jobs.iter().filter_map(Job::order).collect();
        let recorded = recorded(self.database.pool(), &keys).await?;
        // A request that was there before is answered before anybody looks here.
        Ok(recorded.into_iter().collect())
    }
}

/// An attempt at a batch.
struct Attempt<'a> {
    batches: &'a Batches,
    jobs: &'a [Job],
    now: Timestamp,
    read_on: ReadOn,
    /// Orders that are recorded.
    recorded: &'a HashSet<Uuid>,
}

impl Attempt<'_> {
    async fn run(
        &self,
        connection: &mut PgConnection,
        memory: &mut Memory,
    ) -> Result<Outcome, Interrupted> {
        let Batches {
            shards,
            shard,
            orders,
            ..
        } = self.batches;
        let mut decided = Jobs::read(
            connection,
            (*shards, *shard),
            self.jobs,
            self.now,
            self.read_on,
            Some(&mut *memory),
            self.recorded,
        )
        .await?;
        for (index, job) in self.jobs.iter().enumerate() {
            decided.decide(connection, index, job).await?;
        }
        let (work, pending) = decided.finish();
        let taken = orders.claim(*shard, work.orders()).await?;
        if !taken.is_empty() {
            return Err(Interrupted::OrdersTaken(taken));
        }
        let placement = orders.placement();
        let written = work
            .write(connection, placement, self.read_on, Some(memory))
            .await?;
        let done = pending.into_iter().map(|pending| match pending {
            Pending::Final(done) => done,
            Pending::Written { position, replayed } => Ok(Some(written.answer(position, replayed))),
        });
        Ok(Outcome {
            done: done.collect(),
            written,
        })
    }
}
