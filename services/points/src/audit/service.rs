//! What the auditor's questions are answered from.

use std::sync::Arc;

use fealty_postgres::Database;
use fealty_server::{Programs, ServiceClock};

use super::signer::Signer;
use crate::{feed::Feed, shard::Shards};

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
