//! How far the logs reach.

use fealty_ledger::canonical::Chain;
use fealty_postgres::{Database, DatabaseError, Heads};
use fealty_types::{Cursor, Mark};
use futures::future::join_all;

use super::{placement::Placement, shards::Shards, store::head};

/// Reads how far the logs of all shards reach, and tells who waits for more. Of a
/// shard whose node does not answer it stays at what was known.
pub(crate) async fn look_at_heads(
    database: &Database,
    shards: Shards,
    heads: &Heads,
) -> Result<Cursor, DatabaseError> {
    let error = match look_at_all_heads(database, heads).await {
        Ok(cursor) => return Ok(cursor),
        Err(error) => error,
    };
    if shards.placement() == Placement::OneNode || !error.is_passing() {
        return Err(error);
    }
    let ids: Vec<_> = shards.all().collect();
    let reads = ids.iter().map(|shard| head::head(database.pool(), *shard));
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
    heads: &Heads,
) -> Result<Cursor, DatabaseError> {
    Ok(cursor_at(&look_at_all_ends(database, heads).await?))
}

/// The same, with the chains.
pub(crate) async fn look_at_all_ends(
    database: &Database,
    heads: &Heads,
) -> Result<Vec<(i64, Chain)>, DatabaseError> {
    let ends = head::ends(database.pool()).await?;
    heads.reached_all(&cursor_at(&ends));
    Ok(ends)
}

fn cursor_at(ends: &[(i64, Chain)]) -> Cursor {
    Cursor::marked(ends.iter().map(|(at, chain)| (*at, Mark::of(chain))))
}
