//! What the tiers service does: every use case, over `domain` and `store`.

mod feed;
mod judging;
mod points_feed;
mod status;

use fealty_postgres::{Database, DatabaseError, Heads, foundation};
use fealty_server::{ConsumedFeed, FeedStatus, Operations, Programs, Rejection, ServiceClock};
use fealty_types::{Cursor, Timestamp};
use tokio_util::sync::CancellationToken;
use tonic::async_trait;

pub use status::StatusRead;

use crate::store;

/// The tiers service at work.
#[derive(Clone)]
pub struct App {
    /// Its programmes.
    pub programs: Programs,
    database: Database,
    clock: ServiceClock,
    heads: Heads,
}

impl App {
    /// Starts the work in the background, which ends with `shutdown`.
    pub async fn start(
        database: Database,
        clock: ServiceClock,
        programs: Programs,
        shutdown: &CancellationToken,
    ) -> Result<Self, DatabaseError> {
        let app = Self {
            programs,
            database,
            clock,
            heads: Heads::new(1),
        };
        app.look_at_head().await?;
        tokio::spawn(app.programs.clone().keep_fresh(shutdown.clone()));
        tokio::spawn(feed::follow_head(app.clone(), shutdown.clone()));
        tokio::spawn(judging::keep_judging(app.clone(), shutdown.clone()));
        Ok(app)
    }

    /// Consumes the points service's feed, for ever.
    pub async fn follow_points(self, points: fealty_client::Channel) {
        points_feed::follow(self, points).await;
    }

    async fn look_at_head(&self) -> Result<Cursor, DatabaseError> {
        let head = store::changes::head(self.database.pool()).await?;
        self.heads.reached(0, head);
        Ok(Cursor::new(vec![head]))
    }
}

#[async_trait]
impl Operations for App {
    async fn feed_status(&self) -> Result<FeedStatus, Rejection> {
        let head = self.look_at_head().await?;
        let cursor = foundation::feed_cursor(self.database.pool(), points_feed::SOURCE).await?;
        Ok(FeedStatus {
            head: Some(head),
            consumed: vec![ConsumedFeed {
                source: points_feed::SOURCE,
                cursor,
            }],
        })
    }

    async fn save_test_time(&self, now: Timestamp) -> Result<(), Rejection> {
        Ok(foundation::set_test_time(self.database.pool(), now).await?)
    }

    async fn do_due(&self) -> Result<i64, Rejection> {
        Ok(judging::judge_due(self).await?)
    }
}
