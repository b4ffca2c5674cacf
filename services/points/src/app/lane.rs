//! A lane: the one way into a shard's log.
//!
//! Every instance runs one for each shard. It takes all that waits, up to
//! [`BATCH_LEN_MAX`], and commits it together. There is no timer: alone, a
//! request goes at once; under load, the next batch forms while this one
//! commits. The shard's head row orders the lanes of several instances.

use fealty_ledger::Command;
use fealty_postgres::{Database, Heads};
use fealty_server::{ProgramVersion, ServiceClock};
use fealty_types::{Clock as _, CurrencyId, MemberId, RequestId, ShardId};
use opentelemetry::{
    KeyValue, global,
    metrics::{Counter, Histogram},
};
use tokio::sync::{mpsc, oneshot};
use tracing::Instrument as _;

use super::{Answer, batch, cache::BalanceCache};
use crate::error::Error;

/// Requests in one commit.
const BATCH_LEN_MAX: usize = 512;
/// Requests that may wait for a lane: at 5,000 a second, under a second's worth.
const QUEUE_LEN_MAX: usize = 4_096;

/// What a lane is asked to do for a member.
#[derive(Debug)]
pub(super) enum Work {
    /// What a caller asks for.
    Request {
        /// The caller's name for it.
        request_id: RequestId,
        /// What is asked.
        command: Command,
    },
    /// Write what is due in a wallet.
    Advance {
        /// The wallet's currency.
        currency: CurrencyId,
    },
}

/// Work with where to send the answer.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) applied: ProgramVersion,
    pub(super) member: MemberId,
    pub(super) work: Work,
    reply: oneshot::Sender<Done>,
    span: tracing::Span,
}

/// A request's answer; an advance has none.
pub(super) type Done = Result<Option<Answer>, Error>;

/// The way into a lane.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    jobs: mpsc::Sender<Job>,
}

impl Lane {
    pub(super) fn start(
        shard: ShardId,
        database: Database,
        clock: ServiceClock,
        publisher: Publisher,
    ) -> Self {
        let (jobs, waiting) = mpsc::channel(QUEUE_LEN_MAX);
        let meters = Meters::new(shard);
        let runner = Runner {
            shard,
            database,
            clock,
            publisher,
            meters,
        };
        tokio::spawn(runner.run(waiting));
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
    shard: ShardId,
    database: Database,
    clock: ServiceClock,
    publisher: Publisher,
    meters: Meters,
}

impl Runner {
    /// Ends when all who could submit have ended.
    async fn run(self, mut waiting: mpsc::Receiver<Job>) {
        let mut jobs = Vec::with_capacity(BATCH_LEN_MAX);
        let mut contention = batch::Contention::default();
        while waiting.recv_many(&mut jobs, BATCH_LEN_MAX).await > 0 {
            let span = tracing::info_span!("batch", shard = %self.shard, length = jobs.len());
            for job in &jobs {
                // The spans belong together: the caller's waits for the batch's.
                span.follows_from(&job.span);
            }
            self.run_batch(&mut jobs, &mut contention)
                .instrument(span)
                .await;
        }
    }

    async fn run_batch(&self, jobs: &mut Vec<Job>, contention: &mut batch::Contention) {
        let begun = tokio::time::Instant::now();
        let now = self.clock.now();
        let done = batch::run(&self.database, self.shard, jobs, now, contention).await;
        self.meters
            .batch_len
            .record(jobs.len() as u64, &self.meters.labels);
        self.meters
            .commit
            .record(begun.elapsed().as_secs_f64(), &self.meters.labels);
        match done {
            Ok(outcome) => {
                self.publisher.publish(self.shard, &outcome.written).await;
                for (job, done) in jobs.drain(..).zip(outcome.done) {
                    // A caller that has gone away wants no answer.
                    let _ = job.reply.send(done);
                }
            }
            Err(error) => {
                let source: &(dyn std::error::Error + 'static) = &error;
                tracing::error!(error = source, "a batch was not committed");
                for job in jobs.drain(..) {
                    let _ = job.reply.send(Err(Error::from(&error)));
                }
            }
        }
    }
}

/// Tells the cache and the feed of what was committed.
#[derive(Clone)]
pub(super) struct Publisher {
    cache: BalanceCache,
    heads: Heads,
    points: Counter<u64>,
}

impl Publisher {
    pub(super) fn new(cache: BalanceCache, heads: Heads) -> Self {
        let points = global::meter("fealty")
            .u64_counter("fealty.points.moved")
            .build();
        Self {
            cache,
            heads,
            points,
        }
    }

    /// Before the answers, so that a caller who then asks the cache finds what
    /// it was told.
    pub(super) async fn publish(&self, shard: ShardId, written: &batch::Written) {
        let through = written.through.get();
        if through > written.after.get() {
            self.cache
                .put(shard, written.after, written.through, &written.wallets)
                .await;
            self.heads.reached(usize::from(shard.get()), through);
        }
        for (kind, points) in &written.moved {
            self.points
                .add(*points, &[KeyValue::new("fealty.account", *kind)]);
        }
    }
}
