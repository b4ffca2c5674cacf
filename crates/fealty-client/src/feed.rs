//! Consuming a feed, so that each entry takes effect exactly once.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use opentelemetry::{KeyValue, global};
use tonic::{Code, Response, Status, Streaming, async_trait};

/// How long a consumer waits after a feed broke, or another instance was ahead.
const PAUSE: Duration = Duration::from_millis(100);
/// A feed that breaks off so often in a row, some ten seconds, is told of as a warning.
const BROKEN_WARN_EVERY: u32 = 100;
/// How long it waits after it was not let in: somebody must renew its token.
const PAUSE_DENIED: Duration = Duration::from_secs(2);

/// Bytes that a consumer of a feed takes in one message: more than any single entry has.
pub const FEED_MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Why a feed is to be opened again.
enum Broken {
    /// It ended, or another instance was ahead.
    Ended(String),
    /// Its token is not taken.
    Denied(Status),
    /// Its cursor is of a log that is no more: the other service's database was restored.
    /// Nothing is taken until somebody has set it right.
    AnotherLog(Status),
}

impl From<Status> for Broken {
    fn from(status: Status) -> Self {
        match status.code() {
            Code::Unauthenticated | Code::PermissionDenied => Self::Denied(status),
            Code::OutOfRange => Self::AnotherLog(status),
            _ => Self::Ended(status.to_string()),
        }
    }
}

/// One who consumes a feed.
#[async_trait]
pub trait FeedConsumer: Send + Sync {
    /// What the feed sends.
    type Item: Send;
    /// Why it could not take it.
    type Error: std::error::Error + Send;

    /// The cursor that is stored; empty before anything was taken.
    async fn cursor(&self) -> Result<String, Self::Error>;

    /// Opens the feed at a cursor.
    async fn open(&self, cursor: String) -> Result<Response<Streaming<Self::Item>>, Status>;

    /// How many entries the feed has beyond an item: the consumer's lag.
    fn behind(item: &Self::Item) -> i64;

    /// Does what an item asks for, and in the same transaction moves the
    /// stored cursor on from `from`. Answers with the new cursor, or with
    /// `None` if the stored one is not at `from`: another instance has been
    /// there, and nothing was done.
    async fn take(&self, from: &str, item: Self::Item) -> Result<Option<String>, Self::Error>;
}

/// Consumes a feed for ever, from where the stored cursor stands. The gauge
/// `fealty.feed.lag` says how many entries of the feed are still to be taken.
pub async fn consume<C: FeedConsumer>(source: &'static str, consumer: C) {
    let lag = global::meter("fealty")
        .i64_gauge("fealty.feed.lag")
        .with_description("Entries of the feed that are still to be taken")
        .build();
    let stopped = global::meter("fealty")
        .u64_gauge("fealty.feed.stopped")
        .with_description("1 while nothing is taken from the feed, until somebody sets it right")
        .build();
    let stale = global::meter("fealty")
        .u64_gauge("fealty.feed.silent")
        .with_unit("s")
        .with_description(
            "For how long nothing was heard from the feed, so that its lag is not known",
        )
        .build();
    let labels = [KeyValue::new("fealty.feed", source)];
    let mut heard_at = Instant::now();
    // How often it broke since the cursor last moved.
    let broken_for = AtomicU32::new(0);
    loop {
        let heard = Mutex::new(heard_at);
        let taken = |behind, moved| {
            if moved {
                broken_for.store(0, Ordering::Relaxed);
            }
            *heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            lag.record(behind, &labels);
            stopped.record(0, &labels);
            stale.record(0, &labels);
        };
        let broken = consume_once(&consumer, taken).await;
        heard_at = heard.into_inner().unwrap_or_else(PoisonError::into_inner);
        stale.record(heard_at.elapsed().as_secs(), &labels);
        let pause = match broken {
            Err(Broken::Denied(status)) => {
                tracing::warn!(source, reason = status.message(), "the feed is refused");
                PAUSE_DENIED
            }
            Err(Broken::AnotherLog(status)) => {
                stopped.record(1, &labels);
                let reason = status.message();
                tracing::error!(source, reason, "nothing is taken from the feed");
                PAUSE_DENIED
            }
            Err(Broken::Ended(broken)) => {
                let broken_before = broken_for.fetch_add(1, Ordering::Relaxed);
                if (broken_before + 1).is_multiple_of(BROKEN_WARN_EVERY) {
                    tracing::warn!(source, broken, "the feed breaks off again and again");
                } else {
                    tracing::debug!(source, broken, "the feed is opened again");
                }
                PAUSE
            }
            Ok(()) => PAUSE,
        };
        tokio::time::sleep(pause).await;
    }
}

/// Takes what the feed sends until it breaks off; tells how many entries are behind each
/// item, and whether it moved the cursor.
async fn consume_once<C: FeedConsumer>(
    consumer: &C,
    taken: impl Fn(i64, bool),
) -> Result<(), Broken> {
    let told = |error: C::Error| Broken::Ended(error.to_string());
    let mut cursor = consumer.cursor().await.map_err(told)?;
    let opened = consumer.open(cursor.clone()).await?;
    let mut feed = opened.into_inner();
    while let Some(item) = feed.message().await? {
        let behind = C::behind(&item);
        match consumer.take(&cursor, item).await.map_err(told)? {
            Some(next) => {
                taken(behind, next != cursor);
                cursor = next;
            }
            None => return Err(Broken::Ended("another instance consumes it".to_owned())),
        }
    }
    Ok(())
}
