//! What the rewards service does: every use case, over `domain` and `store`.

mod catalog;
mod points;
mod recovery;
mod redeem;

use fealty_postgres::{Database, PgConnection, foundation};
use fealty_program::Program;
use fealty_server::{
    FeedStatus, OnApply, Operations, Programs, ProgramsError, Rejection, ServiceClock,
};
use fealty_types::Timestamp;
use tokio_util::sync::CancellationToken;
use tonic::async_trait;

pub use catalog::{Availability, Offer};
pub use points::PointsClient;
pub use redeem::Begun;

use crate::{domain::VoucherKey, store};

/// The rewards service at work.
#[derive(Clone)]
pub struct App {
    /// Its programmes.
    pub programs: Programs,
    database: Database,
    clock: ServiceClock,
    points: PointsClient,
    key: VoucherKey,
}

impl App {
    /// The service, without recovery at work.
    #[must_use]
    pub fn new(
        database: Database,
        clock: ServiceClock,
        programs: Programs,
        points: PointsClient,
        key: VoucherKey,
    ) -> Self {
        Self {
            programs,
            database,
            clock,
            points,
            key,
        }
    }

    /// Starts the work in the background, which ends with `shutdown`.
    pub fn start_background(&self, shutdown: &CancellationToken) {
        tokio::spawn(self.programs.clone().keep_fresh(shutdown.clone()));
        tokio::spawn(recovery::keep_recovering(self.clone(), shutdown.clone()));
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
        Ok(self.recover().await?)
    }
}

/// Opens the stock of a programme's rewards.
#[derive(Clone, Copy, Debug)]
pub struct OpenStock;

#[async_trait]
impl OnApply for OpenStock {
    async fn apply(
        &self,
        connection: &mut PgConnection,
        _: Option<&Program>,
        after: &Program,
    ) -> Result<(), ProgramsError> {
        for id in after.rewards.keys() {
            store::stock::open(connection, &after.id, id).await?;
        }
        Ok(())
    }
}
