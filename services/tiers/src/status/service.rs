//! What statuses are judged and read by.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use fealty_postgres::Database;
use fealty_server::{Programs, ServiceClock};
use fealty_types::ProgramId;

use crate::feed::Feed;

/// Judges and reads statuses.
#[derive(Clone)]
pub(crate) struct Statuses {
    pub(crate) programs: Programs,
    pub(crate) database: Database,
    pub(crate) clock: ServiceClock,
    pub(crate) feed: Feed,
    pub(crate) judged: Judged,
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
