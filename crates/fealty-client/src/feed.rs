//! Consuming a feed, so that each entry takes effect exactly once.

use std::time::Duration;

use tonic::{Response, Status, Streaming, async_trait};

/// How long a consumer waits after a feed broke, or another instance was ahead.
const PAUSE: Duration = Duration::from_millis(100);

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

    /// Does what an item asks for, and in the same transaction moves the
    /// stored cursor on from `from`. Answers with the new cursor, or with
    /// `None` if the stored one is not at `from`: another instance has been
    /// there, and nothing was done.
    async fn take(&self, from: &str, item: Self::Item) -> Result<Option<String>, Self::Error>;
}

/// Consumes a feed for ever, from where the stored cursor stands.
pub async fn consume<C: FeedConsumer>(source: &'static str, consumer: C) {
    loop {
        if let Err(broken) = consume_once(&consumer).await {
            tracing::debug!(source, %broken, "the feed is opened again");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn consume_once<C: FeedConsumer>(consumer: &C) -> Result<(), String> {
    let told = |error: C::Error| error.to_string();
    let mut cursor = consumer.cursor().await.map_err(told)?;
    let opened = consumer
        .open(cursor.clone())
        .await
        .map_err(|status| status.to_string())?;
    let mut feed = opened.into_inner();
    while let Some(item) = feed.message().await.map_err(|status| status.to_string())? {
        match consumer.take(&cursor, item).await.map_err(told)? {
            Some(next) => cursor = next,
            None => return Err("another instance consumes it".to_owned()),
        }
    }
    Ok(())
}
