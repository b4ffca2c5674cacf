//! How far the logs reach.

use fealty_postgres::{Database, DatabaseError, Heads};
use fealty_types::Cursor;

use super::store;

/// Reads how far the logs of all shards reach, and tells who waits for more.
pub(crate) async fn look_at_heads(
    database: &Database,
    heads: &Heads,
) -> Result<Cursor, DatabaseError> {
    let read = store::head::heads(database.pool()).await?;
    let cursor = Cursor::new(read.iter().map(|head| head.position.get()).collect());
    heads.reached_all(&cursor);
    Ok(cursor)
}
