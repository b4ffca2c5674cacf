//! A lane at work.
//!
//! Every instance runs one for each shard. It takes all that waits, up to
//! [`BATCH_LEN_MAX`], and commits it together. There is no timer: alone, a
//! request goes at once; under load, the next batch forms while this one
//! commits. The shard's head row orders the lanes of several instances.
//!
//! Only so many lanes of an instance commit at once. More would share the same
//! processors and disk, in smaller batches that each cost as much to begin.

use std::sync::Arc;

use fealty_postgres::DatabaseError;
use fealty_program::ProgramVersion;
use fealty_types::{MemberId, ShardId};
use opentelemetry::{KeyValue, global, metrics::Histogram};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tracing::Instrument as _;

use super::{
    batch::{self, Batches},
    job::{Done, Job, Work},
    publish::Publisher,
};
use crate::{error::Error, shard::Memory};

/// Requests in one commit.
const BATCH_LEN_MAX: usize = 512;
/// Requests that may wait for a lane: at 5,000 a second, under a second's worth.
const QUEUE_LEN_MAX: usize = 4_096;

/// Committed batches of a lane that wait to be told of.
const FINISHED_MAX: usize = 2;

/// The way into a lane.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    jobs: mpsc::Sender<Job>,
}

impl Lane {
    pub(super) fn start(
        batches: Batches,
        publisher: Publisher,
        in_flight: Arc<Semaphore>,
        memory: Memory,
    ) -> Self {
        let (jobs, waiting) = mpsc::channel(QUEUE_LEN_MAX);
        let meters = Meters::new(batches.shard);
        let runner = Runner {
            batches,
            publisher,
            in_flight,
            meters,
        };
        tokio::spawn(runner.run(waiting, memory));
        Self { jobs }
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
        };
        self.jobs.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Error::Overloaded,
            mpsc::error::TrySendError::Closed(_) => Error::Ending,
        })?;
        answer.await.map_err(|_| Error::Ending)?
    }
}

struct Meters {
    batch_len: Histogram<u64>,
    commit: Histogram<f64>,
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
            labels: [KeyValue::new("fealty.shard", i64::from(shard.get()))],
        }
    }
}

struct Runner {
    batches: Batches,
    publisher: Publisher,
    in_flight: Arc<Semaphore>,
    meters: Meters,
}

/// A batch that is committed, or could not be.
struct Finished {
    jobs: Vec<Job>,
    done: Result<batch::Outcome, DatabaseError>,
}

impl Runner {
    /// Ends when all who could submit have ended.
    async fn run(self, mut waiting: mpsc::Receiver<Job>, mut memory: Memory) {
        let shard = self.batches.shard;
        let (finished, publishing) = mpsc::channel(FINISHED_MAX);
        tokio::spawn(publish_all(shard, self.publisher.clone(), publishing));
        let mut course = batch::Course::default();
        let mut jobs = Vec::new();
        while waiting.recv_many(&mut jobs, 1).await > 0 {
            // While other lanes commit, more comes for this one.
            let Ok(permit) = self.in_flight.acquire().await else {
                return;
            };
            while jobs.len() < BATCH_LEN_MAX
                && let Ok(job) = waiting.try_recv()
            {
                jobs.push(job);
            }
            let span = tracing::info_span!("batch", %shard, length = jobs.len());
            for job in &jobs {
                // The spans belong together: the caller's waits for the batch's.
                span.follows_from(&job.span);
            }
            let begun = tokio::time::Instant::now();
            let done = self.batches.run(&mut jobs, &mut course, &mut memory);
            let done = done.instrument(span).await;
            drop(permit);
            self.meters
                .batch_len
                .record(jobs.len() as u64, &self.meters.labels);
            self.meters
                .commit
                .record(begun.elapsed().as_secs_f64(), &self.meters.labels);
            let jobs = std::mem::take(&mut jobs);
            if finished.send(Finished { jobs, done }).await.is_err() {
                return;
            }
        }
    }
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
            Ok(outcome) => {
                publisher.publish(shard, &outcome.written).await;
                for (job, done) in jobs.into_iter().zip(outcome.done) {
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
