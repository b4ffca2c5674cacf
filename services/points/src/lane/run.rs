//! A lane at work.
//!
//! Every instance runs one for each shard. It takes all that waits, up to
//! [`BATCH_LEN_MAX`], and commits it together. There is no timer: alone, a
//! request goes at once; under load, the next batch forms while this one
//! commits. The shard's head row orders the lanes of several instances.

use std::{
    collections::HashSet,
    panic::AssertUnwindSafe,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use fealty_postgres::DatabaseError;
use fealty_program::ProgramVersion;
use fealty_types::{MemberId, ProgramId, ShardId};
use futures::FutureExt as _;
use opentelemetry::{
    KeyValue, global,
    metrics::{Counter, Histogram},
};
use tokio::sync::{mpsc, oneshot};
use tracing::Instrument as _;

use super::{
    batch::{self, Batches},
    job::{Done, Job, Work},
    lease::Want,
    permits::Permits,
    publish::Publisher,
};
use crate::{
    error::Error,
    shard::{Memory, Written},
};

/// Requests in one commit.
const BATCH_LEN_MAX: usize = 512;
/// Requests that may wait for a lane: at 5,000 a second, under a second's worth.
const QUEUE_LEN_MAX: usize = 4_096;

/// A batch that takes longer leaves its permit to others.
const QUICK_MAX: Duration = Duration::from_secs(1);

/// Committed batches of a lane that wait to be told of.
const FINISHED_MAX: usize = 2;

/// Wallets with something due that are written beside requests. Their callers do not wait
/// for them, so they only take what room there is.
const DUE_LEN_MAX: usize = 64;

/// The way into a lane.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    requests: mpsc::Sender<Job>,
    /// What is due, and can wait a little.
    due: mpsc::Sender<Job>,
    progress: Arc<Progress>,
}

/// What others see of a lane at work.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Since when the batch at hand is under way; none while there is none.
    since: Mutex<Option<Instant>>,
    /// When a batch last broke off by a defect of ours.
    broke_off: Mutex<Option<Instant>>,
}

impl Progress {
    fn set(at: &Mutex<Option<Instant>>, moment: Option<Instant>) {
        *at.lock().unwrap_or_else(PoisonError::into_inner) = moment;
    }

    fn elapsed(at: &Mutex<Option<Instant>>) -> Option<Duration> {
        let at = at.lock().unwrap_or_else(PoisonError::into_inner);
        at.map(|moment| moment.elapsed())
    }

    /// For how long the batch at hand has been under way.
    pub(super) fn under_way_for(&self) -> Option<Duration> {
        Self::elapsed(&self.since)
    }

    /// How long ago a batch broke off by a defect of ours.
    pub(super) fn broke_off_ago(&self) -> Option<Duration> {
        Self::elapsed(&self.broke_off)
    }
}

impl Lane {
    pub(super) fn start(
        batches: Batches,
        publisher: Publisher,
        permits: Permits,
        members_in_memory: usize,
    ) -> Self {
        let (requests, requested) = mpsc::channel(QUEUE_LEN_MAX);
        let (due, waiting) = mpsc::channel(QUEUE_LEN_MAX);
        let progress = Arc::new(Progress::default());
        let runner = Runner {
            meters: Meters::new(batches.shard),
            batches,
            publisher,
            permits,
            is_suspect: false,
            progress: Arc::clone(&progress),
            members_in_memory,
            memory: Memory::new(members_in_memory),
            course: batch::Course::default(),
            wants: Vec::new(),
        };
        tokio::spawn(runner.run(Waiting {
            requested,
            due: waiting,
        }));
        Self {
            requests,
            due,
            progress,
        }
    }

    /// What is to be seen of it.
    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Waits for the work to be done. A full queue refuses at once.
    pub(super) async fn submit(
        &self,
        applied: ProgramVersion,
        member: MemberId,
        work: Work,
    ) -> Done {
        let (reply, answer) = oneshot::channel();
        let job = Job {
            applied,
            member,
            work,
            reply,
            span: tracing::Span::current(),
            leased: 0,
            waits: false,
        };
        let queue = if job.is_due() {
            &self.due
        } else {
            &self.requests
        };
        queue.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Error::Overloaded,
            mpsc::error::TrySendError::Closed(_) => Error::Ending,
        })?;
        answer.await.map_err(|_| Error::Ending)?
    }
}

/// What waits for a lane.
struct Waiting {
    requested: mpsc::Receiver<Job>,
    due: mpsc::Receiver<Job>,
}

impl Waiting {
    /// Waits for a job; `false` when all who could submit have ended.
    async fn wait(&mut self, jobs: &mut Vec<Job>) -> bool {
        let job = tokio::select! {
            biased;
            Some(job) = self.requested.recv() => job,
            Some(job) = self.due.recv() => job,
            else => return false,
        };
        jobs.push(job);
        true
    }

    /// Adds what waits, requests first.
    fn fill(&mut self, jobs: &mut Vec<Job>) {
        let add = |queue: &mut mpsc::Receiver<Job>, jobs: &mut Vec<Job>, max: usize| {
            while jobs.len() < max
                && let Ok(job) = queue.try_recv()
            {
                jobs.push(job);
            }
        };
        add(&mut self.requested, jobs, BATCH_LEN_MAX);
        let due = jobs.iter().filter(|job| job.is_due()).count();
        let max = jobs.len() + DUE_LEN_MAX.saturating_sub(due);
        add(&mut self.due, jobs, max.min(BATCH_LEN_MAX));
        // A stable order: who was first is first.
        jobs.sort_by_key(Job::is_due);
    }
}

struct Meters {
    batch_len: Histogram<u64>,
    commit: Histogram<f64>,
    broke_off: Counter<u64>,
    labels: [KeyValue; 1],
}

impl Meters {
    fn new(shard: ShardId) -> Self {
        let meter = global::meter("fealty");
        Self {
            batch_len: meter.u64_histogram("fealty.lane.batch.length").build(),
            commit: meter
                .f64_histogram("fealty.lane.commit.duration")
                .with_unit("s")
                .build(),
            broke_off: meter
                .u64_counter("fealty.lane.broke_off")
                .with_description("Jobs that were refused because a defect of ours broke them off")
                .build(),
            labels: [KeyValue::new("fealty.shard", i64::from(shard.get()))],
        }
    }
}

struct Runner {
    batches: Batches,
    publisher: Publisher,
    permits: Permits,
    /// Whether the last batch did not come through.
    is_suspect: bool,
    meters: Meters,
    progress: Arc<Progress>,
    members_in_memory: usize,
    memory: Memory,
    course: batch::Course,
    /// What is wanted of budgets for jobs that are left.
    wants: Vec<Want>,
}

/// A batch that is committed, or could not be.
struct Finished {
    jobs: Vec<Job>,
    done: Result<Committed, DatabaseError>,
}

/// What a batch brought about, and what its jobs came to.
struct Committed {
    done: Vec<Done>,
    written: Written,
}

impl Runner {
    /// Ends when all who could submit have ended.
    async fn run(mut self, mut waiting: Waiting) {
        let shard = self.batches.shard;
        let (finished, publishing) = mpsc::channel(FINISHED_MAX);
        tokio::spawn(publish_all(shard, self.publisher.clone(), publishing));
        let mut jobs = Vec::new();
        while !jobs.is_empty() || waiting.wait(&mut jobs).await {
            // While other lanes commit, more comes for this one.
            let permits = self.permits.clone();
            let Some(mut permit) = permits.acquire(self.is_suspect).await else {
                return;
            };
            waiting.fill(&mut jobs);
            let batches = {
                let mut run = pin!(self.run_all(&mut jobs));
                let slow = async {
                    tokio::time::sleep(QUICK_MAX).await;
                    permits.exchange(&mut permit).await;
                };
                tokio::select! {
                    biased;
                    batches = &mut run => batches,
                    () = slow => run.await,
                }
            };
            drop(permit);
            Progress::set(&self.progress.since, None);
            self.is_suspect = batches.iter().any(|batch| batch.done.is_err());
            for batch in batches {
                if finished.send(batch).await.is_err() {
                    return;
                }
            }
            self.lease_for(&mut jobs).await;
        }
    }

    /// Leases what those want who are left, or finds out that there is no more.
    async fn lease_for(&mut self, jobs: &mut [Job]) {
        let mut all = true;
        for want in merged(std::mem::take(&mut self.wants)) {
            // Where one cannot be leased, the lane has work for others first.
            all = all && self.batches.leasing.lease(self.batches.shard, &want).await;
        }
        for job in jobs.iter_mut().filter(|job| job.waits) {
            job.waits = false;
            job.leased = job.leased.saturating_add(u8::from(all));
        }
    }

    /// Runs a batch, or one for each job where it breaks off by a defect of ours, or by
    /// something stored that cannot be; what they leave to a later one stays among the jobs.
    async fn run_all(&mut self, jobs: &mut Vec<Job>) -> Vec<Finished> {
        let run = AssertUnwindSafe(self.run_batch(jobs)).catch_unwind().await;
        let is_for_all = |batch: &Finished| {
            let failed = batch.done.as_ref().err();
            batch.jobs.len() < 2 || failed.is_none_or(DatabaseError::is_passing)
        };
        match run {
            Ok(batch) if is_for_all(&batch) => return vec![batch],
            Ok(batch) => *jobs = batch.jobs,
            Err(_) => {}
        }
        self.run_one_by_one(jobs).await
    }

    /// Runs a batch; what it leaves to a later one stays among the jobs.
    async fn run_batch(&mut self, jobs: &mut Vec<Job>) -> Finished {
        let (shard, length) = (self.batches.shard, jobs.len());
        let span = tracing::info_span!("batch", %shard, length);
        for job in &*jobs {
            // The spans belong together: the caller's waits for the batch's.
            span.follows_from(&job.span);
        }
        let begun = Instant::now();
        Progress::set(&self.progress.since, Some(begun));
        let done = self
            .batches
            .run(jobs, &mut self.course, &mut self.memory)
            .instrument(span)
            .await;
        let labels = &self.meters.labels;
        self.meters.batch_len.record(length as u64, labels);
        self.meters
            .commit
            .record(begun.elapsed().as_secs_f64(), labels);
        let all = std::mem::take(jobs);
        let batch::Outcome {
            done,
            written,
            wants,
        } = match done {
            Ok(outcome) => outcome,
            Err(error) => {
                return Finished {
                    jobs: all,
                    done: Err(error),
                };
            }
        };
        self.wants.extend(wants);
        let (mut finished, mut answers) = (Vec::new(), Vec::new());
        for (job, done) in all.into_iter().zip(done) {
            match done {
                batch::Did::Done(done) => {
                    finished.push(job);
                    answers.push(done);
                }
                batch::Did::Left => jobs.push(job),
                batch::Did::LeftForMore => jobs.push(Job { waits: true, ..job }),
            }
        }
        let done = Ok(Committed {
            done: answers,
            written,
        });
        Finished {
            jobs: finished,
            done,
        }
    }

    /// A batch broke off: runs each of its jobs alone, with nothing
    /// remembered. The one that brings it about again is refused, and no other.
    async fn run_one_by_one(&mut self, jobs: &mut Vec<Job>) -> Vec<Finished> {
        Progress::set(&self.progress.broke_off, Some(Instant::now()));
        let shard = self.batches.shard;
        let mut batches = Vec::with_capacity(jobs.len());
        let mut left: HashSet<(ProgramId, MemberId)> = HashSet::new();
        for job in std::mem::take(jobs) {
            let member = (job.applied.program.id.clone(), job.member.clone());
            // What is left of a member comes first.
            if left.contains(&member) {
                jobs.push(job);
                continue;
            }
            self.memory = Memory::new(self.members_in_memory);
            self.course = batch::Course::default();
            let (told, span) = (job.to_string(), job.span.clone());
            let mut alone = vec![job];
            let run = AssertUnwindSafe(self.run_batch(&mut alone)).catch_unwind();
            if let Ok(batch) = run.await {
                if let Err(error) = &batch.done {
                    tracing::error!(%shard, job = told, %error, "the lane goes on without it");
                }
                batches.push(batch);
                if !alone.is_empty() {
                    left.insert(member);
                }
                jobs.append(&mut alone);
                continue;
            }
            self.meters.broke_off.add(1, &self.meters.labels);
            span.in_scope(|| {
                tracing::error!(%shard, job = told, "a defect of ours: the lane goes on without it");
            });
            for job in alone {
                // A caller that has gone away wants no answer.
                let _ = job.reply.send(Err(Error::Defect));
            }
        }
        self.memory = Memory::new(self.members_in_memory);
        self.course = batch::Course::default();
        batches
    }
}

/// What is wanted of each budget, all together.
fn merged(wants: Vec<Want>) -> Vec<Want> {
    let mut merged: Vec<Want> = Vec::new();
    for want in wants {
        match merged.iter_mut().find(|known| known.name() == want.name()) {
            Some(known) => {
                known.points = known.points.saturating_add(want.points);
                known.least = known.least.min(want.least);
            }
            None => merged.push(want),
        }
    }
    merged
}

/// Tells of a lane's batches in their order, and answers their callers, while
/// the lane goes on.
async fn publish_all(
    shard: ShardId,
    publisher: Publisher,
    mut publishing: mpsc::Receiver<Finished>,
) {
    while let Some(Finished { jobs, done }) = publishing.recv().await {
        match done {
            Ok(committed) => {
                let told = AssertUnwindSafe(publisher.publish(shard, &committed.written));
                if told.catch_unwind().await.is_err() {
                    tracing::error!(%shard, "a defect of ours: the cache is not told of a batch");
                }
                for (job, done) in jobs.into_iter().zip(committed.done) {
                    // A caller that has gone away wants no answer.
                    let _ = job.reply.send(done);
                }
            }
            Err(error) => {
                let source: &(dyn std::error::Error + 'static) = &error;
                tracing::error!(error = source, "a batch was not committed");
                for job in jobs {
                    let _ = job.reply.send(Err(Error::from(&error)));
                }
            }
        }
    }
}
