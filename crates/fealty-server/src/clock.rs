//! The clock of a service.
//!
//! Points expire by it, for good. So the machine's clock is compared with the database's,
//! at the start and from then on: while the two differ by much, nobody knows which is
//! right, and nothing is done by it. From one comparison to the next it is read by the time
//! that has passed, which no step of the machine's clock changes; a step is noticed at once.

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use fealty_postgres::{Database, DatabaseError, foundation};
use fealty_types::{Clock, SystemClock, Timestamp};

/// How far the machine's clock may be from the database's, and may step.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(10);
/// For how long a comparison counts.
const COMPARED_MAX: Duration = Duration::from_mins(1);

/// The machine's clock, or one that a test sets.
#[derive(Clone, Debug)]
pub struct ServiceClock(Kind);

#[derive(Clone, Debug)]
enum Kind {
    /// The machine's.
    System(Arc<RwLock<Option<Compared>>>),
    /// A test's.
    Test(Arc<AtomicI64>),
}

/// The machine's clock as it was compared with the database's.
#[derive(Clone, Copy, Debug)]
struct Compared {
    /// When, by what no step changes.
    at: Instant,
    /// What the machine's clock read then.
    read: Timestamp,
    /// By how many microseconds the database's was ahead.
    ahead: i64,
}

impl Compared {
    /// What the machine's clock reads after some time, if it was not set meanwhile.
    fn after(&self, passed: Duration) -> Timestamp {
        self.read.checked_add(passed).unwrap_or(self.read)
    }

    /// Why nothing is to be done by the machine's clock, which reads `now` after some time.
    fn distrust(&self, now: Timestamp, passed: Duration) -> Option<String> {
        let stepped = now.micros() - self.after(passed).micros();
        let (skew, step) = (self.ahead.unsigned_abs(), stepped.unsigned_abs());
        let [skew, step] = [skew, step].map(Duration::from_micros);
        let max = CLOCK_SKEW_MAX.as_secs();
        if skew > CLOCK_SKEW_MAX {
            let way = if self.ahead > 0 { "behind" } else { "ahead of" };
            let skew = skew.as_secs();
            Some(format!(
                "the clock is {skew} s {way} the database's; {max} s are allowed"
            ))
        } else if step > CLOCK_SKEW_MAX {
            let way = if stepped > 0 { "on" } else { "back" };
            let step = step.as_secs();
            Some(format!(
                "the clock was put {way} by {step} s; {max} s are allowed"
            ))
        } else if passed > COMPARED_MAX {
            let passed = passed.as_secs();
            Some(format!(
                "the clock was last compared with the database's {passed} s ago"
            ))
        } else {
            None
        }
    }
}

impl ServiceClock {
    /// The machine's clock; or a test's, as it was set before the service was
    /// restarted. One that was never set stands at 1970-01-01T00:00Z.
    pub async fn load(database: &Database, test_clock: bool) -> Result<Self, DatabaseError> {
        if test_clock {
            let saved = foundation::test_time(database.pool()).await?;
            let start = saved.unwrap_or(Timestamp::EPOCH);
            return Ok(Self(Kind::Test(Arc::new(AtomicI64::new(start.micros())))));
        }
        let clock = Self(Kind::System(Arc::new(RwLock::new(None))));
        clock.compare(database).await?;
        Ok(clock)
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
        let Kind::System(compared) = &self.0 else {
            return Ok(());
        };
        let asked = SystemClock.now().micros();
        let there = foundation::time_of_database(database.pool())
            .await?
            .micros();
        let (at, read) = (Instant::now(), SystemClock.now());
        // It was read some time in between.
        let ahead = if there < asked {
            there - asked
        } else {
            (there - read.micros()).max(0)
        };
        let mut compared = compared.write().unwrap_or_else(PoisonError::into_inner);
        *compared = Some(Compared { at, read, ahead });
        Ok(())
    }

    /// Why nothing is to be done by it, if that is so.
    #[must_use]
    pub fn distrust(&self) -> Option<String> {
        let Kind::System(compared) = &self.0 else {
            return None;
        };
        let compared = *compared.read().unwrap_or_else(PoisonError::into_inner);
        match compared {
            Some(compared) => compared.distrust(SystemClock.now(), compared.at.elapsed()),
            None => Some("the clock was not yet compared with the database's".to_owned()),
        }
    }
}

impl Clock for ServiceClock {
    fn now(&self) -> Timestamp {
        match &self.0 {
            Kind::System(compared) => {
                let compared = *compared.read().unwrap_or_else(PoisonError::into_inner);
                compared.map_or_else(
                    || SystemClock.now(),
                    |compared| compared.after(compared.at.elapsed()),
                )
            }
            Kind::Test(micros) => Timestamp::from_micros(micros.load(Ordering::SeqCst))
                .expect("only moments are stored"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::constant(1_800_000_000_000_000);

    fn later(seconds: u64) -> Timestamp {
        let later = NOON.checked_add(Duration::from_secs(seconds));
        later.expect("in range")
    }

    #[test]
    fn a_clock_that_differs_steps_or_was_not_compared_for_long_is_not_trusted() {
        let trusted = |ahead_s: i64, now: Timestamp, passed_s: u64| {
            let compared = Compared {
                at: Instant::now(),
                read: NOON,
                ahead: ahead_s * 1_000_000,
            };
            compared.distrust(now, Duration::from_secs(passed_s))
        };
        assert_eq!(trusted(0, later(5), 5), None);
        assert_eq!(trusted(-10, later(15), 5), None);
        for (ahead, now, passed, told) in [
            (11, later(5), 5, "11 s behind the database's"),
            (-11, later(5), 5, "11 s ahead of the database's"),
            (0, later(16), 5, "put on by 11 s"),
            (0, NOON, 11, "put back by 11 s"),
            (
                0,
                later(61),
                61,
                "last compared with the database's 61 s ago",
            ),
        ] {
            let why = trusted(ahead, now, passed).expect("it is not trusted");
            assert!(why.contains(told), "{why}");
        }
    }

    /// An hour was put on since the comparison: the service's clock does not follow.
    #[test]
    fn a_step_of_the_machines_clock_moves_no_time() {
        let real = SystemClock.now();
        let read = real.checked_sub(Duration::from_hours(1)).expect("in range");
        let compared = Compared {
            at: Instant::now(),
            read,
            ahead: 0,
        };
        let clock = ServiceClock(Kind::System(Arc::new(RwLock::new(Some(compared)))));
        let why = clock.distrust().expect("it is not trusted");
        assert!(why.contains("put on by"), "{why}");
        let passed = clock.now().micros() - read.micros();
        assert!((0..60_000_000).contains(&passed), "{passed}");
    }
}
