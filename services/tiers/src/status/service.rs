//! What statuses are judged and read by.

use fealty_postgres::Database;
use fealty_server::{Programs, ServiceClock};

use crate::feed::Feed;

/// Judges and reads statuses.
#[derive(Clone)]
pub(crate) struct Statuses {
    pub(crate) programs: Programs,
    pub(crate) database: Database,
    pub(crate) clock: ServiceClock,
    pub(crate) feed: Feed,
}
