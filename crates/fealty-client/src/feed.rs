//! Consuming a feed, so that each entry takes effect exactly once.

use std::time::Duration;

use opentelemetry::{KeyValue, global};
use tonic::{Code, Response, Status, Streaming, async_trait};

/// How long a consumer waits after a feed broke, or another instance was ahead.
const PAUSE: Duration = Duration::from_millis(100);
/// How long it waits after it was not let in: somebody must renew its token.
const PAUSE_DENIED: Duration = Duration::from_secs(2);

/// Why a feed is to be opened again.
enum Broken {
    /// It ended, or another instance was ahead.
    Ended(String),
    /// Its token is not taken.
    Denied(Status),
}

impl From<Status> for Broken {
    fn from(status: Status) -> Self {
        match status.code() {
            Code::Unauthenticated | Code::PermissionDenied => Self::Denied(status),
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
    let labels = [KeyValue::new("fealty.feed", source)];
    loop {
        let broken = consume_once(&consumer, |behind| lag.record(behind, &labels)).await;
        let pause = match broken {
            Err(Broken::Denied(status)) => {
                tracing::warn!(source, reason = status.message(), "the feed is refused");
                PAUSE_DENIED
            }
            Err(Broken::Ended(broken)) => {
                tracing::debug!(source, broken, "the feed is opened again");
                PAUSE
            }
            Ok(()) => PAUSE,
        };
        tokio::time::sleep(pause).await;
    }
}

async fn consume_once<C: FeedConsumer>(consumer: &C, lag: impl Fn(i64)) -> Result<(), Broken> {
    let told = |error: C::Error| Broken::Ended(error.to_string());
    let mut cursor = consumer.cursor().await.map_err(told)?;
    let opened = consumer.open(cursor.clone()).await?;
    let mut feed = opened.into_inner();
    while let Some(item) = feed.message().await? {
        let behind = C::behind(&item);
        match consumer.take(&cursor, item).await.map_err(told)? {
            Some(next) => {
                cursor = next;
                lag(behind);
            }
            None => return Err(Broken::Ended("another instance consumes it".to_owned())),
        }
    }
    Ok(())
}
