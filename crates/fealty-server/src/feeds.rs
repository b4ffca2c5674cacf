//! What is the same of every service's feed: where it begins, how long a call waits
//! for it, how often an idle one is heard.

use std::time::Duration;

use fealty_proto::r#type::v1::{FeedStart, feed_start::At};
use fealty_types::Timestamp;

use crate::Fields;

const CURSOR_LEN_MAX: usize = 8 * 1024;
/// How long a call waits for a feed at the most.
const WAIT_MAX: Duration = Duration::from_secs(25);

/// How often a stream tells how far it is known, also where there is nothing to tell.
pub const HEARTBEAT: Duration = Duration::from_secs(10);
/// For how long an entry of points may be on its way to the log after the time it says it was
/// written at: so far behind is the time up to which all is known.
pub const WRITING_MAX: Duration = Duration::from_mins(2);

/// Where a caller wants to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// After a cursor.
    Cursor(String),
    /// With what was written at a time or later.
    Time(Timestamp),
    /// With what is written from now on.
    Now,
}

impl Fields<'_> {
    /// Where a feed is to begin.
    pub fn feed_start(&mut self, field: &str, start: Option<&FeedStart>) -> Option<Start> {
        match start.and_then(|start| start.at.as_ref()) {
            None => Some(Start::Cursor(String::new())),
            Some(At::Cursor(cursor)) if cursor.len() > CURSOR_LEN_MAX => {
                let rule = "must be a cursor as the service gave it";
                self.add(&format!("{field}.cursor"), rule);
                None
            }
            Some(At::Cursor(cursor)) => Some(Start::Cursor(cursor.clone())),
            Some(At::Time(time)) => self.time(&format!("{field}.time"), *time).map(Start::Time),
            Some(At::Now(true)) => Some(Start::Now),
            Some(At::Now(false)) => {
                self.add(&format!("{field}.now"), "must be true");
                None
            }
        }
    }

    /// How long a call is to wait where there is nothing: not at all, if nothing is said.
    pub fn feed_wait(
        &mut self,
        field: &str,
        wait: Option<prost_types::Duration>,
    ) -> Option<Duration> {
        let Some(wait) = wait else {
            return Some(Duration::ZERO);
        };
        // Not by `TryFrom`, which negates the seconds and panics at the smallest number.
        let seconds = u64::try_from(wait.seconds).ok();
        let nanos = u32::try_from(wait.nanos).ok();
        let nanos = nanos.filter(|nanos| *nanos < 1_000_000_000);
        let asked = seconds.zip(nanos).map(|(s, n)| Duration::new(s, n));
        let asked = asked.filter(|asked| *asked <= WAIT_MAX);
        if asked.is_none() {
            self.add(field, "must be 0 to 25 seconds");
        }
        asked
    }
}
