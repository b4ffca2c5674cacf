//! Whether what budgets' homes moved is what the shards of the leases received.

use std::collections::BTreeMap;

use fealty_ledger::{Entry, Said};
use fealty_postgres::{Database, DatabaseError};
use fealty_types::{Position, ShardId, TransactionPlace};

use super::{VerifyError, shard::Side};
use crate::shard::store;

/// The sides of all shards, and how far each was looked at.
#[derive(Default)]
pub(super) struct Sides {
    moved: BTreeMap<TransactionPlace, Side>,
    received: BTreeMap<TransactionPlace, (ShardId, Side)>,
    heads: BTreeMap<ShardId, Position>,
}

impl Sides {
    /// Adds those of a shard.
    pub(super) fn add(
        &mut self,
        shard: ShardId,
        head: Position,
        moved: &BTreeMap<Position, Side>,
        received: &BTreeMap<TransactionPlace, Side>,
    ) {
        self.heads.insert(shard, head);
        self.moved.extend(moved.iter().map(|(position, side)| {
            let place = TransactionPlace {
                shard,
                position: *position,
            };
            (place, side.clone())
        }));
        let received = received.iter();
        let received = received.map(|(home, side)| (*home, (shard, side.clone())));
        self.received.extend(received);
    }

    /// Checks that each side has another that says the same. Shards are looked at one after
    /// the other, so what was written since then is looked for.
    pub(super) async fn check(mut self, database: &Database) -> Result<(), VerifyError> {
        for (home, side) in std::mem::take(&mut self.moved) {
            let received = self.received.remove(&home).map(|(_, received)| received);
            let is_same = match received {
                Some(received) => received == side,
                None => self.is_received_later(database, home, &side).await?,
            };
            if !is_same {
                return Err(VerifyError::Difference {
                    shard: home.shard,
                    position: home.position,
                    what: "a lease was moved, and another one received, or none".to_owned(),
                });
            }
        }
        for (home, (shard, side)) in self.received {
            let looked_at = self.heads.get(&home.shard).copied();
            let is_later = looked_at.is_some_and(|head| home.position > head);
            let row = store::log::at(database.pool(), home.shard, home.position).await?;
            let entry = row.map(|row| row.entry()).transpose()?;
            let moved = match entry {
                Some(Entry::Notice(notice)) if is_later => match &notice.says {
                    Said::LeaseMoved(moved) => Some(Side::of(
                        &notice.program,
                        moved,
                        (home.shard, home.position),
                    )),
                    _ => None,
                },
                _ => None,
            };
            if moved != Some(side) {
                return Err(VerifyError::Difference {
                    shard: home.shard,
                    position: home.position,
                    what: format!("shard {shard} received a lease that was not moved"),
                });
            }
        }
        Ok(())
    }

    /// Whether the other side was written after its shard was looked at.
    async fn is_received_later(
        &self,
        database: &Database,
        home: TransactionPlace,
        side: &Side,
    ) -> Result<bool, DatabaseError> {
        let Some(head) = self.heads.get(&side.shard) else {
            return Ok(false);
        };
        let notices = store::log::notices_after(database.pool(), side.shard, *head).await?;
        Ok(notices.iter().any(|notice| match &notice.says {
            Said::LeaseReceived(received) if received.home == home => {
                notice.program == side.program && *received == side.received
            }
            _ => false,
        }))
    }
}
