//! What statuses are judged and read by.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use fealty_postgres::{Database, DatabaseError, foundation};
use fealty_server::{Programs, ServiceClock, Troubles, WRITING_MAX};
use fealty_types::{Clock as _, ProgramId, Timestamp};

use crate::feed::Feed;

/// The name of points' feed among the stored cursors.
pub(crate) const SOURCE: &str = "points";

/// Judges and reads statuses.
#[derive(Clone)]
pub(crate) struct Statuses {
    pub(crate) programs: Programs,
    pub(crate) database: Database,
    pub(crate) clock: ServiceClock,
    pub(crate) feed: Feed,
    pub(crate) judged: Judged,
    pub(crate) troubles: Troubles,
}

impl Statuses {
    /// The moment up to which members are judged, if they can be: what they had bought by then
    /// is known. Who is judged by less falls, and is told of it, for a purchase that has not
    /// been read yet.
    ///
    /// It is when points last looked how far its log reached and found that all was told; what
    /// was on its way to the log then comes late, and is dealt with as such.
    pub(super) async fn judged_by(&self) -> Result<Option<Timestamp>, DatabaseError> {
        let known = foundation::feed_known_at(self.database.pool(), SOURCE).await?;
        Ok(self.by(known))
    }

    /// The same, where it is said up to when all is known.
    pub(super) fn by(&self, known: Option<Timestamp>) -> Option<Timestamp> {
        let heard = known.and_then(|known| known.checked_add(WRITING_MAX));
        heard.map(|heard| heard.min(self.clock.now()))
    }
}

/// The versions of programmes of which everybody has a tier that they have.
#[derive(Clone, Default)]
pub(crate) struct Judged(Arc<Mutex<HashMap<ProgramId, i64>>>);

impl Judged {
    pub(super) fn knows(&self, program: &ProgramId, version: i64) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(program) == Some(&version)
    }

    pub(super) fn note(&self, program: ProgramId, version: i64) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(program, version);
    }
}
