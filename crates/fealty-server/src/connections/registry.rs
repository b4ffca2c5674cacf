//! Which connections are open, and which has been idle longest.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often connections that are to end are looked for.
const LOOKED_AT_EVERY: Duration = Duration::from_secs(1);

/// The connections of a server.
#[derive(Clone, Debug)]
pub(crate) struct Connections(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    open: Mutex<HashMap<u64, Arc<Place>>>,
    max: usize,
    next: AtomicU64,
    began: Instant,
}

/// A connection among the others.
#[derive(Debug)]
struct Place {
    /// Calls that are under way.
    calls: AtomicU32,
    /// Whether there ever was one of a caller who may call.
    admitted: AtomicBool,
    /// When it was opened: milliseconds after the server began.
    opened_ms: u64,
    /// When it was opened, or the last such call ended.
    idle_since_ms: AtomicU64,
    /// Whoever serves it is told to end.
    ended: CancellationToken,
}

/// A connection's place, as long as it is open.
#[derive(Debug)]
pub(crate) struct OpenPlace {
    connections: Connections,
    id: u64,
    place: Arc<Place>,
}

impl Drop for OpenPlace {
    fn drop(&mut self) {
        self.connections.lock().remove(&self.id);
    }
}

/// A connection, for the calls that come over it.
#[derive(Clone, Debug)]
pub(crate) struct CalledPlace {
    place: Arc<Place>,
    began: Instant,
}

/// A call that is under way over a connection.
#[derive(Debug)]
pub(crate) struct CallOnConnection(CalledPlace);

impl Drop for CallOnConnection {
    fn drop(&mut self) {
        let CalledPlace { place, began } = &self.0;
        place.idle_since_ms.store(millis(*began), Ordering::Relaxed);
        place.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

fn millis(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}

impl CalledPlace {
    /// Counts a call of a caller who may call, until the value is dropped.
    pub(crate) fn begin(&self) -> CallOnConnection {
        self.place.admitted.store(true, Ordering::Relaxed);
        self.place.calls.fetch_add(1, Ordering::Relaxed);
        CallOnConnection(self.clone())
    }
}

impl OpenPlace {
    /// For the calls that come over it.
    pub(crate) fn called(&self) -> CalledPlace {
        CalledPlace {
            place: Arc::clone(&self.place),
            began: self.connections.0.began,
        }
    }

    /// Cancelled when it is to end.
    pub(crate) fn ended(&self) -> CancellationToken {
        self.place.ended.clone()
    }
}

impl Connections {
    /// At most so many.
    pub(crate) fn new(max: usize) -> Self {
        Self(Arc::new(Inner {
            open: Mutex::default(),
            max,
            next: AtomicU64::new(0),
            began: Instant::now(),
        }))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Place>>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more. Where there is none, the one that has been idle
    /// longest loses its own; `None` if all have calls.
    pub(crate) fn open(&self) -> Option<OpenPlace> {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let now = millis(self.0.began);
        let place = Arc::new(Place {
            calls: AtomicU32::new(0),
            admitted: AtomicBool::new(false),
            opened_ms: now,
            idle_since_ms: AtomicU64::new(now),
            ended: CancellationToken::new(),
        });
        let mut open = self.lock();
        if open.len() >= self.0.max {
            let idle = open.iter().filter(|(_, place)| {
                place.calls.load(Ordering::Relaxed) == 0 && !place.ended.is_cancelled()
            });
            let longest = idle.min_by_key(|(_, place)| {
                let admitted = place.admitted.load(Ordering::Relaxed);
                (admitted, place.idle_since_ms.load(Ordering::Relaxed))
            });
            let longest = longest.map(|(id, _)| *id)?;
            if let Some(place) = open.remove(&longest) {
                place.ended.cancel();
            }
        }
        open.insert(id, Arc::clone(&place));
        drop(open);
        Some(OpenPlace {
            connections: self.clone(),
            id,
            place,
        })
    }

    /// Ends connections on which nobody who may has called for so long after they
    /// were opened, and those that are older than they may become.
    pub(crate) async fn end_overdue(
        self,
        first_call: Duration,
        age_max: Duration,
        shutdown: CancellationToken,
    ) {
        let [first_call, age_max] =
            [first_call, age_max].map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(LOOKED_AT_EVERY) => {}
            }
            let now = millis(self.0.began);
            for place in self.lock().values() {
                let age = now.saturating_sub(place.opened_ms);
                let is_silent = !place.admitted.load(Ordering::Relaxed);
                if age > age_max || (is_silent && age > first_call) {
                    place.ended.cancel();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_too_many_takes_the_place_of_the_longest_idle() {
        let connections = Connections::new(3);
        let caller = connections.open().expect("room");
        drop(caller.called().begin());
        let silent = connections.open().expect("room");
        let busy = connections.open().expect("room");
        let call = busy.called().begin();
        // Who never called goes first, though it came later.
        let fourth = connections.open().expect("a place");
        assert!(silent.ended().is_cancelled() && !caller.ended().is_cancelled());
        let other_call = fourth.called().begin();
        let fifth = connections.open().expect("a place");
        assert!(caller.ended().is_cancelled() && !busy.ended().is_cancelled());
        let last_call = fifth.called().begin();
        assert!(connections.open().is_none(), "all have calls");
        drop((call, other_call, last_call, silent));
        drop(fifth);
        assert!(connections.open().is_some());
    }
}
