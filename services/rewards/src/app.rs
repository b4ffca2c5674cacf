//! The service put together, with its work in the background.

use fealty_postgres::{Database, foundation};
use fealty_server::{FeedStatus, Operations, Programs, Rejection, ServiceClock, async_trait};
use fealty_types::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::{
    catalog::Catalog,
    points_client::PointsClient,
    redemption::{Redemptions, VoucherKey, keep_recovering},
};

/// The rewards service at work.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) programs: Programs,
    pub(crate) catalog: Catalog,
    pub(crate) redemptions: Redemptions,
    database: Database,
}

impl App {
    /// The service, without recovery at work.
    pub(crate) fn new(
        database: Database,
        clock: ServiceClock,
        programs: Programs,
        points: PointsClient,
        key: VoucherKey,
    ) -> Self {
        let catalog = Catalog {
            programs: programs.clone(),
            database: database.clone(),
            points: points.clone(),
        };
        let redemptions = Redemptions::new(programs.clone(), database.clone(), clock, points, key);
        Self {
            programs,
            catalog,
            redemptions,
            database,
        }
    }

    /// Starts the work in the background, which ends with `shutdown`.
    pub(crate) fn start_background(&self, shutdown: &CancellationToken) {
        tokio::spawn(self.programs.clone().keep_fresh(shutdown.clone()));
        tokio::spawn(keep_recovering(self.redemptions.clone(), shutdown.clone()));
    }
}

#[async_trait]
impl Operations for App {
    async fn feed_status(&self) -> Result<FeedStatus, Rejection> {
        Ok(FeedStatus::default())
    }

    async fn save_test_time(&self, now: Timestamp) -> Result<(), Rejection> {
        Ok(foundation::set_test_time(self.database.pool(), now).await?)
    }

    async fn do_due(&self) -> Result<i64, Rejection> {
        Ok(self.redemptions.recover().await?)
    }
}
