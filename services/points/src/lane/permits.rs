//! How many lanes of an instance commit at once.

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};

/// Permits for batches. More lanes at once would share the same processors and disk, in
/// smaller batches that each cost as much to begin.
///
/// A lane whose last batch did not come through takes its permit from others than the rest:
/// where the node of some shards does not answer, each of their batches holds its permit for
/// as long as a statement may take, and all other shards would wait for them.
#[derive(Clone, Debug)]
pub(super) struct Permits {
    sound: Arc<Semaphore>,
    suspect: Arc<Semaphore>,
    each: usize,
}

impl Permits {
    pub(super) fn new(batches_in_flight: usize) -> Self {
        Self {
            sound: Arc::new(Semaphore::new(batches_in_flight)),
            suspect: Arc::new(Semaphore::new(batches_in_flight)),
            each: batches_in_flight,
        }
    }

    /// Batches that can be under way at once.
    pub(super) fn count(&self) -> usize {
        2 * self.each
    }

    /// Waits for a permit; nothing, where the lanes end.
    pub(super) async fn acquire(&self, is_suspect: bool) -> Option<SemaphorePermit<'_>> {
        let permits = if is_suspect {
            &self.suspect
        } else {
            &self.sound
        };
        permits.acquire().await.ok()
    }
}
