//! The service put together, with its work in the background.

use fealty_postgres::{Database, DatabaseError, foundation};
use fealty_server::{
    ConsumedFeed, FeedStatus, Operations, Programs, Rejection, ServiceClock, Troubles, async_trait,
};
use fealty_types::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::{
    feed::Feed,
    status::{self, Statuses},
};

/// The tiers service at work.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) statuses: Statuses,
}

impl App {
    /// Starts the work in the background, which ends with `shutdown`.
    pub(crate) async fn start(
        (database, clock): (Database, ServiceClock),
        programs: Programs,
        troubles: Troubles,
        shutdown: &CancellationToken,
    ) -> Result<Self, DatabaseError> {
        let feed = Feed::new(database.clone(), status::SOURCE, programs.clone());
        feed.head().await?;
        let statuses = Statuses {
            programs,
            database,
            clock,
            feed,
            judged: status::Judged::default(),
            troubles,
        };
        tokio::spawn(statuses.programs.clone().keep_fresh(shutdown.clone()));
        tokio::spawn(statuses.feed.clone().follow_head(shutdown.clone()));
        tokio::spawn(status::keep_judging(statuses.clone(), shutdown.clone()));
        Ok(Self { statuses })
    }

    /// Consumes the points service's feed, for ever.
    pub(crate) async fn follow_points(self, points: fealty_client::Channel) {
        status::follow(self.statuses, points).await;
    }
}

#[async_trait]
impl Operations for App {
    async fn feed_status(&self) -> Result<FeedStatus, Rejection> {
        let pool = self.statuses.database.pool();
        let cursor = foundation::feed_cursor(pool, status::SOURCE).await?;
        let head = self.statuses.feed.head().await?;
        Ok(FeedStatus {
            head: Some(head),
            consumed: vec![ConsumedFeed {
                source: status::SOURCE,
                cursor,
            }],
        })
    }

    async fn save_test_time(&self, now: Timestamp) -> Result<(), Rejection> {
        Ok(foundation::set_test_time(self.statuses.database.pool(), now).await?)
    }

    async fn do_due(&self) -> Result<i64, Rejection> {
        Ok(status::judge_once_heard(&self.statuses).await?)
    }
}
