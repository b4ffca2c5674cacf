//! The clock of a service.
//!
//! Points expire by it, for good. So the machine's clock is compared with the database's,
//! at the start and from then on: while the two differ by much, nobody knows which is
//! right, and nothing is done by it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use fealty_postgres::{Database, DatabaseError, foundation};
use fealty_types::{Clock, SystemClock, Timestamp};

/// How far the machine's clock may be from the database's.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(10);

/// Before it was compared for the first time.
const NOT_COMPARED: i64 = i64::MAX;

/// The machine's clock, or one that a test sets.
#[derive(Clone, Debug)]
pub struct ServiceClock(Kind);

#[derive(Clone, Debug)]
enum Kind {
    /// The machine's, and by how many microseconds the database's is ahead.
    System(Arc<AtomicI64>),
    /// A test's.
    Test(Arc<AtomicI64>),
}

impl ServiceClock {
    /// The machine's clock; or a test's, as it was set before the service was
    /// restarted. One that was never set stands at 1970-01-01T00:00Z.
    pub async fn load(database: &Database, test_clock: bool) -> Result<Self, DatabaseError> {
        if test_clock {
            let saved = foundation::test_time(database.pool()).await?;
            return Ok(Self::test(saved.unwrap_or(Timestamp::EPOCH)));
        }
        let clock = Self(Kind::System(Arc::new(AtomicI64::new(NOT_COMPARED))));
        clock.compare(database).await?;
        Ok(clock)
    }

    /// The machine's clock, which is right.
    #[must_use]
    pub fn system() -> Self {
        Self(Kind::System(Arc::new(AtomicI64::new(0))))
    }

    /// A clock that stands at `start` until it is set.
    #[must_use]
    pub fn test(start: Timestamp) -> Self {
        Self(Kind::Test(Arc::new(AtomicI64::new(start.micros()))))
    }

    /// Whether it can be set.
    #[must_use]
    pub fn is_test(&self) -> bool {
        matches!(self.0, Kind::Test(_))
    }

    /// Sets a test clock.
    pub(crate) fn set(&self, moment: Timestamp) {
        if let Kind::Test(micros) = &self.0 {
            micros.store(moment.micros(), Ordering::SeqCst);
        }
    }

    /// Compares the machine's clock with the database's.
    pub(crate) async fn compare(&self, database: &Database) -> Result<(), DatabaseError> {
        let Kind::System(ahead) = &self.0 else {
            return Ok(());
        };
        let asked = SystemClock.now().micros();
        let there = foundation::time_of_database(database.pool())
            .await?
            .micros();
        let answered = SystemClock.now().micros();
        // It was read some time in between.
        let skew = if there < asked {
            there - asked
        } else {
            (there - answered).max(0)
        };
        ahead.store(skew, Ordering::SeqCst);
        Ok(())
    }

    /// Why nothing is to be done by it, if that is so.
    #[must_use]
    pub fn distrust(&self) -> Option<String> {
        let Kind::System(ahead) = &self.0 else {
            return None;
        };
        let ahead = ahead.load(Ordering::SeqCst);
        if ahead == NOT_COMPARED {
            return Some("the clock was not yet compared with the database's".to_owned());
        }
        let skew = Duration::from_micros(ahead.unsigned_abs());
        let way = if ahead > 0 { "behind" } else { "ahead of" };
        (skew > CLOCK_SKEW_MAX).then(|| {
            let (seconds, max) = (skew.as_secs(), CLOCK_SKEW_MAX.as_secs());
            format!("the clock is {seconds} s {way} the database's; {max} s are allowed")
        })
    }
}

impl Clock for ServiceClock {
    fn now(&self) -> Timestamp {
        match &self.0 {
            Kind::System(_) => SystemClock.now(),
            Kind::Test(micros) => Timestamp::from_micros(micros.load(Ordering::SeqCst))
                .expect("only moments are stored"),
        }
    }
}
