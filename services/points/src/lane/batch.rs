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
//! and where the accounts are marked, which must not change meanwhile. What people
//! do is written under the lock too, for the audit log is told in the same
//! transaction.

use std::collections::HashSet;

use fealty_postgres::{Database, DatabaseError, PgConnection, audit_log, run};
use fealty_server::{Programs, ServiceClock};
use fealty_types::{Clock as _, Position, ShardId, Timestamp};
use uuid::Uuid;

use super::{
    backfills::Backfills,
    decide::{Decided, Jobs, Known, Pending},
    ends::Ends,
    job::{Done, Job},
    lease::{Leasing, Want},
};
use crate::shard::{
    Interrupted, MARK_DISTANCE, Memory, Orders, Placement, ReadOn, Written, store::head::lock_head,
};

/// Batches that lock the head first after one was overtaken.
const LOCKED_BATCHES: u32 = 64;
/// Batches that look for recorded orders first after one met some: whoever sends
/// orders again and again has the others wait for a look, not for a failed write.
const ORDERS_READ_BATCHES: u32 = 64;
/// How often a batch is decided anew because orders of it were another's; then the
/// contested ones are refused for now.
const ORDERS_TAKEN_MAX: u32 = 5;

/// What became of a job.
pub(super) enum Did {
    /// It is done.
    Done(Done),
    /// It is left to a later batch.
    Left,
    /// The same, so that more of a budget is leased for it.
    LeftForMore,
}

/// What a batch brought about, once it is committed.
pub(super) struct Outcome {
    /// For each job.
    pub(super) done: Vec<Did>,
    /// What was written.
    pub(super) written: Written,
    /// What is wanted of budgets for those that are left.
    pub(super) wants: Vec<Want>,
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
        let needs_it = |job: &Job| job.needs_lock() || job.is_recorded();
        self.locked_left > 0 || self.comes_to_a_mark(jobs) || jobs.iter().any(needs_it)
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
    pub(super) shard: ShardId,
    /// Connections of the lanes.
    pub(super) database: Database,
    pub(super) programs: Programs,
    pub(super) orders: Orders,
    pub(super) clock: ServiceClock,
    pub(super) leasing: Leasing,
    pub(super) ends: Ends,
    pub(super) backfills: Backfills,
}

impl Batches {
    /// Runs a batch of jobs.
    pub(super) async fn run(
        &self,
        jobs: &mut [Job],
        course: &mut Course,
        memory: &mut Memory,
    ) -> Result<Outcome, DatabaseError> {
        if self.clock.distrust().is_some() {
            return Err(DatabaseError::Contended("the clock is not to be trusted"));
        }
        let mut known = Known::default();
        if course.orders_left > 0 {
            course.orders_left -= 1;
            known.recorded = self.written_of(jobs).await?;
        }
        let mut rounds = 0;
        self.by_newest_versions(jobs);
        loop {
            rounds += 1;
            match self.run_knowing(&known, jobs, course, memory).await {
                Ok(outcome) => {
                    course.head = Some(outcome.written.through.0);
                    return Ok(outcome);
                }
                Err(Interrupted::OrdersTaken(claimed)) => {
                    course.orders_left = ORDERS_READ_BATCHES;
                    known.unreachable.extend(claimed.unreachable);
                    let taken = claimed.taken;
                    if rounds < ORDERS_TAKEN_MAX {
                        let recorded = self.orders.recorded(self.shard, &taken).await;
                        if let Ok(recorded) = recorded {
                            known.recorded.extend(recorded);
                            continue;
                        }
                    }
                    // They are contested, or cannot be looked up: their callers may
                    // try again, the others of the batch need not wait.
                    let taken = taken.into_iter().map(|row| row.order_key);
                    known.unreachable.extend(taken);
                }
                Err(Interrupted::VersionPassed(program)) => {
                    // Once for each programme: if what is stored cannot be read here, its
                    // callers may try another instance, the others need not wait.
                    if known.versions_looked_for.insert(program.clone()) {
                        self.programs.refresh().await?;
                        self.by_newest_versions(jobs);
                    } else {
                        known.unplanned.insert(program);
                    }
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
    }

    /// Has jobs that have waited planned by the version that is newest now.
    fn by_newest_versions(&self, jobs: &mut [Job]) {
        for job in jobs {
            if let Ok(newest) = self.programs.newest(&job.applied.program.id) {
                job.applied = newest;
            }
        }
    }

    /// Runs a batch, knowing that some orders are recorded: without a lock if that
    /// will do, else under that of the head.
    async fn run_knowing(
        &self,
        known: &Known,
        jobs: &[Job],
        course: &mut Course,
        memory: &mut Memory,
    ) -> Result<Outcome, Interrupted> {
        if !course.locks(jobs) {
            let attempt = async {
                let pool = self.database.pool();
                let mut connection = pool.acquire().await.map_err(DatabaseError::from)?;
                let attempt = Attempt {
                    batches: self,
                    jobs,
                    now: self.clock.now(),
                    read_on: ReadOn::Never,
                    known,
                };
                attempt.run(&mut connection, memory).await
            };
            let attempted = self.database.within(attempt).await;
            match attempted.unwrap_or_else(|error| Err(error.into())) {
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
                // Nothing that is written says it was long before it is.
                now: self.clock.now(),
                read_on: ReadOn::Locked,
                known,
            };
            attempt.run(connection, memory).await
        })
    }

    /// Those of a batch's orders that are written, where one statement tells.
    async fn written_of(&self, jobs: &[Job]) -> Result<HashSet<Uuid>, DatabaseError> {
        if self.orders.shards().placement() == Placement::Distributed {
            return Ok(HashSet::new());
        }
        let keys: Vec<Uuid> = jobs.iter().filter_map(Job::order).collect();
        // A request that was there before is answered before anybody looks here.
        Ok(self.orders.written(&keys).await?.into_iter().collect())
    }
}

/// An attempt at a batch.
struct Attempt<'a> {
    batches: &'a Batches,
    jobs: &'a [Job],
    now: Timestamp,
    read_on: ReadOn,
    known: &'a Known,
}

impl Attempt<'_> {
    async fn run(
        &self,
        connection: &mut PgConnection,
        memory: &mut Memory,
    ) -> Result<Outcome, Interrupted> {
        let Batches {
            shard,
            orders,
            programs,
            leasing,
            ends,
            backfills,
            ..
        } = self.batches;
        let mut decided = Jobs::read(
            connection,
            (
                orders.shards(),
                *shard,
                (programs, leasing, (ends, backfills)),
            ),
            self.jobs,
            self.now,
            self.read_on,
            Some(&mut *memory),
            self.known,
        )
        .await?;
        for (index, job) in self.jobs.iter().enumerate() {
            decided.decide(connection, index, job).await?;
        }
        let Decided {
            work,
            pending,
            recorded,
            wants,
        } = decided.finish();
        let claimed = orders.claim(*shard, work.orders()).await;
        if !claimed.taken.is_empty() || !claimed.unreachable.is_empty() {
            return Err(Interrupted::OrdersTaken(claimed));
        }
        let placement = orders.shards().placement();
        let begun = work.begun_programs();
        let written = work
            .write(connection, placement, self.read_on, Some(memory))
            .await?;
        for program in &begun {
            ends.forget(*shard, program);
        }
        for entry in &recorded {
            audit_log::append(&mut *connection, entry).await?;
        }
        let done = pending.into_iter().map(|pending| match pending {
            Pending::Final(done) => Did::Done(done),
            Pending::Written { position, replayed } => {
                Did::Done(Ok(Some(written.answer(position, replayed))))
            }
            Pending::Postponed => Did::Left,
            Pending::LeftForMore => Did::LeftForMore,
        });
        Ok(Outcome {
            done: done.collect(),
            written,
            wants,
        })
    }
}
