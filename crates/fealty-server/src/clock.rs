//! The clock of a service.
//!
//! Points expire by it, for good. So the machine's clock is compared with the database's,
//! at the start and from then on: while the two differ by much, nobody knows which is
//! right, and nothing is done by it. From one comparison to the next it is read by the time
//! that has passed, which no step of the machine's clock changes; a step is noticed at once.
//! Where the database has the same clock, both step together and never differ: then it is
//! for those who run the service to say that the clock is right, by starting it again.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use fealty_postgres::{Database, DatabaseError, foundation};
use fealty_types::{Clock, SystemClock, Timestamp};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::watch;

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
    Test(Arc<watch::Sender<Timestamp>>),
}

/// The machine's clock as it was compared with the database's.
#[derive(Clone, Copy, Debug)]
struct Compared {
    /// When, by what no step changes.
    at: SinceBoot,
    /// What the machine's clock read then.
    read: Timestamp,
    /// By how many microseconds the database's was ahead.
    ahead: i64,
    /// By how many microseconds both were put on since the service began, in steps that are
    /// larger than allowed.
    put: i64,
}

/// The time since the machine was started, sleep included: waking up is no step.
#[derive(Clone, Copy, Debug)]
struct SinceBoot(Duration);

impl SinceBoot {
    fn now() -> Self {
        #[cfg(target_os = "linux")]
        let since = clock_gettime(ClockId::Boottime);
        #[cfg(not(target_os = "linux"))]
        let since = clock_gettime(ClockId::Monotonic);
        let since = Duration::try_from(since);
        Self(since.expect("it does not begin before the machine"))
    }

    fn elapsed(self) -> Duration {
        Self::now().0.saturating_sub(self.0)
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn is_step(micros: i64) -> bool {
    Duration::from_micros(micros.unsigned_abs()) > CLOCK_SKEW_MAX
}

impl Compared {
    /// What the machine's clock reads after some time, if it was not set meanwhile.
    fn after(&self, passed: Duration) -> Timestamp {
        self.read.checked_add(passed).unwrap_or(self.read)
    }

    /// By how many microseconds the machine's clock was put on, which reads `now` after some
    /// time.
    fn stepped(&self, now: Timestamp, passed: Duration) -> i64 {
        now.micros() - self.read.micros() - micros(passed)
    }

    /// The next comparison.
    fn next(&self, at: SinceBoot, read: Timestamp, ahead: i64) -> Self {
        let step = self.stepped(read, at.0.saturating_sub(self.at.0));
        let there = step + ahead - self.ahead;
        let both = is_step(step) && is_step(there);
        Self {
            at,
            read,
            ahead,
            put: self.put + if both { step } else { 0 },
        }
    }

    /// Why nothing is to be done by the machine's clock, which reads `now` after some time.
    fn distrust(&self, now: Timestamp, passed: Duration) -> Option<String> {
        let stepped = self.stepped(now, passed);
        let seconds = |micros: i64| micros.unsigned_abs() / 1_000_000;
        let max = CLOCK_SKEW_MAX.as_secs();
        let way = |put: i64| if put > 0 { "on" } else { "back" };
        if is_step(self.ahead) {
            let way = if self.ahead > 0 { "behind" } else { "ahead of" };
            let skew = seconds(self.ahead);
            Some(format!(
                "the clock is {skew} s {way} the database's; {max} s are allowed"
            ))
        } else if is_step(stepped) {
            let (way, step) = (way(stepped), seconds(stepped));
            Some(format!(
                "the clock was put {way} by {step} s; {max} s are allowed"
            ))
        } else if is_step(self.put) {
            let (way, put) = (way(self.put), seconds(self.put));
            Some(format!(
                "the clock and the database's were put {way} together by {put} s; {max} s are \
                 allowed: if they are right now, the service must be started again"
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
            return Ok(Self(Kind::Test(Arc::new(watch::Sender::new(start)))));
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
        if let Kind::Test(now) = &self.0 {
            now.send_replace(moment);
        }
    }

    /// When it is set, from now on.
    #[must_use]
    pub fn sets(&self) -> Sets {
        Sets(match &self.0 {
            Kind::System(_) => None,
            Kind::Test(now) => Some(now.subscribe()),
        })
    }

    /// Compares the machine's clock with the database's.
    pub(crate) async fn compare(&self, database: &Database) -> Result<(), DatabaseError> {
        let Kind::System(compared) = &self.0 else {
            return Ok(());
        };
        let asked = SystemClock.now().micros();
        let there = foundation::time_of_database(database.watch())
            .await?
            .micros();
        let (at, read) = (SinceBoot::now(), SystemClock.now());
        // It was read some time in between.
        let ahead = if there < asked {
            there - asked
        } else {
            (there - read.micros()).max(0)
        };
        let mut compared = compared.write().unwrap_or_else(PoisonError::into_inner);
        let first = Compared {
            at,
            read,
            ahead,
            put: 0,
        };
        *compared = Some(compared.map_or(first, |before| before.next(at, read, ahead)));
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

/// Tells when a test sets a clock.
#[derive(Debug)]
pub struct Sets(Option<watch::Receiver<Timestamp>>);

impl Sets {
    /// Waits for the next time; without end for the machine's clock, which nobody sets.
    pub async fn next(&mut self) {
        let is_set = match &mut self.0 {
            Some(now) => now.changed().await.is_ok(),
            None => false,
        };
        if !is_set {
            std::future::pending::<()>().await;
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
            Kind::Test(now) => *now.borrow(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::constant(1_800_000_000_000_000);

    const AT_NOON: Compared = Compared {
        at: SinceBoot(Duration::from_hours(1)),
        read: NOON,
        ahead: 0,
        put: 0,
    };

    fn later(seconds: u64) -> Timestamp {
        let later = NOON.checked_add(Duration::from_secs(seconds));
        later.expect("in range")
    }

    #[test]
    fn a_clock_that_differs_steps_or_was_not_compared_for_long_is_not_trusted() {
        let trusted = |ahead_s: i64, now: Timestamp, passed_s: u64| {
            let compared = Compared {
                ahead: ahead_s * 1_000_000,
                ..AT_NOON
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

    /// Five seconds after noon the clocks of both read an hour more, for the database has the
    /// same one: to agree with it shows nothing.
    #[test]
    fn a_step_of_a_clock_that_both_have_is_not_believed() {
        let next = |compared: &Compared, after_s: u64, reads_s: u64, ahead_s: i64| {
            let at = SinceBoot(AT_NOON.at.0 + Duration::from_secs(after_s));
            compared.next(at, later(reads_s), ahead_s * 1_000_000)
        };
        let distrusted = |compared: &Compared| compared.distrust(compared.read, Duration::ZERO);

        let put_on = next(&AT_NOON, 5, 3_605, 0);
        let why = distrusted(&put_on).expect("it is not trusted");
        assert!(why.contains("put on together by 3600 s"), "{why}");
        // Nor after a while; but once it is put back.
        let later = next(&put_on, 10, 3_610, 0);
        assert!(distrusted(&later).is_some());
        let back = next(&later, 15, 15, 0);
        assert_eq!(distrusted(&back), None);

        // The machine's alone, which was wrong, and is put right.
        let wrong = next(&AT_NOON, 5, 3_605, -3_600);
        let why = distrusted(&wrong).expect("it is not trusted");
        assert!(why.contains("3600 s ahead of the database's"), "{why}");
        assert_eq!(distrusted(&next(&wrong, 10, 10, 0)), None);
    }

    /// An hour was put on since the comparison: the service's clock does not follow.
    #[test]
    fn a_step_of_the_machines_clock_moves_no_time() {
        let real = SystemClock.now();
        let read = real.checked_sub(Duration::from_hours(1)).expect("in range");
        let compared = Compared {
            at: SinceBoot::now(),
            read,
            ..AT_NOON
        };
        let clock = ServiceClock(Kind::System(Arc::new(RwLock::new(Some(compared)))));
        let why = clock.distrust().expect("it is not trusted");
        assert!(why.contains("put on by"), "{why}");
        let passed = clock.now().micros() - read.micros();
        assert!((0..60_000_000).contains(&passed), "{passed}");
    }
}
