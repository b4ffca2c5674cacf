//! How many lanes of an instance commit at once.

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};

/// Permits for batches. More lanes at once would share the same processors and disk, in
/// smaller batches that each cost as much to begin.
///
/// A lane whose last batch did not come through, or took long, takes its permit from others
/// than the rest, and a batch that begins to take long changes to one of those: where the node
/// of some shards does not answer, each of their batches holds its permit for as long as a
/// statement may take, and all other shards would wait for them.
#[derive(Clone, Debug)]
pub(super) struct Permits {
    sound: Arc<Semaphore>,
    suspect: Arc<Semaphore>,
}

/// Leave to commit a batch, until it is dropped.
#[derive(Debug)]
pub(super) struct Permit<'a> {
    /// Gives it back.
    #[expect(dead_code, reason = "it is held, and not read")]
    held: SemaphorePermit<'a>,
    is_suspect: bool,
}

impl Permits {
    pub(super) fn new(batches_in_flight: usize) -> Self {
        Self {
            sound: Arc::new(Semaphore::new(batches_in_flight)),
            suspect: Arc::new(Semaphore::new(batches_in_flight)),
        }
    }

    /// Waits for a permit; nothing, where the lanes end.
    pub(super) async fn acquire(&self, is_suspect: bool) -> Option<Permit<'_>> {
        let permits = if is_suspect {
            &self.suspect
        } else {
            &self.sound
        };
        let held = permits.acquire().await.ok()?;
        Some(Permit { held, is_suspect })
    }

    /// Gives a batch that takes long a permit of suspects for its own, if there is one.
    pub(super) fn exchange<'a>(&'a self, permit: &mut Permit<'a>) {
        if !permit.is_suspect
            && let Ok(held) = self.suspect.try_acquire()
        {
            *permit = Permit {
                held,
                is_suspect: true,
            };
        }
    }
}
