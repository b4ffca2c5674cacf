//! How many lanes of an instance commit at once.

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::shard::{Placement, Shards};

/// Permits for batches. More lanes at once would share the same processors and disk, in
/// smaller batches that each cost as much to begin.
///
/// A lane whose last batch did not come through takes its permit from others than the rest,
/// and a batch that begins to take long changes to one of those: where the node
/// of some shards does not answer, each of their batches holds its permit for as long as a
/// statement may take, and all other shards would wait for them. On one node that comes of
/// locks that others hold; there are as many permits for it as for the rest. Over several it
/// comes of a node: there is one for each shard.
#[derive(Clone, Debug)]
pub(super) struct Permits {
    sound: Arc<Semaphore>,
    suspect: Arc<Semaphore>,
}

/// Batches that can be under way at once, all permits together.
pub(super) fn under_way_max(shards: Shards, batches_in_flight: u16) -> u16 {
    batches_in_flight.saturating_add(suspects(shards, batches_in_flight))
}

fn suspects(shards: Shards, batches_in_flight: u16) -> u16 {
    match shards.placement() {
        Placement::OneNode => batches_in_flight,
        Placement::Distributed => shards.count(),
    }
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
    pub(super) fn new(shards: Shards, batches_in_flight: u16) -> Self {
        Self {
            sound: Arc::new(Semaphore::new(batches_in_flight.into())),
            suspect: Arc::new(Semaphore::new(suspects(shards, batches_in_flight).into())),
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

    /// Gives a batch that takes long a permit of suspects for its own, as soon as there is
    /// one.
    pub(super) async fn exchange<'a>(&'a self, permit: &mut Permit<'a>) {
        if permit.is_suspect {
            return;
        }
        if let Ok(held) = self.suspect.acquire().await {
            *permit = Permit {
                held,
                is_suspect: true,
            };
        }
    }
}
