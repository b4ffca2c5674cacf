//! The clock of a service.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use fealty_postgres::{Database, DatabaseError, foundation};
use fealty_types::{Clock, SystemClock, Timestamp};

/// The machine's clock, or one that a test sets.
#[derive(Clone, Debug)]
pub struct ServiceClock(Option<Arc<AtomicI64>>);

impl ServiceClock {
    /// The machine's clock; or a test's, as it was set before the service was
    /// restarted. One that was never set stands at 1970-01-01T00:00Z.
    pub async fn load(database: &Database, test_clock: bool) -> Result<Self, DatabaseError> {
        if !test_clock {
            return Ok(Self::system());
        }
        let saved = foundation::test_time(database.pool()).await?;
        Ok(Self::test(saved.unwrap_or(Timestamp::EPOCH)))
    }

    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(None)
    }

    /// A clock that stands at `start` until it is set.
    #[must_use]
    pub fn test(start: Timestamp) -> Self {
        Self(Some(Arc::new(AtomicI64::new(start.micros()))))
    }

    /// Whether it can be set.
    #[must_use]
    pub fn is_test(&self) -> bool {
        self.0.is_some()
    }

    /// Sets a test clock.
    pub(crate) fn set(&self, moment: Timestamp) {
        if let Some(micros) = &self.0 {
            micros.store(moment.micros(), Ordering::SeqCst);
        }
    }
}

impl Clock for ServiceClock {
    fn now(&self) -> Timestamp {
        match &self.0 {
            None => SystemClock.now(),
            Some(micros) => Timestamp::from_micros(micros.load(Ordering::SeqCst))
                .expect("only moments are stored"),
        }
    }
}
