//! The shards of an installation.

use fealty_postgres::{Database, DatabaseError, PgConnection};
use fealty_types::{MemberId, ProgramId, ShardId, shard_of};

use super::store::{head, installation};

/// The shards of an installation, whose number never changes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shards(u16);

impl Shards {
    /// Those of an installation; of a new one, `count`, 1 to 256, which are made.
    /// Safe to call from many instances at once, and after one that broke off.
    pub(crate) async fn open(database: &Database, count: u16) -> Result<Self, DatabaseError> {
        let pool = database.pool();
        // Whoever comes first settles it.
        installation::settle(pool, count).await?;
        let settled = installation::shards(pool).await?;
        let shards = Self(settled.ok_or(DatabaseError::Broken("an installation has shards"))?);
        let known = head::positions(pool).await?;
        if known.len() < usize::from(shards.count()) {
            for shard in shards.ids() {
                installation::begin_shard(pool, shard).await?;
            }
        }
        Ok(shards)
    }

    /// Those that an installation has, if it has any.
    pub(crate) async fn known(connection: &mut PgConnection) -> Result<Self, DatabaseError> {
        let shards = installation::shards(connection).await?;
        Ok(Self(shards.unwrap_or_default()))
    }

    /// How many there are.
    pub(crate) fn count(self) -> u16 {
        self.0
    }

    /// The shard of a member.
    pub(crate) fn of(self, program: &ProgramId, member: &MemberId) -> ShardId {
        shard_of(program, member, self.0)
    }

    /// Whether there is such a shard.
    pub(crate) fn has(self, shard: ShardId) -> bool {
        u16::from(shard.get()) < self.0
    }

    /// All of them, in order.
    pub(crate) fn ids(self) -> impl Iterator<Item = ShardId> {
        (0..self.0)
            .filter_map(|shard| u8::try_from(shard).ok())
            .map(ShardId::new)
    }
}
