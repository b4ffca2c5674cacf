//! What statuses are judged and read by.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use fealty_postgres::Database;
use fealty_server::{HEARTBEAT, Programs, ServiceClock};
use fealty_types::{Clock as _, ProgramId, Timestamp};

use crate::feed::Feed;

/// Judges and reads statuses.
#[derive(Clone)]
pub(crate) struct Statuses {
    pub(crate) programs: Programs,
    pub(crate) database: Database,
    pub(crate) clock: ServiceClock,
    pub(crate) feed: Feed,
    pub(crate) judged: Judged,
    pub(crate) heard: Heard,
}

impl Statuses {
    /// The moment up to which members are judged, if they can be: now, where what they have
    /// bought is known. Who is judged by less falls, and is told of it, for a purchase that
    /// has not been read yet.
    pub(super) fn judged_by(&self) -> Option<Timestamp> {
        (self.clock.distrust().is_none() && self.heard.is_recent()).then(|| self.clock.now())
    }
}

/// When the points service last said that it has told of all there is.
#[derive(Clone, Default)]
pub(crate) struct Heard(Arc<Mutex<Option<Instant>>>);

/// It says so once a heartbeat; one may be missed.
const HEARD_MAX: Duration = Duration::from_secs(2 * HEARTBEAT.as_secs());

impl Heard {
    pub(super) fn all(&self) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *heard = Some(Instant::now());
    }

    fn is_recent(&self) -> bool {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.is_some_and(|heard| heard.elapsed() <= HEARD_MAX)
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
