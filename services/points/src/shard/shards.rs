//! The shards of an installation.

use fealty_postgres::{Database, DatabaseError};
use fealty_types::{Ids, MemberId, ProgramId, ShardId, shard_of};

use super::{
    placement::Placement,
    store::{head, installation},
};

/// The shards of an installation, whose number never changes, and where they lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shards {
    count: u16,
    placement: Placement,
    ids: Ids,
}

impl Shards {
    /// Those of an installation; of a new one, `count`, 1 to 256, which are made.
    /// Safe to call from many instances at once, and after one that broke off.
    pub(crate) async fn open(
        database: &Database,
        count: u16,
        placement: Placement,
    ) -> Result<Self, DatabaseError> {
        let pool = database.pool();
        let known_before = installation::shards(pool).await?.is_some();
        // Whoever comes first settles it.
        installation::settle(pool, count, rand::random()).await?;
        let settled = installation::shards(pool).await?;
        let shards = Self {
            count: settled.ok_or(DatabaseError::Broken("an installation has shards"))?,
            placement,
            ids: Ids::new(installation::id_key(pool).await?),
        };
        let there = match head::ends(pool).await {
            Ok(ends) => ends.len(),
            // A node that is down keeps no instance from starting.
            Err(error) if known_before && error.is_passing() => return Ok(shards),
            Err(error) => return Err(error),
        };
        if there > usize::from(shards.count) {
            let broken = "there are more shards than the installation says";
            return Err(DatabaseError::Broken(broken));
        }
        if there < usize::from(shards.count) {
            for shard in shards.all() {
                installation::begin_shard(pool, shard).await?;
            }
        }
        Ok(shards)
    }

    /// Those that an installation has, if it has any.
    pub(crate) async fn known(database: &Database) -> Result<Option<Self>, DatabaseError> {
        let placement = Placement::of(database).await?;
        let count = installation::shards(database.pool()).await?;
        let Some(count) = count else {
            return Ok(None);
        };
        let ids = Ids::new(installation::id_key(database.pool()).await?);
        Ok(Some(Self {
            count,
            placement,
            ids,
        }))
    }

    /// How many there are.
    pub(crate) fn count(self) -> u16 {
        self.count
    }

    /// The ids that callers are given of what is in them.
    pub(crate) fn ids(self) -> Ids {
        self.ids
    }

    /// Where they lie.
    pub(crate) fn placement(self) -> Placement {
        self.placement
    }

    /// The shard of a member.
    pub(crate) fn of(self, program: &ProgramId, member: &MemberId) -> ShardId {
        shard_of(program, member, self.count)
    }

    /// Whether there is such a shard.
    pub(crate) fn has(self, shard: ShardId) -> bool {
        u16::from(shard.get()) < self.count
    }

    /// All of them, in order.
    pub(crate) fn all(self) -> impl Iterator<Item = ShardId> {
        (0..self.count)
            .filter_map(|shard| u8::try_from(shard).ok())
            .map(ShardId::new)
    }
}
