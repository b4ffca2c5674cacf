//! The shards of an installation.

use fealty_types::{MemberId, ProgramId, ShardId, shard_of};

/// The shards of an installation, whose number never changes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shards(u16);

impl Shards {
    /// So many shards, 1 to 256.
    pub(crate) fn new(count: u16) -> Self {
        Self(count)
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
