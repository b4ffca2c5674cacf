//! Where the shards lie.

use fealty_postgres::{Database, DatabaseError, foundation};

/// Where the shards lie, and so which statements a batch is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// All on one node: a batch is written in one statement.
    OneNode,
    /// On several: every statement is for one shard, and so for one node.
    Distributed,
}

impl Placement {
    /// Asks the database.
    pub(crate) async fn of(database: &Database) -> Result<Self, DatabaseError> {
        let distributed = foundation::is_distributed(database.pool(), "shards").await?;
        Ok(if distributed {
            Self::Distributed
        } else {
            Self::OneNode
        })
    }
}
