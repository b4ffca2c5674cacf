//! How far the logs reach.

use std::time::Duration;

use fealty_ledger::canonical::Chain;
use fealty_postgres::{Database, DatabaseError, Heads};
use fealty_types::{Cursor, Mark};
use futures::future::join_all;

use super::{placement::Placement, shards::Shards, store::head};

/// How long a node may take to say where its shards are, where others go on without it.
const NODE_MAX: Duration = Duration::from_secs(3);

/// A short read of one node, or of each. One that is silent is not waited for as long as a
/// statement may take: it would hold back what the others have.
pub(crate) async fn of_node<T>(
    shards: Shards,
    read: impl Future<Output = Result<T, DatabaseError>>,
) -> Result<T, DatabaseError> {
    if shards.placement() == Placement::OneNode {
        return read.await;
    }
    let read = tokio::time::timeout(NODE_MAX, read).await;
    read.unwrap_or(Err(DatabaseError::NoAnswer))
}

/// Reads how far the logs of all shards reach, and tells who waits for more. Of a
/// shard whose node does not answer it stays at what was known.
pub(crate) async fn look_at_heads(
    database: &Database,
    shards: Shards,
    heads: &Heads,
) -> Result<Cursor, DatabaseError> {
    let error = match look_at_all_heads(database, shards, heads).await {
        Ok(cursor) => return Ok(cursor),
        Err(error) => error,
    };
    if shards.placement() == Placement::OneNode || !error.is_passing() {
        return Err(error);
    }
    let ids: Vec<_> = shards.all().collect();
    let reads = ids.iter();
    let reads = reads.map(|shard| of_node(shards, head::head(database.pool(), *shard)));
    let mut answered = false;
    for (shard, read) in ids.iter().zip(join_all(reads).await) {
        if let Ok(head) = read {
            answered = true;
            heads.reached(usize::from(shard.get()), head.position.get());
        }
    }
    if answered {
        Ok(heads.cursor())
    } else {
        Err(error)
    }
}

/// The same, of all shards or none.
pub(crate) async fn look_at_all_heads(
    database: &Database,
    shards: Shards,
    heads: &Heads,
) -> Result<Cursor, DatabaseError> {
    Ok(cursor_at(&look_at_all_ends(database, shards, heads).await?))
}

/// The same, with the chains.
pub(crate) async fn look_at_all_ends(
    database: &Database,
    shards: Shards,
    heads: &Heads,
) -> Result<Vec<(i64, Chain)>, DatabaseError> {
    let ends = of_node(shards, head::ends(database.pool())).await?;
    heads.reached_all(&cursor_at(&ends));
    Ok(ends)
}

fn cursor_at(ends: &[(i64, Chain)]) -> Cursor {
    Cursor::marked(ends.iter().map(|(at, chain)| (*at, Mark::of(chain))))
}
