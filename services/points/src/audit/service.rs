//! What the auditor's questions are answered from.

use std::sync::Arc;

use fealty_postgres::Database;
use fealty_server::{Programs, ServiceClock, Start};
use fealty_types::{Clock as _, Timestamp};

use super::signer::Signer;
use crate::{error::Error, feed::Feed, shard::Shards};

/// Answers auditors.
#[derive(Clone)]
pub(crate) struct Audit {
    pub(super) programs: Programs,
    pub(super) database: Database,
    pub(super) clock: ServiceClock,
    pub(super) shards: Shards,
    pub(super) feed: Feed,
    pub(super) signer: Option<Arc<Signer>>,
}

impl Audit {
    /// What the service's clock reads.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The cursor of a place in the log; empty stays empty, for its end or beginning.
    pub(crate) async fn place(&self, at: &Start) -> Result<String, Error> {
        match at {
            Start::Cursor(cursor) => Ok(cursor.clone()),
            at => Ok(self.feed.start(at).await?.cursor().to_string()),
        }
    }

    pub(crate) fn new(
        programs: Programs,
        database: Database,
        clock: ServiceClock,
        shards: Shards,
        feed: Feed,
        signer: Option<Signer>,
    ) -> Self {
        Self {
            programs,
            database,
            clock,
            shards,
            feed,
            signer: signer.map(Arc::new),
        }
    }
}
