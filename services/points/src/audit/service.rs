//! What the auditor's questions are answered from.

use std::sync::Arc;

use ed25519_dalek::SigningKey;
use fealty_postgres::Database;
use fealty_server::{Programs, ServiceClock};

use crate::{feed::Feed, shard::Shards};

/// Answers auditors.
#[derive(Clone)]
pub(crate) struct Audit {
    pub(super) programs: Programs,
    pub(super) database: Database,
    pub(super) clock: ServiceClock,
    pub(super) shards: Shards,
    pub(super) feed: Feed,
    pub(super) signing_key: Option<Arc<SigningKey>>,
}

impl Audit {
    pub(crate) fn new(
        programs: Programs,
        database: Database,
        clock: ServiceClock,
        shards: Shards,
        feed: Feed,
        signing_key: Option<SigningKey>,
    ) -> Self {
        Self {
            programs,
            database,
            clock,
            shards,
            feed,
            signing_key: signing_key.map(Arc::new),
        }
    }
}
